// Reads configurations from text and JSON, and writes them.
#include "apps/config.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/config_parts.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

std::string type_name(const ConfigField& f) {
  constexpr const char* kNames[] = {"text", "a whole number", "a number", "true or false"};
  return kNames[f.member.index()];
}

[[noreturn]] void bad_value(const ConfigField& f, const std::string& value) {
  throw ConfigError(str(f.key, "='", value, "': expected ", type_name(f)));
}

template <class T>
T parse_number(const ConfigField& f, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) bad_value(f, text);
  return value;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

const ConfigField& find_field(std::string key, const std::string& where) {
  std::replace(key.begin(), key.end(), '-', '_');
  for (const ConfigAlias& a : config_aliases())
    if (key == a.name) key = a.key;
  const std::vector<ConfigField>& fields = config_fields();
  const auto it = std::find_if(fields.begin(), fields.end(), [&](const ConfigField& f) { return f.key == key; });
  if (it != fields.end()) return *it;
  const auto nearest = std::min_element(fields.begin(), fields.end(), [&](const ConfigField& a, const ConfigField& b) {
    return edit_distance(key, a.key) < edit_distance(key, b.key);
  });
  throw ConfigError(str(where, "unknown key '", key, "'; did you mean '", nearest->key, "'?"));
}

/// Calls f(value&) with the member's own type.
template <class Config, class F>
void visit_member(Config& c, const ConfigField& field, F&& f) {
  std::visit([&](auto member) { f(c.*member); }, field.member);
}

/// ["a", "b"] as "a,b" and {"f": "a", "g": "b"} as "f=a,g=b"; anything else as it is.
Json flat(const Json& value) {
  if (!value.is_array() && !value.is_object()) return value;
  std::string text;
  for (const auto& [key, item] : value.items()) {
    if (!item.is_string()) return value;
    text += str(text.empty() ? "" : ",", value.is_object() ? key + "=" : "", item.get<std::string>());
  }
  return text;
}

void set_from_json(RunConfig& c, const ConfigField& f, const Json& item, const std::string& where) {
  const Json value = flat(item);
  try {
    visit_member(c, f, [&](auto& slot) {
      using T = std::decay_t<decltype(slot)>;
      const bool fits = std::is_same_v<T, std::string> ? value.is_string()
                        : std::is_same_v<T, bool>      ? value.is_boolean()
                        : std::is_same_v<T, int64_t>   ? value.is_number_integer()
                                                       : value.is_number();
      if (!fits) bad_value(f, value.dump());
      slot = value.get<T>();
    });
  } catch (const ConfigError& e) {
    throw ConfigError(where + e.what());
  }
}

}  // namespace

std::vector<std::string> list_items(const std::string& text) {
  std::vector<std::string> items;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) items.push_back(item);
  return items;
}

void set_field(RunConfig& c, const std::string& key, const std::string& value) {
  const ConfigField& f = find_field(key, "");
  visit_member(c, f, [&](auto& slot) {
    using T = std::decay_t<decltype(slot)>;
    if constexpr (std::is_same_v<T, std::string>) {
      slot = value;
    } else if constexpr (std::is_same_v<T, bool>) {
      if (value != "true" && value != "false") bad_value(f, value);
      slot = value == "true";
    } else {
      slot = parse_number<T>(f, value);
    }
  });
}

std::string field_text(const RunConfig& c, const ConfigField& f) {
  std::ostringstream out;
  visit_member(c, f, [&](const auto& slot) { out << std::boolalpha << slot; });
  return out.str();
}

void read_config_text(RunConfig& c, const std::string& text, const std::string& where) {
  const std::string prefix = where + ": ";
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw ConfigError(prefix + "not a JSON object such as {\"rule\": \"al\", \"epochs\": 2}");
  for (const auto& [key, value] : json.items()) set_from_json(c, find_field(key, prefix), value, prefix);
}

void read_config_file(RunConfig& c, const std::string& path) {
  std::ifstream in(path);
  if (!in) throw ConfigError(str(path, ": cannot be read; expected a JSON configuration file"));
  std::ostringstream text;
  text << in.rdbuf();
  read_config_text(c, text.str(), path);
}

std::string to_json(const RunConfig& c) {
  Json json;
  for (const ConfigField& f : config_fields()) visit_member(c, f, [&](const auto& slot) { json[f.key] = slot; });
  return json.dump(2);
}

RunConfig with_stage_devices(RunConfig c) {
  const std::vector<std::string> list = list_items(c.rule == "bp" ? c.bp_gpu_list : c.al_gpu_list);
  if (list.empty()) return c;
  std::vector<std::string> devices;
  c.placement.clear();
  for (const std::string& device : list) {
    const auto at = std::find(devices.begin(), devices.end(), device);
    c.placement += str(c.placement.empty() ? "" : ",", at - devices.begin());
    if (at == devices.end()) devices.push_back(device);
  }
  c.devices.clear();
  for (const std::string& d : devices) c.devices += str(c.devices.empty() ? "" : ",", d);
  c.bp_gpu_list.clear();
  c.al_gpu_list.clear();
  return c;
}

void expect_same_numerics(const RunConfig& saved, const RunConfig& now, const std::string& where) {
  for (const ConfigField& f : config_fields()) {
    const std::string was = field_text(saved, f), is = field_text(now, f);
    if (f.numerics && was != is)
      throw ConfigError(str(where, ": the saved run has ", f.key, "=", was, ", this one ", is,
                            "; resume with the same value or choose another --out"));
  }
}

}  // namespace sluice
