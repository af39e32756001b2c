// Cutting words, counting n-grams.
#include "data/bleu.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <regex>
#include <span>

#include "data/utf8.h"

namespace sluice {
namespace {

using WordSpan = std::span<const std::string>;

struct WordsLess {
  bool operator()(WordSpan a, WordSpan b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};
using NgramCounts = std::map<WordSpan, int64_t, WordsLess>;

NgramCounts count_ngrams(WordSpan words, size_t order) {
  NgramCounts counts;
  for (size_t i = 0; i + order <= words.size(); ++i) ++counts[words.subspan(i, order)];
  return counts;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// mteval-v13a's own rules, in its order. They see bytes: those of other letters than ASCII's are no digits.
std::string spaced(std::string text) {
  static const std::pair<std::regex, const char*> kRules[] = {
      {std::regex(R"(([{-~\[-` -&(-+:-@/]))"), " $1 "},  // ASCII punctuation but ' , - .
      {std::regex(R"(([^0-9])([.,]))"), "$1 $2 "},
      {std::regex(R"(([.,])([^0-9]))"), " $1 $2"},
      {std::regex(R"(([0-9])(-))"), "$1 $2 "}};
  for (const auto& [rule, with] : kRules) text = std::regex_replace(text, rule, with);
  return text;
}

}  // namespace

std::vector<std::string> bleu_words(std::string_view sentence) {
  const size_t end = sentence.find_last_not_of(" \t\r\n");
  std::string text(sentence.substr(0, end == std::string_view::npos ? 0 : end + 1));
  constexpr std::pair<std::string_view, std::string_view> kPlain[] = {
      {"<skipped>", ""}, {"-\n", ""}, {"\n", " "}, {"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};
  for (const auto& [from, to] : kPlain) text = replaced(std::move(text), from, to);
  text = spaced(" " + text + " ");
  std::vector<std::string> words;
  for (const std::string_view word : split_words(text)) words.emplace_back(word);
  return words;
}

void BleuScore::add(std::string_view hypothesis, std::string_view reference) {
  const std::vector<std::string> ours = bleu_words(hypothesis), theirs = bleu_words(reference);
  hypothesis_words_ += int64_t(ours.size());
  reference_words_ += int64_t(theirs.size());
  for (size_t k = 0; k < kOrders; ++k) {
    const NgramCounts expected = count_ngrams(theirs, k + 1);
    for (const auto& [ngram, count] : count_ngrams(ours, k + 1)) {
      total_[k] += count;
      if (const auto it = expected.find(ngram); it != expected.end()) matches_[k] += std::min(count, it->second);
    }
  }
}

double BleuScore::brevity_penalty() const {
  if (hypothesis_words_ >= reference_words_) return 1.0;
  return hypothesis_words_ == 0 ? 0.0 : std::exp(1.0 - double(reference_words_) / double(hypothesis_words_));
}

std::array<double, BleuScore::kOrders> BleuScore::precisions() const {
  std::array<double, kOrders> precisions{};
  if (matches_[0] == 0) return precisions;  // then no longer n-gram matches either
  double share = 1.0;
  for (size_t k = 0; k < kOrders && total_[k] > 0; ++k)
    precisions[k] = 100.0 * (matches_[k] > 0 ? double(matches_[k]) : share /= 2) / double(total_[k]);
  return precisions;
}

double BleuScore::score() const {
  double logs = 0;
  for (const double p : precisions()) logs += std::log(p);  // of 0: minus infinity, a score of 0
  return brevity_penalty() * std::exp(logs / double(kOrders));
}

}  // namespace sluice
