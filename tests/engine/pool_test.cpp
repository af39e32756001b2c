// The pool: reuse in the order of the calls, waits for other streams, limits, counts, and what AddressSanitizer is
// told.
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "engine/sanitizer.h"
#include "tests/engine/gate.h"
#include "tests/support/support.h"

namespace sluice::pool_test {
namespace {

using test::Gate;
using testing::HasSubstr;

class PoolTest : public test::OnEachDevice {
 protected:
  StoragePtr block(size_t bytes, MemoryTag tag = MemoryTag::kActivations) const {
    return stream.pool().allocate(stream, bytes, tag);
  }
  const Stream stream{device()};
};

TEST_P(PoolTest, AlignsAndSeparatesBlocks) {
  const size_t alignment = device().is_cpu() ? 64 : 256;
  std::map<uintptr_t, size_t> taken;
  std::vector<StoragePtr> blocks;
  for (const size_t bytes :
       std::initializer_list<size_t>{0, 1, 63, 64, 255, 257, 4095, 4097, 65537, 1048575, 1048577, 3000001}) {
    blocks.push_back(block(bytes));
    EXPECT_GE(blocks.back()->bytes(), bytes);
    const auto begin = reinterpret_cast<uintptr_t>(blocks.back()->data());
    EXPECT_EQ(begin % alignment, 0u) << bytes;
    taken[begin] = begin + blocks.back()->bytes();
  }
  EXPECT_EQ(taken.size(), blocks.size());
  for (auto it = taken.begin(); std::next(it) != taken.end(); ++it) EXPECT_LE(it->second, std::next(it)->first);
}

TEST_P(PoolTest, ReusesABlockAsSoonAsItIsDropped) {
  const void* first = block(1000)->data();
  EXPECT_EQ(block(1000)->data(), first);
  EXPECT_EQ(block(900)->data(), first);
  const StoragePtr other = block(100000);
  EXPECT_NE(other->data(), first);
}

/// Which of the blocks seen so far each allocation of a fixed script gets.
std::vector<size_t> reuse_pattern(const Stream& s) {
  std::map<const void*, size_t> seen;
  std::vector<size_t> pattern;
  std::vector<StoragePtr> live;
  for (uint64_t i = 0; i < 300; ++i) {
    const Philox4 r = philox({1, 2}, i, 0);
    if (!live.empty() && r.v[0] % 2 == 0) live.erase(live.begin() + int64_t(r.v[1] % live.size()));
    live.push_back(s.pool().allocate(s, size_t(1) << (r.v[2] % 18), MemoryTag::kActivations));
    pattern.push_back(seen.emplace(live.back()->data(), seen.size()).first->second);
  }
  return pattern;
}

TEST_P(PoolTest, ReuseDependsOnTheCallsAlone) {
  const std::vector<size_t> idle = reuse_pattern(stream);
  EXPECT_EQ(reuse_pattern(Stream(device())), idle);
  if (!device().is_cpu()) return;
  const Stream held(device());
  Gate gate;
  gate.hold(held);
  EXPECT_EQ(reuse_pattern(held), idle);
}

TEST_P(PoolTest, CallsTheSystemNoMoreAfterWarmUp) {
  const auto step = [&] {
    std::vector<Tensor> kept;
    for (int64_t n : {10, 1000, 100000, 700000}) {
      kept.push_back(Tensor::empty(stream, {n}));
      const Tensor passing = Tensor::empty(stream, {n / 2 + 1});
    }
  };
  step();
  const int64_t calls = stream.pool().os_calls();
  EXPECT_GT(calls, 0);
  for (int i = 0; i < 20; ++i) step();
  EXPECT_EQ(stream.pool().os_calls(), calls);
}

TEST_P(PoolTest, CountsByTag) {
  const Pool& pool = stream.pool();
  StoragePtr weights = block(8000, MemoryTag::kWeights);
  const auto w = int64_t(weights->bytes());
  int64_t a = 0;
  {
    const StoragePtr activations = block(50000);
    a = int64_t(activations->bytes());
    EXPECT_EQ(pool.in_use(), w + a);
    EXPECT_EQ(pool.live_blocks(), 2);
  }
  EXPECT_EQ(pool.in_use(MemoryTag::kActivations), 0);
  EXPECT_EQ(pool.peak(MemoryTag::kActivations), a);
  EXPECT_EQ(pool.in_use(MemoryTag::kWeights), w);
  EXPECT_EQ(pool.peak(), w + a);
  stream.pool().reset_peak();
  EXPECT_EQ(pool.peak(), w);
  EXPECT_EQ(pool.peak(MemoryTag::kActivations), 0);
  weights.reset();
  EXPECT_EQ(pool.in_use(), 0);
  EXPECT_EQ(pool.live_blocks(), 0);
  EXPECT_EQ(pool.peak(), w);
}

TEST_P(PoolTest, SaysWhoHoldsTheMemoryWhenThereIsNoMore) {
  stream.pool().set_limit(size_t{8} << 20);
  const StoragePtr weights = block(size_t{4} << 20, MemoryTag::kWeights);
  const StoragePtr stash = block(size_t{2} << 20, MemoryTag::kStash);
  try {
    block(size_t{16} << 20, MemoryTag::kAux);
    ADD_FAILURE() << "the limit was passed";
  } catch (const OutOfMemory& e) {
    EXPECT_THAT(e.what(), HasSubstr(device().text()));
    EXPECT_THAT(e.what(), HasSubstr("for aux"));
    EXPECT_THAT(e.what(), HasSubstr(str("weights ", weights->bytes(), ", stash ", stash->bytes())));
  }
  EXPECT_EQ(stream.pool().live_blocks(), 2);
  EXPECT_EQ(stream.pool().in_use(MemoryTag::kAux), 0);
  stream.pool().set_limit(0);
  EXPECT_GE(block(size_t{16} << 20, MemoryTag::kAux)->bytes(), size_t{16} << 20);
}

TEST_P(PoolTest, ForeignUseEndsUniqueness) {
  const Stream other(device());
  const Tensor t = Tensor::empty(stream, {8});
  EXPECT_TRUE(t.unique());
  t.storage()->record_use(stream);
  EXPECT_TRUE(t.unique());
  t.storage()->record_use(other);  // its work may still read when its own handle is gone
  EXPECT_FALSE(t.unique());
  t.storage()->record_use(other);
  EXPECT_EQ(t.storage()->other_users().size(), 1u);
}

TEST_P(PoolTest, BlocksMayBeDroppedByOtherThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([kept = block(size_t(100 + 1000 * i))]() mutable { kept.reset(); });
  for (int i = 0; i < 50; ++i) block(500);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(stream.pool().live_blocks(), 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, PoolTest, testing::ValuesIn(test::test_devices()), test::device_label);

// ---- two streams; CPU only, since gates are ----

class PoolOfTwoStreams : public testing::Test {
 protected:
  /// A block of `a` that `b` will have read into `seen` once the gate opens, freed by the host meanwhile.
  const void* freed_before_it_is_read() {
    const Tensor t = Tensor::empty(a, {1});
    auto* p = t.ref().as<float>();
    a.enqueue([p](CpuContext&) { *p = 1; });
    b.wait(a.record());
    gate.hold(b);
    b.enqueue([this, p](CpuContext&) { seen = *p; });
    t.storage()->record_use(b);
    return p;
  }
  Stream a{Device{}}, b{Device{DeviceKind::kCpu, 1}};
  float seen = 0;
  Gate gate;
};

TEST_F(PoolOfTwoStreams, ReuseWaitsForTheLastReader) {
  const void* freed = freed_before_it_is_read();
  const Tensor next = Tensor::empty(a, {1});
  EXPECT_EQ(next.ref().data, freed);  // given out at once; its work waits
  a.enqueue([p = next.ref().as<float>()](CpuContext&) { *p = 2; });
  const Event overwritten = a.record();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // without the wait, `a` would write now
  EXPECT_FALSE(overwritten.ready());
  gate.open();
  b.sync();
  EXPECT_EQ(seen, 1);
}

TEST_F(PoolOfTwoStreams, MemoryOutlivesItsStreamForTheLastReader) {
  freed_before_it_is_read();
  auto dropped =
      std::async(std::launch::async, [last = std::move(a)]() mutable { const Stream gone = std::move(last); });
  EXPECT_EQ(dropped.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  gate.open();
  dropped.get();
  b.sync();
  EXPECT_EQ(seen, 1);
}

TEST_F(PoolOfTwoStreams, ReuseDoesNotCatchTheReadersError) {
  const void* freed = nullptr;
  {
    const Tensor t = Tensor::empty(a, {1});
    freed = t.ref().data;
    b.enqueue([](CpuContext&) { throw DataError("the reader's own"); });
    t.storage()->record_use(b);
  }
  const Tensor next = Tensor::empty(a, {1});
  EXPECT_EQ(next.ref().data, freed);
  EXPECT_NO_THROW(a.sync());
  EXPECT_THROW(b.sync(), DataError);
}

// ---- scratch ----

TEST(Workspace, IsNeverABlockThatQueuedWorkStillReads) {
  const Stream s{Device{}};
  Gate gate;
  gate.hold(s);
  float seen = 0;
  {
    const Tensor t = Tensor::empty(s, {1000});
    auto* p = t.ref().as<float>();
    s.enqueue([p](CpuContext&) { p[0] = 1; });
    s.enqueue([](CpuContext& c) { std::memset(c.workspace(4000), 0, 4000); });
    s.enqueue([p, &seen](CpuContext&) { seen = p[0]; });
  }  // freed as far as the host is concerned, before the worker asks for scratch
  gate.open();
  s.sync();
  EXPECT_EQ(seen, 1);
}

TEST(Workspace, GrowsToTheLargestRequestAndStays) {
  const Stream s{Device{}};
  std::vector<void*> leased;
  int64_t calls = 0;
  for (const size_t bytes : std::initializer_list<size_t>{1000, 3000000, 1000, 3000000}) {
    s.enqueue([&leased, bytes](CpuContext& c) {
      leased.push_back(c.workspace(bytes));
      std::memset(leased.back(), 1, bytes);
    });
    s.sync();
    if (leased.size() == 2) calls = s.pool().os_calls();
  }
  EXPECT_EQ(leased[2], leased[1]);
  EXPECT_EQ(leased[3], leased[1]);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(leased[1]) % 64, 0u);
  EXPECT_EQ(s.pool().os_calls(), calls);
  EXPECT_EQ(s.pool().in_use(MemoryTag::kWorkspace), 3000000);
  EXPECT_EQ(s.pool().peak(), 3000000);
  EXPECT_EQ(s.pool().live_blocks(), 0);
}

TEST(Workspace, OutOfMemoryArrivesAtSync) {
  const Stream s{Device{}};
  s.pool().set_limit(1000);
  s.enqueue([](CpuContext& c) { c.workspace(100000); });
  EXPECT_THROW(s.sync(), OutOfMemory);
}

#ifdef SLUICE_ASAN
TEST(Poison, CoversTheTailTheNeighboursAndFreedBlocks) {
  const Stream s{Device{}};
  const std::byte* p = nullptr;
  for (int round = 0; round < 2; ++round) {  // fresh, then reused
    const StoragePtr block = s.pool().allocate(s, 100, MemoryTag::kIo);
    p = static_cast<const std::byte*>(block->data());
    s.sync();
    EXPECT_FALSE(__asan_region_is_poisoned(block->data(), 100));
    EXPECT_TRUE(__asan_address_is_poisoned(p - 1));
    EXPECT_TRUE(__asan_address_is_poisoned(p + 100));
    EXPECT_TRUE(__asan_address_is_poisoned(p + block->bytes()));
  }
  s.sync();
  EXPECT_TRUE(__asan_address_is_poisoned(p));
}
#endif

}  // namespace
}  // namespace sluice::pool_test
