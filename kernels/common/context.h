// How a kernel reaches its team, its plans and the vendor handles, without owning any. One context per stream.
#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/ref.h"

struct CUstream_st;  // at global scope: inside a namespace it would be another type and fail only at link
struct cublasLtContext;
struct cudnnContext;

namespace sluice {

/// The instruction sets that the vectorised kernels are compiled for, chosen once at start.
enum class Isa { base, v3, v4 };
Isa best_isa();
#if defined(SLUICE_ISA)
inline constexpr Isa kIsa = Isa::SLUICE_ISA;  // the set that this object file is compiled for
#endif

/// Made-once objects (library primitives, packed filters), keyed by kernel name and numbers. LRU with a capacity.
class PlanCache {
 public:
  using Key = std::pair<const void*, std::vector<int64_t>>;

  explicit PlanCache(size_t capacity = 512) : capacity_(capacity) {}

  /// The plan under (tag, key), made by `make()` if it is not there. The reference lives until it is evicted;
  /// `tag` is the address of a name constant, so that two kernels never share a key.
  template <class Plan, class Make>
  Plan& get(const char* tag, std::vector<int64_t> key, Make&& make) {
    const Key k{tag, std::move(key)};
    if (auto it = index_.find(k); it != index_.end()) {
      ++hits_;
      order_.splice(order_.begin(), order_, it->second);
      return *static_cast<Plan*>(it->second->second.get());
    }
    ++created_;
    order_.emplace_front(k, std::make_shared<Plan>(make()));
    index_[k] = order_.begin();
    if (order_.size() > capacity_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return *static_cast<Plan*>(order_.front().second.get());
  }
  int64_t hits() const { return hits_; }
  int64_t created() const { return created_; }
  size_t size() const { return order_.size(); }

 private:
  using Entry = std::pair<Key, std::shared_ptr<void>>;
  size_t capacity_;
  std::list<Entry> order_;  // newest first
  std::map<Key, std::list<Entry>::iterator> index_;
  int64_t hits_ = 0;
  int64_t created_ = 0;
};

/// What a CPU kernel gets from its stream's worker. Used on the worker thread only.
struct CpuContext {
  int team = 1;  // threads of the worker's OpenMP team; part of the numerics of library weight gradients
  Isa isa = best_isa();
  PlanCache plans;
  /// At least `bytes` of scratch, aligned to 64, valid until the next kernel of this stream.
  std::function<void*(size_t bytes)> workspace;
  /// The same for a kernel that runs others, which take the former.
  std::function<void*(size_t bytes)> outer_workspace;
};

/// What a CUDA kernel call gets from its stream. Used on the thread that enqueues.
struct CudaContext {
  int device = 0;
  CUstream_st* stream = nullptr;
  cublasLtContext* cublaslt = nullptr;
  cudnnContext* cudnn = nullptr;
  int multiprocessors = 0;
  PlanCache plans;
  /// At least `bytes` of device scratch, aligned to 256, valid until the next kernel of this stream.
  std::function<void*(size_t bytes)> workspace;
};

/// A call: named arguments, check() before anything is queued, cost(), operands(), and the two halves.
template <class K>
concept KernelCall = requires(const K& k) {
  { K::kName } -> std::convertible_to<const char*>;
  k.check();
  { k.cost() } -> std::same_as<Cost>;
  { k.operands() } -> std::same_as<Operands>;
};

/// Runs the CPU half. Kernels of our own exist once per instruction set, vendor kernels once.
template <KernelCall K>
void run_cpu(const K& k, CpuContext& c) {
  if constexpr (requires { k.cpu(c); }) {
    k.cpu(c);
  } else {
#if defined(__x86_64__)
#if !defined(SLUICE_V3_ONLY)
    if (c.isa == Isa::v4) return k.template cpu<Isa::v4>(c);
#endif
    return k.template cpu<Isa::v3>(c);
#else
    return k.template cpu<Isa::base>(c);
#endif
  }
}

}  // namespace sluice
