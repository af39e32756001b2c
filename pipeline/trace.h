// What each device did when: the spans of a run's actions, as a Chrome/Perfetto trace.
#pragma once

#include <mutex>
#include <ostream>
#include <string>
#include <vector>

#include "engine/stream.h"
#include "pipeline/action.h"

namespace sluice {

/// Collects up to `capacity` spans, then no more: a trace is for looking at. Read it when the run has ended.
class Trace {
 public:
  struct Span {
    int worker = 0;
    Action action;
    Event begin, end;  // on the stream of the action's stage
  };

  explicit Trace(size_t capacity = 100000) : capacity_(capacity) {}
  /// Thread-safe.
  void add(Span span);
  const std::vector<Span>& spans() const { return spans_; }

  /// Per worker: the time inside forwards, backwards and updates, and all of it over the time from the first span of
  /// any worker to the last.
  struct Load {
    double busy_s = 0, idle_share = 0;
  };
  std::vector<Load> loads() const;

  /// JSON of the Trace Event Format: a process per worker, named after workers[i], a thread per stage; microseconds
  /// from the first span on. Load it in ui.perfetto.dev or chrome://tracing.
  void write_json(std::ostream& out, const std::vector<std::string>& workers) const;

 private:
  size_t capacity_;
  std::mutex mutex_;
  std::vector<Span> spans_;
};

}  // namespace sluice
