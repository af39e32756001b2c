// Sums, maxima and the like over a warp or a block, always in the same order, so that results repeat bit for bit.
#pragma once

#include "kernels/common/device.cuh"

namespace sluice {

inline constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  static constexpr float kNeutral = 0.0f;
  __device__ static float combine(float a, float b) { return a + b; }
};
struct Max {
  static constexpr float kNeutral = -3.402823466e38f;
  __device__ static float combine(float a, float b) { return a > b ? a : b; }
};

/// Over the 32 lanes; every lane gets the same bits. All lanes must take part.
template <class Op>
__device__ inline float warp_reduce(float v) {
  for (int step = 16; step > 0; step /= 2) v = Op::combine(v, __shfl_xor_sync(kAllLanes, v, step));
  return v;
}

struct WarpParts {
  float v[32];
};

/// Over a block of kBlock threads (a multiple of 32); every thread gets the same bits. All threads must take part.
template <class Op, int kBlock = kThreads>
__device__ inline float block_reduce(float v) {
  static_assert(kBlock % 32 == 0 && kBlock <= 1024);
  WarpParts& parts = block_shared<WarpParts>();
  v = warp_reduce<Op>(v);
  if (lane() == 0) parts.v[warp()] = v;
  __syncthreads();
  float all = parts.v[0];
  for (int w = 1; w < kBlock / 32; ++w) all = Op::combine(all, parts.v[w]);
  __syncthreads();  // the next reduction may write
  return all;
}

}  // namespace sluice
