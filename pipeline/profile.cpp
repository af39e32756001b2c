// Reads and writes profiles.
#include "pipeline/profile.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <map>
#include <numeric>
#include <sstream>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr const char* kSeparator = " -- ";
constexpr const char* kNodeLine =
    "expected 'nodeK -- description -- forward_compute_time=ms, backward_compute_time=ms, activation_size=bytes, "
    "parameter_size=bytes'";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

class ProfileReader {
 public:
  explicit ProfileReader(std::string where) : where_(std::move(where)) {}

  Profile read(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      if (trimmed(line).empty()) continue;
      if (line[0] == '\t')
        read_edge(trimmed(line));
      else
        read_node(trimmed(line));
    }
    if (profile_.nodes.empty()) throw DataError(str(where_, ": no node; ", kNodeLine));
    return std::move(profile_);
  }

 private:
  [[noreturn]] void fail(const std::string& why) const { throw DataError(str(where_, ", line ", number_, ": ", why)); }

  /// Descriptions may hold the separator, so the values are what follows its last place before their first key.
  void read_node(const std::string& line) {
    const size_t first = line.find(kSeparator), values = line.find(" -- forward_compute_time=");
    if (first == std::string::npos || values == std::string::npos || first >= values) fail(kNodeLine);
    ProfileNode node;
    node.id = trimmed(line.substr(0, first));
    node.description = trimmed(line.substr(first + 4, values - first - 4));
    std::string rest = line.substr(values + 4);
    if (const size_t stage = rest.find(kSeparator); stage != std::string::npos) {
      node.stage = read_stage(trimmed(rest.substr(stage + 4)));
      rest.erase(stage);
    }
    const std::map<std::string, std::string> fields = read_fields(rest);
    node.forward_ms = number(fields, "forward_compute_time");
    node.backward_ms = number(fields, "backward_compute_time");
    node.activation_bytes = numbers(fields, "activation_size");
    node.parameter_bytes = number(fields, "parameter_size");
    if (!places_.emplace(node.id, profile_.nodes.size()).second) fail(str("'", node.id, "' is named twice"));
    profile_.nodes.push_back(std::move(node));
  }

  std::map<std::string, std::string> read_fields(const std::string& text) const {
    std::map<std::string, std::string> fields;
    std::istringstream in(text);
    for (std::string field; std::getline(in, field, ',');) {
      const size_t equals = field.find('=');
      if (equals == std::string::npos) fail(str("'", trimmed(field), "' is no key=value; ", kNodeLine));
      fields[trimmed(field.substr(0, equals))] = trimmed(field.substr(equals + 1));
    }
    return fields;
  }

  double number(const std::string& key, const std::string& text) const {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < 0)
      fail(str(key, "='", text, "', expected a number from 0 on"));
    return value;
  }
  const std::string& field(const std::map<std::string, std::string>& fields, const char* key) const {
    const auto it = fields.find(key);
    if (it == fields.end()) fail(str("no ", key, "; ", kNodeLine));
    return it->second;
  }
  double number(const std::map<std::string, std::string>& fields, const char* key) const {
    return number(key, field(fields, key));
  }
  std::vector<double> numbers(const std::map<std::string, std::string>& fields, const char* key) const {
    std::string text = field(fields, key);
    if (!text.starts_with('[')) return {number(key, text)};
    if (!text.ends_with(']')) fail(str(key, "='", text, "', expected a list such as [4.0; 8.0]"));
    std::istringstream in(text.substr(1, text.size() - 2));
    std::vector<double> values;
    for (std::string item; std::getline(in, item, ';');) values.push_back(number(key, trimmed(item)));
    return values;
  }

  int read_stage(const std::string& text) const {
    const std::string key = "stage_id=";
    int stage = -1;
    const char *begin = text.data() + std::min(key.size(), text.size()), *end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(begin, end, stage);
    if (!text.starts_with(key) || error != std::errc() || rest != end || stage < 0)
      fail(str("'", text, "', expected stage_id=K"));
    return stage;
  }

  void read_edge(const std::string& line) {
    const size_t at = line.find(kSeparator);
    if (at == std::string::npos) fail(str("'", line, "', expected an edge such as 'node1 -- node2'"));
    profile_.edges.emplace_back(place(trimmed(line.substr(0, at))), place(trimmed(line.substr(at + 4))));
  }
  size_t place(const std::string& id) const {
    const auto it = places_.find(id);
    if (it == places_.end()) fail(str("edge of '", id, "', which no line before names"));
    return it->second;
  }

  std::string where_;
  int number_ = 0;
  Profile profile_;
  std::map<std::string, size_t> places_;  // by id
};

}  // namespace

double ProfileNode::activations() const {
  return std::accumulate(activation_bytes.begin(), activation_bytes.end(), 0.0);
}

Profile parse_profile(const std::string& text, const std::string& where) { return ProfileReader(where).read(text); }

std::string to_text(const Profile& profile) {
  std::ostringstream out;
  out << std::fixed;
  for (const ProfileNode& n : profile.nodes) {
    out << n.id << kSeparator << n.description << kSeparator << std::setprecision(6)
        << "forward_compute_time=" << n.forward_ms << ", backward_compute_time=" << n.backward_ms
        << ", activation_size=" << std::setprecision(1);
    if (n.activation_bytes.size() == 1) {
      out << n.activation_bytes[0];
    } else {
      for (size_t i = 0; i < n.activation_bytes.size(); ++i) out << (i == 0 ? "[" : "; ") << n.activation_bytes[i];
      out << (n.activation_bytes.empty() ? "0.0" : "]");
    }
    out << ", parameter_size=" << n.parameter_bytes;
    if (n.stage) out << " -- stage_id=" << *n.stage;
    out << '\n';
  }
  for (const auto& [from, to] : profile.edges)
    out << '\t' << profile.nodes[from].id << kSeparator << profile.nodes[to].id << '\n';
  return out.str();
}

}  // namespace sluice
