// Streams and events of the CPU device: order, waits, errors, lifetimes, the team, and what is counted.
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "tests/engine/gate.h"
#include "tests/engine/team.h"
#include "tests/support/support.h"

namespace sluice::stream_test {
namespace {

using test::Gate;

const Device kCpu{};

/// Queues an error of type E.
template <class E>
void fail(const Stream& s, const char* text) {
  s.enqueue([text](CpuContext&) { throw E(text); });
}

TEST(Stream, RunsWorkInOrder) {
  const Stream s(kCpu);
  std::vector<int> seen;
  for (int i = 0; i < 1000; ++i) s.enqueue([&seen, i](CpuContext&) { seen.push_back(i); });
  s.sync();
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(seen, expected);
}

TEST(Stream, HostRunsAhead) {
  const Stream s(kCpu);
  std::atomic<int> ran{0};
  Gate gate;
  gate.hold(s);
  for (int i = 0; i < 1000; ++i) s.enqueue([&](CpuContext&) { ++ran; });
  const Event end = s.record();
  EXPECT_EQ(ran, 0);
  EXPECT_FALSE(end.ready());
  gate.open();
  end.sync();
  EXPECT_EQ(ran, 1000);
  EXPECT_TRUE(end.ready());
}

TEST(Stream, WaitOrdersTwoStreams) {
  const Stream a(kCpu), b({DeviceKind::kCpu, 1});
  int value = 0, seen = 0;  // no atomics: ThreadSanitizer checks that the wait orders them
  Gate gate;
  gate.hold(a);
  a.enqueue([&](CpuContext&) { value = 1; });
  b.wait(a.record());
  b.enqueue([&](CpuContext&) { seen = value; });
  const Event end = b.record();
  EXPECT_FALSE(end.ready());
  gate.open();
  end.sync();
  EXPECT_EQ(seen, 1);
}

TEST(Stream, WaitForOwnEventThroughAnyHandlePasses) {
  const Stream a(kCpu);
  const Stream copy(a.core());
  Gate gate;
  gate.hold(a);
  const Event e = copy.record();
  a.wait(e);
  copy.wait(a.record());
  gate.open();
  a.sync();
  a.wait(e);  // passed by now
  a.sync();
  EXPECT_EQ(a, copy);
  EXPECT_FALSE(a == Stream(kCpu));
}

TEST(Stream, EmptyEventIsComplete) {
  const Stream a(kCpu);
  const Event none;
  EXPECT_TRUE(none.ready());
  none.sync();
  a.wait(none);
  a.sync();
}

TEST(Stream, RingOfManyStreamsKeepsOrder) {
  std::vector<Stream> ring;
  for (int i = 0; i < 24; ++i) ring.emplace_back(Device{DeviceKind::kCpu, i});
  std::vector<int> seen;
  Event last;
  for (int i = 0; i < 240; ++i) {
    const Stream& s = ring[size_t(i) % ring.size()];
    s.wait(last);
    s.enqueue([&seen, i](CpuContext&) { seen.push_back(i); });
    last = s.record();
  }
  last.sync();
  ASSERT_EQ(seen.size(), 240u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(StreamError, SkipsWhatFollowsAndStays) {
  const Stream s(kCpu);
  std::atomic<int> ran{0};
  s.enqueue([&](CpuContext&) { ++ran; });
  const Event before = s.record();
  fail<ShapeError>(s, "the first");
  s.enqueue([&](CpuContext&) { ++ran; });
  fail<DataError>(s, "the second");
  const Event after = s.record();
  EXPECT_THROW(after.sync(), ShapeError);
  EXPECT_NO_THROW(before.sync());
  for (int i = 0; i < 2; ++i) {
    try {
      s.sync();
      ADD_FAILURE() << "sync() did not rethrow";
    } catch (const ShapeError& e) {
      EXPECT_STREQ(e.what(), "the first");
    }
  }
  EXPECT_EQ(ran, 1);
}

TEST(StreamError, GoesWithEventsToWaiters) {
  const Stream a(kCpu), b({DeviceKind::kCpu, 1}), c({DeviceKind::kCpu, 2});
  std::atomic<bool> ran{false};
  fail<DataError>(a, "cause");
  b.wait(a.record());
  b.enqueue([&](CpuContext&) { ran = true; });
  c.wait(b.record());
  c.enqueue([&](CpuContext&) { ran = true; });
  EXPECT_THROW(c.sync(), DataError);
  EXPECT_THROW(b.sync(), DataError);
  EXPECT_FALSE(ran);
}

TEST(StreamError, OfWorkBehindAnEventDoesNotReachItsWaiters) {
  const Stream a(kCpu), b({DeviceKind::kCpu, 1});
  const Event good = a.record();
  fail<DataError>(a, "later");
  b.wait(good);
  EXPECT_NO_THROW(b.sync());
  EXPECT_THROW(a.sync(), DataError);
}

TEST(StreamError, WakesAllWaiters) {
  const Stream a(kCpu);
  Gate gate;
  gate.hold(a);
  fail<NumericError>(a, "nan");
  const Event e = a.record();
  std::atomic<int> woken{0};
  std::vector<std::thread> hosts;
  for (int i = 0; i < 4; ++i)
    hosts.emplace_back([e, &woken] {
      try {
        e.sync();
      } catch (const NumericError&) {
        ++woken;
      }
    });
  std::vector<Stream> streams;
  for (int i = 1; i <= 4; ++i) {
    streams.emplace_back(Device{DeviceKind::kCpu, i});
    streams.back().wait(e);
  }
  gate.open();
  for (std::thread& t : hosts) t.join();
  for (const Stream& s : streams) EXPECT_THROW(s.sync(), NumericError);
  EXPECT_EQ(woken, 4);
}

TEST(StreamError, OutlivesItsStream) {
  for (int i = 0; i < 8; ++i) {  // a new stream may lie where the dead one lay: its event is still not its own
    Event e;
    {
      const Stream dead(kCpu);
      fail<TransportError>(dead, "gone");
      e = dead.record();
    }
    const Stream s(kCpu);
    s.wait(e);
    EXPECT_THROW(s.sync(), TransportError);
  }
}

TEST(StreamError, OfAnyTypeIsCarried) {
  const Stream a(kCpu);
  a.enqueue([](CpuContext&) { throw 7; });
  EXPECT_THROW(a.sync(), int);
}

TEST(StreamLife, DroppingTheLastHandleDrains) {
  std::atomic<int> ran{0};
  {
    const Stream s(kCpu);
    for (int i = 0; i < 100; ++i) s.enqueue([&](CpuContext&) { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

TEST(StreamLife, DroppingAHandleWithAWaitQueuedDrains) {
  const Stream a(kCpu);
  std::atomic<int> ran{0};
  Gate gate;
  gate.hold(a);
  std::thread dropper;
  {
    Stream b({DeviceKind::kCpu, 1});
    b.wait(a.record());
    b.enqueue([&](CpuContext&) { ++ran; });
    dropper = std::thread([last = std::move(b)]() mutable { const Stream gone = std::move(last); });
  }
  EXPECT_EQ(ran, 0);
  gate.open();
  dropper.join();
  EXPECT_EQ(ran, 1);
}

/// Says when it is destroyed.
struct Token {
  explicit Token(std::shared_ptr<std::promise<void>> p) : gone(std::move(p)) {}
  Token(Token&&) = default;
  ~Token() {
    if (gone) gone->set_value();
  }
  std::shared_ptr<std::promise<void>> gone;
};

TEST(StreamLife, TheLastHandleMayGoInItsOwnWork) {
  const auto gone = std::make_shared<std::promise<void>>();
  static constexpr const char* kTag = "token";
  std::atomic<int> ran{0};
  {
    const Stream s(kCpu);
    const Tensor kept = Tensor::empty(s, {64});  // the pool's memory goes with the stream
    s.enqueue([&](CpuContext& c) { c.plans.get<Token>(kTag, {}, [&] { return Token(gone); }); });
    Gate gate;
    gate.hold(s);
    s.enqueue([kept, &ran](CpuContext&) { ++ran; });
    s.enqueue([s, &ran](CpuContext&) { ++ran; });
    s.enqueue([&ran](CpuContext&) { ++ran; });
    gate.open();
  }
  gone->get_future().wait();  // the context goes with the worker, after all of its work
  EXPECT_EQ(ran, 3);
}

TEST(StreamTeam, RunsOnItsCoresWithItsTeam) {
  std::vector<CpuShare> shares = share_cores({{DeviceKind::kCpu, 0}}, 1);
  const std::vector<int> all = available_cores();
  shares.push_back({int(all.size()), all});
  for (const CpuShare& share : shares) {
    const Stream s(kCpu, share);
    EXPECT_EQ(s.share().cores, share.cores);
    std::vector<std::vector<int>> cores;
    int team = 0;
    s.enqueue([&](CpuContext& c) {
      team = c.team;
      cores = test::cores_of_team();
    });
    s.sync();
    EXPECT_EQ(team, share.team);
    EXPECT_EQ(cores.size(), size_t(share.team));
    for (const std::vector<int>& seen : cores) EXPECT_EQ(seen, share.cores);
  }
}

TEST(StreamTeam, LeavesTheHostThreadAlone) {
  const std::vector<int> before = available_cores();
  const Stream s(kCpu, {.team = 1, .cores = {before.front()}});
  s.sync();
  EXPECT_EQ(available_cores(), before);
}

TEST(StreamStats, TimesAscendAlongTheOrder) {
  const Stream a(kCpu), b({DeviceKind::kCpu, 1});
  std::vector<Event> events;
  for (int i = 0; i < 50; ++i) {
    const Stream& s = i % 2 == 0 ? a : b;
    if (!events.empty()) s.wait(events.back());
    events.push_back(s.record());
  }
  events.back().sync();
  for (size_t i = 1; i < events.size(); ++i) EXPECT_GE(events[i].time(), events[i - 1].time());
  EXPECT_GT(events.front().time(), 0);
  EXPECT_EQ(Event().time(), 0);
}

TEST(StreamStats, BusyIsTimeInWorkNotInWaits) {
  using Clock = std::chrono::steady_clock;
  const Stream a(kCpu), b({DeviceKind::kCpu, 1});
  const auto spin = [](CpuContext&) {
    for (const auto end = Clock::now() + std::chrono::milliseconds(2); Clock::now() < end;) {
    }
  };
  a.enqueue(spin);
  b.wait(a.record());
  b.sync();
  EXPECT_GE(a.stats().busy_s, 2e-3);
  EXPECT_EQ(b.stats().busy_s, 0);
  b.enqueue(spin);
  b.sync();
  EXPECT_GE(b.stats().busy_s, 2e-3);
}

TEST(StreamStats, CountsHostWaits) {
  const Stream a(kCpu);
  a.record().sync();  // an event's wait is not the stream's
  EXPECT_EQ(a.stats().host_waits, 0);
  a.sync();
  a.sync();
  EXPECT_EQ(a.stats().host_waits, 2);
}

TEST(Stream, CudaContextOfACpuStreamThrows) { EXPECT_THROW(Stream(kCpu).cuda(), DeviceError); }

}  // namespace
}  // namespace sluice::stream_test
