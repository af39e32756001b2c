// Between the two halves of the emulator: the device (kernels, scheduler, memory checker) and the stand-ins for
// NVIDIA's libraries. Everything here runs under the stand-ins' one lock: one operation at a time, in one host thread.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emu/emu.h"

namespace emu {

/// An operation queued on a stream: a kernel, a copy, a library call. Numbered from 1 in the order of queueing, never
/// again within a process; 0 is none.
using OpId = uint32_t;

// ---- kernels: registry.cpp, sched.cpp ----

/// A launch's arguments, copied by their types when it was queued: the kernel may run much later.
struct PackedArgs {
  std::vector<void*> argv;
  std::vector<size_t> bytes;  // of each
  std::shared_ptr<void> keep;
};
using Thunk = void (*)(const void* kernel, void** argv);  // calls the kernel with its own parameter types
using Pack = std::shared_ptr<PackedArgs> (*)(void** argv);

struct Kernel {
  const void* function;
  Thunk call;
  Pack pack;
  std::string name;  // demangled
  std::string mangled;
};

/// Called through announce_kernel() before each launch; only the first call of a kernel counts.
void register_kernel(const void* function, Thunk call, Pack pack);
/// Null when nobody announced it: cudaErrorInvalidDeviceFunction.
const Kernel* find_kernel(const void* function);
/// How kernels with these parameters are called; `type` is the mangled type void(P...).
bool register_signature(const char* type, Thunk call, Pack pack);
/// The kernel whose mangled name this is; null when there is none. For programs built by nvcc, whose kernels as the
/// host compiled them are in the shared library that SLUICE_EMU_KERNELS names.
const Kernel* find_kernel_named(const char* mangled);

/// Limits are the caller's to check: the sizes are right, not 0, at most 1024 threads.
struct Launch {
  const Kernel* kernel;
  dim3 grid, block;
  size_t shared_bytes;  // dynamic shared memory
  std::shared_ptr<PackedArgs> args;
  OpId op;
  int device;
};
/// Runs every thread of every block and returns. Whatever is wrong is reported; a thread that meets an address without
/// memory ends there, and threads that wait for ever are dropped.
void run_grid(const Launch& launch);

// ---- device memory and who used it: memory.cpp, check.cpp ----

inline constexpr int kPinnedHost = -1;  // in place of a device: host memory that every device reaches

struct Allocation {
  uintptr_t begin;
  size_t bytes;
  int device;

  bool holds(uintptr_t address) const { return address - begin < bytes; }
};

/// Memory from now on known to the checker, with undefined contents. An address must not be given out twice in a
/// process: a late access to what was there before would not be seen.
void add_memory(const void* data, size_t bytes, int device);
/// Accesses from now on are uses after free. `data` is the beginning of a live allocation.
void remove_memory(const void* data);
/// The live allocation that holds the address, or null. Valid until the next add or remove.
const Allocation* find_memory(const void* address);
/// All live ones, in the order of addresses.
std::vector<Allocation> live_memory();

/// Declares that `op` (named `what` in reports and traffic) reads or writes a range of device or pinned memory: checks
/// bounds, that read bytes were written before, and that every earlier conflicting access happens before `op`. To be
/// called when the operation runs.
void touch(const void* data, size_t bytes, bool write, OpId op, const char* what);
/// The same for a copy between two ranges that the checker knows: bytes never written stay so at the destination.
void touch_copy(const void* to, const void* from, size_t bytes, OpId op, const char* what);
/// A write by the host during a call that no operation stands for (cudaMallocManaged, a synchronous upload): the bytes
/// count as written, by nobody in particular.
void mark_written(const void* data, size_t bytes);

// ---- reports: session.cpp ----

void report(Report::Kind kind, std::string text);
/// Reports only the first time that `place` (an address in the code, a name) breaks this kind of rule.
void report_once(Report::Kind kind, const std::string& place, std::string text);
/// Whether this is that first time, for reports whose text is dear; to be followed by report().
bool is_first(Report::Kind kind, const std::string& place);

// ---- what the device half asks of the stand-ins: world.cpp ----

/// Whether all that `earlier` did is visible to `later`. Both have begun to run. Transitive.
bool happens_before(OpId earlier, OpId later);
/// For reports: "op 12, adam_kernel, stream 3 of cuda:1".
std::string describe(OpId op);
/// Whether kernels on `device` may use memory of `owner`: the same, or a peer whose access was enabled.
bool reaches(int device, int owner);

/// A Session begins: the world of before is set aside, a new one has no streams, events, allocations or errors.
void begin_world(const Options& options);
/// It ends: what is still queued is dropped, what is alive is destroyed, the world of before is back.
void end_world();
/// Reports what was made in this world since the last call and is still alive.
void report_leaks();

}  // namespace emu
