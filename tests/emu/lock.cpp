// The stand-ins' one lock, the worlds, what each host thread has, and the thread that keeps host functions running.
#include <atomic>
#include <chrono>
#include <thread>

#include "emu/world.h"

namespace emu::rt {
namespace {

std::atomic<uint32_t> g_held{0};
std::atomic<uint32_t> g_activity{0};
bool g_pumping = false;  // under the lock

void acquire() {
  while (g_held.exchange(1, std::memory_order_acquire) != 0) g_held.wait(1, std::memory_order_relaxed);
}
void release() {
  close_device_memory();
  g_held.store(0, std::memory_order_release);
  g_held.notify_one();
}

/// The world of now is the last. Never destroyed: programs may call the runtime at their very end.
std::vector<std::unique_ptr<World>>& worlds() {
  static auto* all = new std::vector<std::unique_ptr<World>>;
  return *all;
}

void destroy_all_of(World& w) {
  const std::map<const void*, Memory> memory = w.memory;  // forgetting changes it
  for (const auto& entry : memory) forget_memory(entry.first);
}

}  // namespace

Lock::Lock() { acquire(); }
Lock::~Lock() { release(); }

uint32_t activity() { return g_activity.load(std::memory_order_relaxed); }
void note_activity() { g_activity.fetch_add(1, std::memory_order_relaxed); }

void pause_locked() {
  release();
  std::this_thread::sleep_for(std::chrono::microseconds(200));
  acquire();
}
void unlocked(const std::function<void()>& work) {
  release();
  work();
  acquire();
}

World& world() {
  if (worlds().empty()) worlds().push_back(std::make_unique<World>(emu::options()));
  return *worlds().back();
}

HostThread& host_thread() {
  static thread_local std::map<uint32_t, HostThread> by_world;
  return by_world[world().number];
}
int current_device() { return host_thread().device; }
void set_current_device(int device) { host_thread().device = device; }
int devices() { return world().options.devices; }
cudaError_t sticky_error() { return world().sticky; }
cudaError_t fail(cudaError_t code) {
  if (code != cudaSuccess) host_thread().last = code;
  return code;
}
cudaError_t refuse(cudaError_t code) {
  const Lock lock;
  return fail(code);
}

void made(const void* handle, Made what, std::string text) { world().things[handle] = {what, std::move(text)}; }
void unmade(const void* handle) {
  world().old_things.erase(handle);
  world().things.erase(handle);
}
bool is_alive(const void* handle, Made what) {
  const auto it = world().things.find(handle);
  return it != world().things.end() && it->second.first == what;
}

/// A host thread may wait, outside the runtime, for what a host function will say: then nobody would run what is
/// queued. So while host functions are queued, a thread looks every few milliseconds, and when nothing has moved since,
/// runs operations until one host function has run. Only programs with host functions lose repeatability by it.
void pump_host_functions() {
  if (g_pumping) return;
  g_pumping = true;
  std::thread([] {
    for (uint32_t seen = activity();; seen = activity()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      const Lock lock;
      World& w = world();
      if (w.host_functions == 0) {
        g_pumping = false;
        return;
      }
      const int queued = w.host_functions;
      if (activity() == seen)
        while (w.host_functions == queued && w.run_one()) continue;
    }
  }).detach();
}

}  // namespace emu::rt

namespace emu {

void begin_world(const Options& options) {
  const rt::Lock lock;
  rt::world();  // the outermost is made first
  rt::worlds().push_back(std::make_unique<rt::World>(options));
}

void end_world() {
  const rt::Lock lock;
  rt::destroy_all_of(rt::world());
  rt::worlds().pop_back();
}

void report_leaks() {
  const rt::Lock lock;
  rt::world().report_leaks();
}

}  // namespace emu
