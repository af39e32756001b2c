// Kernels with one planted fault each, and their correct twins, which differ in that fault alone.
#pragma once

namespace emu {

enum class Plant {
  kTail,                // the last pack of 4 runs over the end
  kSharedIndex,         // an index behind a shared array
  kMisaligned,          // a pack of 4 from an address between packs
  kSharedTooLarge,      // shared objects of more than 48 KiB
  kSharedUnwritten,     // shared memory that nobody wrote
  kGlobalUnwritten,     // global memory that nobody wrote
  kBarrierBeforeRead,   // neighbours' values are read without a barrier after they are written
  kBarrierBeforeWrite,  // and overwritten by the next round without a barrier after they are read
  kBarrierAfterReturn,  // half of the block returns before a barrier
  kTwoBarriers,         // the halves of a block wait at different barriers
  kSameElement,         // all blocks write one element
  kNeighbourBlock,      // a block reads what another one writes
  kPlainCount,          // blocks count without an atomic
  kAbsentLane,          // a shuffle reads a lane that has left
  kForeignMask,         // a lane is not in the mask that it passes
  kTwoMasks,            // lanes that should meet pass different masks
  kWarpAtBarrier,       // one half of a warp waits for the other, which waits for the block
  kNoWarpSync,          // lanes exchange values through memory without __syncwarp
  kShuffleAsFence,      // or with a shuffle in its place, which orders no memory
  kThirdReader,         // two readers are waited for, a third is not
  kHalfWords,           // a thread writes the neighbour's half of a word
};

using PlantedKernel = void (*)(float* out, const float* in, int n);

/// Both for blocks of 64 threads; `in` and `out` have n elements, `out` is never written before.
PlantedKernel planted_kernel(Plant plant, bool planted);

}  // namespace emu
