// The words that a model knows, by number: 0 pads, 1 is any other word, from 2 on the most frequent ones.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice {

/// Lets a map of strings be asked for views.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using WordNumbers = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

class Vocabulary {
 public:
  static constexpr int32_t kPad = 0, kUnknown = 1, kFirstWord = 2;
  static constexpr int64_t kDefaultSize = 30000;

  Vocabulary() = default;
  /// `words` get the ids 2, 3, ... in their order. Throws DataError for a word that comes twice.
  explicit Vocabulary(std::vector<std::string> words);

  /// Ids that there are, kPad and kUnknown included.
  int64_t size() const { return kFirstWord + int64_t(words_.size()); }
  /// kUnknown for a word that is not in it.
  int32_t id(std::string_view word) const;
  const std::vector<std::string>& words() const { return words_; }  // from id 2 on

 private:
  std::vector<std::string> words_;
  WordNumbers ids_;
};

/// Counts words, and numbers them by first occurrence.
class WordCounter {
 public:
  WordCounter() = default;
  WordCounter(const WordCounter&) = delete;  // it holds views of its own keys
  WordCounter& operator=(const WordCounter&) = delete;
  /// The word's number, from 0.
  int32_t add(std::string_view word);
  int64_t distinct() const { return int64_t(words_.size()); }

  /// What the most frequent words are called from now on.
  struct Ranking {
    Vocabulary vocabulary;
    std::vector<int32_t> ids;  // by number: the vocabulary's id
  };
  /// By descending count, ties by first occurrence, as many as fit in `size` ids (kPad and kUnknown included), of those
  /// that were counted `least` times or more. Throws ConfigError for a size below 3.
  Ranking most_frequent(int64_t size = Vocabulary::kDefaultSize, int64_t least = 1) const;

 private:
  WordNumbers numbers_;
  std::vector<std::string_view> words_;  // by number; the map's keys stay where they are
  std::vector<int64_t> counts_;
};

}  // namespace sluice
