// Where device and pinned memory come from: reserved ranges of addresses, none of which is given out twice. Device
// memory is closed to the host except while operations run, so that host code which follows a device pointer is caught;
// all of it, so a touch by one host thread while another one's call runs operations is not.
#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "emu/world.h"

namespace emu::rt {
namespace {

constexpr size_t kBlock = 512;  // allocations begin on such addresses, as the driver's do, with a gap between them

struct Range {
  std::byte* begin = nullptr;
  size_t bytes = 0, used = 0;

  bool holds(const void* p) const { return size_t(static_cast<const std::byte*>(p) - begin) < bytes; }
};

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
size_t page() {
  static const auto size = size_t(sysconf(_SC_PAGESIZE));
  return size;
}

/// Addresses only: pages exist once they are written.
Range reserve() {
  for (size_t bytes = size_t{8} << 40; bytes >= size_t{1} << 30; bytes /= 2) {
    void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) return {static_cast<std::byte*>(p), bytes, 0};
  }
  std::fputs("emu: no addresses for device memory\n", stderr);
  std::abort();
}

Range g_device, g_pinned;
bool g_open = false;  // under the lock

/// What the host touched while device memory was closed: noted by the signal handler, reported under the lock.
struct HostTouch {
  void* address;
  void* code;
};
std::array<HostTouch, 64> g_touches;
std::atomic<size_t> g_touched{0};
struct sigaction g_previous;

void* code_of(const void* context) {
#if defined(__x86_64__)
  return reinterpret_cast<void*>(static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<void*>(static_cast<const ucontext_t*>(context)->uc_mcontext.pc);
#else
  return nullptr;
#endif
}

/// The touch is let through, so that the test goes on and reports it. Other faults are whosever they were.
void on_fault(int, siginfo_t* info, void* context) {
  const Range* range = g_device.holds(info->si_addr) ? &g_device : g_pinned.holds(info->si_addr) ? &g_pinned : nullptr;
  if (range == nullptr || info->si_addr >= range->begin + range->used) {
    sigaction(SIGSEGV, &g_previous, nullptr);
    return;  // the fault comes again
  }
  const size_t n = g_touched.fetch_add(1);
  if (n < g_touches.size()) g_touches[n] = {info->si_addr, code_of(context)};
  auto* const begin =
      range->begin + (static_cast<std::byte*>(info->si_addr) - range->begin) / int64_t(page()) * int64_t(page());
  mprotect(begin, page(), PROT_READ | PROT_WRITE);
}

void install() {
  if (g_device.begin != nullptr) return;
  g_device = reserve();
  g_pinned = reserve();
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &g_previous);
}

std::string place_of(void* code) {
  Dl_info info{};
  if (dladdr(code, &info) != 0 && info.dli_sname != nullptr) return info.dli_sname;
  char text[32];
  std::snprintf(text, sizeof text, "%p", code);
  return text;
}

void report_touches() {
  const size_t touched = g_touched.exchange(0);
  for (size_t i = 0; i < std::min(touched, g_touches.size()); ++i) {
    const HostTouch& t = g_touches[i];
    const bool pinned = g_pinned.holds(t.address);
    const Allocation* a = find_memory(t.address);
    const std::string where = a == nullptr
                                  ? "no live allocation"
                                  : "+" + std::to_string(uintptr_t(t.address) - a->begin) + " of " +
                                        std::to_string(a->bytes) + " bytes of cuda:" + std::to_string(a->device);
    report_once(pinned ? Report::kUseAfterFree : Report::kHostTouch, place_of(t.code),
                "the host used " + std::string(pinned ? "freed pinned" : "device") + " memory (" + where + ") in " +
                    place_of(t.code));
  }
}

}  // namespace

void* reserve_memory(size_t bytes, bool device) {
  install();
  Range& r = device ? g_device : g_pinned;
  const size_t whole = rounded(std::max<size_t>(bytes, 1), kBlock) + kBlock;
  if (!device) r.used = rounded(r.used, page());
  if (r.used + whole + page() > r.bytes) return nullptr;
  std::byte* const data = r.begin + r.used;
  r.used += whole;
  if (device) {
    g_open = false;  // the new pages are not yet
    open_device_memory();
  } else {
    mprotect(data, rounded(whole, page()), PROT_READ | PROT_WRITE);
  }
  return data;
}

void release_memory(void* data, size_t bytes, bool device) {
  auto* const begin = reinterpret_cast<std::byte*>(rounded(reinterpret_cast<size_t>(data), page()));
  auto* const end = reinterpret_cast<std::byte*>((reinterpret_cast<size_t>(data) + bytes) / page() * page());
  if (device) {
    if (begin < end) madvise(begin, size_t(end - begin), MADV_DONTNEED);
    return;
  }
  const size_t whole = rounded(rounded(std::max<size_t>(bytes, 1), kBlock) + kBlock, page());
  madvise(data, whole, MADV_DONTNEED);
  mprotect(data, whole, PROT_NONE);
}

bool in_device_range(const void* data) { return g_device.begin != nullptr && g_device.holds(data); }

void open_device_memory() {
  if (g_open || g_device.used == 0) return;
  mprotect(g_device.begin, rounded(g_device.used, page()), PROT_READ | PROT_WRITE);
  g_open = true;
}

void close_device_memory() {
  if (g_touched.load() != 0) {
    report_touches();
    g_open = true;  // a page of it is
  }
  if (!g_open) return;
  mprotect(g_device.begin, rounded(g_device.used, page()), PROT_NONE);
  g_open = false;
}

}  // namespace emu::rt
