// Counting, ranking and looking up words.
#include "data/vocabulary.h"

#include <algorithm>
#include <numeric>

#include "engine/error.h"

namespace sluice {

Vocabulary::Vocabulary(std::vector<std::string> words) : words_(std::move(words)) {
  ids_.reserve(words_.size());
  for (size_t i = 0; i < words_.size(); ++i)
    if (!ids_.emplace(words_[i], kFirstWord + int32_t(i)).second)
      throw DataError(str("vocabulary: the word '", words_[i], "' comes twice, expected each once"));
}

int32_t Vocabulary::id(std::string_view word) const {
  const auto it = ids_.find(word);
  return it == ids_.end() ? kUnknown : it->second;
}

int32_t WordCounter::add(std::string_view word) {
  auto it = numbers_.find(word);
  if (it == numbers_.end()) {
    it = numbers_.emplace(word, int32_t(words_.size())).first;
    words_.push_back(it->first);
    counts_.push_back(0);
  }
  ++counts_[size_t(it->second)];
  return it->second;
}

WordCounter::Ranking WordCounter::most_frequent(int64_t size, int64_t least) const {
  if (size <= Vocabulary::kFirstWord)
    throw ConfigError(str("vocabulary size ", size, ", expected at least ", Vocabulary::kFirstWord + 1));
  std::vector<int32_t> order(words_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return counts_[size_t(a)] > counts_[size_t(b)]; });
  order.resize(std::min(order.size(), size_t(size - Vocabulary::kFirstWord)));
  Ranking r;
  r.ids.assign(words_.size(), Vocabulary::kUnknown);
  std::vector<std::string> kept;
  for (const int32_t number : order) {
    if (counts_[size_t(number)] < least) break;
    r.ids[size_t(number)] = Vocabulary::kFirstWord + int32_t(kept.size());
    kept.emplace_back(words_[size_t(number)]);
  }
  r.vocabulary = Vocabulary(std::move(kept));
  return r;
}

}  // namespace sluice
