// What the tests of the stand-ins share: owners of CUDA's handles, and checks of codes.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "emu/emu.h"

namespace emu {

inline void ok(cudaError_t code) { ASSERT_EQ(code, cudaSuccess) << cudaGetErrorString(code); }

inline std::set<Report::Kind> kinds(const std::vector<Report>& reports) {
  std::set<Report::Kind> all;
  for (const Report& r : reports) all.insert(r.kind);
  return all;
}
inline void PrintTo(const Report& r, std::ostream* out) { *out << name(r.kind) << ": " << r.text; }

class TestStream {
 public:
  explicit TestStream(unsigned flags = cudaStreamNonBlocking) { ok(cudaStreamCreateWithFlags(&stream_, flags)); }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;
  operator cudaStream_t() const { return stream_; }
  void sync() const { ok(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

class TestEvent {
 public:
  explicit TestEvent(unsigned flags = cudaEventDefault) { ok(cudaEventCreateWithFlags(&event_, flags)); }
  ~TestEvent() { cudaEventDestroy(event_); }
  TestEvent(const TestEvent&) = delete;
  TestEvent& operator=(const TestEvent&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { ok(cudaMalloc(&data_, bytes)); }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  operator void*() const { return data_; }

 private:
  void* data_ = nullptr;
};

/// Zeros at first.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes) {
    ok(cudaMallocHost(&data_, bytes));
    std::memset(data_, 0, bytes);
  }
  ~PinnedMemory() { cudaFreeHost(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  operator void*() const { return data_; }

 private:
  void* data_ = nullptr;
};

/// A copy of host values on the current device.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::vector<T> values) : values_(std::move(values)), memory_(values_.size() * sizeof(T)) {
    ok(cudaMemcpy(memory_, values_.data(), values_.size() * sizeof(T), cudaMemcpyHostToDevice));
    ok(cudaDeviceSynchronize());
  }
  T* data() const { return static_cast<T*>(static_cast<void*>(memory_)); }
  std::vector<T> fetch() {
    ok(cudaMemcpy(values_.data(), memory_, values_.size() * sizeof(T), cudaMemcpyDeviceToHost));
    return values_;
  }

 private:
  std::vector<T> values_;
  DeviceMemory memory_;
};

}  // namespace emu
