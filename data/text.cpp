// Text datasets: building, checking, and padded micro-batches.
#include "data/text.h"

#include <algorithm>
#include <cassert>

#include "engine/error.h"

namespace sluice {

void TextDataset::expect_sound(const std::string& where, const Augmentation&) const {
  const auto fail = [&](const std::string& what) { throw DataError(str(where, ": ", what)); };
  if (labels.empty()) fail("no documents, expected at least one");
  if (offsets.size() != labels.size() + 1 || offsets.front() != 0 || offsets.back() != int64_t(tokens.size()))
    fail(str(offsets.size(), " offsets, expected ", labels.size() + 1, " from 0 to the ", tokens.size(), " tokens"));
  if (bucket < 1) fail(str("a bucket of ", bucket, " tokens, expected at least 1"));
  for (int64_t i = 0; i < size(); ++i) {
    const int32_t label = labels[size_t(i)];
    if (length(i) < 1) fail(str("document ", i, " has no token, expected at least one, if only an unknown one"));
    if (label < 0 || label >= classes())
      fail(str("label ", label, " of document ", i, ", expected one in [0, ", classes(), ")"));
  }
  for (const int32_t token : tokens)
    if (token <= Vocabulary::kPad || token >= vocabulary_size)
      fail(str("token ", token, ", expected one in [1, ", vocabulary_size, ")"));
}

std::vector<BatchPort> TextDataset::ports(const BatchDraw& draw) const {
  int64_t longest = 1;
  for (const int32_t i : draw.samples) longest = std::max(longest, length(i));
  const auto count = int64_t(draw.samples.size());
  return {{.name = "tokens", .shape = {count, (longest + bucket - 1) / bucket * bucket}, .dtype = DType::kI32},
          {.name = "labels", .shape = {count}, .dtype = DType::kI32}};
}

void TextDataset::fill(const BatchDraw& draw, std::span<const Ref> out) const {
  const int64_t width = out[0].dim(1);
  int32_t* row = out[0].as<int32_t>();
  int32_t* to_labels = out[1].as<int32_t>();
  for (size_t i = 0; i < draw.samples.size(); ++i, row += width) {
    const std::span<const int32_t> words = document(draw.samples[i]);
    std::fill(std::copy(words.begin(), words.end(), row), row + width, Vocabulary::kPad);
    to_labels[i] = labels[size_t(draw.samples[i])];
  }
}

void check(const TextOptions& o) {
  if (o.max_len < 1 || o.min_len < 0 || o.bucket < 1 || o.vocabulary <= Vocabulary::kFirstWord)
    throw ConfigError(str("text: max_len ", o.max_len, ", min_len ", o.min_len, ", bucket ", o.bucket, ", vocabulary ",
                          o.vocabulary, "; expected a max_len and a bucket of at least 1, a min_len of at least 0 and ",
                          "a vocabulary of at least 3"));
}

TextSplitBuilder::TextSplitBuilder(std::vector<std::string> class_names, const TextOptions& options)
    : options_(options) {
  check(options);
  split_.train.bucket = split_.test.bucket = options.bucket;
  split_.train.class_names = split_.test.class_names = std::move(class_names);
}

void TextSplitBuilder::add_train(std::string_view text, int32_t label) {
  assert(!ranked_);
  const std::span<const std::string_view> words = cleaner_.words(text);
  if (int64_t(words.size()) <= options_.min_len) {
    ++split_.left_out;
    return;
  }
  TextDataset& d = split_.train;  // holds the counter's numbers until the words are ranked
  for (size_t i = 0; i < words.size(); ++i) {
    const int32_t number = counter_.add(words[i]);
    if (int64_t(i) < options_.max_len) d.tokens.push_back(number);
  }
  d.offsets.push_back(int64_t(d.tokens.size()));
  d.labels.push_back(label);
}

void TextSplitBuilder::rank_words() {
  if (std::exchange(ranked_, true)) return;
  WordCounter::Ranking ranking = counter_.most_frequent(options_.vocabulary);
  for (int32_t& token : split_.train.tokens) token = ranking.ids[size_t(token)];
  split_.vocabulary = std::move(ranking.vocabulary);
  split_.distinct_words = counter_.distinct();
  split_.train.vocabulary_size = split_.test.vocabulary_size = split_.vocabulary.size();
}

void TextSplitBuilder::add_test(std::string_view text, int32_t label) {
  rank_words();
  const std::span<const std::string_view> words = cleaner_.words(text);
  TextDataset& d = split_.test;
  for (const std::string_view word : words.first(std::min(words.size(), size_t(options_.max_len))))
    d.tokens.push_back(split_.vocabulary.id(word));
  if (words.empty()) d.tokens.push_back(Vocabulary::kUnknown);
  d.offsets.push_back(int64_t(d.tokens.size()));
  d.labels.push_back(label);
}

TextSplit TextSplitBuilder::finish(const std::string& where) {
  rank_words();
  const TextDataset& d = split_.train;
  std::vector<int64_t> count(d.class_names.size(), 0);
  for (const int32_t label : d.labels) ++count[size_t(label)];
  for (size_t i = 0; i < count.size(); ++i)
    if (count[i] == 0)
      throw DataError(str(where, ": no training document of class '", d.class_names[i], "' with more than ",
                          options_.min_len, " words, expected at least one of each class"));
  if (split_.test.labels.empty()) throw DataError(str(where, ": no test documents, expected at least one"));
  return std::move(split_);
}

}  // namespace sluice
