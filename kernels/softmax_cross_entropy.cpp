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

/// q of one row: `others` for every class but one, and `extra` more for its labels by their shares.
struct RowTarget {
  int32_t label, label2;
  float share, others, extra;
  int64_t unsmoothed;
  float operator()(int64_t k) const {
    return (k == unsmoothed ? 0.0f : others) +
           extra * ((k == int64_t(label) ? share : 0.0f) + (k == int64_t(label2) ? 1.0f - share : 0.0f));
  }
};

/// -sum_k q_k log softmax(x)_k, and out = scale * (softmax - q) where `out` is given. out may be x.
template <class T>
float row_loss(const T* x, int64_t classes, const RowTarget& q, float scale, T* out) {
  const auto is_class = [=](int32_t label) { return label >= 0 && label < classes; };
  const bool valid = is_class(q.label) && is_class(q.label2);
  const float top = lane_max(classes, [=](int64_t k) { return float(x[k]); });
  const float sum = lane_sum(0, classes, [=](int64_t k) { return math::exp(float(x[k]) - top); });
  float loss = kNan;
  if (valid) {
    float below = top - float(x[q.label]);  // sum_k q_k (top - x_k)
    if (q.label2 != q.label) below = q.share * below + (1.0f - q.share) * (top - float(x[q.label2]));
    if (q.others > 0.0f) {
      float all = lane_sum(0, classes, [=](int64_t k) { return top - float(x[k]); });
      if (q.unsmoothed >= 0) all -= top - float(x[q.unsmoothed]);
      below = q.extra * below + q.others * all;
    }
    loss = math::log(sum) + below;
  }
  if (out == nullptr) return loss;
  const float factor = valid ? scale / sum : kNan;
#pragma omp simd
  for (int64_t k = 0; k < classes; ++k) store(out[k], factor * math::exp(float(x[k]) - top) - scale * q(k));
  return loss;
}

}  // namespace

template <>
void SoftmaxCrossEntropy::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = logits.dim(0), classes = logits.dim(1);
  const float* weights = row_weights.as<float>();
  const float mean = weights != nullptr ? weight : weight / float(std::max<int64_t>(1, rows));
  const auto target = [&](int64_t r) {
    const int32_t label = labels.as<int32_t>()[r];
    const bool two = labels2.defined();
    return RowTarget{.label = label,
                     .label2 = two ? labels2.as<int32_t>()[r] : label,
                     .share = two ? share.as<float>()[r] : 1.0f,
                     .others = others(),
                     .extra = extra(),
                     .unsmoothed = unsmoothed};
  };
  float* losses = static_cast<float*>(c.workspace(size_t(rows) * sizeof(float)));
  visit_float(logits.dtype, [&]<class T>() {
    parallel_for(c, rows, [&](int64_t r) {
      T* out = dlogits.defined() ? dlogits.as<T>() + r * classes : nullptr;
      const float scale = weights != nullptr ? mean * weights[r] : mean;
      const RowTarget q = target(r);
      const float row = row_loss(logits.as<T>() + r * classes, classes, q, scale, out);
      losses[r] = weights != nullptr ? weights[r] * row : row;
    });
  });
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += double(losses[r]);
  *loss.as<float>() = float(sum * double(mean));
}

}  // namespace sluice::kernels
