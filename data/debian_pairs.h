// English sentences and their German translations out of three Debian sources: descriptions of packages, LibreOffice's
// help, and the example sentences of a dictionary.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct SentencePair {
  std::string english, german;
  bool operator==(const SentencePair&) const = default;
};

/// Descriptions of packages, file by file in the form that apt keeps them in. What comes twice counts as it came first.
class DescriptionPairs {
 public:
  /// A file Translation-en or Translation-de: Description-md5 and Description-en or Description-de are read.
  void add_english(std::string_view text);
  void add_german(std::string_view text);
  /// Descriptions that there are in both languages.
  int64_t descriptions() const;
  /// Of those titles, and the sentences of paragraphs that have as many in both languages, where the descriptions have
  /// as many paragraphs.
  std::vector<SentencePair> sentences() const;

 private:
  using Descriptions = std::map<std::string, std::string, std::less<>>;  // by MD5 of the English one
  Descriptions english_, german_;
};

/// The paragraphs and headings of two pages of LibreOffice's help that have the same id, those without text left out.
std::vector<SentencePair> help_pairs(std::string_view english_page, std::string_view german_page);

/// The full sentences of a dictionary in Ding's format: a line an entry, "German :: English", `|` between the parts of
/// either side, `;` between alternatives, of which the first counts.
std::vector<SentencePair> dictionary_pairs(std::string_view text);

/// A paragraph's sentences: they end in . ? or ! before a word with a capital letter. Abbreviations and ordinal numbers
/// end none.
std::vector<std::string> split_sentences(std::string_view paragraph);

enum class PairPart { kTrain, kValidation, kTest };
/// "train", "val" or "test", as in the names of the reference codes' files.
const char* part_name(PairPart part);
/// By the MD5 of the English side in small letters, as a number modulo 100: 0 and 1 test, 2 and 3 validate.
PairPart part_of(std::string_view english);

/// Gathers pairs of 3 to 50 words a side, none more than twice as long as the other, and none whose sides are equal. Of
/// pairs whose English sides differ in capital letters at most the first is kept.
class PairCollection {
 public:
  /// How many were kept of each part.
  std::map<PairPart, int64_t> add(const std::vector<SentencePair>& pairs);
  const std::vector<SentencePair>& part(PairPart part) { return parts_[part]; }

 private:
  std::map<PairPart, std::vector<SentencePair>> parts_;
  std::set<std::string> seen_;
};

}  // namespace sluice
