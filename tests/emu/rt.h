// Between the CUDA runtime's stand-in and those of the libraries on top of it: streams take operations, operations
// declare what they touch (grid.h) and may depend on each other. All of it under one lock.
//
// Nothing runs when it is queued: an operation runs when a host call waits, picked at random by seed among the streams'
// heads that are ready, so that every order CUDA allows can be had and be had again.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "emu/grid.h"

namespace emu::rt {

/// Held by every entry of the stand-ins, for as long as it runs; not recursive. While nobody holds it, device memory is
/// closed to the host. Made of atomics alone, so that it orders nothing in the eyes of ThreadSanitizer.
class Lock {
 public:
  Lock();
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

using Stream = CUstream_st;
struct Op;
using OpPtr = std::shared_ptr<Op>;
using OpSet = std::vector<OpPtr>;

/// What an operation does, and what it waits for besides what its stream holds before it.
struct Work {
  std::function<void(OpId)> run;        // may be empty: a marker
  std::function<void(OpId)> gather{};   // of operations that run as a set, all gather before one runs
  std::function<bool(OpSet&)> ready{};  // may add operations that must run in the same set; false: not yet
  std::vector<OpPtr> after{};           // operations that must be done
  std::function<void()> on_host{};      // runs in place of `run`, without the lock: may block and call CUDA
};

/// Queues an operation; called after the stream's handle was resolved.
OpPtr push(Stream& stream, std::string name, Work work);
OpId id(const Op& op);
bool is_done(const Op& op);
/// Nothing of its stream is before it.
bool is_head(const Op& op);
/// For gather(): what `earlier` did is visible to `later`, both of the set that runs now.
void follow(Op& later, const Op& earlier);

/// The device that is current in the calling thread.
int current_device();
void set_current_device(int device);
int devices();
/// The stream of a handle, null being the current device's legacy stream. Null, with a report, for a handle that was
/// destroyed or never made.
Stream* find_stream(cudaStream_t handle, const char* call);
int device_of(const Stream& stream);
/// Whether the world has ended in a deadlock or a fault: calls return this from then on.
cudaError_t sticky_error();

/// What is made and must be destroyed: handles, descriptors, communicators. Left over, they are leaks.
enum class Made : uint8_t {
  kMemory,
  kStream,
  kEvent,
  kCublas,
  kCublasLt,
  kMatmul,
  kLayout,
  kPreference,
  kCudnn,
  kCudnnDescriptor,
  kCommunicator
};
/// `text` names it in reports.
void made(const void* handle, Made what, std::string text);
void unmade(const void* handle);
bool is_alive(const void* handle, Made what);
/// An object behind an opaque handle of T, owned by whoever holds the handle.
template <class T, class Handle>
T* object(Handle handle) {
  return is_alive(handle, T::kMade) ? reinterpret_cast<T*>(handle) : nullptr;
}
template <class T, class Handle, class... Args>
T& make_object(Handle& out, std::string text, Args&&... args) {
  auto* made_now = new T{std::forward<Args>(args)...};
  out = reinterpret_cast<Handle>(made_now);
  made(made_now, T::kMade, std::move(text));
  return *made_now;
}
/// False when the handle is none.
template <class T, class Handle>
bool destroy_object(Handle handle) {
  T* const t = object<T>(handle);
  if (t == nullptr) return false;
  unmade(t);
  delete t;
  return true;
}

/// Whether [data, data + bytes) lies in one live allocation that kernels of `device` reach. Reports what does not, for
/// a call named `what`; to be asked when a call is queued whose library would notice only later.
bool is_usable(const void* data, size_t bytes, int device, const char* what);

}  // namespace emu::rt
