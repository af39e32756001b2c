// Times a plan on paper.
#pragma once

#include <string>
#include <vector>

#include "pipeline/validate.h"

namespace sluice {

/// Seconds (or any unit) of each stage's actions. A missing entry counts as the last one given; none as 0.
struct CostModel {
  std::vector<double> forward, backward, update;  // per stage; a split backward takes half each
  double transfer = 0;  // from the end of a send until the parcel can be received; the sender goes on at once
};

struct Timeline {
  struct Span {
    int worker = 0;
    Action action;
    double begin = 0, end = 0;
  };
  std::vector<Span> spans;   // in the order of the report
  std::vector<double> busy;  // per worker
  double makespan = 0;
  double idle_share(int worker) const { return makespan > 0 ? 1.0 - busy[size_t(worker)] / makespan : 0.0; }
  double idle_share() const;  // over all workers
};

/// Each action starts when its worker is free and what it waits for is done. Throws what validate() throws.
Timeline simulate(const Plan& plan, const Wiring& wiring, const CostModel& costs, int64_t mbs = 0);
Timeline simulate(const Report& report, const CostModel& costs);

/// One line per worker, one cell per `unit` of time: the action that runs at its middle, or a dot.
std::string picture(const Timeline& timeline, double unit = 1.0);

}  // namespace sluice
