// Small networks for the executor's tests, with dropout and batch norm, and the pipelines made of them.
#pragma once

#include <string>
#include <vector>

#include "pipeline/executor.h"
#include "pipeline/schedules.h"

namespace sluice::test {

inline constexpr int64_t kRows = 6, kWidth = 16;  // samples of a micro-batch by default, width of every layer

/// What the tests vary.
struct NetOptions {
  int stages = 3;
  bool local_losses = false;  // associated: each stage has a loss of its own, and the target travels along
  int slow_stage = -1;        // this stage's forward sleeps on the device
};

/// The stages as nets, without a device.
std::vector<StageNet> make_nets(const NetOptions& options);

/// A pipeline on CPU streams of one thread each.
struct Trained {
  std::vector<Stream> streams;  // by worker
  Pipeline pipeline;

  std::vector<std::vector<float>> weights() const;  // by stage: values, then running statistics
  int64_t live_blocks() const;                      // of all pools
  int64_t os_calls() const;
};
Trained make_trained(std::vector<StageNet> nets, const std::string& rule, const std::string& schedule,
                     const Placement& placement, int mbs, int depth = 0);
Trained make_trained(const NetOptions& options, const std::string& schedule, const Placement& placement, int mbs,
                     int depth = 0);

/// x and target of a micro-batch: the same for every schedule. Values of `poisoned` micro-batches are `poison`.
Feed make_feed(int64_t poisoned = -1, float poison = 0, int64_t rows = kRows);

/// Options for `steps` steps with make_feed().
RunOptions run_options(int64_t steps, int64_t rows = kRows);

}  // namespace sluice::test
