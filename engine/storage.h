// Memory in stream order: a block goes back to its stream's pool when its last owner lets go, and is given out again
// only to work that runs after every recorded use. The pool never polls: what it reuses depends on the order of the
// calls alone.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/stream.h"

namespace sluice {

/// What a block is for; peaks and errors are reported by tag.
enum class MemoryTag : uint8_t { kWeights, kGrads, kOptimizer, kActivations, kAux, kStash, kWorkspace, kIo };
inline constexpr int kMemoryTags = 8;
const char* name(MemoryTag t);

/// One block of device memory. Owned through StoragePtr; freed in the order of its stream.
class Storage {
 public:
  /// `release` runs when the last owner lets go, with the streams that used the block besides its own.
  using Release = std::function<void(Storage&)>;
  Storage(void* data, size_t bytes, MemoryTag tag, Stream stream, Release release);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  MemoryTag tag() const { return tag_; }
  Device device() const { return stream_.device(); }
  const Stream& stream() const { return stream_; }
  /// The block is used by work queued on `s` up to the moment the last owner lets go.
  void record_use(const Stream& s);
  /// Streams of record_use(). For the release, when nobody else can add one.
  const std::vector<Stream>& other_users() const { return users_; }
  bool has_other_users() const;

 private:
  void* data_;
  size_t bytes_;
  MemoryTag tag_;
  Stream stream_;
  std::vector<Stream> users_;
  mutable std::mutex mutex_;
  Release release_;
};
using StoragePtr = std::shared_ptr<Storage>;

/// Where raw memory comes from: the operating system, or the CUDA driver.
struct RawMemory {
  std::function<void*(size_t)> allocate;  // nullptr when there is no more
  std::function<void(void*, size_t)> free;
};

/// The memory of one stream.
class Pool {
 public:
  explicit Pool(Device device, RawMemory raw);
  ~Pool();

  /// A block of at least `bytes`, aligned to 64 (CUDA: 256) bytes; contents undefined. Throws OutOfMemory with the
  /// bytes, the tag and the largest users.
  StoragePtr allocate(const Stream& stream, size_t bytes, MemoryTag tag);
  /// Memory that the stream's context keeps for itself: no Storage, so that the stream does not own itself, and never
  /// a freed block, since it is asked for while work runs that was queued before the block was freed. Aligned as
  /// blocks.
  void* allocate_raw(size_t bytes, MemoryTag tag);
  /// Back to the system. All work that used it has run, or the driver waits for it (cudaFree).
  void free_raw(void* data, size_t bytes, MemoryTag tag);

  /// Calls to the operating system or the driver so far. Does not move after warm-up.
  int64_t os_calls() const;
  int64_t in_use(MemoryTag t) const;  // bytes now
  int64_t peak(MemoryTag t) const;    // largest in_use(t)
  int64_t peak() const;               // largest sum over all tags
  int64_t in_use() const;
  int64_t live_blocks() const;  // blocks that a Storage owns
  void reset_peak();
  /// From now on at most `bytes` may be taken from the system (0: no limit). For tests of OutOfMemory.
  void set_limit(size_t bytes);

 private:
  struct Block {
    void* data;
    size_t bytes;                 // usable size
    std::vector<Event> wait_for;  // other streams' last uses
  };
  Block take(size_t bytes, MemoryTag tag);
  Block fresh(size_t bytes, MemoryTag tag);
  size_t red_zone() const;
  void count(MemoryTag tag, int64_t bytes);
  void give_back(Storage& s);
  void* from_system(size_t bytes, MemoryTag tag);
  [[noreturn]] void out_of_memory(size_t bytes, MemoryTag tag) const;

  Device device_;
  RawMemory raw_;
  mutable std::mutex mutex_;
  std::multimap<size_t, Block> free_;
  std::vector<std::pair<void*, size_t>> regions_;  // everything taken from the system
  std::byte* slab_ = nullptr;                      // small blocks are cut from slabs
  size_t slab_left_ = 0;
  size_t taken_ = 0, limit_ = 0;
  int64_t os_calls_ = 0, live_blocks_ = 0, in_use_all_ = 0, peak_all_ = 0;
  int64_t kept_ = 0;  // bytes of allocate_raw(): apart, since they come while work runs, the rest when it is queued
  std::array<int64_t, kMemoryTags> in_use_{}, peak_{};
};

}  // namespace sluice
