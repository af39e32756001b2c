// The runtime's stand-in against planted bugs: each must be reported, its correct twin must not; whatever the order.
#include "emu/standin.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace emu {
namespace {

/// Runs a scenario with its bug and without, in random orders, eagerly too. The bug shows as one of the kinds.
void expect_only_with_bug(const std::vector<Report::Kind>& any, const std::function<void(bool bug)>& scenario) {
  for (uint64_t seed = 1; seed <= 10; ++seed)
    for (const bool lazy : {true, false})
      for (const bool bug : {false, true}) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << (lazy ? " lazy" : " eager") << (bug ? " bug" : " twin"));
        Session session({Order::kRandom, seed, 2, lazy});
        scenario(bug);
        const std::vector<Report> reports = session.finish();
        if (bug)
          EXPECT_THAT(kinds(reports), testing::Contains(testing::AnyOfArray(any)));
        else
          EXPECT_THAT(reports, testing::IsEmpty());
      }
}

constexpr size_t kBytes = 64 * sizeof(float);

/// Copies stand for kernels: they read one range and write another.
void work(void* to, const void* from, const TestStream& s) {
  ok(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, s));
}

// ---- four forms of a missing wait ----

TEST(MissingWait, ForTheInputsCopy) {
  expect_only_with_bug({Report::kStreamRace}, [](bool bug) {
    const DeviceMemory input(kBytes), output(kBytes);
    const PinnedMemory host(kBytes);
    const TestStream copies, compute;
    const TestEvent copied;
    ok(cudaMemcpyAsync(input, host, kBytes, cudaMemcpyHostToDevice, copies));
    ok(cudaEventRecord(copied, copies));
    if (!bug) ok(cudaStreamWaitEvent(compute, copied, 0));
    work(output, input, compute);
    compute.sync();
    copies.sync();
  });
}

TEST(MissingWait, BeforeASlotIsFilledAgain) {
  expect_only_with_bug({Report::kStreamRace}, [](bool bug) {
    const DeviceMemory slots[2] = {DeviceMemory(kBytes), DeviceMemory(kBytes)};
    const DeviceMemory output(kBytes);
    const PinnedMemory host(kBytes);
    const TestStream copies, compute;
    const TestEvent copied, read[2];
    for (int i = 0; i < 6; ++i) {
      if (i >= 2 && !bug) ok(cudaStreamWaitEvent(copies, read[i % 2], 0));
      ok(cudaMemcpyAsync(slots[i % 2], host, kBytes, cudaMemcpyHostToDevice, copies));
      ok(cudaEventRecord(copied, copies));
      ok(cudaStreamWaitEvent(compute, copied, 0));
      work(output, slots[i % 2], compute);
      ok(cudaEventRecord(read[i % 2], compute));
    }
    compute.sync();
  });
}

TEST(MissingWait, BeforeAnOutputIsOverwrittenThatAPeerFetches) {
  expect_only_with_bug({Report::kStreamRace}, [](bool bug) {
    const DeviceMemory input(kBytes), output(kBytes);
    const TestStream compute;
    ok(cudaSetDevice(1));
    const DeviceMemory remote(kBytes);
    const TestStream fetch;
    const TestEvent fetched;
    ok(cudaSetDevice(0));
    const TestEvent computed;
    ok(cudaMemsetAsync(input, 0, kBytes, compute));
    for (int i = 0; i < 3; ++i) {
      if (i > 0 && !bug) ok(cudaStreamWaitEvent(compute, fetched, 0));
      work(output, input, compute);
      ok(cudaEventRecord(computed, compute));
      ok(cudaStreamWaitEvent(fetch, computed, 0));
      ok(cudaMemcpyPeerAsync(remote, 1, output, 0, kBytes, fetch));
      ok(cudaEventRecord(fetched, fetch));
    }
    fetch.sync();
    compute.sync();
  });
}

TEST(MissingWait, BeforeResultsAreFetched) {
  expect_only_with_bug({Report::kStreamRace}, [](bool bug) {
    const DeviceMemory result(kBytes);
    const PinnedMemory host(kBytes);
    const TestStream compute, copies;
    const TestEvent computed;
    ok(cudaMemsetAsync(result, 0, kBytes, compute));
    ok(cudaEventRecord(computed, compute));
    if (!bug) ok(cudaEventSynchronize(computed));
    ok(cudaMemcpyAsync(host, result, kBytes, cudaMemcpyDeviceToHost, copies));
    copies.sync();
    compute.sync();
  });
}

// ---- memory ----

TEST(Memory, ABlockIsReusedTooEarly) {
  expect_only_with_bug({Report::kStreamRace}, [](bool bug) {
    const DeviceMemory block(kBytes), source(kBytes);
    const TestStream user, next;
    const TestEvent used;
    ok(cudaMemsetAsync(source, 0, kBytes, user));
    work(block, source, user);  // its owner gives the block back here, and the pool hands it to the next stream
    ok(cudaEventRecord(used, user));
    if (!bug) ok(cudaStreamWaitEvent(next, used, 0));
    ok(cudaMemsetAsync(block, 1, kBytes, next));
    next.sync();
    user.sync();
  });
}

TEST(Memory, InStreamOrderIsFreedBeforeAnotherStreamHasReadIt) {
  expect_only_with_bug({Report::kStreamRace, Report::kUseAfterFree}, [](bool bug) {
    const DeviceMemory output(kBytes);
    const TestStream owner, reader;
    const TestEvent written, read;
    void* block = nullptr;
    ok(cudaMallocAsync(&block, kBytes, owner));
    ok(cudaMemsetAsync(block, 0, kBytes, owner));
    ok(cudaEventRecord(written, owner));
    ok(cudaStreamWaitEvent(reader, written, 0));
    work(output, block, reader);
    ok(cudaEventRecord(read, reader));
    if (!bug) ok(cudaStreamWaitEvent(owner, read, 0));
    ok(cudaFreeAsync(block, owner));
    owner.sync();
  });
}

TEST(Memory, IsUsedByTheHost) {
  expect_only_with_bug({Report::kHostTouch}, [](bool bug) {
    const DeviceMemory device(kBytes);
    const PinnedMemory pinned(kBytes);
    ok(cudaMemset(device, 0, kBytes));
    ok(cudaDeviceSynchronize());
    void* const target = bug ? device : pinned;
    *static_cast<volatile float*>(target) = 1;
  });
}

TEST(Memory, IsUsedAfterItWasFreed) {
  expect_only_with_bug({Report::kUseAfterFree}, [](bool bug) {
    const TestStream s;
    void* block = nullptr;
    ok(cudaMalloc(&block, kBytes));
    if (bug) ok(cudaFree(block));
    EXPECT_EQ(cudaMemsetAsync(block, 0, kBytes, s), bug ? cudaErrorInvalidValue : cudaSuccess);
    cudaGetLastError();
    s.sync();
    if (!bug) ok(cudaFree(block));
  });
}

TEST(Memory, IsFreedTwice) {
  expect_only_with_bug({Report::kUseAfterFree}, [](bool bug) {
    void* block = nullptr;
    ok(cudaMalloc(&block, kBytes));
    ok(cudaFree(block));
    EXPECT_EQ(cudaFree(bug ? block : nullptr), bug ? cudaErrorInvalidValue : cudaSuccess);
    cudaGetLastError();
  });
}

TEST(Memory, IsReadBeforeAnybodyWroteIt) {
  expect_only_with_bug({Report::kUninitialised}, [](bool bug) {
    const DeviceMemory block(kBytes);
    const PinnedMemory host(kBytes);
    std::vector<float> values(kBytes / sizeof(float));
    if (!bug) ok(cudaMemset(block, 0, kBytes));
    ok(cudaMemcpy(values.data(), block, kBytes, cudaMemcpyDeviceToHost));
  });
}

TEST(Memory, IsWrittenPastItsEnd) {
  expect_only_with_bug({Report::kOutOfBounds}, [](bool bug) {
    const DeviceMemory block(kBytes);
    EXPECT_EQ(cudaMemset(block, 0, kBytes + (bug ? 1 : 0)), bug ? cudaErrorInvalidValue : cudaSuccess);
    cudaGetLastError();
  });
}

// ---- devices, events, leaks ----

TEST(Devices, AnEventIsRecordedOnAnotherDevicesStream) {
  expect_only_with_bug({Report::kWrongDevice}, [](bool bug) {
    const TestStream s;
    ok(cudaSetDevice(bug ? 1 : 0));
    const TestEvent e;
    EXPECT_EQ(cudaEventRecord(e, s), bug ? cudaErrorInvalidResourceHandle : cudaSuccess);
    cudaGetLastError();
  });
}

TEST(Devices, ALibraryUsesMemoryOfADeviceItDoesNotReach) {
  expect_only_with_bug({Report::kWrongDevice}, [](bool bug) {
    const DeviceMemory a(4), b(4), c(4);
    for (void* p : {static_cast<void*>(a), static_cast<void*>(b)}) ok(cudaMemset(p, 0, 4));
    ok(cudaDeviceSynchronize());
    ok(cudaSetDevice(1));
    if (!bug) ok(cudaDeviceEnablePeerAccess(0, 0));
    cublasHandle_t handle = nullptr;
    ASSERT_EQ(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
    const float one = 1, zero = 0;
    const auto f = [](void* p) { return static_cast<float*>(p); };
    EXPECT_EQ(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, f(a), 1, f(b), 1, &zero, f(c), 1),
              CUBLAS_STATUS_SUCCESS);
    ok(cudaDeviceSynchronize());
    ASSERT_EQ(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
    ok(cudaSetDevice(0));
  });
}

TEST(Devices, ALibraryIsCalledWhileAnotherDeviceIsCurrent) {
  expect_only_with_bug({Report::kWrongDevice}, [](bool bug) {
    const DeviceMemory a(4), b(4), c(4);
    for (void* p : {static_cast<void*>(a), static_cast<void*>(b)}) ok(cudaMemset(p, 0, 4));
    ok(cudaDeviceSynchronize());
    const TestStream s;
    cublasHandle_t handle = nullptr;
    ASSERT_EQ(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasSetStream(handle, s), CUBLAS_STATUS_SUCCESS);
    if (bug) ok(cudaSetDevice(1));
    const float one = 1, zero = 0;
    const auto f = [](void* p) { return static_cast<float*>(p); };
    EXPECT_EQ(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, f(a), 1, f(b), 1, &zero, f(c), 1),
              bug ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS);
    ok(cudaSetDevice(0));
    s.sync();
    ASSERT_EQ(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
  });
}

TEST(Devices, APeerCopyNamesTheWrongDevice) {
  expect_only_with_bug({Report::kWrongDevice}, [](bool bug) {
    const DeviceMemory here(kBytes);
    ok(cudaMemset(here, 0, kBytes));
    ok(cudaDeviceSynchronize());
    ok(cudaSetDevice(1));
    const DeviceMemory there(kBytes);
    const TestStream s;
    EXPECT_EQ(cudaMemcpyPeerAsync(there, 1, here, bug ? 1 : 0, kBytes, s), bug ? cudaErrorInvalidValue : cudaSuccess);
    cudaGetLastError();
    s.sync();
    ok(cudaSetDevice(0));
  });
}

TEST(Events, AreWaitedForWithoutHavingBeenRecorded) {
  expect_only_with_bug({Report::kMisuse}, [](bool bug) {
    const TestStream a, b;
    const TestEvent e;
    if (!bug) ok(cudaEventRecord(e, a));
    ok(cudaStreamWaitEvent(b, e, 0));
  });
}

TEST(Events, AreUsedAfterTheyWereDestroyed) {
  expect_only_with_bug({Report::kMisuse}, [](bool bug) {
    const TestStream s;
    cudaEvent_t e = nullptr;
    ok(cudaEventCreate(&e));
    if (bug) ok(cudaEventDestroy(e));
    EXPECT_EQ(cudaEventRecord(e, s), bug ? cudaErrorInvalidResourceHandle : cudaSuccess);
    cudaGetLastError();
    if (!bug) ok(cudaEventDestroy(e));
  });
}

TEST(Leaks, AreNamed) {
  Session session;
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  cublasHandle_t handle = nullptr;
  ok(cudaMalloc(&memory, 96));
  ok(cudaStreamCreate(&stream));
  ok(cudaEventCreate(&event));
  ASSERT_EQ(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
  std::vector<std::string> leaks;
  for (const Report& r : session.finish()) {
    EXPECT_EQ(r.kind, Report::kLeak) << r.text;
    leaks.push_back(r.text);
  }
  using testing::HasSubstr;
  EXPECT_THAT(leaks, testing::UnorderedElementsAre(HasSubstr("96 bytes of cuda:0"), HasSubstr("stream 1 of cuda:0"),
                                                   HasSubstr("event 1 of cuda:0"), HasSubstr("cuBLAS handle")));
  EXPECT_THAT(session.finish(), testing::IsEmpty()) << "each is told of once";
  ok(cudaFree(memory));
  ok(cudaStreamDestroy(stream));
  ok(cudaEventDestroy(event));
  ASSERT_EQ(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(session.finish(), testing::IsEmpty());
}

}  // namespace
}  // namespace emu
