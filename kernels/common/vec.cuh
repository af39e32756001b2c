// Loads and stores of 16 bytes at a time, and the loop of an element-wise kernel over them.
#pragma once

#include "kernels/common/device.cuh"

namespace sluice {

/// N neighbouring elements, moved by one instruction when they make 16 (8, 4) bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPack = int(16 / sizeof(T));

template <int N, class T>
__device__ inline Pack<T, N> load(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
__device__ inline void store(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

/// Host side: whether packs of `elements` may be used on all of the pointers. Null pointers count as aligned.
template <class... T>
bool aligned_for(int elements, const T*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % (sizeof(T) * size_t(elements)) == 0) && ...);
}

/// f.operator()<N>(i) for stretches of N elements that cover [0, n): kN at a time when `packed`, then one by one.
template <int kN, class F>
__device__ inline void for_packs(int64_t n, bool packed, F f) {
  const int64_t packs = packed ? n / kN : 0;
  for (int64_t p = global_thread(); p < packs; p += grid_threads()) f.template operator()<kN>(p * kN);
  for (int64_t i = packs * kN + global_thread(); i < n; i += grid_threads()) f.template operator()<1>(i);
}

}  // namespace sluice
