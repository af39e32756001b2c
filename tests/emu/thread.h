// A device thread and the block it runs in: kept by the scheduler, looked at by the access checker.
#pragma once

#include <array>
#include <cstddef>

#include "emu/grid.h"

namespace emu {

/// The block that runs now.
struct RunningBlock {
  const Launch* launch = nullptr;
  uint3 index{};
  uint32_t number = 0;    // in the grid
  uint32_t barriers = 0;  // passed by all its threads
};

struct DeviceThread {
  const RunningBlock* block = nullptr;
  uint3 index{};
  int number = 0;  // in the block

  /// The checker's number for what the thread does between two synchronisations; 0 when a new one has begun.
  uint32_t interval = 0;
  /// How many __syncwarp each lane of the warp had done when this thread last heard of it. Shuffles and votes do not
  /// count: they order no memory.
  std::array<uint32_t, 32> seen{};
  const std::byte *stack_begin = nullptr, *stack_end = nullptr;

  int lane() const { return number % 32; }
  int warp() const { return number / 32; }
};

/// The device thread that this host thread runs; null in the scheduler and the checker themselves, so that what they
/// share with instrumented code is not checked.
extern constinit thread_local DeviceThread* current_thread;

/// Ends the device thread that runs, as a GPU would that meets an address without memory.
[[noreturn]] void stop_thread();

// ---- what the scheduler tells the checker ----

void check_begin_grid(const Launch& launch);
void check_begin_block(const RunningBlock& block, const std::byte* shared, size_t shared_bytes);
void check_shared_object(const void* data, size_t bytes);
void check_end_grid();

}  // namespace emu
