// What the runtime's stand-in promises: orders that CUDA forces and none else, errors as the runtime gives them, and
// that a world which is stuck says so.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <nccl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "emu/standin.h"

namespace emu {
namespace {

constexpr size_t kFloats = 64, kBytes = kFloats * sizeof(float);

// ---- order ----

TEST(Runtime, NothingRunsBeforeTheHostWaits) {
  Session session;
  PinnedMemory a(4), b(4);
  const TestStream s;
  auto* const source = static_cast<volatile int*>(static_cast<void*>(a));
  auto* const target = static_cast<volatile int*>(static_cast<void*>(b));
  *source = 1;
  ok(cudaMemcpyAsync(b, a, 4, cudaMemcpyHostToHost, s));
  *source = 2;  // pinned memory is read when the copy runs
  EXPECT_EQ(*target, 0);
  s.sync();
  EXPECT_EQ(*target, 2);
}

TEST(Runtime, EagerlyEverythingRunsAtOnce) {
  Session session({Order::kFifo, 1, 1, false});
  PinnedMemory a(4), b(4);
  const TestStream s;
  *static_cast<int*>(static_cast<void*>(a)) = 1;
  ok(cudaMemcpyAsync(b, a, 4, cudaMemcpyHostToHost, s));
  EXPECT_EQ(*static_cast<int*>(static_cast<void*>(b)), 1);
}

TEST(Runtime, PageableSourcesAreReadBeforeTheCallReturnsAndTargetsWritten) {
  Session session;
  const DeviceMemory device(4);
  const TestStream s;
  int value = 7, back = 0;
  ok(cudaMemcpyAsync(device, &value, 4, cudaMemcpyHostToDevice, s));
  value = 8;
  ok(cudaMemcpyAsync(&back, device, 4, cudaMemcpyDeviceToHost, s));
  EXPECT_EQ(back, 7);
}

TEST(Runtime, SeedsGiveEveryOrderThatIsAllowed) {
  std::set<std::pair<int, int>> seen;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Session session({Order::kRandom, seed, 1, true});
    const PinnedMemory one(4), two(4), slot(4), first(4), second(4);
    const TestStream a, b;
    *static_cast<int*>(static_cast<void*>(one)) = 1;
    *static_cast<int*>(static_cast<void*>(two)) = 2;
    ok(cudaMemcpyAsync(slot, one, 4, cudaMemcpyHostToHost, a));
    ok(cudaMemcpyAsync(first, slot, 4, cudaMemcpyHostToHost, a));
    ok(cudaMemcpyAsync(slot, two, 4, cudaMemcpyHostToHost, b));
    ok(cudaMemcpyAsync(second, slot, 4, cudaMemcpyHostToHost, b));
    ok(cudaDeviceSynchronize());
    seen.insert({*static_cast<int*>(static_cast<void*>(first)), *static_cast<int*>(static_cast<void*>(second))});
    EXPECT_THAT(kinds(take_reports()), testing::ElementsAre(Report::kStreamRace));
  }
  EXPECT_THAT(seen, testing::UnorderedElementsAre(std::pair(1, 2), std::pair(2, 2), std::pair(1, 1)));
}

TEST(Runtime, RecordingAnEventAgainMovesNoEarlierWait) {
  Session session({Order::kLifo, 1, 1, true});
  const PinnedMemory source(4), target(4);
  const TestStream a, b;
  const TestEvent e;
  ok(cudaEventRecord(e, a));
  ok(cudaStreamWaitEvent(b, e, 0));
  ok(cudaMemcpyAsync(target, source, 4, cudaMemcpyHostToHost, a));
  ok(cudaEventRecord(e, a));
  ok(cudaMemcpyAsync(target, source, 4, cudaMemcpyHostToHost, b));  // waits for the first record only
  ok(cudaDeviceSynchronize());
  EXPECT_THAT(kinds(take_reports()), testing::ElementsAre(Report::kStreamRace));
}

TEST(Runtime, TheLegacyStreamAndBlockingStreamsOrderEachOther) {
  for (const bool blocking : {true, false}) {
    Session session({Order::kLifo, 1, 1, true});
    const DeviceMemory block(kBytes);
    const TestStream s(blocking ? cudaStreamDefault : cudaStreamNonBlocking);
    ok(cudaMemsetAsync(block, 1, kBytes, s));
    ok(cudaMemsetAsync(block, 2, kBytes, nullptr));
    ok(cudaMemsetAsync(block, 3, kBytes, s));
    ok(cudaDeviceSynchronize());
    EXPECT_EQ(kinds(session.finish()).count(Report::kStreamRace), blocking ? 0u : 1u);
  }
}

TEST(Runtime, PollingComesToAnEnd) {
  Session session;
  const DeviceMemory block(kBytes);
  const TestStream s;
  const TestEvent e;
  EXPECT_EQ(cudaEventQuery(e), cudaSuccess) << "nothing was recorded";
  for (int i = 0; i < 5; ++i) ok(cudaMemsetAsync(block, 0, kBytes, s));
  ok(cudaEventRecord(e, s));
  int polls = 0;
  while (cudaEventQuery(e) == cudaErrorNotReady && polls < 100) ++polls;
  EXPECT_EQ(polls, 5);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
  EXPECT_EQ(cudaStreamQuery(s), cudaSuccess);
}

TEST(Runtime, ADestroyedStreamsWorkStillRuns) {
  Session session;
  const PinnedMemory source(4), target(4);
  *static_cast<int*>(static_cast<void*>(source)) = 5;
  {
    const TestStream s;
    ok(cudaMemcpyAsync(target, source, 4, cudaMemcpyHostToHost, s));
  }
  ok(cudaDeviceSynchronize());
  EXPECT_EQ(*static_cast<int*>(static_cast<void*>(target)), 5);
  EXPECT_THAT(session.finish(), testing::Each(testing::Field(&Report::kind, Report::kLeak)));  // the pinned memory
}

TEST(Runtime, FreeingWaitsForTheDevice) {
  Session session;
  const PinnedMemory host(kBytes);
  const TestStream s;
  void* block = nullptr;
  ok(cudaMalloc(&block, kBytes));
  ok(cudaMemsetAsync(block, 1, kBytes, s));
  ok(cudaMemcpyAsync(host, block, kBytes, cudaMemcpyDeviceToHost, s));
  ok(cudaFree(block));
  EXPECT_EQ(static_cast<unsigned char*>(static_cast<void*>(host))[kBytes - 1], 1);
}

TEST(Runtime, EventsTellTime) {
  Session session;
  const TestStream s;
  const TestEvent a, b, untimed(cudaEventDisableTiming);
  float ms = -1;
  EXPECT_EQ(cudaEventElapsedTime(&ms, a, b), cudaErrorInvalidResourceHandle) << "never recorded";
  ok(cudaEventRecord(a, s));
  ok(cudaEventRecord(b, s));
  ok(cudaEventRecord(untimed, s));
  EXPECT_EQ(cudaEventElapsedTime(&ms, a, b), cudaErrorNotReady);
  s.sync();
  ok(cudaEventElapsedTime(&ms, a, b));
  EXPECT_GE(ms, 0);
  EXPECT_EQ(cudaEventElapsedTime(&ms, a, untimed), cudaErrorInvalidResourceHandle);
  cudaGetLastError();
}

// ---- host functions and host threads ----

TEST(Runtime, AHostFunctionRunsThoughNobodyWaitsInTheRuntime) {
  Session session;
  struct Signal {
    std::mutex mutex;
    std::condition_variable changed;
    bool given = false;
  } signal;
  const TestStream s;
  const DeviceMemory block(kBytes);
  ok(cudaMemsetAsync(block, 1, kBytes, s));
  ok(cudaLaunchHostFunc(
      s,
      [](void* p) {
        auto& to = *static_cast<Signal*>(p);
        const std::lock_guard lock(to.mutex);
        to.given = true;
        to.changed.notify_all();
      },
      &signal));
  std::unique_lock lock(signal.mutex);
  EXPECT_TRUE(signal.changed.wait_for(lock, std::chrono::seconds(10), [&] { return signal.given; }));
  lock.unlock();
  s.sync();
}

TEST(Runtime, HostThreadsMayWaitAtOnce) {
  Session session({Order::kRandom, 1, 2, true});
  std::vector<std::thread> hosts;
  for (int t = 0; t < 4; ++t)
    hosts.emplace_back([t] {
      ok(cudaSetDevice(t % 2));
      const DeviceMemory block(kBytes);
      const TestStream s;
      for (int i = 0; i < 50; ++i) {
        ok(cudaMemsetAsync(block, i, kBytes, s));
        if (i % 10 == 0) s.sync();
      }
      s.sync();
    });
  for (std::thread& t : hosts) t.join();
  EXPECT_THAT(session.finish(), testing::IsEmpty());
}

// ---- errors ----

TEST(Errors, AreTheRuntimes) {
  Session session({Order::kFifo, 1, 2, true});
  int device = -1, value = 0;
  void* p = nullptr;
  cudaStream_t s = nullptr;
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "asked once, forgotten";
  EXPECT_EQ(cudaSetDevice(-1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidDevice);
  ok(cudaGetDevice(&device));
  EXPECT_EQ(device, 0);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaMalloc(&p, size_t{1} << 40), cudaErrorMemoryAllocation);
  EXPECT_EQ(p, nullptr);
  EXPECT_EQ(cudaMalloc(nullptr, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaStreamCreateWithFlags(&s, 64), cudaErrorInvalidValue);
  EXPECT_EQ(cudaDeviceEnablePeerAccess(0, 0), cudaErrorInvalidDevice) << "of itself";
  ok(cudaDeviceEnablePeerAccess(1, 0));
  EXPECT_EQ(cudaDeviceEnablePeerAccess(1, 0), cudaErrorPeerAccessAlreadyEnabled);
  ok(cudaDeviceDisablePeerAccess(1));
  EXPECT_EQ(cudaDeviceDisablePeerAccess(1), cudaErrorPeerAccessNotEnabled);
  const auto no_kernel = reinterpret_cast<const void*>(&cudaGetErrorName);
  EXPECT_EQ(cudaLaunchKernel(no_kernel, dim3(1), dim3(1), nullptr, 0, nullptr), cudaErrorInvalidDeviceFunction);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidDeviceFunction), "cudaErrorInvalidDeviceFunction");
  EXPECT_STREQ(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
  EXPECT_THAT(session.finish(), testing::IsEmpty()) << "refusals are no reports";
}

TEST(Errors, OfCopiesAreTheRuntimes) {
  Session session;
  const DeviceMemory device(kBytes);
  std::vector<float> host(kFloats);
  EXPECT_EQ(cudaMemcpy(device, host.data(), kBytes, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(device, host.data(), kBytes, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(nullptr, host.data(), kBytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy2D(device, 4, host.data(), 8, 8, 2, cudaMemcpyHostToDevice), cudaErrorInvalidPitchValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, kBytes), cudaErrorInvalidValue);
  cudaGetLastError();
  ok(cudaMemcpy(device, host.data(), kBytes, cudaMemcpyDefault));
  ok(cudaDeviceSynchronize());
}

TEST(Errors, GraphsAreRefusedByName) {
  Session session;
  const TestStream s;
  EXPECT_EQ(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal), cudaErrorNotSupported);
  EXPECT_THAT(kinds(session.finish()), testing::Contains(Report::kMisuse));
}

// ---- deadlock ----

TEST(Deadlock, IsReportedWithAllHeadsAndEndsTheCalls) {
  Session session({Order::kRandom, 3, 2, true});
  ncclComm_t comms[2];
  ASSERT_EQ(ncclCommInitAll(comms, 2, nullptr), ncclSuccess);
  {
    std::vector<std::unique_ptr<DeviceMemory>> memory;
    std::vector<std::unique_ptr<TestStream>> streams;
    for (int rank = 0; rank < 2; ++rank) {
      ok(cudaSetDevice(rank));
      memory.push_back(std::make_unique<DeviceMemory>(2 * kBytes));
      streams.push_back(std::make_unique<TestStream>());
      ok(cudaMemset(*memory.back(), 0, 2 * kBytes));
      ok(cudaDeviceSynchronize());
    }
    for (int rank = 0; rank < 2; ++rank) {  // both send first, and nobody receives
      auto* const p = static_cast<float*>(static_cast<void*>(*memory[size_t(rank)]));
      ASSERT_EQ(ncclSend(p, kFloats, ncclFloat, 1 - rank, comms[rank], *streams[size_t(rank)]), ncclSuccess);
      ASSERT_EQ(ncclRecv(p + kFloats, kFloats, ncclFloat, 1 - rank, comms[rank], *streams[size_t(rank)]), ncclSuccess);
    }
    EXPECT_EQ(cudaStreamSynchronize(*streams[0]), cudaErrorLaunchTimeout);
    EXPECT_EQ(cudaStreamSynchronize(*streams[1]), cudaErrorLaunchTimeout) << "the world has ended";
    cudaGetLastError();
  }
  for (const ncclComm_t c : comms) ncclCommDestroy(c);
  const std::vector<Report> reports = session.finish();
  ASSERT_THAT(reports, testing::SizeIs(1));
  EXPECT_EQ(reports[0].kind, Report::kDeadlock);
  EXPECT_THAT(reports[0].text,
              testing::AllOf(testing::HasSubstr("cudaStreamSynchronize waits for ever"),
                             testing::HasSubstr("cuda:0: ncclSend"), testing::HasSubstr("cuda:1: ncclSend")));
}

}  // namespace
}  // namespace emu
