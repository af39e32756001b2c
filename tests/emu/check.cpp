// Receives the calls that -fsanitize=thread plants before every memory access of the kernel files (libtsan itself is
// not linked) and judges each: bounds, initialisation, races, bytes moved. Likewise for -fsanitize=alignment,bounds.
#include <dlfcn.h>

#include <algorithm>
#include <sstream>

#include "emu/device.h"
#include "emu/memory.h"
#include "emu/thread.h"

namespace emu {
namespace {

/// What a thread did between two of its synchronisations.
struct Interval {
  int thread;
  uint32_t barriers, warp_syncs;
};

struct Checker {
  const Launch* launch = nullptr;
  Traffic* traffic = nullptr;
  const DeviceThread* thread = nullptr;  // whose access is judged
  const RunningBlock* block = nullptr;

  // Intervals are numbered through the launch and kept for the running block: of the others only the block matters.
  std::vector<Interval> intervals;
  uint32_t first = 1, next = 1;
  std::vector<std::pair<uint32_t, uint32_t>> blocks;  // first interval, number of the block

  const std::byte* arena = nullptr;
  size_t arena_bytes = 0, arena_used = 0;
  std::vector<std::pair<const std::byte*, size_t>> objects;
  Shadow shared{0};

  OpId settled = 0;          // the last operation found to be ordered before the launch
  Memory* memory = nullptr;  // of the last access
  uint64_t version = 0;
};
Checker& checker() {
  static auto& c = *new Checker;
  return c;
}

Relation relation_in_grid(Stamp earlier) {
  Checker& c = checker();
  if (earlier.op != c.launch->op) {
    const Relation r = relation_of_operations(earlier.op, c.launch->op);
    if (r == Relation::kOrdered) c.settled = earlier.op;
    return r;
  }
  if (earlier.interval < c.first) return Relation::kGrid;
  const Interval& i = c.intervals[earlier.interval - c.first];
  if (i.thread == c.thread->number || i.barriers != c.block->barriers) return Relation::kOrdered;
  if (i.thread / 32 != c.thread->warp()) return Relation::kBlock;
  return c.thread->seen[size_t(i.thread % 32)] > i.warp_syncs ? Relation::kOrdered : Relation::kWarp;
}

/// Where in the program, for addr2line.
std::string code_place(const void* pc) {
  Dl_info info{};
  if (dladdr(pc, &info) == 0) return "?";
  const std::string file = info.dli_fname;
  std::ostringstream text;
  text << file.substr(file.rfind('/') + 1) << "+0x" << std::hex
       << reinterpret_cast<uintptr_t>(pc) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  return text.str();
}

std::string thread_name(uint32_t block, int thread) {
  return "thread " + std::to_string(thread) + " of block " + std::to_string(block);
}

std::string rival_name(Stamp s) {
  const Checker& c = checker();
  if (s.op != c.launch->op) return describe(s.op);
  s.interval &= ~(1u << 31);
  if (s.interval >= c.first) return thread_name(c.block->number, c.intervals[s.interval - c.first].thread);
  const auto behind = std::upper_bound(c.blocks.begin(), c.blocks.end(), std::pair(s.interval, ~0u));
  return "block " + std::to_string(std::prev(behind)->second);
}

/// One access of one thread.
struct Event {
  uintptr_t address;
  size_t bytes;
  bool write, atomic;
  const void* pc;
};

std::string location(uintptr_t address) {
  const Checker& c = checker();
  const auto* const data = reinterpret_cast<const std::byte*>(address);
  for (const auto& [begin, bytes] : c.objects)
    if (data >= begin && data < begin + bytes)
      return "at byte " + std::to_string(data - begin) + " of a shared object of " + std::to_string(bytes);
  if (data >= c.arena && data < c.arena + c.arena_bytes) return "in shared memory outside every object";
  return describe_address(address);
}

/// "k: thread 3 of block 1 reads 4 bytes DETAIL at 0x... [program+0x12]", with the rival of a race.
void report_access(Report::Kind kind, const Event& e, const char* detail = "", const Finding* race = nullptr) {
  if (!is_first(kind, std::to_string(reinterpret_cast<uintptr_t>(e.pc)))) return;
  const Checker& c = checker();
  std::string text = c.launch->kernel->name + ": " + thread_name(c.block->number, c.thread->number) +
                     (e.write ? " writes " : " reads ") + std::to_string(e.bytes) + " bytes " + detail +
                     location(e.address);
  if (race != nullptr)
    text +=
        (race->rival_wrote ? ", written by " : ", read by ") + rival_name(race->rival) + ", and nothing orders the two";
  report(kind, text + " [" + code_place(e.pc) + "]");
}

void report_findings(const Finding& f, const Event& e) {
  if (f.unwritten) report_access(Report::kUninitialised, e, "that nobody wrote, ");
  if (f.relation == Relation::kStream) report_access(Report::kStreamRace, e, "", &f);
  if (f.relation == Relation::kGrid) report_access(Report::kGridRace, e, "", &f);
  if (f.relation == Relation::kBlock || f.relation == Relation::kWarp) report_access(Report::kBlockRace, e, "", &f);
}

Access access_of(const DeviceThread& t, const Event& e) {
  const Checker& c = checker();
  return {{c.launch->op, t.interval}, e.write, e.atomic, c.settled, &relation_in_grid};
}

void judge_shared(const DeviceThread& t, const Event& e) {
  Checker& c = checker();
  const auto* const data = reinterpret_cast<const std::byte*>(e.address);
  for (const auto& [begin, bytes] : c.objects) {
    if (data < begin || data + e.bytes > begin + bytes) continue;
    return report_findings(c.shared.access(size_t(data - c.arena), e.bytes, access_of(t, e)), e);
  }
  report_access(Report::kOutOfBounds, e);
}

/// Remembers the allocation of the last access: most are to the same one.
void find_allocation(const Event& e) {
  Checker& c = checker();
  if (c.memory != nullptr && c.version == memory_version() && c.memory->allocation.holds(e.address)) return;
  c.memory = memory_at(e.address);
  c.version = memory_version();
  if (c.memory == nullptr) {
    report_access(kind_of_miss(e.address), e);
    stop_thread();
  }
  const int owner = c.memory->allocation.device;
  if (owner != kPinnedHost && !reaches(c.launch->device, owner))
    report_access(Report::kWrongDevice, e, "of a device that its own does not reach, ");
}

void judge_global(const DeviceThread& t, const Event& e) {
  find_allocation(e);
  Checker& c = checker();
  const Allocation& a = c.memory->allocation;
  if (e.bytes > a.begin + a.bytes - e.address) return report_access(Report::kOutOfBounds, e, "over the end, ");
  const Finding f = c.memory->shadow.access(c.memory->offset(e.address), e.bytes, access_of(t, e));
  if (e.write) {
    c.traffic->written += f.fresh;
    c.traffic->stores += int64_t(e.bytes);
  } else {
    c.traffic->read += f.fresh;
    c.traffic->loads += int64_t(e.bytes);
  }
  report_findings(f, e);
}

void judge(const void* data, size_t bytes, bool write, bool atomic, const void* pc) {
  DeviceThread* const t = current_thread;
  if (t == nullptr) return;  // the host half of a kernel file
  const auto* const address = static_cast<const std::byte*>(data);
  if (address >= t->stack_begin && address < t->stack_end) return;
  current_thread = nullptr;
  Checker& c = checker();
  c.thread = t;
  if (t->interval == 0) {
    t->interval = c.next++;
    c.intervals.push_back({t->number, t->block->barriers, t->seen[size_t(t->lane())]});
  }
  const Event e{reinterpret_cast<uintptr_t>(data), bytes, write, atomic, pc};
  if (address >= c.arena && address < c.arena + c.arena_bytes)
    judge_shared(*t, e);
  else
    judge_global(*t, e);
  current_thread = t;
}

/// An access that the compiler believes to be aligned to its size.
void judge_whole(const void* data, size_t bytes, bool write, const void* pc) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  if (address % bytes != 0 && current_thread != nullptr) {
    checker().thread = current_thread;
    DeviceThread* const t = std::exchange(current_thread, nullptr);
    report_access(Report::kMisaligned, {address, bytes, write, false, pc}, "at once, misaligned, ");
    current_thread = t;
  }
  judge(data, bytes, write, false, pc);
}

}  // namespace

void check_begin_grid(const Launch& launch) {
  Checker& c = checker();
  c.launch = &launch;
  c.traffic = &traffic_of(launch.kernel->name);
  c.first = c.next = 1;
  c.blocks.clear();
  c.settled = 0;
  c.memory = nullptr;  // another device may not reach it
}

void check_begin_block(const RunningBlock& block, const std::byte* shared, size_t shared_bytes) {
  Checker& c = checker();
  if (c.arena != shared) {
    c.arena = shared;
    c.arena_bytes = shared_bytes;
    c.shared = Shadow(shared_bytes);
  }
  c.block = &block;
  c.first = c.next;
  c.intervals.clear();
  c.blocks.emplace_back(c.first, block.number);
  c.shared.reset(c.arena_used);
  c.arena_used = 0;
  c.objects.clear();
}

void check_shared_object(const void* data, size_t bytes) {
  Checker& c = checker();
  const auto* const begin = static_cast<const std::byte*>(data);
  c.objects.emplace_back(begin, bytes);
  c.arena_used = size_t(begin + bytes - c.arena);
}

void check_end_grid() { checker().launch = nullptr; }

void note_atomic(const void* data, size_t bytes) { judge(data, bytes, true, true, __builtin_return_address(0)); }

/// How the descriptions that -fsanitize=alignment,bounds passes begin.
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

namespace {

void report_at(Report::Kind kind, const SourceLocation& at, const std::string& text) {
  DeviceThread* const t = std::exchange(current_thread, nullptr);
  const std::string path = at.file, place = path.substr(path.rfind('/') + 1) + ":" + std::to_string(at.line);
  const std::string who = t == nullptr
                              ? std::string("host code")
                              : t->block->launch->kernel->name + ": " + thread_name(t->block->number, t->number);
  report_once(kind, place, who + " " + text + " [" + place + "]");
  current_thread = t;
}

}  // namespace
}  // namespace emu

using emu::judge;
using emu::judge_whole;

// The compiler chooses these names.
// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read1(void* p) { judge(p, 1, false, false, __builtin_return_address(0)); }
void __tsan_read2(void* p) { judge_whole(p, 2, false, __builtin_return_address(0)); }
void __tsan_read4(void* p) { judge_whole(p, 4, false, __builtin_return_address(0)); }
void __tsan_read8(void* p) { judge_whole(p, 8, false, __builtin_return_address(0)); }
void __tsan_read16(void* p) { judge_whole(p, 16, false, __builtin_return_address(0)); }
void __tsan_write1(void* p) { judge(p, 1, true, false, __builtin_return_address(0)); }
void __tsan_write2(void* p) { judge_whole(p, 2, true, __builtin_return_address(0)); }
void __tsan_write4(void* p) { judge_whole(p, 4, true, __builtin_return_address(0)); }
void __tsan_write8(void* p) { judge_whole(p, 8, true, __builtin_return_address(0)); }
void __tsan_write16(void* p) { judge_whole(p, 16, true, __builtin_return_address(0)); }
void __tsan_unaligned_read2(void* p) { judge(p, 2, false, false, __builtin_return_address(0)); }
void __tsan_unaligned_read4(void* p) { judge(p, 4, false, false, __builtin_return_address(0)); }
void __tsan_unaligned_read8(void* p) { judge(p, 8, false, false, __builtin_return_address(0)); }
void __tsan_unaligned_read16(void* p) { judge(p, 16, false, false, __builtin_return_address(0)); }
void __tsan_unaligned_write2(void* p) { judge(p, 2, true, false, __builtin_return_address(0)); }
void __tsan_unaligned_write4(void* p) { judge(p, 4, true, false, __builtin_return_address(0)); }
void __tsan_unaligned_write8(void* p) { judge(p, 8, true, false, __builtin_return_address(0)); }
void __tsan_unaligned_write16(void* p) { judge(p, 16, true, false, __builtin_return_address(0)); }
void __tsan_read_range(void* p, size_t bytes) { judge(p, bytes, false, false, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t bytes) { judge(p, bytes, true, false, __builtin_return_address(0)); }

// Of the host halves: owners' counts and the guards of local statics. Kernels' atomics come through note_atomic().
int __tsan_atomic32_fetch_add(volatile int* p, int v, int order) { return __atomic_fetch_add(p, v, order); }
char __tsan_atomic8_load(const volatile char* p, int order) { return __atomic_load_n(p, order); }

void __ubsan_handle_type_mismatch_v1(const emu::SourceLocation* at, uintptr_t pointer) {
  std::ostringstream text;
  text << "uses the misaligned address 0x" << std::hex << pointer;
  emu::report_at(emu::Report::kMisaligned, *at, text.str());
}
void __ubsan_handle_out_of_bounds(const emu::SourceLocation* at, uintptr_t index) {
  emu::report_at(emu::Report::kOutOfBounds, *at, "uses index " + std::to_string(int64_t(index)) + " of an array");
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
