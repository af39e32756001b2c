// CPU halves of auxiliary bias activation: dot products along the rows of w, column sums of dz in blocks of rows that
// are added in order, and two passes over the weights.
#include "kernels/auxiliary_bias.h"

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/sum_rows.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kCols = 512;  // of a task

void add_to(const Ref& to, int64_t at, float v, bool accumulate) {
  float& x = to.as<float>()[at];
  x = accumulate ? x + v : v;
}

}  // namespace

template <>
void AuxiliaryBias::cpu<kIsa>(CpuContext& c) const {
  const int64_t in = w.dim(1), group = detail::auxiliary_rows(w, a);
  parallel_for(c, w.dim(0), [&](int64_t o) {
    const float *row = w.as<float>() + o * in, *v = a.as<float>() + o / group * in;
    const float sum = lane_sum(0, in, [=](int64_t i) { return row[i] * v[i]; });
    y.as<float>()[o] = bias.defined() ? bias.as<float>()[o] + sum : sum;
  });
}

template <>
void AuxiliaryBiasGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t out = w.dim(0), in = w.dim(1), group = detail::auxiliary_rows(w, a);
  auto* sums = static_cast<float*>(c.workspace(size_t(out) * sizeof(float)));
  visit_float(dz.dtype, [&]<class T>() {
    parallel_blocks(c, out, kCols, [&](int64_t begin, int64_t end) {
      sum_rows<kCols>(
          Matrix<T>{dz.as<T>(), dz.dim(0), out}, begin, end - begin, [](int64_t) { return 1.0f; }, sums + begin);
      for (int64_t o = begin; db.defined() && o < end; ++o) add_to(db, o, sums[o], accumulate_b);
    });
  });
  parallel_for(c, out, [&](int64_t o) {
    const float f = scale * sums[o];
    const float* v = a.as<float>() + o / group * in;
    float* row = dw.as<float>() + o * in;
    for (int64_t i = 0; i < in; ++i) row[i] = accumulate_w ? row[i] + f * v[i] : f * v[i];
  });
  for (int64_t first = 0; first < out; first += group)
    parallel_blocks(c, in, kCols, [&](int64_t begin, int64_t end) {
      float total[kCols];
      sum_rows<kCols>(
          Matrix<float>{w.as<float>() + first * in, group, in}, begin, end - begin,
          [=](int64_t o) { return sums[first + o]; }, total);
      for (int64_t i = begin; i < end; ++i) add_to(da, first / group * in + i, total[i - begin], accumulate_a);
    });
}

}  // namespace sluice::kernels
