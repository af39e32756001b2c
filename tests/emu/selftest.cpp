// The emulator's tests of itself: every detector of the device half has a planted fault that it must report in every
// order, and a correct twin on which it must stay silent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <set>

#include "emu/grid.h"
#include "emu/planted.h"
#include "emu/shadow.h"

namespace emu {

void PrintTo(Report::Kind kind, std::ostream* out) { *out << name(kind); }

namespace {

constexpr int kBlocks = 4, kThreads = 64, kCount = kBlocks * kThreads;
constexpr OpId kFirstOp = 1u << 30;  // beyond those of the stand-ins

std::vector<Options> orders() {
  std::vector<Options> all{{.order = Order::kFifo}, {.order = Order::kLifo}};
  for (uint64_t seed = 1; seed <= 3; ++seed) all.push_back({.order = Order::kRandom, .seed = seed});
  return all;
}

/// Floats that the checker takes for device memory.
class Buffer {
 public:
  explicit Buffer(int count) : values_(size_t(count)) { add_memory(data(), size_t(count) * 4, 0); }
  ~Buffer() {
    if (alive_) remove_memory(data());
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void fill() {
    std::iota(values_.begin(), values_.end(), 1.0f);
    mark_written(data(), values_.size() * 4);
  }
  void free() {
    remove_memory(data());
    alive_ = false;
  }
  float* data() { return reinterpret_cast<float*>(values_.data()); }
  float operator[](int i) const { return values_[size_t(i)]; }

 private:
  std::vector<float> values_;
  bool alive_ = true;
};

void run(PlantedKernel kernel, float* out, const float* in, int n) {
  static OpId op = kFirstOp;
  const Kernel* const k = find_kernel(reinterpret_cast<const void*>(kernel));
  ASSERT_NE(k, nullptr);
  void* argv[] = {&out, &in, &n};
  run_grid({k, dim3(kBlocks), dim3(kThreads), 0, k->pack(argv), ++op, 0});
}

/// Kinds of the reports of one run on fresh memory.
std::set<Report::Kind> kinds_of(Plant plant, bool planted, int n, std::string* text = nullptr) {
  Buffer in(n), out(n);
  in.fill();
  run(planted_kernel(plant, planted), out.data(), in.data(), n);
  std::set<Report::Kind> kinds;
  for (const Report& r : take_reports()) {
    kinds.insert(r.kind);
    if (text != nullptr) *text += std::string(name(r.kind)) + ": " + r.text + "\n";
  }
  return kinds;
}

struct Case {
  Plant plant;
  const char* label;
  Report::Kind kind;
  int n = kCount;
};
class Planted : public testing::TestWithParam<Case> {};

const Case kCases[] = {
    {Plant::kTail, "Tail", Report::kOutOfBounds, kCount - 2},
    {Plant::kSharedIndex, "SharedIndex", Report::kOutOfBounds},
    {Plant::kMisaligned, "Misaligned", Report::kMisaligned},
    {Plant::kSharedTooLarge, "SharedTooLarge", Report::kMisuse},
    {Plant::kSharedUnwritten, "SharedUnwritten", Report::kUninitialised},
    {Plant::kGlobalUnwritten, "GlobalUnwritten", Report::kUninitialised},
    {Plant::kBarrierBeforeRead, "BarrierBeforeRead", Report::kBlockRace},
    {Plant::kBarrierBeforeWrite, "BarrierBeforeWrite", Report::kBlockRace},
    {Plant::kBarrierAfterReturn, "BarrierAfterReturn", Report::kBarrierDivergence},
    {Plant::kTwoBarriers, "TwoBarriers", Report::kBarrierDivergence},
    {Plant::kSameElement, "SameElement", Report::kGridRace},
    {Plant::kNeighbourBlock, "NeighbourBlock", Report::kGridRace},
    {Plant::kPlainCount, "PlainCount", Report::kGridRace},
    {Plant::kAbsentLane, "AbsentLane", Report::kWarpMask},
    {Plant::kForeignMask, "ForeignMask", Report::kWarpMask},
    {Plant::kTwoMasks, "TwoMasks", Report::kWarpMask},
    {Plant::kWarpAtBarrier, "WarpAtBarrier", Report::kDeadlock},
    {Plant::kNoWarpSync, "NoWarpSync", Report::kBlockRace},
    {Plant::kShuffleAsFence, "ShuffleAsFence", Report::kBlockRace},
    {Plant::kThirdReader, "ThirdReader", Report::kBlockRace},
    {Plant::kHalfWords, "HalfWords", Report::kBlockRace},
};
INSTANTIATE_TEST_SUITE_P(Faults, Planted, testing::ValuesIn(kCases),
                         [](const auto& fault) { return fault.param.label; });

TEST_P(Planted, FaultIsReportedInEveryOrder) {
  for (const Options& o : orders()) {
    const Session session(o);
    SCOPED_TRACE(testing::Message() << "order " << int(o.order) << ", seed " << o.seed);
    std::string text;
    EXPECT_THAT(kinds_of(GetParam().plant, true, GetParam().n, &text), testing::Contains(GetParam().kind)) << text;
  }
}

TEST_P(Planted, CorrectTwinIsNot) {
  for (const Options& o : orders()) {
    const Session session(o);
    SCOPED_TRACE(testing::Message() << "order " << int(o.order) << ", seed " << o.seed);
    std::string text;
    EXPECT_THAT(kinds_of(GetParam().plant, false, GetParam().n, &text), testing::IsEmpty()) << text;
  }
}

TEST(Emulator, ReportSaysWhoWhatAndWhere) {
  const Session session;
  std::string text;
  kinds_of(Plant::kTail, true, kCount - 2, &text);
  EXPECT_THAT(text, testing::HasSubstr("tail_kernel<true>: thread 63 of block 0"));
  EXPECT_THAT(text, testing::HasSubstr("reads"));
  EXPECT_THAT(text, testing::HasSubstr(" bytes behind 1016 bytes on cuda:0"));
}

TEST(Emulator, EachPlaceIsReportedOnceUntilReportsAreTaken) {
  const Session session;
  Buffer out(kCount), in(kCount);
  in.fill();
  for (int round = 0; round < 2; ++round) {
    for (int launch = 0; launch < 3; ++launch)
      run(planted_kernel(Plant::kSameElement, true), out.data(), in.data(), kCount);
    EXPECT_EQ(take_reports().size(), 1u);
  }
}

TEST(Emulator, WhatNobodyTookOfASessionIsReportedAroundIt) {
  const Session around;
  {
    const Session inside;
    report(Report::kMisuse, "left behind");
  }
  const std::vector<Report> reports = take_reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].text, "left behind");
}

TEST(Emulator, AThreadThatLeavesMemoryIsStoppedAndTheOthersGoOn) {
  const Session session;
  Buffer in(kCount), out(kCount);
  in.fill();
  run(planted_kernel(Plant::kBarrierBeforeRead, false), nullptr, in.data(), kCount);
  EXPECT_EQ(take_reports().size(), 1u);
  run(planted_kernel(Plant::kBarrierBeforeRead, false), out.data(), in.data(), kCount);
  EXPECT_THAT(take_reports(), testing::IsEmpty());
  EXPECT_EQ(out[0], in[32]);
}

TEST(Emulator, BlocksAndThreadsRunInTheOrderAskedFor) {
  for (const Order order : {Order::kFifo, Order::kLifo}) {
    const Session session({.order = order});
    Buffer in(kCount), out(kCount);
    in.fill();
    run(planted_kernel(Plant::kSameElement, true), out.data(), in.data(), kCount);
    const std::vector<Report> reports = take_reports();
    ASSERT_EQ(reports.size(), 1u);
    const char* const second = order == Order::kFifo ? "thread 0 of block 1 " : "thread 0 of block 2 ";
    EXPECT_THAT(reports[0].text, testing::HasSubstr(second));
  }
}

TEST(Emulator, HostMemoryIsOutOfBounds) {
  const Session session;
  Buffer out(kCount);
  const std::array<float, kCount> host{};  // on the stack, where no buffer has been
  run(planted_kernel(Plant::kTail, false), out.data(), host.data(), kCount);
  const std::vector<Report> reports = take_reports();
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports[0].kind, Report::kOutOfBounds);
}

TEST(Emulator, FreedMemoryIsToldFromUnknownMemory) {
  const Session session;
  Buffer out(kCount), in(kCount);
  in.fill();
  in.free();
  run(planted_kernel(Plant::kTail, false), out.data(), in.data(), kCount);
  const std::vector<Report> reports = take_reports();
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports[0].kind, Report::kUseAfterFree);
}

TEST(Emulator, TrafficCountsABytesFirstTouchOfALaunchAndEveryAccess) {
  const Session session;
  Buffer out(kCount), in(kCount);
  in.fill();
  run(planted_kernel(Plant::kBarrierBeforeRead, false), out.data(), in.data(), kCount);
  const Traffic once = traffic("barrier_before_read_kernel<false>");
  EXPECT_EQ(once.read, kCount * 4);
  EXPECT_EQ(once.written, kCount * 4);
  EXPECT_EQ(once.loads, kCount * 4);
  run(planted_kernel(Plant::kSameElement, false), out.data(), in.data(), kCount);
  const Traffic shared = traffic("same_element_kernel<false>");
  EXPECT_EQ(shared.read, 4);
  EXPECT_EQ(shared.loads, kBlocks * 4);
  EXPECT_EQ(shared.written, kBlocks * 4);
  EXPECT_EQ(traffic("no such kernel").read, 0);
  reset_traffic();
  EXPECT_EQ(traffic().stores, 0);
}

TEST(Emulator, AtomicCountsAreRight) {
  for (const Options& o : orders()) {
    const Session session({.order = Order::kFifo, .seed = o.seed});
    Buffer out(1), in(1);
    run(planted_kernel(Plant::kPlainCount, false), out.data(), in.data(), 1);
    EXPECT_EQ(out[0], float(kCount));
    EXPECT_TRUE(take_reports().empty());
  }
}

TEST(Emulator, DeclaredAccessesAreChecked) {
  const Session session;
  Buffer a(8), b(8);
  const auto kinds = [] {
    std::vector<Report::Kind> all;
    for (const Report& r : take_reports()) all.push_back(r.kind);
    return all;
  };
  const OpId op = kFirstOp - 1;
  touch(a.data(), 32, false, op, "reader");
  EXPECT_THAT(kinds(), testing::ElementsAre(Report::kUninitialised));
  touch(a.data(), 36, true, op, "writer");
  EXPECT_THAT(kinds(), testing::ElementsAre(Report::kOutOfBounds));
  touch(a.data(), 16, true, op, "writer");
  touch_copy(b.data(), a.data(), 32, op, "copy");
  EXPECT_THAT(kinds(), testing::IsEmpty());  // a copy of bytes never written is allowed, their use is not
  touch(b.data(), 16, false, op, "reader");
  EXPECT_THAT(kinds(), testing::IsEmpty());
  touch(b.data() + 3, 5, false, op, "reader");
  EXPECT_THAT(kinds(), testing::ElementsAre(Report::kUninitialised));
}

// ---- the history of bytes, by itself ----

/// Operations 1 to 9 are ordered before those above 10, nothing else is ordered.
Relation tens(Stamp earlier) { return earlier.op < 10 ? Relation::kOrdered : Relation::kStream; }
Relation nobody(Stamp) { return Relation::kStream; }

Access access(OpId op, bool write, Relation (*relation)(Stamp)) {
  return {.who = {op, 0}, .write = write, .relation = relation};
}

TEST(Shadow, NoReaderOfManyIsForgotten) {
  for (const OpId late : {11, 12, 13}) {
    Shadow s(16);
    s.access(0, 8, access(1, true, nobody));
    for (const OpId op : {2, 3, 4, 5}) s.access(0, 8, access(op == 4 ? late : op, false, nobody));
    const Finding f = s.access(4, 4, access(20, true, tens));
    EXPECT_EQ(f.relation, Relation::kStream);
    EXPECT_EQ(f.rival.op, late);
    EXPECT_FALSE(f.rival_wrote);
  }
}

TEST(Shadow, ReadersThatAreOrderedDoNotRace) {
  Shadow s(16);
  s.access(0, 16, access(1, true, nobody));
  for (const OpId op : {2, 3, 4}) s.access(0, 16, access(op, false, nobody));
  EXPECT_EQ(s.access(0, 16, access(20, true, tens)).relation, Relation::kOrdered);
}

TEST(Shadow, BytesOfAWordHaveHistoriesOfTheirOwn) {
  Shadow s(8);
  s.access(0, 1, access(1, true, nobody));
  EXPECT_EQ(s.access(1, 1, access(2, true, nobody)).relation, Relation::kOrdered);
  EXPECT_EQ(s.access(2, 2, access(3, true, nobody)).relation, Relation::kOrdered);
  EXPECT_EQ(s.access(1, 1, access(4, false, nobody)).rival.op, 2u);
  EXPECT_FALSE(s.access(0, 4, access(5, false, nobody)).unwritten);
  EXPECT_TRUE(s.access(3, 2, access(5, false, nobody)).unwritten);
  EXPECT_EQ(s.access(0, 4, access(6, true, nobody)).relation, Relation::kStream);
  EXPECT_EQ(s.access(3, 1, access(7, false, nobody)).rival.op, 6u);  // one history again
}

TEST(Shadow, BytesAreFreshOncePerOperation) {
  Shadow s(16);
  EXPECT_EQ(s.access(2, 9, access(1, true, nobody)).fresh, 9);
  EXPECT_EQ(s.access(0, 16, access(1, true, nobody)).fresh, 7);
  EXPECT_EQ(s.access(1, 3, access(2, false, nobody)).fresh, 3);
  EXPECT_EQ(s.access(0, 8, access(2, false, nobody)).fresh, 5);
  EXPECT_EQ(s.access(0, 8, access(3, false, nobody)).fresh, 8);
  EXPECT_EQ(s.access(0, 8, access(2, false, nobody)).fresh, 0);
}

TEST(Shadow, ForgottenBytesWereNeverWritten) {
  Shadow s(16);
  s.access(0, 16, access(1, true, nobody));
  s.forget(5, 2);
  EXPECT_TRUE(s.written(4));
  EXPECT_FALSE(s.written(5));
  EXPECT_FALSE(s.written(6));
  EXPECT_TRUE(s.written(7));
  s.reset(16);
  EXPECT_FALSE(s.written(0));
}

}  // namespace
}  // namespace emu
