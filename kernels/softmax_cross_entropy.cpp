// CPU half of softmax cross-entropy: one task per row, row losses added in order in double.
#include "kernels/softmax_cross_entropy.h"

#include <limits>

#include "kernels/common/lanes.h"
#include "kernels/common/math.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// -log softmax(x)[label], and out = scale * (softmax - one_hot) where `out` is given. out may be x.
template <class T>
float row_loss(const T* x, int64_t classes, int32_t label, float scale, T* out) {
  const bool valid = label >= 0 && label < classes;
  const float top = lane_max(classes, [=](int64_t k) { return float(x[k]); });
  const float sum = lane_sum(0, classes, [=](int64_t k) { return math::exp(float(x[k]) - top); });
  const float loss = valid ? math::log(sum) + (top - float(x[label])) : kNan;
  if (out == nullptr) return loss;
  const float factor = valid ? scale / sum : kNan;
#pragma omp simd
  for (int64_t k = 0; k < classes; ++k)
    store(out[k], factor * math::exp(float(x[k]) - top) - (k == int64_t(label) ? scale : 0.0f));
  return loss;
}

}  // namespace

template <>
void SoftmaxCrossEntropy::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = logits.dim(0), classes = logits.dim(1);
  const float* weights = row_weights.as<float>();
  const float mean = weights != nullptr ? weight : weight / float(std::max<int64_t>(1, rows));
  float* losses = static_cast<float*>(c.workspace(size_t(rows) * sizeof(float)));
  visit_float(logits.dtype, [&]<class T>() {
    parallel_for(c, rows, [&](int64_t r) {
      T* out = dlogits.defined() ? dlogits.as<T>() + r * classes : nullptr;
      const float share = weights != nullptr ? mean * weights[r] : mean;
      const float row = row_loss(logits.as<T>() + r * classes, classes, labels.as<int32_t>()[r], share, out);
      losses[r] = weights != nullptr ? weights[r] * row : row;
    });
  });
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += double(losses[r]);
  *loss.as<float>() = float(sum * double(mean));
}

}  // namespace sluice::kernels
