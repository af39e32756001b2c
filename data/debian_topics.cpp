// Reads stanzas, joins packages with their descriptions, and writes rows.
#include "data/debian_topics.h"

#include <algorithm>
#include <set>

#include "data/csv.h"
#include "data/debian_stanza.h"
#include "data/md5.h"

namespace sluice {

void DebianIndex::add_packages(std::string_view text) {
  for_each_stanza(text, "Packages", [&](std::string_view stanza) {
    const std::string_view name = field_of(stanza, "Package");
    if (name.empty()) return;
    std::string_view source = field_of(stanza, "Source");
    source = source.substr(0, source.find(' '));  // "name (version)"
    packages_.try_emplace(std::string(name), Package{.source = std::string(source.empty() ? name : source),
                                                     .section = std::string(field_of(stanza, "Section"))});
  });
}

void DebianIndex::add_descriptions(std::string_view text) {
  for_each_stanza(text, "Translation-en", [&](std::string_view stanza) {
    const std::string_view name = field_of(stanza, "Package"), all = field_of(stanza, "Description-en");
    const size_t title_end = std::min(all.find('\n'), all.size());
    if (name.empty() || title_end == all.size()) return;  // no long description
    descriptions_.try_emplace(std::string(name), Description{.title = std::string(all.substr(0, title_end)),
                                                             .content = unfolded(all.substr(title_end + 1))});
  });
}

int64_t DebianIndex::described() const {
  return std::count_if(packages_.begin(), packages_.end(), [&](const auto& p) {
    return !p.second.section.empty() && descriptions_.find(p.first) != descriptions_.end();
  });
}

std::vector<DebianTopic> DebianIndex::topics(const std::vector<std::string>& sections) const {
  std::vector<DebianTopic> topics;
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const auto& [name, package] : packages_) {
    const auto it = descriptions_.find(name);
    const bool wanted = sections.empty() || std::count(sections.begin(), sections.end(), package.section) > 0;
    if (it == descriptions_.end() || package.section.empty() || !wanted) continue;
    const Description& d = it->second;
    if (!seen.emplace(d.title, d.content).second) continue;
    topics.push_back({.package = name,
                      .section = package.section,
                      .title = d.title,
                      .content = d.content,
                      .test = md5_remainder(package.source, 10) == 0});
  }
  return topics;
}

const std::vector<std::string>& debian_topic_sections() {
  static const std::vector<std::string> sections{"admin", "devel",      "doc",  "fonts", "games",   "graphics", "gnu-r",
                                                 "java",  "javascript", "mail", "net",   "science", "sound",    "x11"};
  return sections;
}

std::string debian_topics_csv(const std::vector<DebianTopic>& topics, const std::vector<std::string>& sections,
                              bool test) {
  std::string out;
  for (const DebianTopic& t : topics) {
    const auto found = std::find(sections.begin(), sections.end(), t.section);
    if (t.test != test || found == sections.end()) continue;
    out.append(csv_quoted(std::to_string(found - sections.begin() + 1))).append(",");
    out.append(csv_quoted(t.title)).append(",").append(csv_quoted(t.content)).append("\n");
  }
  return out;
}

}  // namespace sluice
