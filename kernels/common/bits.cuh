// The loop of a kernel that has one bit an element: eight elements and their byte a thread.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/vec.cuh"

namespace sluice {

/// Eight neighbours from element i, those from n on 0.
template <class T>
struct Eight {
  T v[8];
};
template <class T>
__device__ inline Eight<T> load_eight(const T* p, int64_t i, int64_t n, bool packed) {
  Eight<T> e;
  if (packed && i + 8 <= n) {
    for (int part = 0; part < 8; part += kPack<T>) {
      const Pack<T, kPack<T>> some = load<kPack<T>>(p + i + part);
      for (int k = 0; k < kPack<T>; ++k) e.v[part + k] = some.v[k];
    }
    return e;
  }
  for (int k = 0; k < 8; ++k) e.v[k] = i + k < n ? p[i + k] : T(0.0f);
  return e;
}
template <class T>
__device__ inline void store_eight(T* p, const Eight<T>& e, int64_t i, int64_t n, bool packed) {
  if (packed && i + 8 <= n) {
    for (int part = 0; part < 8; part += kPack<T>) {
      Pack<T, kPack<T>> some;
      for (int k = 0; k < kPack<T>; ++k) some.v[k] = e.v[part + k];
      store(p + i + part, some);
    }
    return;
  }
  for (int k = 0; k < 8; ++k)
    if (i + k < n) p[i + k] = e.v[k];
}

/// Bit k: v[k] > 0.
__device__ inline uint8_t positive_bits(const Eight<float>& e) {
  unsigned byte = 0;
  for (int k = 0; k < 8; ++k) byte |= unsigned(e.v[k] > 0.0f) << k;
  return uint8_t(byte);
}
/// max(v, 0); NaN passes, so that it is noticed.
template <class T>
__device__ inline Eight<T> relu(const Eight<float>& e) {
  Eight<T> y;
  for (int k = 0; k < 8; ++k) y.v[k] = T(e.v[k] < 0.0f ? 0.0f : e.v[k]);
  return y;
}

/// f(i) for the first element of each eight of [0, n).
template <class F>
__device__ inline void for_eights(int64_t n, F f) {
  for (int64_t byte = global_thread(); byte < packed_bytes(n); byte += grid_threads()) f(byte * 8);
}

}  // namespace sluice
