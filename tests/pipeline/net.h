// Small networks for the executor's tests, with dropout and batch norm, and the pipelines made of them.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "pipeline/executor.h"
#include "pipeline/schedules.h"

namespace sluice::test {

inline constexpr int64_t kRows = 6, kWidth = 16;  // samples of a micro-batch by default, width of every layer

/// Which devices the workers get: of one kind, or a CPU and a GPU in turn. GPUs are shared when there are too few.
enum class Where : uint8_t { kCpu, kCuda, kMixed };
Device device_of(Where where, int worker);
/// kCpu, and kCuda where there is a GPU.
std::vector<Where> test_places();
/// And kMixed where there is a GPU.
std::vector<Where> mixed_places();
std::string place_label(const testing::TestParamInfo<Where>& info);  // "cpu"

/// What the tests vary.
struct NetOptions {
  int stages = 3;
  bool local_losses = false;  // associated: each stage has a loss of its own, and the target travels along
  int slow_stage = -1;        // this stage's forward sleeps on the device
  int64_t rows = kRows;
  Where where = Where::kCpu;
  const char* rule = "backprop";  // where the error crosses stages
};

/// Each suite derives a class of its own name.
class OnEachPlace : public testing::TestWithParam<Where> {
 public:
  static NetOptions net(NetOptions o = {}) {
    o.where = GetParam();
    return o;
  }
};

/// The stages as nets, without a device.
std::vector<StageNet> make_nets(const NetOptions& options);

/// A pipeline; CPU streams have one thread each.
struct Trained {
  std::vector<Stream> streams;  // by worker
  Pipeline pipeline;
  NetOptions options;

  std::vector<std::vector<float>> weights()
      const;                    // by stage: values, then running statistics; none of other processes
  int64_t live_blocks() const;  // of all pools
  int64_t os_calls() const;
};
Trained make_trained(const NetOptions& options, const std::string& schedule, const Placement& placement, int mbs,
                     int depth = 0);

/// The same of any nets; t.options stay the defaults.
struct PlanOptions {
  std::string rule = "backprop", schedule = "one_device";
  Placement placement{};
  int mbs = 1, depth = 0;
  Where where = Where::kCpu;
  float lr = 0.01f;
  std::vector<int> recomputed{};  // stages
  float most = 0;                 // above 0: gradients are clipped at this norm, of all stages together
  int here = -1;                  // of several processes, each with one worker: the stages of this one alone
  std::vector<int> stage_of{};    // where nets and placement are of instances
  Plan compute{};                 // not empty: goes before schedule
};
Trained make_trained(std::vector<StageNet> nets, const PlanOptions& plan);

/// A net for every instance.
std::vector<StageNet> make_instances(const std::function<std::vector<StageNet>()>& make,
                                     const std::vector<int>& stage_of);
/// All instances on one worker, each computing what it computes in the wiring: the order of sums that plans declare.
Plan one_worker(const Instances& instances);

/// x and target of a micro-batch: the same for every schedule. Values of `poisoned` micro-batches are `poison`.
Feed make_feed(int64_t poisoned = -1, float poison = 0, int64_t rows = kRows);

/// Options for `steps` steps with make_feed().
RunOptions run_options(int64_t steps, int64_t rows = kRows);

}  // namespace sluice::test
