// CPU half of the mean squared error: sums of blocks, or of rows, in float, added in order in double.
#include "kernels/mse.h"

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {
constexpr int64_t kBlock = 4096;

/// Squares of a row, and out = slope * (x - target) where `out` is given.
template <class T>
float row_squares(const T* x, const T* target, int64_t cols, float slope, T* out) {
  const float sum = lane_sum(0, cols, [=](int64_t k) {
    const float d = float(x[k]) - float(target[k]);
    return d * d;
  });
  if (out == nullptr) return sum;
#pragma omp simd
  for (int64_t k = 0; k < cols; ++k) store(out[k], slope * (float(x[k]) - float(target[k])));
  return sum;
}

void weighted_rows(const Mse& call, CpuContext& c) {
  const int64_t rows = call.x.shape.rows(), cols = call.x.shape.cols();
  const float mean = call.weight / float(std::max<int64_t>(1, cols));
  const float* weights = call.row_weights.as<float>();
  auto* sums = static_cast<float*>(c.workspace(size_t(rows) * sizeof(float)));
  visit_float(call.x.dtype, [&]<class T>() {
    parallel_for(c, rows, [&](int64_t r) {
      T* out = call.dx.defined() ? call.dx.as<T>() + r * cols : nullptr;
      const T *in = call.x.as<T>() + r * cols, *to = call.target.as<T>() + r * cols;
      sums[r] = row_squares(in, to, cols, 2.0f * mean * weights[r], out);
    });
  });
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += double(weights[r]) * double(sums[r]);
  *call.loss.as<float>() = float(sum * double(mean));
}

}  // namespace

template <>
void Mse::cpu<kIsa>(CpuContext& c) const {
  if (row_weights.defined()) return weighted_rows(*this, c);
  const int64_t n = x.numel(), blocks = (n + kBlock - 1) / kBlock;
  const float mean = weight / float(std::max<int64_t>(1, n));
  float* sums = static_cast<float*>(c.workspace(size_t(blocks) * sizeof(float)));
  visit_float(x.dtype, [&]<class T>() {
    parallel_blocks(c, n, kBlock,
                    [=, in = x.as<T>(), to = target.as<T>(), out = dx.as<T>()](int64_t begin, int64_t end) {
                      sums[begin / kBlock] = lane_sum(begin, end, [=](int64_t i) {
                        const float d = float(in[i]) - float(to[i]);
                        return d * d;
                      });
                      if (out == nullptr) return;
#pragma omp simd
                      for (int64_t i = begin; i < end; ++i) store(out[i], 2.0f * mean * (float(in[i]) - float(to[i])));
                    });
  });
  double sum = 0;
  for (int64_t b = 0; b < blocks; ++b) sum += double(sums[b]);
  *loss.as<float>() = float(sum * double(mean));
}

}  // namespace sluice::kernels
