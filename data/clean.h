// Words of a text as the reference codes of associated learning clean it: lower case, no tags, no punctuation, no
// English stop words.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// In this order: lower-case; delete the regular expression `<.*?>`; delete ASCII punctuation; split at white space;
/// drop the stop words. Deleting joins ("one<br />two" becomes "onetwo"), and punctuation goes first, so "don't" turns
/// into "dont" and escapes the stop list. White space and lower case are Unicode's, case letter by letter: a capital
/// sigma at a word's end becomes the ordinary small one.
class Cleaner {
 public:
  /// The words of a text that is valid UTF-8. They live until the next call.
  std::span<const std::string_view> words(std::string_view text);

 private:
  void clean(std::string_view text);
  std::string cleaned_;
  std::vector<std::string_view> words_;
};

/// A text that is valid UTF-8 in small letters, as Cleaner has them.
std::string lower_case(std::string_view text);

/// The words, joined by single spaces.
std::string clean(std::string_view text);

/// NLTK's English stop words (nltk.corpus.stopwords, 179 of them), sorted.
std::span<const std::string_view> stop_words();
bool is_stop_word(std::string_view word);

}  // namespace sluice
