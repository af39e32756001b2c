// The Trace Event Format, as Trace writes it.
#include "apps/trace_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/error.h"

namespace sluice {
namespace {

using TraceJson = nlohmann::json;

/// "F0.3" and the like: the kind is the first letter; stage and micro-batch are fields of their own.
Action action_of(const TraceJson& event, const std::string& where) {
  const std::string name = event.value("name", "");
  if (name.empty() || std::string("FRDBWGUsraw").find(name[0]) == std::string::npos || !event.contains("args") ||
      !event["args"].contains("micro_batch"))
    throw DataError(str(where, ": '", name, "' is no action, expected the trace of a run of sluice"));
  return act(Do(name[0]), event.value("tid", 0), event["args"].value("micro_batch", int64_t{0}));
}

}  // namespace

TimelinePicture read_trace(const std::string& text, const std::string& where, int64_t mbs, int64_t first,
                           int64_t steps) {
  const TraceJson json = TraceJson::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("traceEvents") || !json["traceEvents"].is_array())
    throw DataError(str(where, ": no trace, expected an object with traceEvents"));
  TimelinePicture p{.title = str("steps ", first, " to ", first + steps - 1, ", measured"), .lanes = {}, .boxes = {}};
  for (const TraceJson& e : json["traceEvents"]) {
    const std::string phase = e.value("ph", "");
    const int lane = e.value("pid", 0);
    if (phase == "M" && e.value("name", "") == "process_name") {
      p.lanes.resize(std::max(p.lanes.size(), size_t(lane) + 1));
      p.lanes[size_t(lane)] = e.at("args").value("name", "");
    }
    if (phase != "X") continue;
    const Action a = action_of(e, where);
    if (is_meeting(a.what) || a.mb < first * mbs || a.mb >= (first + steps) * mbs) continue;
    const double begin = e.value("ts", 0.0) / 1e6;
    p.lanes.resize(std::max(p.lanes.size(), size_t(lane) + 1));
    p.boxes.push_back({lane, begin, begin + e.value("dur", 0.0) / 1e6, a});
  }
  if (p.boxes.empty())
    throw DataError(str(where, ": nothing of steps ", first, " to ", first + steps - 1, ", expected earlier ones"));
  return p;
}

}  // namespace sluice
