// The history of every byte, exact with few entries: a reader that is ordered before another one may be forgotten,
// since whatever races with the first races with the second.
#include "emu/shadow.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace emu {
namespace {

constexpr uint32_t kAtomic = 1u << 31;  // of an interval

bool rivals(Stamp earlier, const Access& now) {
  return earlier.op != 0 && earlier.op != kNobody && !((earlier.interval & kAtomic) != 0 && now.atomic);
}
Stamp stamp(const Access& now) { return {now.who.op, now.who.interval | (now.atomic ? kAtomic : 0)}; }
Relation relation(Stamp earlier, const Access& now) {
  if (earlier.op == now.settled) return Relation::kOrdered;
  earlier.interval &= ~kAtomic;
  if (earlier.op == now.who.op && earlier.interval == now.who.interval) return Relation::kOrdered;
  return now.relation(earlier);
}

void judge(Stamp earlier, bool wrote, const Access& now, Finding& f) {
  if (f.relation != Relation::kOrdered || !rivals(earlier, now)) return;
  f.relation = relation(earlier, now);
  f.rival = earlier;
  f.rival_wrote = wrote;
}

}  // namespace

void Shadow::Free::operator()(Cell* cells) const { std::free(cells); }

Shadow::Shadow(size_t bytes) {
  const size_t count = bytes / 4 + 2;  // the first and the last cell may stand out
  auto* const cells = static_cast<Cell*>(std::calloc(count, sizeof(Cell)));
  if (cells == nullptr) throw std::bad_alloc();
  cells_.reset(cells);
}

template <class T>
uint32_t Shadow::Table<T>::add(T item) {
  if (unused.empty()) {
    items.push_back(std::move(item));
    return uint32_t(items.size() - 1);
  }
  const uint32_t i = unused.back();
  unused.pop_back();
  items[i] = std::move(item);
  return i;
}

Shadow::Bytes& Shadow::split(Cell& c) {
  if (c.write.op == kMany) return split_.items[c.write.interval];
  Bytes bytes;
  bytes.fill(c);
  if (c.read.op == kMany) {
    const Readers shared = readers_.items[c.read.interval];
    for (size_t i = 1; i < bytes.size(); ++i) bytes[i].read.interval = readers_.add(shared);
  }
  c = {{kMany, split_.add(bytes)}, {}};
  return split_.items[c.write.interval];
}

void Shadow::clear_readers(Cell& c) {
  if (c.read.op == kMany) readers_.drop(c.read.interval);
  c.read = {};
}

Finding Shadow::access(size_t offset, size_t bytes, const Access& now) {
  Finding f;
  const size_t end = offset + bytes;
  for (size_t cell = offset / 4; cell * 4 < end; ++cell) {
    Cell& c = cells_[cell];
    const size_t from = std::max(offset, cell * 4) % 4, to = std::min(end, cell * 4 + 4) - cell * 4;
    const bool whole = to - from == 4;
    if (whole && c.write.op != kMany) {
      visit(c, 4, now, f);
      continue;
    }
    for (size_t i = from; i < to; ++i) visit(split(c)[i], 1, now, f);
    if (!whole || !now.write) continue;
    split_.drop(c.write.interval);  // one history again: all four bytes are of this write
    c = {stamp(now), {}};
  }
  return f;
}

void Shadow::visit(Cell& c, int bytes, const Access& now, Finding& f) {
  if (now.write)
    write(c, bytes, now, f);
  else
    read(c, bytes, now, f);
}

void Shadow::write(Cell& c, int bytes, const Access& now, Finding& f) {
  if (c.write.op != now.who.op) f.fresh += bytes;
  judge(c.write, true, now, f);
  if (c.read.op == kMany) {
    for (const Stamp reader : readers_.items[c.read.interval]) judge(reader, false, now, f);
  } else {
    judge(c.read, false, now, f);
  }
  clear_readers(c);
  c.write = stamp(now);
}

void Shadow::read(Cell& c, int bytes, const Access& now, Finding& f) {
  const Stamp me = stamp(now);
  if (c.write.op == 0) f.unwritten = true;
  if (c.read.op == me.op && c.read.interval == me.interval) return;  // nothing has happened since
  judge(c.write, true, now, f);
  if (c.read.op == kMany) {
    Readers& readers = readers_.items[c.read.interval];
    const auto ours = [&](Stamp s) { return s.op == me.op; };
    if (std::none_of(readers.begin(), readers.end(), ours)) f.fresh += bytes;
    add_reader(readers, now);
    return;
  }
  if (c.read.op != me.op) f.fresh += bytes;
  if (c.read.op == 0 || relation(c.read, now) == Relation::kOrdered)
    c.read = me;
  else
    c.read = {kMany, readers_.add({c.read, me})};
}

/// Of the readers of one launch it is enough to keep two of different blocks, or of one block two of different warps,
/// or the lanes of one warp: every later write of the launch that races with a dropped one races with one of them.
void Shadow::add_reader(Readers& readers, const Access& now) {
  size_t kept = 0;
  Stamp farthest{};
  Relation far = Relation::kOrdered;
  for (const Stamp s : readers) {
    const Relation r = relation(s, now);
    if (r == Relation::kOrdered) continue;
    if (r == Relation::kBlock || r == Relation::kGrid) {
      if (r > far) farthest = s;
      far = std::max(far, r);
    }
    readers[kept++] = s;
  }
  readers.resize(kept);
  if (far != Relation::kOrdered) {
    std::erase_if(readers, [&](Stamp s) { return s.op == now.who.op; });
    readers.push_back(farthest);
  }
  readers.push_back(stamp(now));
}

bool Shadow::written(size_t offset) const {
  const Cell& c = cells_[offset / 4];
  return (c.write.op == kMany ? split_.items[c.write.interval][offset % 4] : c).write.op != 0;
}

void Shadow::forget(size_t offset, size_t bytes) {
  for (size_t i = offset; i < offset + bytes; ++i) {
    Cell& c = split(cells_[i / 4])[i % 4];
    clear_readers(c);
    c.write = {};
  }
}

void Shadow::reset(size_t used) {
  std::fill_n(cells_.get(), used / 4 + 2, Cell{});
  split_ = {};
  readers_ = {};
}

}  // namespace emu
