// Reads and checks maps of stages.
#include "apps/stage_maps.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/device.h"
#include "engine/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kModules = "module_to_stage_map";
constexpr const char* kRanks = "stage_to_rank_map";
constexpr const char* kDepth = "stage_to_depth_map";

[[noreturn]] void fail(const std::string& where, const std::string& why) { throw DataError(str(where, ": ", why)); }

std::string brief(const Json& j) { return j.dump().substr(0, 40); }

int whole(const Json& j, const char* key, const std::string& where) {
  if (!j.is_number_integer() || j.get<int64_t>() < 0 || j.get<int64_t>() > 1 << 20)
    fail(where, str(key, " holds ", brief(j), ", expected whole numbers from 0 on"));
  return j.get<int>();
}

Json parsed(const std::string& text, const std::string& where) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& e) {
    const auto end = text.begin() + std::ptrdiff_t(std::min(e.byte > 0 ? e.byte - 1 : 0, text.size()));
    const auto line = std::count(text.begin(), end, '\n') + 1;
    const auto begin = std::find(std::make_reverse_iterator(end), text.rend(), '\n').base();
    fail(where, str("line ", line, ", column ", end - begin + 1,
                    ": no JSON; expected keys and texts in double quotes, such as {\"", kModules, "\": [0, 1]}"));
  }
  if (!json.is_object()) fail(where, str("expected an object with ", kModules, " and ", kRanks));
  for (const auto& [key, value] : json.items())
    if (key != kModules && key != kRanks && key != kDepth)
      fail(where, str("unknown key '", key, "', expected ", kModules, ", ", kRanks, " or ", kDepth));
  for (const char* key : {kModules, kRanks})
    if (!json.contains(key)) fail(where, str("no ", key));
  return json;
}

std::vector<int> read_modules(const Json& list, const std::string& where) {
  if (!list.is_array() || list.empty()) fail(where, str(kModules, " is ", brief(list), ", expected a list of stages"));
  std::vector<int> stages;
  for (const Json& item : list) {
    const int stage = whole(item, kModules, where), last = stages.empty() ? -1 : stages.back();
    if (stage > last + 1 || stage < std::max(0, last))
      fail(where, str(kModules, ": module ", stages.size(), " is in stage ", stage, " behind stage ", last,
                      ", expected stages from 0 on without a gap"));
    stages.push_back(stage);
  }
  return stages;
}

/// The values by stage. Each stage has one.
std::map<int, Json> by_stage(const Json& object, const char* key, int stages, const std::string& where) {
  if (!object.is_object()) fail(where, str(key, " is ", brief(object), ", expected {\"0\": ..., \"1\": ...}"));
  std::map<int, Json> values;
  for (const auto& [name, value] : object.items()) {
    int stage = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), stage);
    if (error != std::errc() || end != name.data() + name.size() || stage < 0 || stage >= stages)
      fail(where, str(key, " names stage '", name, "', expected 0 to ", stages - 1, " by ", kModules));
    values[stage] = value;
  }
  for (int s = 0; s < stages; ++s)
    if (values.count(s) == 0) fail(where, str(key, " does not name stage ", s));
  return values;
}

std::vector<std::vector<int>> read_ranks(const Json& object, int stages, const std::string& where) {
  std::vector<std::vector<int>> ranks;
  std::map<int, int> stage_of;
  for (const auto& [stage, list] : by_stage(object, kRanks, stages, where)) {
    if (!list.is_array())
      fail(where, str(kRanks, ": stage ", stage, " has ", brief(list), ", expected a list of ranks"));
    if (list.empty()) fail(where, str(kRanks, ": stage ", stage, " has no rank, expected at least one"));
    ranks.emplace_back();
    for (const Json& item : list) {
      ranks.back().push_back(whole(item, kRanks, where));
      const auto [it, fresh] = stage_of.emplace(ranks.back().back(), stage);
      if (!fresh) fail(where, str(kRanks, ": rank ", it->first, " is in stage ", it->second, " and in stage ", stage));
    }
  }
  for (int r = 0; r < int(stage_of.size()); ++r)
    if (stage_of.count(r) == 0)
      fail(where,
           str(kRanks, ": ", stage_of.size(), " ranks, but no rank ", r, ", expected 0 to ", stage_of.size() - 1));
  return ranks;
}

}  // namespace

bool is_stage_maps(const std::string& text) { return text.find(kModules) != std::string::npos; }

StageMaps read_stage_maps(const std::string& text, const std::string& where) {
  const Json json = parsed(text, where);
  StageMaps maps;
  maps.stage_of_module = read_modules(json[kModules], where);
  const int stages = maps.stage_of_module.back() + 1;
  maps.ranks = read_ranks(json[kRanks], stages, where);
  if (json.contains(kDepth))
    for (const auto& entry : by_stage(json[kDepth], kDepth, stages, where))
      maps.depth.push_back(whole(entry.second, kDepth, where));
  return maps;
}

namespace {

/// Replicas lie on the devices in order.
RunConfig with_replicas(RunConfig c, const StageMaps& maps, const std::string& where) {
  c.replicas.clear();
  int next = 0;
  for (const std::vector<int>& ranks : maps.ranks) {
    c.replicas += str(c.replicas.empty() ? "" : ",", ranks.size());
    for (const int rank : ranks)
      if (rank != next++)
        throw ConfigError(str(where, ": ", kRanks, " has rank ", rank, " in the place of ", next - 1,
                              ", expected ascending ranks where a stage has several"));
  }
  c.placement = "auto";
  return c;
}

}  // namespace

RunConfig with_stage_maps(RunConfig c, const StageMaps& maps, int units, const std::string& where) {
  const int stages = int(maps.ranks.size());
  const auto devices = int(parse_devices(c.devices).size());
  if (maps.modules() != units && maps.modules() != units + 1)
    throw ConfigError(str(where, ": ", kModules, " has ", maps.modules(), " modules; model=", c.model, " has ", units,
                          " units, or one more with the loss"));
  if (maps.modules() == units + 1 && stages > 1 &&
      maps.stage_of_module[size_t(units)] != maps.stage_of_module[size_t(units) - 1])
    throw ConfigError(
        str(where, ": ", kModules, " has the loss in a stage of its own, expected it in the last unit's"));
  int ranks = 0;
  for (const std::vector<int>& r : maps.ranks) ranks += int(r.size());
  if (ranks != devices)
    throw ConfigError(str(where, ": ", kRanks, " has ", ranks, " ranks; devices=", c.devices, " has ", devices));
  c.cuts = stages == 1 ? "balanced:1" : "";  // empty: the network's own cuts
  for (int u = 1; u < units; ++u)
    if (maps.stage_of_module[size_t(u)] != maps.stage_of_module[size_t(u) - 1])
      c.cuts += str(c.cuts.empty() ? "" : ",", u);
  c.placement.clear();
  for (int s = 0; s < stages; ++s) {
    if (!maps.depth.empty() && maps.depth[size_t(s)] != stages - 1 - s)
      throw ConfigError(str(where, ": ", kDepth, ": stage ", s, " is ", maps.depth[size_t(s)], " ahead, expected ",
                            stages - 1 - s, " of ", stages, " stages without replicas"));
    c.placement += str(s == 0 ? "" : ",", maps.ranks[size_t(s)][0]);
  }
  return ranks == stages ? c : with_replicas(std::move(c), maps, where);
}

}  // namespace sluice
