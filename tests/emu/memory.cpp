// The table of live device memory, and the accesses that whole operations declare: copies and library calls.
#include "emu/memory.h"

#include <map>
#include <sstream>
#include <utility>

namespace emu {
namespace {

struct State {
  std::map<uintptr_t, Memory> live;   // by first address
  std::map<uintptr_t, size_t> freed;  // bytes
  uint64_t version = 1;
  std::map<std::string, Traffic, std::less<>> traffic;
  struct Answer {
    OpId earlier = 0, now = 0;
    Relation relation = Relation::kOrdered;
  };
  std::array<Answer, 256> answers;  // about two operations, the newest at the earlier one's place
};
State& state() {
  static auto& s = *new State;  // memory may be freed until the process ends
  return s;
}

template <class Map>
auto range_at(Map& map, uintptr_t address) {
  auto at = map.upper_bound(address);
  return at == map.begin() ? map.end() : --at;
}

std::string device_name(int device) { return device == kPinnedHost ? "the host" : "cuda:" + std::to_string(device); }

OpId running = 0;  // the operation that touch() is called for
Relation relation_of_running(Stamp earlier) { return relation_of_operations(earlier.op, running); }

/// One range of a touch; null when it does not lie in live memory, which has been reported then.
Memory* checked_range(uintptr_t begin, size_t bytes, const char* what) {
  Memory* const m = memory_at(begin);
  if (m == nullptr) {
    report_once(kind_of_miss(begin), what,
                std::string(what) + ": " + std::to_string(bytes) + " bytes " + describe_address(begin));
    return nullptr;
  }
  const Allocation& a = m->allocation;
  if (bytes <= a.begin + a.bytes - begin) return m;
  report_once(Report::kOutOfBounds, what,
              std::string(what) + ": " + std::to_string(bytes) + " bytes run over the end, " + describe_address(begin));
  return nullptr;
}

void report_finding(const Finding& f, const Access& now, uintptr_t begin, const char* what) {
  if (f.unwritten)
    report_once(Report::kUninitialised, what,
                std::string(what) + ": reads bytes that nobody wrote, " + describe_address(begin));
  if (f.relation == Relation::kOrdered) return;
  report_once(Report::kStreamRace, what + describe(f.rival.op),
              describe(now.who.op) + (now.write ? " writes" : " reads") + " what " + describe(f.rival.op) +
                  (f.rival_wrote ? " writes" : " reads") + ", and nothing orders the two, " + describe_address(begin));
}

/// Without the check for bytes never written.
Finding raw_touch(Memory& m, uintptr_t begin, size_t bytes, const Access& now, Traffic& traffic) {
  running = now.who.op;
  const Finding f = m.shadow.access(m.offset(begin), bytes, now);
  (now.write ? traffic.written : traffic.read) += f.fresh;
  (now.write ? traffic.stores : traffic.loads) += int64_t(bytes);
  return f;
}

}  // namespace

void add_memory(const void* data, size_t bytes, int device) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  State& s = state();
  for (auto at = s.freed.lower_bound(begin); at != s.freed.end() && at->first < begin + bytes;) at = s.freed.erase(at);
  s.live.emplace(begin, Allocation{begin, bytes, device});
  ++s.version;
}

void remove_memory(const void* data) {
  State& s = state();
  const auto at = s.live.find(reinterpret_cast<uintptr_t>(data));
  if (at == s.live.end()) return;
  s.freed[at->first] = at->second.allocation.bytes;
  s.live.erase(at);
  ++s.version;
}

Memory* memory_at(uintptr_t address) {
  State& s = state();
  const auto at = range_at(s.live, address);
  return at != s.live.end() && at->second.allocation.holds(address) ? &at->second : nullptr;
}
uint64_t memory_version() { return state().version; }

const Allocation* find_memory(const void* address) {
  const Memory* const m = memory_at(reinterpret_cast<uintptr_t>(address));
  return m == nullptr ? nullptr : &m->allocation;
}

std::vector<Allocation> live_memory() {
  std::vector<Allocation> all;
  for (const auto& [begin, memory] : state().live) all.push_back(memory.allocation);
  return all;
}

Report::Kind kind_of_miss(uintptr_t address) {
  const auto at = range_at(state().freed, address);
  const bool freed = at != state().freed.end() && address - at->first < at->second;
  return freed ? Report::kUseAfterFree : Report::kOutOfBounds;
}

std::string describe_address(uintptr_t address) {
  std::ostringstream text;
  text << "at 0x" << std::hex << address << std::dec;
  if (const Memory* m = memory_at(address)) {
    const Allocation& a = m->allocation;
    text << " (byte " << address - a.begin << " of " << a.bytes << " on " << device_name(a.device) << ")";
    return text.str();
  }
  if (kind_of_miss(address) == Report::kUseAfterFree) {
    text << " (freed memory)";
    return text.str();
  }
  text << " (no device memory";
  const auto before = range_at(state().live, address);
  if (before != state().live.end()) {
    const Allocation& a = before->second.allocation;
    text << "; " << address - a.begin - a.bytes << " bytes behind " << a.bytes << " bytes on " << device_name(a.device);
  }
  text << ")";
  return text.str();
}

Relation relation_of_operations(OpId earlier, OpId now) {
  if (earlier == now || earlier == kNobody) return Relation::kOrdered;
  auto& answers = state().answers;
  auto& known = answers[earlier % answers.size()];
  if (known.earlier != earlier || known.now != now)
    known = {earlier, now, happens_before(earlier, now) ? Relation::kOrdered : Relation::kStream};
  return known.relation;
}

void touch(const void* data, size_t bytes, bool write, OpId op, const char* what) {
  if (bytes == 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(data);
  Memory* const m = checked_range(begin, bytes, what);
  if (m == nullptr) return;
  const Access now{.who = {op, 0}, .write = write, .atomic = false, .settled = 0, .relation = &relation_of_running};
  report_finding(raw_touch(*m, begin, bytes, now, traffic_of(what)), now, begin, what);
}

void touch_copy(const void* to, const void* from, size_t bytes, OpId op, const char* what) {
  if (bytes == 0) return;
  const auto source = reinterpret_cast<uintptr_t>(from), target = reinterpret_cast<uintptr_t>(to);
  Memory* const s = checked_range(source, bytes, what);
  Memory* const t = checked_range(target, bytes, what);
  if (s == nullptr || t == nullptr) return;
  Access now{.who = {op, 0}, .write = false, .atomic = false, .settled = 0, .relation = &relation_of_running};
  Finding f = raw_touch(*s, source, bytes, now, traffic_of(what));
  const bool whole = !std::exchange(f.unwritten, false);
  report_finding(f, now, source, what);
  now.write = true;
  report_finding(raw_touch(*t, target, bytes, now, traffic_of(what)), now, target, what);
  for (size_t i = 0; !whole && i < bytes; ++i)
    if (!s->shadow.written(s->offset(source + i))) t->shadow.forget(t->offset(target + i), 1);
}

void mark_written(const void* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  Memory* const m = bytes == 0 ? nullptr : checked_range(begin, bytes, "the host");
  if (m == nullptr) return;
  const auto ordered = [](Stamp) { return Relation::kOrdered; };
  m->shadow.access(m->offset(begin), bytes,
                   {.who = {kNobody, 0}, .write = true, .atomic = false, .settled = 0, .relation = ordered});
}

Traffic& traffic_of(const std::string& name) { return state().traffic[name]; }

Traffic traffic(std::string_view part) {
  Traffic sum;
  for (const auto& [name, t] : state().traffic) {
    if (name.find(part) == std::string::npos) continue;
    sum.read += t.read;
    sum.written += t.written;
    sum.loads += t.loads;
    sum.stores += t.stores;
  }
  return sum;
}

void reset_traffic() {
  for (auto& [name, t] : state().traffic) t = {};
}

}  // namespace emu
