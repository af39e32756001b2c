// CUDA's words for a host compiler: a kernel file that nvcc does not compile runs in the emulator. Reached through
// kernels/common/device.cuh only. What no kernel uses is not here: a new word is added when a kernel needs it.
#pragma once

#include <cuda_runtime_api.h>  // __global__ and __device__ mean nothing to a host compiler

#include <bit>
#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "emu/grid.h"

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

namespace emu {

/// A place in a kernel. Not the return address: compilers duplicate calls.
struct Site {
  const char* file;
  int line;

  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// ---- what device threads ask of the scheduler; none of it is instrumented ----

enum class Index : uint8_t { kThread, kBlock, kBlockSize, kGridSize };
unsigned index_of(Index index, int axis);

void block_barrier(Site at);

enum class WarpOp : uint8_t { kSync, kShuffle, kBallot };
/// Waits for all lanes of the mask. A shuffle gives the value of lane `source`, a ballot the lanes with a value that is
/// not 0.
uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int source, Site at);
int lane_of_thread();

/// The block's object under this key; contents undefined at first.
void* shared_object(const void* key, size_t bytes, size_t alignment);

/// Tells the checker of an atomic access.
void note_atomic(const void* data, size_t bytes);

// ---- building stones of the words below ----

/// Objects, not macros: structures of CUDA have members called gridDim and blockDim.
template <Index kIndex>
struct Axes {
  template <int kAxis>
  struct Axis {
    operator unsigned() const { return index_of(kIndex, kAxis); }
  };
  Axis<0> x{};
  Axis<1> y{};
  Axis<2> z{};
};

/// The value of `source` among the `width` lanes around this one; its own where there is no such lane.
template <class T>
T shuffle(unsigned mask, T value, int source, int width, Site at) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const int lane = lane_of_thread(), first = lane & ~(width - 1);
  if (source < first || source >= first + width) source = lane;
  const uint64_t got = warp_operation(WarpOp::kShuffle, mask, uint64_t(std::bit_cast<Bits>(value)), source, at);
  return std::bit_cast<T>(Bits(got));
}

/// *p = next(*p), the old value returned. Device threads take turns, so nothing comes between.
template <class T, class F>
__attribute__((no_sanitize("thread"))) T atomically(T* p, F next) {
  note_atomic(p, sizeof(T));
  const T old = *p;
  *p = next(old);
  return old;
}

template <class... P, size_t... I>
__attribute__((no_sanitize("thread"))) void call_kernel(const void* kernel, void** argv, std::index_sequence<I...>) {
  reinterpret_cast<void (*)(P...)>(const_cast<void*>(kernel))(*static_cast<P*>(argv[I])...);
}
template <class... P>
void call_kernel(const void* kernel, void** argv) {
  call_kernel<P...>(kernel, argv, std::index_sequence_for<P...>());
}

template <class... P, size_t... I>
std::shared_ptr<PackedArgs> pack_arguments(void** argv, std::index_sequence<I...>) {
  auto values = std::make_shared<std::tuple<P...>>(*static_cast<P*>(argv[I])...);
  auto packed = std::make_shared<PackedArgs>();
  packed->argv = {static_cast<void*>(&std::get<I>(*values))...};
  packed->bytes = {sizeof(P)...};
  packed->keep = std::move(values);
  return packed;
}
template <class... P>
std::shared_ptr<PackedArgs> pack_arguments(void** argv) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "arguments reach a GPU as plain bytes");
  return pack_arguments<P...>(argv, std::index_sequence_for<P...>());
}

/// Known when the program starts, so that kernels can be called by their names alone: nvcc's code announces none.
template <class... P>
inline const bool kSignature = register_signature(typeid(void(P...)).name(), &call_kernel<P...>, &pack_arguments<P...>);

}  // namespace emu

// ---- CUDA's words ----

inline constexpr emu::Axes<emu::Index::kThread> threadIdx{};
inline constexpr emu::Axes<emu::Index::kBlock> blockIdx{};
inline constexpr emu::Axes<emu::Index::kBlockSize> blockDim{};
inline constexpr emu::Axes<emu::Index::kGridSize> gridDim{};
inline constexpr int warpSize = 32;

inline void __syncthreads(emu::Site at = emu::Site::here()) { emu::block_barrier(at); }
inline void __syncwarp(unsigned mask = 0xffffffffu, emu::Site at = emu::Site::here()) {
  emu::warp_operation(emu::WarpOp::kSync, mask, 0, 0, at);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, emu::Site at = emu::Site::here()) {
  const int first = emu::lane_of_thread() & ~(width - 1);
  return emu::shuffle(mask, value, first + (source & (width - 1)), width, at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, emu::Site at = emu::Site::here()) {
  return emu::shuffle(mask, value, emu::lane_of_thread() ^ lanes, width, at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, emu::Site at = emu::Site::here()) {
  return emu::shuffle(mask, value, emu::lane_of_thread() - int(delta), width, at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, emu::Site at = emu::Site::here()) {
  return emu::shuffle(mask, value, emu::lane_of_thread() + int(delta), width, at);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, emu::Site at = emu::Site::here()) {
  return unsigned(emu::warp_operation(emu::WarpOp::kBallot, mask, predicate != 0, 0, at));
}
inline int __any_sync(unsigned mask, int predicate, emu::Site at = emu::Site::here()) {
  return __ballot_sync(mask, predicate, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emu::Site at = emu::Site::here()) {
  return __ballot_sync(mask, predicate == 0, at) == 0;
}

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return emu::atomically(p, [v](T old) { return T(old + v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return emu::atomically(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return emu::atomically(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return emu::atomically(p, [expected, v](T old) { return old == expected ? v : old; });
}

namespace sluice {

/// The block's object of type T in shared memory; contents undefined at first. One object per type.
template <class T>
T& block_shared() {
  static_assert(std::is_trivially_default_constructible_v<T>, "nobody constructs shared memory");
  static const char key = 0;
  return *static_cast<T*>(emu::shared_object(&key, sizeof(T), alignof(T)));
}

/// Tells the emulator that a kernel exists, how to call it and how to copy its arguments.
template <class... P>
void announce_kernel(void (*kernel)(P...)) {
  static_cast<void>(&emu::kSignature<P...>);
  emu::register_kernel(reinterpret_cast<const void*>(kernel), &emu::call_kernel<P...>, &emu::pack_arguments<P...>);
}

}  // namespace sluice
