// launch(): checks on the caller's line, before anything is queued, and counts.
#include "engine/launch.h"

#include "kernels/add.h"
#include "tests/engine/gate.h"
#include "tests/support/support.h"

namespace sluice::launch_test {
namespace {

TEST(Launch, ChecksBeforeItQueues) {
  const Stream s{Device{}};
  test::Gate gate;
  gate.hold(s);  // nothing runs: what is thrown is thrown here
  const Tensor a = Tensor::empty(s, {3}), b = Tensor::empty(s, {4}), narrow = Tensor::empty(s, {3}, DType::kBF16);
  EXPECT_THROW(launch(kernels::Add{.a = a.cref(), .b = b.cref(), .y = a.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Add{.a = a.cref(), .b = narrow.cref(), .y = a.ref()}, s), DTypeError);
  EXPECT_EQ(s.stats().launches, 0);
  gate.open();
  EXPECT_NO_THROW(s.sync());
}

TEST(Launch, CountsCalls) {
  const Stream s{Device{}}, other{Device{DeviceKind::kCpu, 1}};
  const Tensor a = test::random(s, {100}, 1), y = Tensor::empty(s, {100});
  EXPECT_EQ(s.stats().launches, 0) << "copies are not kernel calls";
  const kernels::Add add{.a = a.cref(), .b = a.cref(), .y = y.ref()};
  for (int i = 0; i < 5; ++i) launch(add, s);
  EXPECT_EQ(s.stats().launches, 5);
  EXPECT_EQ(s.stats().flops, 5 * add.cost().flops);
  EXPECT_EQ(other.stats().launches, 0);
  s.sync();
  EXPECT_GT(s.stats().busy_s, 0);
}

struct Failing {
  static constexpr const char* kName = "failing";
  void check() const {}
  static Operands operands() { return {{}, {}}; }
  static Cost cost() { return {}; }
  static void cpu(CpuContext&) { throw DeviceError("failing: the library refused"); }
  static void cuda(CudaContext&) {}
};

TEST(Launch, ErrorsOfTheCallArriveAtSync) {
  const Stream s{Device{}};
  launch(Failing{}, s);
  EXPECT_THROW(s.sync(), DeviceError);
}

struct Counting {
  static constexpr const char* kName = "counting";
  int* runs = nullptr;
  void check() const {}
  static Operands operands() { return {{}, {}}; }
  static Cost cost() { return {}; }
  void cpu(CpuContext& c) const {
    c.plans.get<int>(kName, {3}, [] { return 7; });
    *runs += 1;
  }
  static void cuda(CudaContext&) {}
};

TEST(Launch, PlansLiveWithTheStream) {
  const Stream s{Device{}};
  int runs = 0;
  for (int i = 0; i < 4; ++i) launch(Counting{&runs}, s);
  s.sync();
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(s.plans_created(), 1);
}

TEST(PlanCacheTest, EvictsTheLeastRecentlyUsed) {
  PlanCache cache(2);
  static constexpr const char* kA = "a";
  static constexpr const char* kB = "b";
  const auto get = [&](const char* tag, int64_t key) {
    return cache.get<int64_t>(tag, {key}, [&] { return key * 10; });
  };
  EXPECT_EQ(get(kA, 1), 10);
  EXPECT_EQ(get(kB, 1), 10) << "another kernel's plan";
  EXPECT_EQ(cache.created(), 2);
  EXPECT_EQ(get(kA, 1), 10);
  EXPECT_EQ(cache.hits(), 1);
  get(kA, 2);  // (b, 1) is the oldest
  EXPECT_EQ(cache.size(), 2u);
  get(kA, 1);
  EXPECT_EQ(cache.created(), 3);
  get(kB, 1);
  EXPECT_EQ(cache.created(), 4);
}

}  // namespace
}  // namespace sluice::launch_test
