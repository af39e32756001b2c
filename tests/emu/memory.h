// The device memory that is alive, with the history of its bytes; for the two ways to it, memory.cpp and check.cpp.
#pragma once

#include "emu/shadow.h"

namespace emu {

struct Memory {
  explicit Memory(const Allocation& a) : allocation(a), shadow(a.bytes) {}

  size_t offset(uintptr_t address) const { return address - allocation.begin / 4 * 4; }  // of the shadow

  Allocation allocation;
  Shadow shadow;
};

/// The live memory that holds the address, or null. Valid until the next add or remove.
Memory* memory_at(uintptr_t address);
/// Counts adds and removes: a pointer from memory_at() is good as long as this stays.
uint64_t memory_version();
/// "at 0x7f00 (byte 24 of 96 on cuda:0)", or that it is freed or unknown memory.
std::string describe_address(uintptr_t address);
/// kUseAfterFree where memory was, kOutOfBounds elsewhere.
Report::Kind kind_of_miss(uintptr_t address);

Relation relation_of_operations(OpId earlier, OpId now);

/// The counters under a name; the reference stays good.
Traffic& traffic_of(const std::string& name);

}  // namespace emu
