// The losses of the steps in flight: copied from the device as they are made, read when their step is run_ahead old.
// The host does not wait for the copies, and their memory is used again.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "pipeline/executor.h"

namespace sluice {

/// One stage's log. Its memory is written by queued work: it must outlive what its stream was given.
class StepLog {
 public:
  StepLog(int stage, int mbs_per_step, int run_ahead, std::function<void(const StepLosses&)> report)
      : stage_(stage), mbs_(mbs_per_step), run_ahead_(run_ahead), report_(std::move(report)) {}

  /// Queues copies of a micro-batch's losses; `step` counts from the start of training, `mb` within the step.
  void add(const Stream& s, int64_t step, int64_t mb, const std::vector<Var>& losses);
  /// The step's update is queued. Waits until the step `run_ahead` before it has run, and reports that one.
  void end_step(const Stream& s, int64_t step);
  /// Waits for all steps and reports them.
  void drain();

 private:
  using Memory = std::shared_ptr<std::byte[]>;
  struct Record {
    int64_t step = 0;
    size_t losses = 0;  // of a micro-batch
    Memory memory{};    // f32 [micro-batch][loss]
    Event done{};
    float* values() const { return reinterpret_cast<float*>(memory.get()); }
  };
  void retire();

  int stage_, mbs_, run_ahead_;
  std::function<void(const StepLosses&)> report_;
  std::map<int64_t, Record> open_;
  std::deque<Record> ended_;
  std::vector<Memory> spare_;  // all of one size
};

}  // namespace sluice
