// What the CPU halves of matrix product and convolution share: one engine per stream, and a Plan that runs a primitive
// on plain tensors, whatever layout the primitive wants. oneDNN 2.6 is known here and in the files that include this.
#pragma once

#include <cstring>
#include <dnnl.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/common/library_record.h"

namespace sluice::onednn {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

/// One per context; made on first use, used by every call, so it is never the plan that the cache drops.
struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  LibraryRecord record;
};
Library& library(CpuContext& c);

/// f32 or bf16.
dnnl::memory::data_type data_type(DType t);

/// What an argument is to the primitive.
enum class Role : uint8_t {
  kInput,     // brought into the wanted layout at each run
  kWeight,    // packed once per (address, version)
  kOutput,    // brought back into the plain layout
  kGradient,  // as kOutput; may be added to what is there
};
struct Argument {
  int id;  // DNNL_ARG_...
  Role role;
  Desc plain;   // as the caller holds it
  Desc wanted;  // as the primitive wants it; of another dtype if need be
};
/// What a run is given for an argument.
struct Value {
  const void* data;
  uint64_t version = 0;     // kWeight: equal numbers promise equal contents at `data`; 0: pack again
  bool accumulate = false;  // kGradient: add instead of write
};

/// A primitive, the reorders around it, its scratch and its packed weights. Everything is made once; a run allocates
/// nothing but the packed copy of a weight that it sees for the first time.
class Plan {
 public:
  Plan(Library& lib, const char* what, const dnnl::primitive_desc_base& pd, const std::vector<Argument>& arguments);
  /// `values` in the order of the arguments.
  void run(CpuContext& c, std::initializer_list<Value> values);

 private:
  /// A weight in the primitive's layout. At most kPacked per plan; the one that was used longest ago gives way.
  struct Packed {
    const void* source = nullptr;
    uint64_t version = 0;
    int64_t last_run = 0;
    dnnl::memory memory;
  };
  static constexpr size_t kPacked = 4;
  struct Slot {
    int id;
    Role role;
    bool same;                      // the plain layout is the wanted one
    dnnl::memory plain, wanted;     // without memory of their own
    dnnl::reorder convert;          // into (inputs) or out of (outputs) the wanted layout
    dnnl::reorder convert_and_add;  // kGradient whose layouts differ
    size_t offset = 0;              // of the converted copy in the scratch
    std::vector<Packed> packed;     // kWeight
  };
  dnnl::reorder make_reorder(Library& lib, const char* what, const Desc& from, const Desc& to, bool add);
  void reorder(Library& lib, const dnnl::reorder& r, dnnl::memory& from, dnnl::memory& to);
  void finish(const CpuContext& c, Library& lib, Slot& s, const Value& v);
  dnnl::memory bind(Library& lib, Slot& s, const Value& v, std::byte* scratch);
  dnnl::memory& packed_weight(Library& lib, Slot& s, const Value& v);

  dnnl::engine engine_;  // memories hold a plain pointer to it
  dnnl::primitive primitive_;
  dnnl::memory scratchpad_;
  std::vector<Slot> slots_;
  std::unordered_map<int, dnnl::memory> bound_;
  size_t scratch_bytes_ = 0;
  int64_t runs_ = 0;
};

/// The implementation whose name contains `wanted`, else the library's first choice; never a reference implementation
/// where there is another. Names are all that the library tells about implementations. The operation and the hint that
/// `candidate` was made from must outlive this call: the library's iterator points to them.
template <class PrimitiveDesc>
PrimitiveDesc choose(PrimitiveDesc candidate, std::string_view wanted = "") {
  const auto named = [](const PrimitiveDesc& pd, std::string_view part) {
    return std::string_view(pd.impl_info_str()).find(part) != std::string_view::npos;
  };
  PrimitiveDesc best = candidate;
  do {
    if (!wanted.empty() && named(candidate, wanted)) return candidate;
    if (named(best, "ref") && !named(candidate, "ref")) best = candidate;
    if (wanted.empty() && !named(best, "ref")) break;
  } while (candidate.next_impl());
  return best;
}

/// Runs `make`, which asks the library for a primitive; its refusal becomes a DTypeError (bf16) or a DeviceError.
[[noreturn]] void refuse(const char* what, DType t, const dnnl::error& e);
template <class Make>
auto explained(const char* what, DType t, Make&& make) {
  try {
    return make();
  } catch (const dnnl::error& e) {
    refuse(what, t, e);
  }
}

/// The context's plan for `p`, a kernel's own struct with name, dtype and key(c); made by `make` on first use.
template <class Problem>
Plan& plan(CpuContext& c, const Problem& p, Plan (*make)(const Problem&, Library&)) {
  Library& lib = library(c);
  return c.plans.get<Plan>(p.name, p.key(c), [&] { return explained(p.name, p.dtype, [&] { return make(p, lib); }); });
}

/// The gradient over no samples at all: zero, or nothing to add.
inline void no_gradient(const Ref& r, bool accumulate) {
  if (!accumulate && r.defined()) std::memset(r.data, 0, size_t(r.bytes()));
}

}  // namespace sluice::onednn
