// CPU halves of the log-softmax: a row per task.
#include "kernels/log_softmax.h"

#include "kernels/common/lanes.h"
#include "kernels/common/math.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void LogSoftmax::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = x.shape.cols();
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, x.shape.rows(), [&](int64_t r) {
      const T* in = x.as<T>() + r * cols;
      T* out = y.as<T>() + r * cols;
      const float top = lane_max(cols, [=](int64_t k) { return float(in[k]); });
      const float log_sum = math::log(lane_sum(0, cols, [=](int64_t k) { return math::exp(float(in[k]) - top); }));
#pragma omp simd
      for (int64_t k = 0; k < cols; ++k) store(out[k], (float(in[k]) - top) - log_sum);
    });
  });
}

template <>
void LogSoftmaxGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = dy.shape.cols();
  visit_float(dy.dtype, [&]<class T>() {
    parallel_for(c, dy.shape.rows(), [&](int64_t r) {
      const T *logs = y.as<T>() + r * cols, *in = dy.as<T>() + r * cols;
      T* out = dx.as<T>() + r * cols;
      const float sum = lane_sum(0, cols, [=](int64_t k) { return float(in[k]); });
#pragma omp simd
      for (int64_t k = 0; k < cols; ++k) store(out[k], float(in[k]) - math::exp(float(logs[k])) * sum);
    });
  });
}

}  // namespace sluice::kernels
