// Joining what two languages say in the same place.
#include "data/debian_pairs.h"

#include <algorithm>
#include <array>

#include "data/clean.h"
#include "data/debian_stanza.h"
#include "data/help_page.h"
#include "data/md5.h"
#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {
namespace {

std::vector<std::string_view> parts_between(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    if (end == std::string_view::npos) return parts;
    at = end + separator.size();
  }
}

void add_description(std::string_view stanza, std::string_view field,
                     std::map<std::string, std::string, std::less<>>& to) {
  const std::string_view key = field_of(stanza, "Description-md5"), text = field_of(stanza, field);
  if (!key.empty() && !text.empty()) to.try_emplace(std::string(key), text);
}

/// The long description's paragraphs, each on one line.
std::vector<std::string> paragraphs_of(std::string_view lines) {
  std::vector<std::string> paragraphs;
  const std::string text = unfolded(lines);
  for (const std::string_view part : parts_between(text, "\n\n"))
    if (std::string joined = joined_words(part); !joined.empty()) paragraphs.push_back(std::move(joined));
  return paragraphs;
}

/// Adds the pairs of two lists where they are of one length.
void pair_up(const std::vector<std::string>& english, const std::vector<std::string>& german,
             std::vector<SentencePair>& to) {
  if (english.size() != german.size()) return;
  for (size_t i = 0; i < english.size(); ++i) to.push_back({english[i], german[i]});
}

bool is_capital(std::string_view word) {
  const size_t letter = word.find_first_not_of("\"'([{*");
  if (letter == std::string_view::npos) return false;
  const unsigned char c = static_cast<unsigned char>(word[letter]);
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  const std::string_view rest = word.substr(letter);
  size_t end = 0;
  decode_utf8(rest, end);
  return lower_case(rest.substr(0, end)) != rest.substr(0, end);
}

/// Whether a sentence may end with this word.
bool ends_sentence(std::string_view word) {
  const size_t last = word.find_last_not_of("\"')]}");
  if (last == std::string_view::npos) return false;
  if (word[last] == '?' || word[last] == '!') return true;
  if (word[last] != '.') return false;
  constexpr std::array<std::string_view, 22> kAbbreviations{"e.g", "i.e", "vs",  "Dr",  "Mr",  "Mrs",  "Prof", "St",
                                                            "No",  "Nr",  "bzw", "ca",  "cf",  "inkl", "evtl", "ggf",
                                                            "vgl", "z.B", "d.h", "u.a", "sog", "Inc"};
  const std::string_view stem = word.substr(0, last);
  const std::string_view bare = stem.substr(std::min(stem.find_first_not_of("\"'([{"), stem.size()));
  return bare.size() > 1 && bare.find_first_not_of("0123456789") != std::string_view::npos &&
         std::find(kAbbreviations.begin(), kAbbreviations.end(), bare) == kAbbreviations.end();
}

/// Without what stands in {}, [] or <>: grammar, subject and form.
std::string without_notes(std::string_view text) {
  std::string kept;
  char until = 0, before = 0;
  for (const char c : text) {
    const char closing = c == '{' ? '}' : c == '[' ? ']' : c == '<' ? '>' : char(0);
    if (until == 0 && closing == 0) {
      const bool note_ends = before == '}' || before == ']' || before == '>';
      if (note_ends && std::string_view(".,;:?!").find(c) != std::string_view::npos && kept.ends_with(' '))
        kept.pop_back();
      kept += c;
    }
    until = until == 0 ? closing : c == until ? char(0) : until;
    before = c;
  }
  return joined_words(kept);
}

bool is_sentence(std::string_view text) {
  return !text.empty() && std::string_view(".?!").find(text.back()) != std::string_view::npos;
}

bool fits(const SentencePair& pair) {
  constexpr size_t kShortest = 3, kLongest = 50, kRatio = 2;
  const size_t english = split_words(pair.english).size(), german = split_words(pair.german).size();
  return std::min(english, german) >= kShortest && std::max(english, german) <= kLongest &&
         english <= kRatio * german && german <= kRatio * english && pair.english != pair.german;
}

}  // namespace

void DescriptionPairs::add_english(std::string_view text) {
  for_each_stanza(text, "Translation-en",
                  [&](std::string_view stanza) { add_description(stanza, "Description-en", english_); });
}

void DescriptionPairs::add_german(std::string_view text) {
  for_each_stanza(text, "Translation-de",
                  [&](std::string_view stanza) { add_description(stanza, "Description-de", german_); });
}

int64_t DescriptionPairs::descriptions() const {
  return std::count_if(german_.begin(), german_.end(), [&](const auto& d) { return english_.contains(d.first); });
}

std::vector<SentencePair> DescriptionPairs::sentences() const {
  std::vector<SentencePair> pairs;
  for (const auto& [key, german] : german_) {
    const auto it = english_.find(key);
    if (it == english_.end()) continue;
    const std::string_view ours = it->second, theirs = german;
    const size_t our_title = std::min(ours.find('\n'), ours.size()), title = std::min(theirs.find('\n'), theirs.size());
    pairs.push_back({joined_words(ours.substr(0, our_title)), joined_words(theirs.substr(0, title))});
    const std::vector<std::string> english = paragraphs_of(ours.substr(std::min(our_title + 1, ours.size()))),
                                   translated = paragraphs_of(theirs.substr(std::min(title + 1, theirs.size())));
    if (english.size() != translated.size()) continue;
    for (size_t i = 0; i < english.size(); ++i)
      pair_up(split_sentences(english[i]), split_sentences(translated[i]), pairs);
  }
  return pairs;
}

std::vector<SentencePair> help_pairs(std::string_view english_page, std::string_view german_page) {
  std::vector<SentencePair> pairs;
  const std::map<std::string, std::string> german = help_paragraphs(german_page);
  for (const auto& [id, text] : help_paragraphs(english_page))
    if (const auto it = german.find(id); it != german.end()) pairs.push_back({text, it->second});
  return pairs;
}

std::vector<SentencePair> dictionary_pairs(std::string_view text) {
  std::vector<SentencePair> pairs;
  for (const std::string_view line : parts_between(text, "\n")) {
    const std::vector<std::string_view> sides = parts_between(line, " :: ");
    if (sides.size() != 2 || line[0] == '#') continue;
    const std::vector<std::string_view> german = parts_between(sides[0], "|"), english = parts_between(sides[1], "|");
    for (size_t i = 0; german.size() == english.size() && i < german.size(); ++i) {
      const auto first = [](std::string_view part) {
        const std::string kept = without_notes(part);
        return joined_words(kept.substr(0, kept.find(';')));
      };
      SentencePair pair{first(english[i]), first(german[i])};
      if (is_sentence(pair.english) && is_sentence(pair.german)) pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

std::vector<std::string> split_sentences(std::string_view paragraph) {
  std::vector<std::string> sentences;
  const std::vector<std::string_view> words = split_words(paragraph);
  bool ended = true;
  for (const std::string_view word : words) {
    if (ended && (sentences.empty() || is_capital(word)))
      sentences.emplace_back(word);
    else
      sentences.back().append(" ").append(word);
    ended = ends_sentence(word);
  }
  return sentences;
}

const char* part_name(PairPart part) {
  return part == PairPart::kTrain ? "train" : part == PairPart::kValidation ? "val" : "test";
}

PairPart part_of(std::string_view english) {
  const int number = md5_remainder(lower_case(english), 100);
  return number < 2 ? PairPart::kTest : number < 4 ? PairPart::kValidation : PairPart::kTrain;
}

std::map<PairPart, int64_t> PairCollection::add(const std::vector<SentencePair>& pairs) {
  std::map<PairPart, int64_t> kept;
  for (const SentencePair& pair : pairs) {
    if (!fits(pair) || !seen_.insert(lower_case(pair.english)).second) continue;
    const PairPart part = part_of(pair.english);
    parts_[part].push_back(pair);
    ++kept[part];
  }
  return kept;
}

}  // namespace sluice
