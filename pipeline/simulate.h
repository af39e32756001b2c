// Times a plan on paper, and counts what it keeps in memory.
#pragma once

#include <string>
#include <vector>

#include "pipeline/costs.h"
#include "pipeline/validate.h"

namespace sluice {

/// Bytes of a worker. All but the activations last as long as the run.
struct WorkerBytes {
  int64_t weights = 0;  // and buffers
  int64_t gradients = 0, optimizer = 0;
  int64_t stash = 0;        // older and foretold weights
  int64_t parcels = 0;      // slots of the channels that end here
  int64_t activations = 0;  // the largest sum over its stages at any time
  int64_t working = 0;      // beside them while an action runs
  int64_t peak() const { return weights + gradients + optimizer + stash + parcels + activations + working; }
};

struct Timeline {
  struct Span {
    int worker = 0;
    Action action;
    double begin = 0, end = 0;
  };
  std::vector<Span> spans;         // in the order of the report
  std::vector<double> busy;        // per worker: in computing actions
  std::vector<double> stage_time;  // per worker: from the begin of its first computing action to the end of its last
  std::vector<WorkerBytes> bytes;  // per worker
  double makespan = 0;

  /// Where nothing waits between steps they tile, and each takes the longest stage time (Qi et al. 2024).
  double longest_stage_time() const;
  /// What a worker is idle of that.
  double bubble(int worker) const { return longest_stage_time() - busy[size_t(worker)]; }
  double idle_share(int worker) const { return makespan > 0 ? 1.0 - busy[size_t(worker)] / makespan : 0.0; }
  double idle_share() const;  // over all workers
};

/// Each action starts when its worker is free and what it waits for is done. Throws what validate() throws.
Timeline simulate(const Plan& plan, const Wiring& wiring, const CostModel& costs, int64_t mbs = 0);
Timeline simulate(const Report& report, const CostModel& costs);

/// One line per worker, one cell per `unit` of time: the action that runs at its middle, or a dot.
std::string picture(const Timeline& timeline, double unit = 1.0);

}  // namespace sluice
