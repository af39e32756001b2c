// Streams as queues, and the choice of what runs next: any order that CUDA allows, picked by seed. Vector clocks
// follow.
#include "emu/world.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

namespace emu::rt {
namespace {

/// What is kept of an operation for ever: its place in its stream's clock, and its name for reports.
struct Record {
  uint32_t world, slot, count;
  uint32_t stream;
  int device;
  const std::string* name;
};

std::deque<Record>& records() {
  static auto* all = new std::deque<Record>(1);  // never destroyed: programs may call the runtime at their very end
  return *all;
}
const std::string* interned(std::string name) {
  static auto* names = new std::set<std::string>;
  return &*names->insert(std::move(name)).first;
}

double steady_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Host threads that could still queue something.
bool others_may_act(int waiting) {
  std::error_code failed;
  const auto tasks = std::filesystem::directory_iterator("/proc/self/task", failed);
  return failed || std::distance(begin(tasks), end(tasks)) > waiting;
}

constexpr double kPatience = 2;  // seconds without any activity, after which waiting is called a deadlock

std::string text_of(const Stream& s) {
  return (s.legacy ? "the legacy stream" : "stream " + std::to_string(s.number)) +
         " of cuda:" + std::to_string(s.device);
}

}  // namespace

OpId id(const Op& op) { return op.id; }
bool is_done(const Op& op) { return op.done; }
bool is_head(const Op& op) { return !op.stream->queue.empty() && op.stream->queue.front().get() == &op; }
int device_of(const Stream& stream) { return stream.device; }
OpPtr push(Stream& stream, std::string name, Work work) {
  return world().push(stream, std::move(name), std::move(work));
}
void follow(Op& later, const Op& earlier) {
  later.clock.join(earlier.known);
  later.stream->clock.join(earlier.known);
}

World::World(const Options& o)
    : options(o),
      number([] {
        static uint32_t worlds = 0;
        return ++worlds;
      }()),
      gpus_(size_t(std::max(o.devices, 0))),
      random_(o.seed) {}

World::~World() = default;

uint32_t World::free_slot() {
  for (auto it = retired_.begin(); it != retired_.end(); ++it) {
    if (host_->of(it->first) < it->second) continue;  // what comes now would seem to follow what the host never saw end
    const uint32_t slot = it->first;
    retired_.erase(it);
    return slot;
  }
  return slots_++;
}

Stream& World::make_stream(int device, unsigned flags, int priority) {
  Stream& s = streams_.emplace_back();
  s.number = uint32_t(streams_.size());
  s.slot = free_slot();
  s.count = host_->of(s.slot);
  s.device = device;
  s.flags = flags;
  s.priority = priority;
  s.blocking = (flags & cudaStreamNonBlocking) == 0;
  active_.push_back(&s);
  return s;
}

Stream& World::legacy(int device) {
  Gpu& g = gpu(device);
  if (g.legacy == nullptr) {
    g.legacy = &make_stream(device, cudaStreamDefault, 0);
    g.legacy->legacy = true;
  }
  return *g.legacy;
}

Stream& World::per_thread(int device) {
  static thread_local const char thread = 0;
  Stream*& s = per_thread_[{reinterpret_cast<size_t>(&thread), device}];
  if (s == nullptr) s = &make_stream(device, cudaStreamDefault, 0);
  return *s;
}

CUevent_st& World::make_event(int device, unsigned flags) {
  CUevent_st& e = events_.emplace_back();
  e.number = uint32_t(events_.size());
  e.device = device;
  e.flags = flags;
  return e;
}

void World::destroy(Stream& s) {
  s.destroyed = true;
  things.erase(&s);
  if (!s.queue.empty()) return;  // what it holds still runs: see finish()
  active_.erase(std::find(active_.begin(), active_.end(), &s));
  retired_.emplace_back(s.slot, s.count);
}

/// Blocking streams and the legacy stream of a device order each other: each operation waits for what the other kind
/// had been given before.
void World::keep_legacy_order(const Stream& s, std::vector<OpPtr>& after) const {
  if (!s.blocking) return;
  for (const Stream* other : active_)
    if (other != &s && other->device == s.device && other->blocking && other->last && (s.legacy || other->legacy))
      after.push_back(other->last);
}

OpPtr World::push(Stream& s, std::string name, Work work) {
  auto op = std::make_shared<Op>();
  op->id = OpId(records().size());
  records().push_back({number, s.slot, 0, s.number, s.legacy ? ~s.device : s.device, interned(std::move(name))});
  op->stream = &s;
  op->work = std::move(work);
  op->issued = host_;
  keep_legacy_order(s, op->work.after);
  if (op->work.on_host) {
    ++host_functions;
    pump_host_functions();
  }
  if (sticky != cudaSuccess) return op;  // a lost device takes no work
  s.queue.push_back(op);
  s.last = op;
  note_activity();
  if (!options.lazy)
    while (run_one()) continue;
  return op;
}

bool World::gather_set(const OpPtr& head, OpSet& set) const {
  set = {head};
  for (size_t i = 0; i < set.size(); ++i) {
    const OpPtr op = set[i];
    if (op->running || !is_head(*op)) return false;
    for (const OpPtr& a : op->work.after)
      if (!a->done) return false;
    if (op->work.ready && !op->work.ready(set)) return false;
    for (size_t j = i + 1; j < set.size();)
      if (std::find(set.begin(), set.begin() + int64_t(j), set[j]) != set.begin() + int64_t(j))
        set.erase(set.begin() + int64_t(j));
      else
        ++j;
  }
  return true;
}

std::vector<Stream*> World::busy_streams() const {
  std::vector<Stream*> busy;
  for (Stream* s : active_)
    if (!s->queue.empty()) busy.push_back(s);
  return busy;
}

bool World::run_one() {
  std::vector<Stream*> heads = busy_streams();
  const auto older = [](const Stream* a, const Stream* b) { return a->queue.front()->id < b->queue.front()->id; };
  if (options.order == Order::kRandom)
    std::shuffle(heads.begin(), heads.end(), random_);
  else
    std::sort(heads.begin(), heads.end(), older);
  if (options.order == Order::kLifo) std::reverse(heads.begin(), heads.end());
  OpSet set;
  for (const Stream* s : heads) {
    if (!gather_set(s->queue.front(), set)) continue;
    open_device_memory();
    for (const OpPtr& op : set) start(*op);
    for (const OpPtr& op : set)
      if (op->work.gather) op->work.gather(op->id);
    for (const OpPtr& op : set) run(*op);
    for (const OpPtr& op : set) finish(*op);
    note_activity();
    return true;
  }
  return false;
}

void World::start(Op& op) {
  Stream& s = *op.stream;
  s.clock.join(*op.issued);
  for (const OpPtr& a : op.work.after) s.clock.join(a->clock);
  s.clock.set(s.slot, ++s.count);
  op.known = op.clock = s.clock;
  op.running = true;
  records()[op.id].count = s.count;
  running_.push_back(&op);
}

void World::run(Op& op) {
  if (op.work.on_host) {
    host_sees(op.clock);
    unlocked(op.work.on_host);
    --host_functions;
  } else if (op.work.run) {
    op.work.run(op.id);
  }
}

void World::finish(Op& op) {
  Stream& s = *op.stream;
  running_.erase(std::find(running_.begin(), running_.end(), &op));
  op.running = false;
  op.done = true;
  op.time = steady_now();
  gpu(s.device).done.join(op.clock);
  op.work = {};
  op.issued.reset();
  if (s.queue.empty()) return;  // the world ended in a deadlock while a host function ran
  const OpPtr self = s.queue.front();
  s.queue.pop_front();
  if (s.destroyed && s.queue.empty()) destroy(s);
}

void World::host_sees(const Clock& clock) {
  auto joined = std::make_shared<Clock>(*host_);
  joined->join(clock);
  host_ = std::move(joined);
}

cudaError_t World::wait(const char* call, const OpSet& ops) {
  const auto all_done = [&] {
    return std::all_of(ops.begin(), ops.end(), [](const OpPtr& op) { return !op || op->done; });
  };
  const cudaError_t code = drive(call, all_done);
  for (const OpPtr& op : ops)
    if (op && op->done) host_sees(op->clock);
  return code;
}

cudaError_t World::wait_for_device(const char* call, int device) {
  OpSet ops;
  for (const Stream* s : active_)
    if (s->device == device) ops.push_back(s->last);
  const cudaError_t code = wait(call, ops);
  host_sees(gpu(device).done);
  return code;
}

bool World::happens_before(OpId earlier, OpId later) const {
  if (earlier == 0 || earlier >= records().size()) return true;
  const Record& r = records()[earlier];
  if (r.world != number) return true;
  for (const Op* op : running_)
    if (op->id == later) return earlier == later || (r.count != 0 && op->clock.of(r.slot) >= r.count);
  return true;  // only what runs can race
}

void World::wait_for_others(const char* call) {
  const uint32_t seen = activity();
  const double begin = steady_now();
  while (activity() == seen && sticky == cudaSuccess) {
    const bool patient = steady_now() - begin < kPatience || !running_.empty();
    if (!patient || (running_.empty() && !others_may_act(waiting_))) return report_deadlock(call);
    pause_locked();
  }
}

void World::report_deadlock(const char* call) {
  std::string heads;
  for (Stream* s : busy_streams()) heads += " [" + text_of(*s) + ": " + *records()[s->queue.front()->id].name + "]";
  report(Report::kDeadlock, std::string(call) + " waits for ever; heads:" + (heads.empty() ? " none" : heads));
  sticky = cudaErrorLaunchTimeout;
  for (Stream* s : active_) s->queue.clear();
  host_functions = 0;
  note_activity();
}

void World::drain() {
  drive("the end of the test", [&] { return busy_streams().empty(); });
}

void World::report_leaks() {
  drain();
  for (const auto& [thing, what] : things)
    if (old_things.insert(thing).second)
      report(Report::kLeak, what.second + (what.first == Made::kMemory ? " were never freed" : " was never destroyed"));
}

}  // namespace emu::rt

namespace emu {

bool happens_before(OpId earlier, OpId later) { return rt::world().happens_before(earlier, later); }

std::string describe(OpId op) {
  if (op == 0 || op >= rt::records().size()) return "the host";
  const rt::Record& r = rt::records()[op];
  const bool legacy = r.device < 0;
  return "op " + std::to_string(op) + ", " + *r.name + ", " +
         (legacy ? "the legacy stream" : "stream " + std::to_string(r.stream)) +
         " of cuda:" + std::to_string(legacy ? ~r.device : r.device);
}

bool reaches(int device, int owner) {
  return owner == kPinnedHost || owner == device || rt::world().gpu(device).peers.count(owner) != 0;
}

}  // namespace emu
