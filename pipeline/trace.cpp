// Turns events into a trace.
#include "pipeline/trace.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <set>
#include <utility>

namespace sluice {
namespace {

const char* category(Do what) {
  switch (what) {
    case Do::kForward:
      return "forward";
    case Do::kRecompute:
      return "recompute";
    case Do::kBackward:
    case Do::kBackwardInput:
    case Do::kBackwardWeight:
      return "backward";
    case Do::kReduceGrad:
      return "reduce";
    case Do::kUpdate:
      return "update";
    case Do::kSend:
      return "send";
    case Do::kRecv:
      return "receive";
    case Do::kArrive:
    case Do::kAwait:
      return "meet";
  }
  return "?";
}

}  // namespace

void Trace::add(Span span) {
  const std::lock_guard lock(mutex_);
  if (spans_.size() < capacity_) spans_.push_back(std::move(span));
}

std::vector<Trace::Load> Trace::loads() const {
  std::vector<Load> loads;
  double first = std::numeric_limits<double>::infinity(), last = -first;
  for (const Span& s : spans_) {
    if (loads.size() <= size_t(s.worker)) loads.resize(size_t(s.worker) + 1);
    first = std::min(first, s.begin.time());
    last = std::max(last, s.end.time());
    if (s.action.what != Do::kSend && s.action.what != Do::kRecv)
      loads[size_t(s.worker)].busy_s += s.end.time() - s.begin.time();
  }
  for (Load& l : loads) l.idle_share = last > first ? 1.0 - l.busy_s / (last - first) : 0.0;
  return loads;
}

void Trace::write_json(std::ostream& out, const std::vector<std::string>& workers) const {
  double first = std::numeric_limits<double>::infinity();
  for (const Span& s : spans_) first = std::min(first, s.begin.time());
  const auto microseconds = [](double seconds) { return seconds * 1e6; };
  out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[" << std::fixed << std::setprecision(3);
  const char* separator = "\n";
  const auto next = [&]() -> std::ostream& { return out << std::exchange(separator, ",\n"); };
  for (size_t w = 0; w < workers.size(); ++w)
    next() << R"({"name":"process_name","ph":"M","pid":)" << w << R"(,"args":{"name":")" << workers[w] << "\"}}";
  std::set<std::pair<int, int>> lanes;
  for (const Span& s : spans_)
    if (lanes.emplace(s.worker, s.action.stage).second)
      next() << R"({"name":"thread_name","ph":"M","pid":)" << s.worker << R"(,"tid":)" << s.action.stage
             << R"(,"args":{"name":"stage )" << s.action.stage << "\"}}";
  for (const Span& s : spans_)
    next() << R"({"name":")" << to_text(s.action) << R"(","cat":")" << category(s.action.what) << R"(","ph":"X","pid":)"
           << s.worker << R"(,"tid":)" << s.action.stage << R"(,"ts":)" << microseconds(s.begin.time() - first)
           << R"(,"dur":)" << microseconds(s.end.time() - s.begin.time()) << R"(,"args":{"micro_batch":)" << s.action.mb
           << "}}";
  out << "\n]}\n";
}

}  // namespace sluice
