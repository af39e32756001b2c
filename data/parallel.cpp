// Checking pairs, and filling padded micro-batches with them.
#include "data/parallel.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice {
namespace {

/// `marks`: of each sentence, in front of it and behind it.
void expect_sentences(const Sentences& s, int64_t vocabulary, int64_t marks, const std::string& where) {
  const auto fail = [&](const std::string& what) { throw DataError(str(where, what)); };
  if (s.offsets.empty() || s.offsets.front() != 0 || s.offsets.back() != int64_t(s.tokens.size()))
    fail(str(s.offsets.size(), " offsets, expected some from 0 to the ", s.tokens.size(), " tokens"));
  for (int64_t i = 0; i < s.size(); ++i) {
    if (s.length(i) < 1 + 2 * marks)
      fail(str("sentence ", i, " has no token, expected at least one, if only an unknown one"));
    std::span<const int32_t> words = s[i];
    if (marks > 0 && (words.front() != PairTokens::kBegin || words.back() != PairTokens::kEnd))
      fail(str("sentence ", i, " from ", words.front(), " to ", words.back(), ", expected marks on both sides"));
    words = words.subspan(size_t(marks), words.size() - size_t(2 * marks));
    for (const int32_t token : words)
      if ((token < PairTokens::kFirstWord && token != PairTokens::kUnknown) || token >= vocabulary)
        fail(str("token ", token, ", expected ", PairTokens::kUnknown, " or one in [", PairTokens::kFirstWord, ", ",
                 vocabulary, ")"));
  }
}

int64_t shares_of(TokenWeights weights, int64_t real, const Shape& labels) {
  switch (weights) {
    case TokenWeights::kMean:
      return real;
    case TokenWeights::kPositions:
      return labels.numel();
    case TokenWeights::kSentences:
      return labels[0];
  }
  return real;
}

int64_t rounded_up(int64_t length, int64_t bucket) { return (length + bucket - 1) / bucket * bucket; }

}  // namespace

void Sentences::add(std::span<const int32_t> sentence) {
  tokens.insert(tokens.end(), sentence.begin(), sentence.end());
  offsets.push_back(int64_t(tokens.size()));
}

int64_t ParallelDataset::length(int64_t i) const { return std::max(source.length(i), target.length(i) + 2); }

void ParallelDataset::expect_sound(const std::string& where) const {
  if (source.size() < 1 || source.size() != target.size())
    throw DataError(str(where, ": ", source.size(), " source and ", target.size(),
                        " target sentences, expected as many of each and at least one"));
  if (bucket < 1) throw DataError(str(where, ": a bucket of ", bucket, " tokens, expected at least 1"));
  expect_sentences(source, source_vocabulary, marked_sources ? 1 : 0, where + ": source: ");
  expect_sentences(target, target_vocabulary, 0, where + ": target: ");
}

std::vector<BatchPort> ParallelDataset::ports(const BatchDraw& draw) const {
  int64_t from = 1, to = 1;
  for (const int32_t i : draw.samples) {
    from = std::max(from, source.length(i));
    to = std::max(to, target.length(i) + 1);
  }
  const auto count = int64_t(draw.samples.size());
  const Shape in{count, rounded_up(from, bucket)}, out{count, rounded_up(to, bucket)};
  return {{.name = "source", .shape = in, .dtype = DType::kI32},
          {.name = "target", .shape = out, .dtype = DType::kI32},
          {.name = "weights", .shape = out, .dtype = DType::kF32},
          {.name = "labels", .shape = out, .dtype = DType::kI32}};
}

void ParallelDataset::fill(const BatchDraw& draw, std::span<const Ref> out) const {
  const int64_t source_width = out[0].dim(1), width = out[1].dim(1);
  int64_t real = 0;
  for (const int32_t i : draw.samples) real += target.length(i) + 1;
  const float weight = 1.0f / float(shares_of(token_weights, real, out[1].shape));
  int32_t *to_source = out[0].as<int32_t>(), *to_target = out[1].as<int32_t>(), *to_labels = out[3].as<int32_t>();
  float* to_weights = out[2].as<float>();
  for (const int32_t i : draw.samples) {
    const std::span<const int32_t> from = source[i], to = target[i];
    std::fill(std::copy(from.begin(), from.end(), to_source), to_source + source_width, PairTokens::kPad);
    *to_target = PairTokens::kBegin;
    std::fill(std::copy(to.begin(), to.end(), to_target + 1), to_target + width, PairTokens::kPad);
    int32_t* const end = std::copy(to.begin(), to.end(), to_labels);
    *end = PairTokens::kEnd;
    std::fill(end + 1, to_labels + width, PairTokens::kPad);
    std::fill(std::fill_n(to_weights, to.size() + 1, weight), to_weights + width, 0.0f);
    to_source += source_width;
    to_target += width;
    to_labels += width;
    to_weights += width;
  }
}

}  // namespace sluice
