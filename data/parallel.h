// Pairs of sentences as token ids in host memory, and what turns them into micro-batches for a translator.
#pragma once

#include "data/sample_source.h"

namespace sluice {

/// What a translator's ids mean beside words or pieces.
struct PairTokens {
  static constexpr int32_t kPad = 0, kUnknown = 1, kBegin = 2, kEnd = 3, kFirstWord = 4;
};

/// Token ids of many sentences, one after another.
struct Sentences {
  std::vector<int32_t> tokens;
  std::vector<int64_t> offsets{0};  // [N + 1]: sentence i is tokens [offsets[i], offsets[i + 1])

  int64_t size() const { return int64_t(offsets.size()) - 1; }
  int64_t length(int64_t i) const { return offsets[size_t(i) + 1] - offsets[size_t(i)]; }
  std::span<const int32_t> operator[](int64_t i) const {
    return std::span(tokens).subspan(size_t(offsets[size_t(i)]), size_t(length(i)));
  }
  void add(std::span<const int32_t> sentence);
};

/// The weights of a micro-batch's real tokens in its loss.
enum class TokenWeights : uint8_t {
  kMean,       // 1 / (labels, ends included): they sum to 1
  kPositions,  // 1 / (b T): the more is padded the less a token counts
  kSentences   // 1 / b: a sentence counts by its length, as in GNMT
};

/// Fill it by hand for pairs of one's own; Loader checks it.
struct ParallelDataset : SampleSource {
  Sentences source, target;     // as many of each, of at least one token, without kPad, kBegin and kEnd
  bool marked_sources = false;  // but sources begin with kBegin and end with kEnd
  int64_t source_vocabulary = 0, target_vocabulary = 0;  // ids that there are
  /// Sentences of a micro-batch are padded on the right to the longest of their side, rounded up to a multiple of this:
  /// few different shapes. 1 is the original's padding.
  int64_t bucket = 8;
  TokenWeights token_weights = TokenWeights::kMean;

  int64_t size() const override { return source.size(); }
  int64_t classes() const override { return target_vocabulary; }
  /// The longer side, the target with its two marks.
  int64_t length(int64_t i) const override;
  void expect_sound(const std::string& where) const override;
  /// "source" [b, S] i32; "target" [b, T] i32, kBegin and the target's tokens; "labels" [b, T] i32, its tokens and
  /// kEnd; all padded with kPad. "weights" [b, T] f32: token_weights, 0 on padding.
  std::vector<BatchPort> ports(const BatchDraw& draw) const override;
  void fill(const BatchDraw& draw, std::span<const Ref> out) const override;
};

}  // namespace sluice
