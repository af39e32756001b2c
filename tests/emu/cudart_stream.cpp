// Streams, events and host functions: the runtime's calls for them.
#include <cmath>

#include "emu/world.h"

namespace emu::rt {
namespace {

std::string text_of(const Stream& s) {
  return "stream " + std::to_string(s.number) + " of cuda:" + std::to_string(s.device);
}
std::string text_of(const CUevent_st& e) {
  return "event " + std::to_string(e.number) + " of cuda:" + std::to_string(e.device);
}

/// A handle that is none of this world's is refused; the real runtime would follow the dangling pointer.
bool is_event(cudaEvent_t event, const char* call) {
  if (event != nullptr && is_alive(event, Made::kEvent)) return true;
  report(Report::kMisuse,
         std::string(call) + ": the event " + (event == nullptr ? "is null" : "was destroyed or never made"));
  return false;
}

cudaError_t create_stream(cudaStream_t* out, unsigned flags, int priority) {
  const Lock lock;
  if (out == nullptr || (flags & ~unsigned(cudaStreamNonBlocking)) != 0) return fail(cudaErrorInvalidValue);
  if (sticky_error() != cudaSuccess) return fail(sticky_error());
  Stream& s = world().make_stream(current_device(), flags, priority);
  made(&s, Made::kStream, text_of(s));
  *out = &s;
  return cudaSuccess;
}

/// The newest operation may be gone from its queue, or there may be none.
bool idle(const OpPtr& newest) { return newest == nullptr || newest->done; }

/// A query lets one operation run, so that a host that polls comes to an end.
cudaError_t query(const OpPtr& newest) {
  World& w = world();
  if (!idle(newest)) w.run_one();
  if (w.sticky != cudaSuccess) return fail(w.sticky);
  if (!idle(newest)) return fail(cudaErrorNotReady);
  if (newest) w.host_sees(newest->clock);
  return cudaSuccess;
}

cudaError_t launch_host(cudaStream_t stream, std::function<void()> work, const char* call) {
  const Lock lock;
  Stream* const s = find_stream(stream, call);
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  push(*s, call, {.run = {}, .on_host = std::move(work)});
  return fail(sticky_error());
}

}  // namespace

Stream* find_stream(cudaStream_t handle, const char* call) {
  if (handle == nullptr || handle == cudaStreamLegacy) return &world().legacy(current_device());
  if (handle == cudaStreamPerThread) return &world().per_thread(current_device());
  if (is_alive(handle, Made::kStream)) return handle;
  report(Report::kMisuse, std::string(call) + ": the stream was destroyed or never made");
  return nullptr;
}

}  // namespace emu::rt

using namespace emu;
using namespace emu::rt;

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* out) { return create_stream(out, cudaStreamDefault, 0); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned flags) { return create_stream(out, flags, 0); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned flags, int priority) {
  return create_stream(out, flags, std::min(0, std::max(-5, priority)));
}
/// What it still holds runs on: the handle alone is gone.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock;
  if (stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread ||
      !is_alive(stream, Made::kStream)) {
    report(Report::kMisuse, "cudaStreamDestroy: no such stream");
    return fail(cudaErrorInvalidResourceHandle);
  }
  world().destroy(*stream);
  return fail(sticky_error());
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaStreamSynchronize");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  return fail(world().wait("cudaStreamSynchronize", {s->last}));
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaStreamQuery");
  return s == nullptr ? fail(cudaErrorInvalidResourceHandle) : query(s->last);
}
cudaError_t cudaDeviceSynchronize() {
  const Lock lock;
  return fail(world().wait_for_device("cudaDeviceSynchronize", current_device()));
}
cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  const Lock lock;
  const Stream* const s = find_stream(stream, "cudaStreamGetDevice");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  *device = s->device;
  return cudaSuccess;
}
cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
  const Lock lock;
  const Stream* const s = find_stream(stream, "cudaStreamGetFlags");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  *flags = s->flags;
  return cudaSuccess;
}
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  const Lock lock;
  const Stream* const s = find_stream(stream, "cudaStreamGetPriority");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  *priority = s->priority;
  return cudaSuccess;
}
cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long* id) {
  const Lock lock;
  const Stream* const s = find_stream(stream, "cudaStreamGetId");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  *id = s->number;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return cudaSuccess;
}

/// Later work of the stream starts after what the event stands for now; recording it again moves nothing.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaStreamWaitEvent");
  if (s == nullptr || !is_event(event, "cudaStreamWaitEvent")) return fail(cudaErrorInvalidResourceHandle);
  if (flags != cudaEventWaitDefault) return fail(cudaErrorInvalidValue);
  if (event->recorded == nullptr) {
    report(Report::kMisuse,
           "cudaStreamWaitEvent: " + text_of(*event) + " was never recorded, so nothing is waited for");
    return cudaSuccess;
  }
  push(*s, "cudaStreamWaitEvent", {.run = {}, .after = {event->recorded}});
  return fail(sticky_error());
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (function == nullptr) return refuse(cudaErrorInvalidValue);
  return launch_host(
      stream, [=] { function(data); }, "cudaLaunchHostFunc");
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data, unsigned flags) {
  if (callback == nullptr || flags != 0) return refuse(cudaErrorInvalidValue);
  return launch_host(
      stream, [=] { callback(stream, cudaSuccess, data); }, "cudaStreamAddCallback");
}

// ---- events ----

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned flags) {
  const Lock lock;
  constexpr unsigned kFlags = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;
  const bool alone = (flags & cudaEventInterprocess) != 0 && (flags & cudaEventDisableTiming) == 0;
  if (out == nullptr || (flags & ~kFlags) != 0 || alone) return fail(cudaErrorInvalidValue);
  if (sticky_error() != cudaSuccess) return fail(sticky_error());
  CUevent_st& e = world().make_event(current_device(), flags);
  made(&e, Made::kEvent, text_of(e));
  *out = &e;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock;
  if (!is_event(event, "cudaEventDestroy")) return fail(cudaErrorInvalidResourceHandle);
  unmade(event);
  event->recorded.reset();
  return fail(sticky_error());
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaEventRecord");
  if (s == nullptr || !is_event(event, "cudaEventRecord")) return fail(cudaErrorInvalidResourceHandle);
  if (flags != cudaEventRecordDefault) return fail(cudaErrorInvalidValue);
  if (s->device != event->device) {
    report(Report::kWrongDevice, "cudaEventRecord: " + text_of(*event) + " is recorded on " + text_of(*s));
    return fail(cudaErrorInvalidResourceHandle);
  }
  event->recorded = push(*s, "cudaEventRecord", {.run = {}});
  return fail(sticky_error());
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock;
  return is_event(event, "cudaEventQuery") ? query(event->recorded) : fail(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock;
  if (!is_event(event, "cudaEventSynchronize")) return fail(cudaErrorInvalidResourceHandle);
  return fail(world().wait("cudaEventSynchronize", {event->recorded}));
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  const Lock lock;
  if (ms == nullptr) return fail(cudaErrorInvalidValue);
  for (const cudaEvent_t e : {begin, end}) {
    if (!is_event(e, "cudaEventElapsedTime")) return fail(cudaErrorInvalidResourceHandle);
    if ((e->flags & cudaEventDisableTiming) != 0 || e->recorded == nullptr || e->device != begin->device)
      return fail(cudaErrorInvalidResourceHandle);
  }
  if (!begin->recorded->done || !end->recorded->done) return fail(cudaErrorNotReady);
  *ms = float((end->recorded->time - begin->recorded->time) * 1e3);
  return cudaSuccess;
}
}
