// What the tests of the arena updates share: an arena's arrays with awkward segments, and a step's scalars.
#pragma once

#include <cmath>

#include "engine/launch.h"
#include "kernels/common/segments.h"
#include "kernels/step_scalars.h"
#include "tests/support/support.h"

namespace sluice::test {

/// Element counts around the blocks of the CPU halves.
inline const std::vector<int64_t> kUpdateSizes{0, 1, 3, 31, 129, 16383, 16385, 40001};

/// `segments` rows over n elements: lengths differ, gaps lie between them, groups take turns.
inline std::vector<SegmentRow> awkward_segments(int64_t n, int64_t segments) {
  std::vector<SegmentRow> rows;
  const int64_t pitch = n / segments;
  for (int64_t s = 0; s < segments; ++s) {
    const int64_t count = segments == 1 ? n : pitch - s % std::max<int64_t>(1, std::min<int64_t>(pitch, 5));
    if (count > 0) rows.push_back({s * pitch, count, s % kMaxGroups});
  }
  return rows;
}

inline Tensor segment_table(const Stream& s, const std::vector<SegmentRow>& rows) {
  std::vector<int64_t> flat;
  for (const SegmentRow& r : rows) flat.insert(flat.end(), {r.offset, r.count, r.group});
  return Tensor::from<int64_t>(s, flat, {int64_t(rows.size()), 3});
}

/// Every group has its own rate; every second group is exempt from weight decay.
inline StepScalars awkward_scalars() {
  StepScalars s;
  for (int g = 0; g < kMaxGroups; ++g) {
    s.lr[g] = 0.01f * float(g + 1);
    s.weight_decay[g] = g % 2 == 0 ? 0.1f : 0.0f;
  }
  return s;
}

inline Tensor scalar_slot(const Stream& s, const StepScalars& values) {
  Tensor slot = Tensor::empty(s, kStepScalarsShape, DType::kU8, MemoryTag::kOptimizer);
  launch(kernels::SetStepScalars{.slot = slot.ref(), .values = values}, s);
  return slot;
}

/// A guarded f32 array with random contents.
inline Guarded guarded_random(const Stream& s, int64_t n, uint64_t seed, float low = -1, float high = 1) {
  Guarded g(s, {n}, DType::kF32);
  Tensor t = g.tensor();
  t.assign<float>(s, random_values(n, seed, low, high));
  return g;
}
inline Guarded guarded_zeros(const Stream& s, int64_t n) {
  Guarded g(s, {n}, DType::kF32);
  Tensor t = g.tensor();
  t.assign<float>(s, std::vector<float>(size_t(n), 0.0f));
  return g;
}

/// The bf16 view must be the rounded weights, exactly, inside the segments.
inline void expect_view_of(const Stream& s, const Tensor& view, const Tensor& w, const std::vector<SegmentRow>& rows) {
  const std::vector<double> got = to_double(s, view);
  const std::vector<float> weights = w.to_vector<float>(s);
  for (const SegmentRow& r : rows)
    for (int64_t i = r.offset; i < r.offset + r.count; ++i)
      ASSERT_EQ(got[size_t(i)], double(float(bf16(weights[size_t(i)])))) << "element " << i;
}

}  // namespace sluice::test
