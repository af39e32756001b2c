// Layout of an arena: groups one after another, every parameter on a 64-byte boundary.
#include "engine/param.h"

#include <algorithm>
#include <atomic>

#include "engine/launch.h"
#include "engine/rng.h"
#include "kernels/add.h"
#include "kernels/common/step_scalars.h"
#include "kernels/fill.h"

namespace sluice {
namespace {

constexpr int64_t kAlign = 16;  // floats: one cache line
int64_t aligned(int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

/// Versions are unique in the process: packed filters are cached by (address, version), and addresses come back.
uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

void declare(std::vector<ParamSpec>& list, ParamSpec spec) {
  for (const ParamSpec& other : list)
    if (other.path == spec.path) throw ConfigError(str("'", spec.path, "' is declared twice"));
  list.push_back(std::move(spec));
}

}  // namespace

Init Init::scope(const std::string& name) const {
  Init inner = *this;
  inner.path_ = path_.empty() ? name : path_ + "." + name;
  return inner;
}
Init Init::group(int group) const {
  if (group < 0 || group >= kMaxGroups)
    throw ConfigError(str("parameter group ", group, " of '", path_, "': expected 0 to ", kMaxGroups - 1));
  Init inner = *this;
  inner.group_ = group;
  return inner;
}
Param Init::param(const std::string& name, Shape shape, InitialValue initial) {
  declare(lists_->params, {scope(name).path(), shape, initial, group_});
  return {int(lists_->params.size()) - 1, shape};
}
Param Init::table(const std::string& name, Shape shape, InitialValue initial) {
  expect_rank("table", scope(name).path().c_str(), shape, 2);
  const Param p = param(name, shape, initial);
  lists_->params.back().table = true;
  return {p.index, p.shape, /*table=*/true};
}
Buffer Init::buffer(const std::string& name, Shape shape, float value) {
  declare(lists_->buffers, {scope(name).path(), shape, InitialValue::constant(value), 0});
  return {int(lists_->buffers.size()) - 1, shape};
}

Weight Weights::at(const Param& p) const {
  if (p.table)
    throw Error(
        str("a table of shape ", p.shape.text(), " is read whole, expected an embedding, which reads its rows"));
  return {values.flat_view((*offsets)[size_t(p.index)], p.shape).cref(), version};
}

Rows Weights::rows_of(const Param& p) const {
  if (!p.table || rows == nullptr) return {.w = values.flat_view((*offsets)[size_t(p.index)], p.shape).cref()};
  if (rows->arena->weights().version != rows->version)
    throw Error(str("rows of a table of shape ", p.shape.text(),
                    " are foretold from weights that have been updated since, expected a forecast of the newest"));
  const auto part = [&](const Tensor& flat) {
    return flat.defined() ? flat.flat_view((*offsets)[size_t(p.index)], p.shape).cref() : ConstRef{};
  };
  return {.w = part(rows->w),
          .m = part(rows->m),
          .v = part(rows->v),
          .scalars = rows->scalars.cref(),
          .direction = rows->direction,
          .place = rows->place,
          .group = rows->arena->specs()[size_t(p.index)].group};
}

Arena::Arena(const Stream& s, const Init& init, uint64_t seed) : specs_(init.params()), buffer_specs_(init.buffers()) {
  offsets_.resize(specs_.size());
  written_.assign(specs_.size(), false);
  dense_size_ = lay_out(0, /*tables=*/false);
  const int64_t size = lay_out(dense_size_, /*tables=*/true);
  int64_t buffer_size = 0;
  for (const ParamSpec& b : buffer_specs_) {
    buffer_offsets_.push_back(buffer_size);
    buffer_size += aligned(b.shape.numel());
  }
  values_ = zeros(s, size, MemoryTag::kWeights);
  grads_ = zeros(s, size, MemoryTag::kGrads);
  buffer_values_ = zeros(s, buffer_size, MemoryTag::kWeights);
  fill_initial(s, seed);
  bump_version();
}

/// Parameters of one kind, group by group; returns where they end.
int64_t Arena::lay_out(int64_t size, bool tables) {
  for (int g = 0; g < kMaxGroups; ++g) {
    const int64_t begin = size;
    for (size_t i = 0; i < specs_.size(); ++i) {
      if (specs_[i].group != g || specs_[i].table != tables) continue;
      offsets_[i] = size;
      size += aligned(specs_[i].shape.numel());
      count_ += specs_[i].shape.numel();
    }
    if (size > begin) segments_.push_back({begin, size - begin, g});
  }
  return size;
}

Tensor Arena::zeros(const Stream& s, int64_t count, MemoryTag tag) {
  Tensor t = Tensor::empty(s, {count}, DType::kF32, tag);
  launch(kernels::FillConstant{.y = t.ref(), .value = 0.0f}, s);
  return t;
}

void Arena::fill_initial(const Stream& s, uint64_t seed) {
  const Rng rng{.seed = seed};
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParamSpec& p = specs_[i];
    const Tensor t = values_.flat_view(offsets_[i], p.shape);
    if (p.initial.deviation > 0) {
      const PhiloxKey key = rng.key(RngPurpose::kInit, path_hash(p.path));
      launch(
          kernels::FillNormal{
              .y = t.ref(), .mean = p.initial.low, .deviation = p.initial.deviation, .cut = p.initial.cut, .key = key},
          s);
    } else if (p.initial.low == p.initial.high) {
      launch(kernels::FillConstant{.y = t.ref(), .value = p.initial.low}, s);
    } else {
      const InitialValue& v = p.initial;
      const PhiloxKey key = rng.key(RngPurpose::kInit, v.draws == 0 ? path_hash(p.path) : v.draws);
      const int64_t size = t.numel(), period = v.period == 0 ? size : v.period;
      for (int64_t begin = 0; begin < size; begin += period) {
        const Tensor part = t.flat_view(begin, {std::min(period, size - begin)});
        launch(kernels::FillUniform{.y = part.ref(), .low = v.low, .high = v.high, .key = key}, s);
      }
    }
  }
  for (size_t i = 0; i < buffer_specs_.size(); ++i) {
    const ParamSpec& b = buffer_specs_[i];
    const Tensor t = buffer_values_.flat_view(buffer_offsets_[i], b.shape);
    launch(kernels::FillConstant{.y = t.ref(), .value = b.initial.low}, s);
  }
}

Weights Arena::weights_of(Tensor values, std::shared_ptr<const RowForecast> rows) const {
  return {std::move(values), next_version(), &offsets_, std::move(rows)};
}

void Arena::bump_version() { version_ = next_version(); }

void Arena::replace_values(Tensor values) {
  expect_dtype("arena", "values", values.dtype(), DType::kF32);
  expect_shape("arena", "values", values.shape(), values_.shape());
  values_ = std::move(values);
  bump_version();
}

GradSlot Arena::grad(const Param& p) {
  const bool accumulate = written_[size_t(p.index)];
  written_[size_t(p.index)] = true;
  return {grads_.flat_view(offsets_[size_t(p.index)], p.shape).ref(), accumulate};
}

void Arena::begin_step() { written_.assign(specs_.size(), false); }

void Arena::finish_grads(const Stream& s) {
  for (size_t i = 0; i < specs_.size(); ++i)
    if (!written_[i])
      launch(kernels::FillConstant{.y = grads_.flat_view(offsets_[i], specs_[i].shape).ref(), .value = 0.0f}, s);
  written_.assign(specs_.size(), true);
}

void Arena::add_grads(const Stream& s, const Tensor& others) {
  finish_grads(s);
  launch(kernels::Add{.a = grads_.cref(), .b = others.cref(), .y = grads_.ref()}, s);
}

void Arena::set_grads(const Stream& s, const Tensor& others) {
  copy(s, others, grads_);
  written_.assign(specs_.size(), true);
}

Tensor Arena::state(const Stream& s, int k) {
  while (int(states_.size()) <= k) states_.push_back(zeros(s, values_.numel(), MemoryTag::kOptimizer));
  return states_[size_t(k)];
}

Tensor Arena::buffer(const Buffer& b) const {
  return buffer_values_.flat_view(buffer_offsets_[size_t(b.index)], b.shape);
}

}  // namespace sluice
