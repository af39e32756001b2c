// The pool: best fit over freed blocks, small blocks cut from slabs, waits where another stream used the block last.
#include "engine/storage.h"

#include <algorithm>
#include <cassert>
#include <iostream>

#include "engine/sanitizer.h"
#include "engine/stream_core.h"

namespace sluice {
namespace {

constexpr size_t kSlab = size_t{2} << 20;

/// Sizes repeat from step to step, but not exactly (batch tails, workspaces): classes keep one block serving several.
size_t size_class(size_t bytes) {
  const size_t step = bytes < 4096 ? 256 : bytes < kSlab / 2 ? 4096 : size_t{64} << 10;
  return (std::max<size_t>(bytes, 1) + step - 1) / step * step;
}
bool fits(size_t block, size_t wanted) { return block <= wanted + wanted / 8 + 4096; }

}  // namespace

const char* name(MemoryTag t) {
  constexpr const char* kNames[] = {"weights", "grads", "optimizer", "activations", "aux", "stash", "workspace", "io"};
  return kNames[size_t(t)];
}

Storage::Storage(void* data, size_t bytes, MemoryTag tag, Stream stream, Release release)
    : data_(data), bytes_(bytes), tag_(tag), stream_(std::move(stream)), release_(std::move(release)) {}

Storage::~Storage() {
  try {
    release_(*this);
  } catch (const std::exception& e) {  // a destructor has nobody to throw to
    std::cerr << "sluice: releasing " << bytes_ << " bytes of " << name(tag_) << ": " << e.what() << '\n';
  }
}

void Storage::record_use(const Stream& s) {
  if (s == stream_) return;
  const std::lock_guard lock(mutex_);
  if (std::find(users_.begin(), users_.end(), s) == users_.end()) users_.push_back(s);
}

bool Storage::has_other_users() const {
  const std::lock_guard lock(mutex_);
  return !users_.empty();
}

Pool::Pool(Device device, RawMemory raw) : device_(device), raw_(std::move(raw)) {}

Pool::~Pool() {
  for (const auto& [size, block] : free_)
    for (const Event& e : block.wait_for) {  // another stream may still be reading
      try {
        e.sync();
      } catch (...) {  // that stream keeps its error and tells its own users
      }
    }
  for (const auto& [data, bytes] : regions_) raw_.free(data, bytes);
}

StoragePtr Pool::allocate(const Stream& stream, size_t bytes, MemoryTag tag) {
  assert(&stream.pool() == this);  // reuse is safe in the order of one stream only
  Block b = take(bytes, tag);
  for (const Event& e : b.wait_for) stream.core()->wait_for_memory(e);
  if constexpr (kAsan)
    if (device_.is_cpu()) stream.enqueue([p = b.data, bytes](CpuContext&) { unpoison(p, bytes); });
  return std::make_shared<Storage>(b.data, b.bytes, tag, stream, [this](Storage& s) { give_back(s); });
}

void* Pool::allocate_raw(size_t bytes, MemoryTag tag) {
  const std::lock_guard lock(mutex_);
  auto* data = static_cast<std::byte*>(from_system(bytes + 2 * red_zone(), tag));
  poison(data, red_zone());
  poison(data + red_zone() + bytes, red_zone());
  count(tag, int64_t(bytes));
  kept_ += int64_t(bytes);
  return data + red_zone();
}

void Pool::free_raw(void* data, size_t bytes, MemoryTag tag) {
  const std::lock_guard lock(mutex_);
  void* const begin = static_cast<std::byte*>(data) - red_zone();
  const auto region = std::find_if(regions_.begin(), regions_.end(), [&](const auto& r) { return r.first == begin; });
  assert(region != regions_.end());
  raw_.free(region->first, region->second);
  taken_ -= region->second;
  regions_.erase(region);
  count(tag, -int64_t(bytes));
  kept_ -= int64_t(bytes);
}

Pool::Block Pool::take(size_t bytes, MemoryTag tag) {
  const size_t wanted = size_class(bytes + 2 * red_zone()) - 2 * red_zone();  // with its red zones it fills its class
  const std::lock_guard lock(mutex_);
  Block b;
  if (auto it = free_.lower_bound(wanted); it != free_.end() && fits(it->first, wanted)) {
    b = std::move(it->second);
    free_.erase(it);
  } else {
    b = fresh(wanted, tag);
  }
  count(tag, int64_t(b.bytes));
  in_use_all_ += int64_t(b.bytes);
  peak_all_ = std::max(peak_all_, in_use_all_);
  ++live_blocks_;
  return b;
}

void Pool::count(MemoryTag tag, int64_t bytes) {
  in_use_[size_t(tag)] += bytes;
  peak_[size_t(tag)] = std::max(peak_[size_t(tag)], in_use_[size_t(tag)]);
}

/// Bytes that nobody may touch on both sides of a block. Only what runs on the CPU can be watched.
size_t Pool::red_zone() const { return kAsan && device_.is_cpu() ? 64 : 0; }

/// A block that nobody had before: a piece of a slab, or a region of its own. Under ASan poisoned whole until its
/// stream opens the bytes that were asked for, so that its red zones and its rounded-up tail are never touched.
Pool::Block Pool::fresh(size_t bytes, MemoryTag tag) {
  const size_t whole = bytes + 2 * red_zone();
  std::byte* data = nullptr;
  if (whole >= kSlab / 2) {
    data = static_cast<std::byte*>(from_system(whole, tag));
  } else {
    if (slab_left_ < whole) {
      slab_ = static_cast<std::byte*>(from_system(kSlab, tag));
      slab_left_ = kSlab;
    }
    data = slab_;
    slab_ += whole;
    slab_left_ -= whole;
  }
  if (device_.is_cpu()) poison(data, whole);
  return {data + red_zone(), bytes, {}};
}

void* Pool::from_system(size_t bytes, MemoryTag tag) {
  void* data = limit_ != 0 && taken_ + bytes > limit_ ? nullptr : raw_.allocate(bytes);
  if (data == nullptr) out_of_memory(bytes, tag);
  ++os_calls_;
  taken_ += bytes;
  regions_.emplace_back(data, bytes);
  return data;
}

void Pool::out_of_memory(size_t bytes, MemoryTag tag) const {
  std::vector<int> tags(kMemoryTags);
  for (int i = 0; i < kMemoryTags; ++i) tags[size_t(i)] = i;
  std::sort(tags.begin(), tags.end(), [&](int a, int b) { return in_use_[size_t(a)] > in_use_[size_t(b)]; });
  std::string users;
  for (int i = 0; i < 3; ++i)
    users += str(i ? ", " : "", name(MemoryTag(tags[size_t(i)])), " ", in_use_[size_t(tags[size_t(i)])]);
  throw OutOfMemory(str(device_.text(), ": no ", bytes, " bytes for ", name(tag), "; ", taken_,
                        " taken from the system, in use: ", users));
}

void Pool::give_back(Storage& s) {
  Block b{s.data(), s.bytes(), {}};
  for (const Stream& user : s.other_users()) b.wait_for.push_back(user.record());
  if constexpr (kAsan) {
    if (device_.is_cpu()) {  // the block is dead once its last reader is done, and stays poisoned until it is reused
      for (const Event& e : b.wait_for) s.stream().core()->wait_for_memory(e);
      b.wait_for.clear();
      s.stream().enqueue([p = b.data, n = b.bytes](CpuContext&) { poison(p, n); });
    }
  }
  const std::lock_guard lock(mutex_);
  count(s.tag(), -int64_t(b.bytes));
  in_use_all_ -= int64_t(b.bytes);
  --live_blocks_;
  const size_t bytes = b.bytes;
  free_.emplace(bytes, std::move(b));
}

int64_t Pool::os_calls() const {
  const std::lock_guard lock(mutex_);
  return os_calls_;
}
int64_t Pool::in_use(MemoryTag t) const {
  const std::lock_guard lock(mutex_);
  return in_use_[size_t(t)];
}
int64_t Pool::peak(MemoryTag t) const {
  const std::lock_guard lock(mutex_);
  return peak_[size_t(t)];
}
int64_t Pool::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_all_ + kept_;
}
int64_t Pool::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_all_ + kept_;
}
int64_t Pool::live_blocks() const {
  const std::lock_guard lock(mutex_);
  return live_blocks_;
}
void Pool::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = in_use_;
  peak_all_ = in_use_all_;
}
void Pool::set_limit(size_t bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
}

}  // namespace sluice
