// One way to train a network of units over several devices, measured in stretches.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/units.h"
#include "pipeline/executor.h"
#include "pipeline/simulate.h"
#include "pipeline/trace.h"

namespace sluice::bench {

/// A network with its cuts, and the feed of one micro-batch.
struct Subject {
  UnitNet net;
  std::vector<int> cuts;
  int64_t samples = 16;  // of a micro-batch
  int64_t side = 32, classes = 10;
  bool adam = false;
  std::vector<Device> devices{};  // two
};

struct RowPlan {
  std::string schedule, rule;
  Placement placement;  // of the stages that the cuts make
  int mbs = 1;
};

class PipelineRow {
 public:
  /// Workers are the subject's devices from `first` on; CPU devices have one core each.
  PipelineRow(const Subject& subject, RowPlan plan, size_t first = 0);

  /// Seconds of a step; those of each stretch are kept.
  double run(int64_t steps, Trace* trace = nullptr);

  const RowPlan& plan() const { return plan_; }
  const Pipeline& pipeline() const { return pipeline_; }
  std::string key() const { return plan_.schedule + "." + plan_.rule; }
  int64_t samples_per_step() const { return samples_ * plan_.mbs; }
  const std::vector<double>& seconds() const { return seconds_; }  // of a step, by stretch
  double idle_share() const;                                       // of all workers, median over stretches
  const std::vector<Sent>& sent() const { return last_.sent; }     // of the last stretch
  int64_t last_steps() const { return last_.steps; }
  /// Per worker: copies of the weights that it holds, and the most bytes kept for backward.
  std::vector<double> weight_copies() const;
  std::vector<int64_t> activation_bytes() const;

 private:
  RowPlan plan_;
  int64_t samples_;
  std::vector<Stream> streams_;
  Pipeline pipeline_;
  Feed feed_;
  int64_t step_ = 0;
  RunResult last_;
  std::vector<double> seconds_, idle_;
};

/// The costs of stages as a trace of them shows: medians of their actions; a whole backward counts as two halves. Sends
/// hold their sender, at the bandwidth of the trace.
CostModel costs_of(const Trace& trace, int stages, const std::vector<Sent>& sent);

/// What a schedule leaves idle of every worker on p equal workers, in a step of m micro-batches or, where it does not
/// drain, a run of m: the formulas of the literature for forward f and backward halves b and w.
struct Halves {
  double f = 1, b = 1, w = 1;
};
double bubble_formula(const std::string& schedule, int p, int64_t m, const Halves& t);

}  // namespace sluice::bench
