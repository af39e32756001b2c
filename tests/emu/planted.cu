// Kernels with one planted fault each, for the emulator's tests of itself.
#include "emu/planted.h"
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"

namespace emu {
namespace {

using namespace sluice;

constexpr int kBlock = 64;

struct Values {
  float v[kBlock];
};
template <int kCount>
struct Many {
  float v[kCount];
};
struct Halves {
  uint16_t v[2 * kBlock];
};

__device__ inline int thread() { return int(threadIdx.x); }
__device__ inline int element() { return int(blockIdx.x) * kBlock + thread(); }

}  // namespace

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) tail_kernel(float* out, const float* in, int n) {
  for (int i = 4 * element(); i < n; i += 4 * kBlock * int(gridDim.x)) {
    if (kPlanted || i + 4 <= n)
      store(out + i, load<4>(in + i));
    else
      for (int j = i; j < n; ++j) out[j] = in[j];
  }
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) shared_index_kernel(float* out, const float* in, int) {
  float* const values = block_shared<Values>().v;
  values[thread()] = in[element()];
  __syncthreads();
  out[element()] = values[kPlanted ? thread() + 1 : kBlock - 1 - thread()];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) shared_too_large_kernel(float* out, const float* in, int) {
  float& value = block_shared<Many<(48 << 10) / 4 + (kPlanted ? 1 : 0)>>().v[thread()];
  value = in[element()];
  out[element()] = value;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) misaligned_kernel(float* out, const float* in, int) {
  if (thread() == 0) store(out + element(), load<4>(in + (kPlanted ? 1 : 4)));
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) shared_unwritten_kernel(float* out, const float* in, int) {
  Values& values = block_shared<Values>();
  if (!kPlanted || thread() != 7) values.v[thread()] = in[element()];
  __syncthreads();
  out[element()] = values.v[kBlock - 1 - thread()];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) global_unwritten_kernel(float* out, const float* in, int) {
  if constexpr (!kPlanted) out[element()] = in[element()];
  out[element()] += 1.0f;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) barrier_before_read_kernel(float* out, const float* in, int) {
  Values& values = block_shared<Values>();
  values.v[thread()] = in[element()];
  if constexpr (!kPlanted) __syncthreads();
  out[element()] = values.v[(thread() + 32) % kBlock];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) barrier_before_write_kernel(float* out, const float* in, int) {
  Values& values = block_shared<Values>();
  float sum = 0.0f;
  for (int round = 1; round <= 3; ++round) {
    values.v[thread()] = in[element()] * float(round);
    __syncthreads();
    sum += values.v[(thread() + 32) % kBlock];
    if constexpr (!kPlanted) __syncthreads();
  }
  out[element()] = sum;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) barrier_after_return_kernel(float* out, const float* in, int) {
  if (kPlanted && thread() >= 32) return;
  __syncthreads();
  out[element()] = in[element()];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) two_barriers_kernel(float* out, const float* in, int) {
  if (kPlanted && thread() >= 32)
    __syncthreads();
  else
    __syncthreads();
  out[element()] = in[element()];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) same_element_kernel(float* out, const float* in, int) {
  if (thread() == 0) out[kPlanted ? 0 : int(blockIdx.x)] = in[0];
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) neighbour_block_kernel(float* out, const float* in, int n) {
  out[element()] = in[element()];
  __syncthreads();
  const int other = kPlanted ? (element() + kBlock) % n : element() / kBlock * kBlock;
  if (out[other] > 1e30f) out[element()] = 0.0f;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) plain_count_kernel(float* out, const float*, int) {
  if (blockIdx.x == 0 && thread() == 0) atomicExch(out, 0.0f);
  if constexpr (kPlanted) {
    if (thread() == 0) *out = float(blockIdx.x);
  } else {
    atomicAdd(out, 1.0f);
  }
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) absent_lane_kernel(float* out, const float* in, int) {
  if (lane() >= 16) return;
  out[element()] = __shfl_xor_sync(0x0000ffffu, in[element()], kPlanted ? 16 : 8);
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) foreign_mask_kernel(float* out, const float* in, int) {
  const unsigned mask = kPlanted ? 0x7fffffffu : kAllLanes;
  out[element()] = __any_sync(mask, in[element()] > 0.0f) ? 1.0f : 0.0f;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) two_masks_kernel(float* out, const float* in, int) {
  const unsigned half = lane() < 16 ? 0x0000ffffu : (kPlanted ? kAllLanes : 0xffff0000u);
  out[element()] = __shfl_down_sync(half, in[element()], 1, 16);
  __syncwarp(kPlanted ? half ^ 1u : half);
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) warp_at_barrier_kernel(float* out, const float* in, int) {
  if (kPlanted && lane() < 16) __syncwarp();
  __syncthreads();
  out[element()] = in[element()];
}

template <bool kPlanted, bool kShuffle>
__global__ void __launch_bounds__(kBlock) no_warp_sync_kernel(float* out, const float* in, int) {
  Values& values = block_shared<Values>();
  values.v[thread()] = in[element()];
  if constexpr (!kPlanted) __syncwarp();
  float v = 0.0f;
  if constexpr (kShuffle) v = __shfl_xor_sync(kAllLanes, in[element()], 1);
  out[element()] = v + values.v[thread() ^ 1];
}

/// Lanes 1 to 3 read what lane 0 writes when it has met two of them, or all three.
template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) third_reader_kernel(float* out, const float* in, int) {
  Values& values = block_shared<Values>();
  values.v[thread()] = in[element()];
  __syncthreads();
  const int own = lane();
  if (own >= 1 && own <= 3) out[element()] = values.v[thread() - own];
  if (own <= 3 && (!kPlanted || own != 2)) __syncwarp(kPlanted ? 0xbu : 0xfu);
  if (own == 0) values.v[thread()] = 0.0f;
}

template <bool kPlanted>
__global__ void __launch_bounds__(kBlock) half_words_kernel(float* out, const float* in, int) {
  Halves& halves = block_shared<Halves>();
  auto* const words = reinterpret_cast<uint16_t*>(out) + int(blockIdx.x) * 2 * kBlock;
  for (int half = 0; half < 2; ++half) {
    const int i = half * kBlock + thread();
    halves.v[i] = words[i] = uint16_t(in[element()]);
  }
  if (kPlanted && thread() == 5) halves.v[4] = 0;
  __syncthreads();
  if (halves.v[thread()] == 1) words[thread()] = 0;
}

namespace {

PlantedKernel announced(PlantedKernel planted, PlantedKernel twin, bool wants_planted) {
  announce_kernel(planted);
  announce_kernel(twin);
  return wants_planted ? planted : twin;
}

}  // namespace

PlantedKernel planted_kernel(Plant plant, bool planted) {
  switch (plant) {
    case Plant::kTail:
      return announced(tail_kernel<true>, tail_kernel<false>, planted);
    case Plant::kSharedIndex:
      return announced(shared_index_kernel<true>, shared_index_kernel<false>, planted);
    case Plant::kMisaligned:
      return announced(misaligned_kernel<true>, misaligned_kernel<false>, planted);
    case Plant::kSharedTooLarge:
      return announced(shared_too_large_kernel<true>, shared_too_large_kernel<false>, planted);
    case Plant::kSharedUnwritten:
      return announced(shared_unwritten_kernel<true>, shared_unwritten_kernel<false>, planted);
    case Plant::kGlobalUnwritten:
      return announced(global_unwritten_kernel<true>, global_unwritten_kernel<false>, planted);
    case Plant::kBarrierBeforeRead:
      return announced(barrier_before_read_kernel<true>, barrier_before_read_kernel<false>, planted);
    case Plant::kBarrierBeforeWrite:
      return announced(barrier_before_write_kernel<true>, barrier_before_write_kernel<false>, planted);
    case Plant::kBarrierAfterReturn:
      return announced(barrier_after_return_kernel<true>, barrier_after_return_kernel<false>, planted);
    case Plant::kTwoBarriers:
      return announced(two_barriers_kernel<true>, two_barriers_kernel<false>, planted);
    case Plant::kSameElement:
      return announced(same_element_kernel<true>, same_element_kernel<false>, planted);
    case Plant::kNeighbourBlock:
      return announced(neighbour_block_kernel<true>, neighbour_block_kernel<false>, planted);
    case Plant::kPlainCount:
      return announced(plain_count_kernel<true>, plain_count_kernel<false>, planted);
    case Plant::kAbsentLane:
      return announced(absent_lane_kernel<true>, absent_lane_kernel<false>, planted);
    case Plant::kForeignMask:
      return announced(foreign_mask_kernel<true>, foreign_mask_kernel<false>, planted);
    case Plant::kTwoMasks:
      return announced(two_masks_kernel<true>, two_masks_kernel<false>, planted);
    case Plant::kWarpAtBarrier:
      return announced(warp_at_barrier_kernel<true>, warp_at_barrier_kernel<false>, planted);
    case Plant::kNoWarpSync:
      return announced(no_warp_sync_kernel<true, false>, no_warp_sync_kernel<false, false>, planted);
    case Plant::kShuffleAsFence:
      return announced(no_warp_sync_kernel<true, true>, no_warp_sync_kernel<false, true>, planted);
    case Plant::kThirdReader:
      return announced(third_reader_kernel<true>, third_reader_kernel<false>, planted);
    case Plant::kHalfWords:
      return announced(half_words_kernel<true>, half_words_kernel<false>, planted);
  }
  return nullptr;
}

}  // namespace emu
