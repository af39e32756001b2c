// Plans as JSON.
#include "apps/plan_file.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

const Json& member(const Json& json, const char* key, bool (Json::*is)() const noexcept, const char* expected,
                   const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end()) throw DataError(str(where, ": no '", key, "', expected ", expected));
  if (!((*it).*is)())
    throw DataError(str(where, ": '", key, "' is ", it->dump().substr(0, 40), ", expected ", expected));
  return *it;
}

InstancePlan read_lines(const Json& lines, std::vector<int> stage_of, const std::string& where) {
  std::string text;
  for (const Json& line : lines) {
    if (!line.is_string())
      throw DataError(str(where, ": 'plan' holds ", line.dump().substr(0, 40), ", expected a line for each worker"));
    text += line.get<std::string>() + "\n";
  }
  try {
    InstancePlan p{parse(text), std::move(stage_of)};
    expect_stages(p);
    return p;
  } catch (const ScheduleError& e) {
    throw DataError(str(where, ": ", e.what()));
  }
}

std::vector<int> read_stages(const Json& json, const std::string& where) {
  std::vector<int> stages;
  for (const Json& s : member(json, "stage_of", &Json::is_array, "the stage of each instance", where)) {
    if (!s.is_number_integer())
      throw DataError(str(where, ": 'stage_of' holds ", s.dump(), ", expected the stage of each instance"));
    stages.push_back(s.get<int>());
  }
  return stages;
}

}  // namespace

std::string to_json(const PlanFile& f) {
  Json json;
  json["config"] = Json::parse(to_json(f.config));
  json["schedule"] = f.schedule;
  json["plan"] = lines_of(to_text(f.plan.plan));
  if (!f.plan.stage_of.empty()) json["stage_of"] = f.plan.stage_of;
  json["predicted"] = {
      {"samples_per_s", f.prediction.samples_per_s}, {"bubble", f.prediction.bubble}, {"bytes", f.prediction.bytes}};
  return json.dump(2) + "\n";
}

PlanFile read_plan_text(const std::string& text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw DataError(str(where, ": no JSON object, expected what `sluice plan --out` writes"));
  PlanFile f;
  read_config_text(f.config, member(json, "config", &Json::is_object, "an object of configuration keys", where).dump(),
                   where);
  f.schedule = member(json, "schedule", &Json::is_string, "the name of a schedule", where).get<std::string>();
  const Json& lines = member(json, "plan", &Json::is_array, "a line for each worker", where);
  f.plan = read_lines(lines, json.contains("stage_of") ? read_stages(json, where) : std::vector<int>{}, where);
  const Json& predicted = member(json, "predicted", &Json::is_object, "an object of figures", where);
  f.prediction.samples_per_s = member(predicted, "samples_per_s", &Json::is_number, "a number", where).get<double>();
  f.prediction.bubble = member(predicted, "bubble", &Json::is_number, "a number", where).get<double>();
  for (const Json& b : member(predicted, "bytes", &Json::is_array, "numbers", where)) {
    if (!b.is_number_integer()) throw DataError(str(where, ": 'bytes' holds ", b.dump(), ", expected whole numbers"));
    f.prediction.bytes.push_back(b.get<int64_t>());
  }
  return f;
}

}  // namespace sluice
