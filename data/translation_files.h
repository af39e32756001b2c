// Readers of pairs of sentences in the reference's layout: what `sluice data fetch debian-pairs` writes, and IWSLT.
#pragma once

#include <filesystem>
#include <functional>

#include "data/parallel.h"

namespace sluice {

struct ParallelOptions {
  bool to_english = false;
  /// Ids of one vocabulary of pieces for both languages, learned from both training sides. 0: those words of either
  /// training side that come twice or more, as in the original.
  int64_t pieces = 8000;
  int64_t max_len = 100;  // training pairs with more tokens on a side are left out; the others are all kept
  int64_t bucket = 8;     // as in ParallelDataset
  TokenWeights token_weights = TokenWeights::kMean;  // of the training pairs; the others' are means
  /// Where learned pieces are kept for the next time; empty: nowhere. A file there serves as long as the training
  /// file's name, size and time of change are the same. A folder that cannot be written costs only the time.
  std::filesystem::path cache{};
};

/// Between a language's text and its ids. Functions may be copied and outlive the split.
struct TextCoding {
  std::function<std::vector<int32_t>(std::string_view)> encode;  // of valid UTF-8; at least one id
  std::function<std::string(std::span<const int32_t>)> decode;   // without marks and padding
  int64_t vocabulary = 0;                                        // ids that there are
};

/// What a translator's ids stand for, and what its translations are compared with.
struct TranslationText {
  TextCoding source, target;
  std::vector<std::string> validation, test;  // target sides of these halves, sample by sample, as they were read
};

struct ParallelSplit {
  ParallelDataset train, validation, test;
  TranslationText text;
  int64_t left_out = 0;     // training pairs that are too long or have an empty side
  bool from_cache = false;  // the pieces
};

/// From dir/<sides>_<set>_{train,val,test}_cache.csv, where sides is en_de or de_en and says which language's line
/// comes first: source and target lines take turns. Throws ConfigError for options out of range, DataError (path, line,
/// what was found, what was expected) for files that are missing, odd or empty.
ParallelSplit load_translation(const std::filesystem::path& dir, const std::string& set,
                               const ParallelOptions& options = {});

}  // namespace sluice
