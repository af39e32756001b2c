// Plans of oneDNN primitives: layouts, packed weights, scratch.
#include "kernels/common/onednn.h"

#include <algorithm>
#include <cassert>

#include "kernels/common/parallel.h"

namespace sluice {
namespace onednn {
namespace {

constexpr const char* kTag = "onednn";
constexpr size_t kAlignment = 64;
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

dnnl::memory unbound(const Desc& d, const dnnl::engine& e) { return {d, e, DNNL_MEMORY_NONE}; }
/// to += from, both f32 in one layout. The library has only a scalar reorder for this.
void add(const CpuContext& c, const dnnl::memory& from, const dnnl::memory& to) {
  const float* in = static_cast<const float*>(from.get_data_handle());
  float* out = static_cast<float*>(to.get_data_handle());
  parallel_blocks(c, int64_t(to.get_desc().get_size()) / 4, 16384, [in, out](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] += in[i];
  });
}
bool is_output(Role r) { return r == Role::kOutput || r == Role::kGradient; }

}  // namespace

Library& library(CpuContext& c) {
  return c.plans.get<Library>(kTag, {}, [] { return Library(); });
}

dnnl::memory::data_type data_type(DType t) {
  return t == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

void refuse(const char* what, DType t, const dnnl::error& e) {
  if (t == DType::kBF16)
    throw DTypeError(
        str(what, ": oneDNN has no bf16 form of it on this CPU (bf16 needs AVX-512), expected f32: ", e.what()));
  throw DeviceError(str(what, ": oneDNN refused: ", e.what()));
}

Plan::Plan(Library& lib, const char* what, const dnnl::primitive_desc_base& pd, const std::vector<Argument>& arguments)
    : engine_(lib.engine), primitive_(pd.get()) {
  lib.record.implementations.push_back(str(what, ": ", pd.impl_info_str()));
  scratch_bytes_ = pd.scratchpad_desc().get_size();
  for (const Argument& a : arguments) {
    Slot s{a.id, a.role, a.plain == a.wanted, unbound(a.plain, engine_), unbound(a.wanted, engine_), {}, {}, 0, {}};
    const Desc& from = is_output(a.role) ? a.wanted : a.plain;
    const Desc& to = is_output(a.role) ? a.plain : a.wanted;
    if (!s.same) s.convert = make_reorder(lib, what, from, to, false);
    if (!s.same && a.role == Role::kGradient) s.convert_and_add = make_reorder(lib, what, from, to, true);
    slots_.push_back(std::move(s));
  }
  // One scratchpad for the primitive and its reorders, which take turns.
  scratchpad_ = unbound(Desc({int64_t(scratch_bytes_)}, dnnl::memory::data_type::u8, Tag::a), engine_);
  scratch_bytes_ = aligned(scratch_bytes_);
  for (Slot& s : slots_) {
    if (s.role == Role::kWeight || (s.same && s.role != Role::kGradient)) continue;
    s.offset = scratch_bytes_;
    scratch_bytes_ += aligned(s.wanted.get_desc().get_size());
  }
}

dnnl::reorder Plan::make_reorder(Library& lib, const char* what, const Desc& from, const Desc& to, bool add) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const dnnl::reorder::primitive_desc pd(lib.engine, from, lib.engine, to, attributes);
  lib.record.implementations.push_back(str(what, " reorder: ", pd.impl_info_str()));
  scratch_bytes_ = std::max(scratch_bytes_, pd.scratchpad_desc().get_size());
  return dnnl::reorder(pd);
}

void Plan::run(CpuContext& c, std::initializer_list<Value> values) {
  assert(values.size() == slots_.size());
  Library& lib = library(c);
  std::byte* scratch = scratch_bytes_ == 0 ? nullptr : static_cast<std::byte*>(c.workspace(scratch_bytes_));
  ++runs_;
  try {
    scratchpad_.set_data_handle(scratch);
    bound_.insert_or_assign(DNNL_ARG_SCRATCHPAD, scratchpad_);
    const Value* v = values.begin();
    for (Slot& s : slots_) bound_.insert_or_assign(s.id, bind(lib, s, *v++, scratch));
    primitive_.execute(lib.stream, bound_);
    v = values.begin();
    for (Slot& s : slots_) finish(c, lib, s, *v++);
    lib.stream.wait();
  } catch (const dnnl::error& e) {
    throw DeviceError(str("oneDNN failed: ", e.what()));
  }
}

dnnl::memory Plan::bind(Library& lib, Slot& s, const Value& v, std::byte* scratch) {
  s.plain.set_data_handle(const_cast<void*>(v.data));
  if (s.same && !v.accumulate) return s.plain;
  if (s.role == Role::kWeight) return packed_weight(lib, s, v);
  s.wanted.set_data_handle(scratch + s.offset);
  if (s.role == Role::kInput) reorder(lib, s.convert, s.plain, s.wanted);
  return s.wanted;
}

void Plan::finish(const CpuContext& c, Library& lib, Slot& s, const Value& v) {
  if (!is_output(s.role)) return;
  if (!s.same) return reorder(lib, v.accumulate ? s.convert_and_add : s.convert, s.wanted, s.plain);
  if (v.accumulate) add(c, s.wanted, s.plain);
}

dnnl::memory& Plan::packed_weight(Library& lib, Slot& s, const Value& v) {
  auto p = std::find_if(s.packed.begin(), s.packed.end(), [&](const Packed& q) { return q.source == v.data; });
  if (p == s.packed.end() && s.packed.size() < kPacked)
    p = s.packed.insert(p, Packed{nullptr, 0, 0, dnnl::memory(s.wanted.get_desc(), engine_)});
  if (p == s.packed.end())
    p = std::min_element(s.packed.begin(), s.packed.end(),
                         [](const Packed& a, const Packed& b) { return a.last_run < b.last_run; });
  if (p->source != v.data || v.version == 0 || p->version != v.version) {
    reorder(lib, s.convert, s.plain, p->memory);
    ++lib.record.packs;
    p->source = v.data;
    p->version = v.version;
  }
  p->last_run = runs_;
  return p->memory;
}

void Plan::reorder(Library& lib, const dnnl::reorder& r, dnnl::memory& from, dnnl::memory& to) {
  r.execute(lib.stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, scratchpad_}});
}

}  // namespace onednn

const LibraryRecord& library_record(CpuContext& c) { return onednn::library(c).record; }

}  // namespace sluice
