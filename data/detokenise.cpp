// One pass over the words: each says whether a space stands in front of it and whether one stands behind.
#include "data/detokenise.h"

#include <array>
#include <utility>
#include <vector>

#include "data/utf8.h"

namespace sluice {
namespace {

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
}

std::string unescaped(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kEscapes{
      {{"&bar;", "|"},
       {"&#124;", "|"},
       {"&lt;", "<"},
       {"&gt;", ">"},
       {"&bra;", "["},
       {"&ket;", "]"},
       {"&quot;", "\""},
       {"&apos;", "'"},
       {"&#91;", "["},
       {"&#93;", "]"},
       {"&amp;", "&"}}};  // the last: &amp;lt;
  std::string plain(text);
  replace_all(plain, " @-@ ", "-");
  for (const auto& [escape, character] : kEscapes) replace_all(plain, escape, character);
  return plain;
}

bool is_one_of(char32_t c, std::u32string_view set) { return set.find(c) != std::u32string_view::npos; }
bool is_currency(char32_t c) { return c == U'$' || (c >= 0xa2 && c <= 0xa5) || (c >= 0x20a0 && c <= 0x20c0); }
bool opens(char32_t c) { return is_currency(c) || is_one_of(c, U"([{\u00bf\u00a1"); }
bool closes(char32_t c) { return is_one_of(c, U",.?!:;\\%}])"); }
bool quotes(char32_t c) { return is_one_of(c, U"'\"\u201e\u201c\u201d`"); }
bool quotes_doubly(char32_t c) { return is_one_of(c, U"\u201e\u201c\u201d"); }

template <class Is>
bool all_of(std::string_view word, Is is) {
  for (size_t at = 0; at < word.size();)
    if (!is(decode_utf8(word, at))) return false;
  return !word.empty();
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
/// A letter or digit; what is not ASCII is taken for a letter.
bool ends_in_alphanumeric(std::string_view word) {
  const char c = word.empty() ? ' ' : word.back();
  return is_ascii_letter(c) || (c >= '0' && c <= '9') || (c & 0x80) != 0;
}

/// Puts words behind each other.
class Writer {
 public:
  explicit Writer(bool english) : english_(english) {}

  void add(std::string_view word) {
    const bool contraction = english_ && word.size() > 1 && word[0] == '\'' &&
                             (is_ascii_letter(word[1]) || (word[1] & 0x80) != 0) && ends_in_alphanumeric(before_);
    if (all_of(word, opens))
      put(word, true, false);
    else if (all_of(word, closes) || contraction)
      put(word, false, true);
    else if (all_of(word, quotes))
      add_quote(word);
    else
      put(word, true, true);
    before_ = word;
  }
  std::string take() { return std::move(text_); }

 private:
  void add_quote(std::string_view word) {
    const std::string key = all_of(word, quotes_doubly) ? "\"" : std::string(word);
    size_t* open = nullptr;
    for (auto& [quote, count] : quotes_)
      if (quote == key) open = &count;
    if (open == nullptr) open = &quotes_.emplace_back(key, 0u).second;
    const bool possessive = english_ && word == "'" && *open % 2 == 0 && before_.ends_with('s');
    if (possessive) return put(word, false, true);
    put(word, *open % 2 == 0, *open % 2 == 1);
    ++*open;
  }
  void put(std::string_view word, bool space_before, bool space_behind) {
    if (space_before && space_ && !text_.empty()) text_ += ' ';
    text_ += word;
    space_ = space_behind;
  }

  const bool english_;
  std::string text_;
  std::string_view before_;
  bool space_ = true;  // may stand in front of the next word
  std::vector<std::pair<std::string, size_t>> quotes_;
};

}  // namespace

std::string detokenised(std::string_view text, bool english) {
  const std::string plain = unescaped(text);
  Writer writer(english);
  for (const std::string_view word : split_words(plain)) writer.add(word);
  return writer.take();
}

}  // namespace sluice
