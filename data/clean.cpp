// One pass writes the cleaned text, a second one splits it.
#include "data/clean.h"

#include <algorithm>
#include <array>
#include <clocale>
#include <cwctype>

#include "data/utf8.h"

namespace sluice {
namespace {

// nltk_data, corpora/stopwords/english (the list of 179 words; Porter et al.), sorted by bytes.
constexpr std::array<std::string_view, 179> kStopWords{
    "a",       "about",   "above",     "after",    "again",     "against", "ain",      "all",        "am",
    "an",      "and",     "any",       "are",      "aren",      "aren't",  "as",       "at",         "be",
    "because", "been",    "before",    "being",    "below",     "between", "both",     "but",        "by",
    "can",     "couldn",  "couldn't",  "d",        "did",       "didn",    "didn't",   "do",         "does",
    "doesn",   "doesn't", "doing",     "don",      "don't",     "down",    "during",   "each",       "few",
    "for",     "from",    "further",   "had",      "hadn",      "hadn't",  "has",      "hasn",       "hasn't",
    "have",    "haven",   "haven't",   "having",   "he",        "her",     "here",     "hers",       "herself",
    "him",     "himself", "his",       "how",      "i",         "if",      "in",       "into",       "is",
    "isn",     "isn't",   "it",        "it's",     "its",       "itself",  "just",     "ll",         "m",
    "ma",      "me",      "mightn",    "mightn't", "more",      "most",    "mustn",    "mustn't",    "my",
    "myself",  "needn",   "needn't",   "no",       "nor",       "not",     "now",      "o",          "of",
    "off",     "on",      "once",      "only",     "or",        "other",   "our",      "ours",       "ourselves",
    "out",     "over",    "own",       "re",       "s",         "same",    "shan",     "shan't",     "she",
    "she's",   "should",  "should've", "shouldn",  "shouldn't", "so",      "some",     "such",       "t",
    "than",    "that",    "that'll",   "the",      "their",     "theirs",  "them",     "themselves", "then",
    "there",   "these",   "they",      "this",     "those",     "through", "to",       "too",        "under",
    "until",   "up",      "ve",        "very",     "was",       "wasn",    "wasn't",   "we",         "were",
    "weren",   "weren't", "what",      "when",     "where",     "which",   "while",    "who",        "whom",
    "why",     "will",    "with",      "won",      "won't",     "wouldn",  "wouldn't", "y",          "you",
    "you'd",   "you'll",  "you're",    "you've",   "your",      "yours",   "yourself", "yourselves"};
constexpr size_t kLongestStopWord = 10;

/// Where the stop words of each first letter start; one more entry than letters.
constexpr std::array<uint8_t, 27> make_letters() {
  std::array<uint8_t, 27> first{};
  for (size_t letter = 0; letter <= 26; ++letter) {
    size_t i = 0;
    while (i < kStopWords.size() && size_t(kStopWords[i][0] - 'a') < letter) ++i;
    first[letter] = uint8_t(i);
  }
  return first;
}
constexpr std::array<uint8_t, 27> kLetters = make_letters();

/// What becomes of each ASCII character: itself, its small letter, a space, or nothing (0).
constexpr std::array<char, 128> make_ascii() {
  std::array<char, 128> to{};
  for (int c = 0; c < 128; ++c) {
    const bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
    const bool space = (c >= 9 && c <= 13) || (c >= 28 && c <= 32);  // as Python's str.split
    const bool punctuation = c > 32 && c < 127 && !upper && !lower && !digit;
    to[size_t(c)] = upper ? char(c + 32) : space ? ' ' : punctuation ? '\0' : char(c);
  }
  return to;
}
constexpr std::array<char, 128> kAscii = make_ascii();

/// Unicode's small letters, whatever locale the process has.
class LowerCase {
 public:
  LowerCase() : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {}
  LowerCase(const LowerCase&) = delete;
  LowerCase& operator=(const LowerCase&) = delete;
  ~LowerCase() {
    if (locale_ != nullptr) freelocale(locale_);
  }
  char32_t operator()(char32_t c) const {
    return locale_ == nullptr ? c : char32_t(towlower_l(wint_t(c), locale_));  // without it only ASCII has case
  }

 private:
  locale_t locale_;
};

/// Where the tag that starts at text[at] ends: behind its '>', which a line feed must not come before. `at` when there
/// is none, as for any other '<' up to `no_tag_before`.
size_t behind_tag(std::string_view text, size_t at, size_t& no_tag_before) {
  if (at < no_tag_before) return at;
  const size_t stop = text.find_first_of(">\n", at);
  if (stop != std::string_view::npos && text[stop] == '>') return stop + 1;
  no_tag_before = stop == std::string_view::npos ? text.size() : stop;  // no second look at the same characters
  return at;
}

}  // namespace

std::span<const std::string_view> stop_words() { return kStopWords; }

bool is_stop_word(std::string_view word) {
  if (word.empty() || word.size() > kLongestStopWord || word[0] < 'a' || word[0] > 'z') return false;
  const auto letter = size_t(word[0] - 'a');
  for (size_t i = kLetters[letter]; i < kLetters[letter + 1]; ++i)
    if (kStopWords[i] == word) return true;
  return false;
}

void Cleaner::clean(std::string_view text) {
  static const LowerCase lower;
  cleaned_.clear();
  size_t no_tag_before = 0;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '<') {
      const size_t behind = behind_tag(text, at, no_tag_before);
      at = behind == at ? at + 1 : behind;
    } else if (static_cast<unsigned char>(c) < 0x80) {
      if (const char kept = kAscii[size_t(c)]; kept != '\0' || c == '\0') cleaned_ += kept;
      ++at;
    } else {
      const char32_t wide = decode_utf8(text, at);
      if (wide == 0x130) {  // capital I with a dot: the one letter that becomes two
        cleaned_ += "i\xCC\x87";
      } else if (is_space(wide)) {
        cleaned_ += ' ';
      } else {
        append_utf8(lower(wide), cleaned_);
      }
    }
  }
}

std::span<const std::string_view> Cleaner::words(std::string_view text) {
  clean(text);
  words_.clear();
  const std::string_view all = cleaned_;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find(' ', begin), all.size());
    const std::string_view word = all.substr(begin, end - begin);
    if (!word.empty() && !is_stop_word(word)) words_.push_back(word);
    begin = end + 1;
  }
  return words_;
}

std::string lower_case(std::string_view text) {
  static const LowerCase lower;
  std::string lowered;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    if (c == 0x130)
      lowered += "i\xCC\x87";
    else
      append_utf8(lower(c), lowered);
  }
  return lowered;
}

std::string clean(std::string_view text) {
  Cleaner cleaner;
  std::string joined;
  for (const std::string_view word : cleaner.words(text)) {
    if (!joined.empty()) joined += ' ';
    joined += word;
  }
  return joined;
}

}  // namespace sluice
