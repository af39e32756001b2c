// Reads stanzas, joins packages with their descriptions, and writes rows.
#include "data/debian_topics.h"

#include <algorithm>
#include <set>

#include "data/csv.h"
#include "data/md5.h"
#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {
namespace {

/// The value of a field, with the lines that go on with it: those that start with a space.
std::string_view value_of(std::string_view stanza, std::string_view field) {
  const auto line_end = [&](size_t from) { return std::min(stanza.find('\n', from), stanza.size()); };
  for (size_t begin = 0; begin < stanza.size();) {
    size_t end = line_end(begin);
    while (end + 1 < stanza.size() && stanza[end + 1] == ' ') end = line_end(end + 1);
    std::string_view line = stanza.substr(begin, end - begin);
    begin = end + 1;
    if (line.substr(0, field.size()) != field || line.size() == field.size() || line[field.size()] != ':') continue;
    line.remove_prefix(field.size() + 1);
    return line.substr(std::min(line.find_first_not_of(' '), line.size()));
  }
  return {};
}

template <class F>
void for_each_stanza(std::string_view text, F&& f) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("\n\n", at), text.size());
    f(text.substr(at, end - at));
    at = end + 2;
  }
}

/// Lines without the space they start with; " ." is an empty line, and those at the beginning are left out.
std::string unfolded(std::string_view lines) {
  std::string out;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    std::string_view line = lines.substr(at, end - at);
    if (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    out.append(out.empty() ? "" : "\n").append(line == "." ? "" : line);
    at = end + 1;
  }
  return out;
}

void expect_utf8(std::string_view text, const char* what) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    throw DataError(str("Debian's index: ", what, " holds a byte that is no UTF-8, expected a text in UTF-8"));
}

/// The number that the digest's 32 hexadecimal digits spell, modulo 10.
int last_decimal_digit(std::string_view source) {
  int rest = 0;
  for (const uint8_t byte : md5(source)) rest = (rest * 256 + byte) % 10;
  return rest;
}

}  // namespace

void DebianIndex::add_packages(std::string_view text) {
  expect_utf8(text, "Packages");
  for_each_stanza(text, [&](std::string_view stanza) {
    const std::string_view name = value_of(stanza, "Package");
    if (name.empty()) return;
    std::string_view source = value_of(stanza, "Source");
    source = source.substr(0, source.find(' '));  // "name (version)"
    packages_.try_emplace(std::string(name), Package{.source = std::string(source.empty() ? name : source),
                                                     .section = std::string(value_of(stanza, "Section"))});
  });
}

void DebianIndex::add_descriptions(std::string_view text) {
  expect_utf8(text, "Translation-en");
  for_each_stanza(text, [&](std::string_view stanza) {
    const std::string_view name = value_of(stanza, "Package"), all = value_of(stanza, "Description-en");
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
                      .test = last_decimal_digit(package.source) == 0});
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
