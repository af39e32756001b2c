// A topic data set from Debian's package index: section, short and long description become class, title and content.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// One description, and what its package is filed under.
struct DebianTopic {
  std::string package, section, title, content;
  bool test = false;
};

/// Gathers an index, file by file, in the form that apt keeps it in (stanzas of "Field: value" lines). A package or
/// description that comes twice counts as it came first, so add the newest release's files first.
class DebianIndex {
 public:
  /// A file Packages: Package, Source and Section are read.
  void add_packages(std::string_view text);
  /// A file Translation-en: Package and Description-en.
  void add_descriptions(std::string_view text);
  int64_t packages() const { return int64_t(packages_.size()); }
  /// Packages with a section and a long description.
  int64_t described() const;

  /// Packages of these sections (all where empty) with a long description, in the order of their names; of those with
  /// equal title and content the first. Half is decided by source package, since siblings share text: it is for testing
  /// where the MD5 of its name, as a number, ends in the digit 0.
  std::vector<DebianTopic> topics(const std::vector<std::string>& sections) const;

 private:
  struct Package {
    std::string source, section;
  };
  struct Description {
    std::string title, content;
  };
  std::map<std::string, Package, std::less<>> packages_;
  std::map<std::string, Description, std::less<>> descriptions_;
};

/// The 14 sections of the default data set: as many classes as DBpedia has.
const std::vector<std::string>& debian_topic_sections();

/// Rows "class from 1","title","content" of one half, in AG News' layout; classes are numbered as in `sections`.
std::string debian_topics_csv(const std::vector<DebianTopic>& topics, const std::vector<std::string>& sections,
                              bool test);

}  // namespace sluice
