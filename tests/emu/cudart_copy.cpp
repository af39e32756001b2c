// Copies and fills. What pageable host memory forces is kept: it is read before the call returns, and written before.
#include <cstring>

#include "emu/world.h"

namespace emu::rt {
namespace {

/// `rows` stretches of `bytes` each.
struct Copy {
  void* to;
  const void* from;
  size_t bytes, rows = 1;
  size_t to_pitch = 0, from_pitch = 0;

  std::byte* to_row(size_t r) const { return static_cast<std::byte*>(to) + r * to_pitch; }
  const std::byte* from_row(size_t r) const { return static_cast<const std::byte*>(from) + r * from_pitch; }
  size_t to_span() const { return bytes == 0 || rows == 0 ? 0 : (rows - 1) * to_pitch + bytes; }
  size_t from_span() const { return bytes == 0 || rows == 0 ? 0 : (rows - 1) * from_pitch + bytes; }
};

enum class Side { kDevice, kPinned, kPageable };
Side side_of(const void* p) {
  if (in_device_range(p)) return Side::kDevice;  // also where nothing lives any more
  return owner_of(p) == kPinnedHost ? Side::kPinned : Side::kPageable;
}

bool fits(cudaMemcpyKind kind, Side to, Side from) {
  const bool to_device = to == Side::kDevice, from_device = from == Side::kDevice;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    default:
      return true;
  }
}

/// Copies reach every device: through the host where there is no direct path.
bool is_copyable(const void* data, size_t bytes, const char* call) {
  return is_usable(data, bytes, std::max(owner_of(data), 0), call);
}

void run_copy(const Copy& c, Side to, Side from, OpId op, const char* call) {
  for (size_t r = 0; r < c.rows; ++r) {
    if (to != Side::kPageable && from != Side::kPageable) {
      touch_copy(c.to_row(r), c.from_row(r), c.bytes, op, call);
    } else if (to != Side::kPageable) {
      touch(c.to_row(r), c.bytes, true, op, call);
    } else if (from != Side::kPageable) {
      touch(c.from_row(r), c.bytes, false, op, call);
    }
    std::memmove(c.to_row(r), c.from_row(r), c.bytes);
  }
}

/// What a pageable source holds now, packed.
std::shared_ptr<std::vector<std::byte>> staged(const Copy& c) {
  auto bytes = std::make_shared<std::vector<std::byte>>(c.bytes * c.rows);
  for (size_t r = 0; r < c.rows; ++r) std::memcpy(bytes->data() + r * c.bytes, c.from_row(r), c.bytes);
  return bytes;
}

/// Returns the operation, or null with an error.
cudaError_t queue(const Copy& c, cudaMemcpyKind kind, Stream& s, const char* call, OpPtr& out) {
  if (c.bytes == 0 || c.rows == 0) return cudaSuccess;
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  if (c.to == nullptr || c.from == nullptr) return cudaErrorInvalidValue;
  const Side to = side_of(c.to), from = side_of(c.from);
  if (!fits(kind, to, from)) return cudaErrorInvalidValue;
  if ((to != Side::kPageable && !is_copyable(c.to, c.to_span(), call)) ||
      (from != Side::kPageable && !is_copyable(c.from, c.from_span(), call)))
    return cudaErrorInvalidValue;
  if (to != Side::kPageable && from != Side::kPageable && c.to_row(0) < c.from_row(0) + c.from_span() &&
      c.from_row(0) < c.to_row(0) + c.to_span() && c.rows == 1)
    report(Report::kMisuse, std::string(call) + ": source and destination overlap");
  if (from == Side::kPageable) {
    Copy late = c;
    const auto source = staged(c);
    late.from = source->data();
    late.from_pitch = c.bytes;
    out = push(s, call, {.run = [=](OpId op) {
                 (void)source;
                 run_copy(late, to, Side::kPageable, op, call);
               }});
  } else {
    out = push(s, call, {.run = [=](OpId op) { run_copy(c, to, from, op, call); }});
  }
  if (sticky_error() != cudaSuccess) return sticky_error();
  return to == Side::kPageable ? world().wait(call, {out}) : cudaSuccess;
}

cudaError_t copy_async(const Copy& c, cudaMemcpyKind kind, cudaStream_t stream, const char* call) {
  const Lock lock;
  Stream* const s = find_stream(stream, call);
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  OpPtr op;
  return fail(queue(c, kind, *s, call, op));
}

/// On the legacy stream. Copies between devices do not make the host wait, and pageable sources have been read.
cudaError_t copy_now(const Copy& c, cudaMemcpyKind kind, const char* call) {
  const Lock lock;
  OpPtr op;
  const cudaError_t code = queue(c, kind, world().legacy(current_device()), call, op);
  const bool host_waits = op != nullptr && (side_of(c.to) == Side::kPinned || side_of(c.from) == Side::kPinned);
  return fail(code == cudaSuccess && host_waits ? world().wait(call, {op}) : code);
}

cudaError_t queue_fill(const Copy& c, int value, Stream& s, const char* call) {
  if (c.bytes == 0 || c.rows == 0) return cudaSuccess;
  if (side_of(c.to) == Side::kPageable) return cudaErrorInvalidValue;
  if (!is_copyable(c.to, c.to_span(), call)) return cudaErrorInvalidValue;
  push(s, call, {.run = [=](OpId op) {
         for (size_t r = 0; r < c.rows; ++r) {
           touch(c.to_row(r), c.bytes, true, op, call);
           std::memset(c.to_row(r), value, c.bytes);
         }
       }});
  return sticky_error();
}

cudaError_t fill_async(const Copy& c, int value, cudaStream_t stream, const char* call) {
  const Lock lock;
  Stream* const s = find_stream(stream, call);
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  return fail(queue_fill(c, value, *s, call));
}

cudaError_t peer(const Copy& c, int to, int from, Stream& s, const char* call, OpPtr& op) {
  if (to < 0 || to >= devices() || from < 0 || from >= devices()) return cudaErrorInvalidDevice;
  const int to_owner = owner_of(c.to), from_owner = owner_of(c.from);
  if ((to_owner >= 0 && to_owner != to) || (from_owner >= 0 && from_owner != from)) {
    report(Report::kWrongDevice, std::string(call) + ": the devices that are named are not those of the pointers");
    return cudaErrorInvalidValue;
  }
  return queue(c, cudaMemcpyDeviceToDevice, s, call, op);
}

bool good_pitch(size_t width, size_t height, size_t to_pitch, size_t from_pitch) {
  return height <= 1 || (width <= to_pitch && width <= from_pitch);
}

}  // namespace
}  // namespace emu::rt

using namespace emu;
using namespace emu::rt;

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_async({to, from, bytes}, kind, stream, "cudaMemcpyAsync");
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return copy_now({to, from, bytes}, kind, "cudaMemcpy");
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!good_pitch(width, height, to_pitch, from_pitch)) return refuse(cudaErrorInvalidPitchValue);
  return copy_async({to, from, width, height, to_pitch, from_pitch}, kind, stream, "cudaMemcpy2DAsync");
}
cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  if (!good_pitch(width, height, to_pitch, from_pitch)) return refuse(cudaErrorInvalidPitchValue);
  return copy_now({to, from, width, height, to_pitch, from_pitch}, kind, "cudaMemcpy2D");
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaMemcpyPeerAsync");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  OpPtr op;
  return fail(peer({to, from, bytes}, to_device, from_device, *s, "cudaMemcpyPeerAsync", op));
}
/// In the order of everything on both devices.
cudaError_t cudaMemcpyPeer(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  const Lock lock;
  for (const int d : {to_device, from_device})
    if (d >= 0 && d < devices())
      if (const cudaError_t code = world().wait_for_device("cudaMemcpyPeer", d)) return fail(code);
  OpPtr op;
  const cudaError_t code =
      peer({to, from, bytes}, to_device, from_device, world().legacy(current_device()), "cudaMemcpyPeer", op);
  return fail(code == cudaSuccess ? world().wait("cudaMemcpyPeer", {op}) : code);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return fill_async({to, nullptr, bytes}, value, stream, "cudaMemsetAsync");
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return fill_async({to, nullptr, bytes}, value, nullptr, "cudaMemset");
}
cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
  if (!good_pitch(width, height, pitch, width)) return refuse(cudaErrorInvalidPitchValue);
  return fill_async({to, nullptr, width, height, pitch, 0}, value, stream, "cudaMemset2DAsync");
}
cudaError_t cudaMemset2D(void* to, size_t pitch, int value, size_t width, size_t height) {
  return cudaMemset2DAsync(to, pitch, value, width, height, nullptr);
}
}
