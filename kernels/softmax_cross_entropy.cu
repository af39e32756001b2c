// CUDA half of SoftmaxCrossEntropy: a warp per row, then the sum of the rows' losses in order. dlogits may be logits.
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"
#include "kernels/softmax_cross_entropy.h"

namespace sluice::kernels {

template <class T>
struct LabelledRows {
  const T* logits;  // [rows, classes]
  const int32_t* labels;
  const int32_t* labels2;  // [rows], or null
  const float* share;      // [rows], or null
  const float* weights;    // [rows], or null
  int64_t rows, classes;
  float others, extra;  // as SoftmaxCrossEntropy's
  int unsmoothed;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    softmax_cross_entropy_kernel(float* losses, T* dlogits, LabelledRows<T> in, float share) {
  const int64_t row = global_thread() / 32, classes = in.classes;
  if (row >= in.rows) return;  // whole warps
  const T* x = in.logits + row * classes;
  float top = Max::kNeutral;
  for (int64_t k = lane(); k < classes; k += 32) top = Max::combine(float(x[k]), top);  // a NaN is left to the sum
  top = warp_reduce<Max>(top);
  float sum = 0.0f, below = 0.0f;  // the latter of all classes
  for (int64_t k = lane(); k < classes; k += 32) {
    sum += math::exp(float(x[k]) - top);
    below += k == in.unsmoothed ? 0.0f : top - float(x[k]);
  }
  sum = warp_reduce<Sum>(sum);
  below = in.others > 0.0f ? in.others * warp_reduce<Sum>(below) : 0.0f;
  const int32_t label = in.labels[row], label2 = in.labels2 != nullptr ? in.labels2[row] : label;
  const bool known = label >= 0 && label < classes && label2 >= 0 && label2 < classes;
  const float nan = __builtin_nanf("");
  const float weight = in.weights != nullptr ? in.weights[row] : 1.0f;
  const float first = in.share != nullptr ? in.share[row] : 1.0f, second = 1.0f - first;
  if (lane() == 0) {
    float hot = known ? top - float(x[label]) : nan;
    if (known && label2 != label) hot = first * hot + second * (top - float(x[label2]));
    losses[row] = weight * (math::log(sum) + (in.extra * hot + below));
  }
  if (dlogits == nullptr) return;
  __syncwarp();  // lane 0 has read the labels' logits, which another lane may overwrite now
  share *= weight;
  const float scale = share / sum;
  for (int64_t k = lane(); k < classes; k += 32) {
    const float q = (k == in.unsmoothed ? 0.0f : in.others) +
                    in.extra * ((k == label ? first : 0.0f) + (k == label2 ? second : 0.0f));
    dlogits[row * classes + k] = T(known ? math::exp(float(x[k]) - top) * scale - share * q : nan);
  }
}

void SoftmaxCrossEntropy::cuda(CudaContext& c) const {
  const int64_t rows = logits.dim(0);
  const float scale = rows == 0 ? 0.0f : row_weights.defined() ? weight : weight / float(rows);
  auto* losses = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, rows)) * sizeof(float)));
  if (rows > 0)
    visit_float(logits.dtype, [&]<class T>() {
      launch_kernel(c, kName, softmax_cross_entropy_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, losses,
                    dlogits.as<T>(),
                    LabelledRows<T>{.logits = logits.as<T>(),
                                    .labels = labels.as<int32_t>(),
                                    .labels2 = labels2.as<int32_t>(),
                                    .share = share.as<float>(),
                                    .weights = row_weights.as<float>(),
                                    .rows = rows,
                                    .classes = logits.dim(1),
                                    .others = others(),
                                    .extra = extra(),
                                    .unsmoothed = unsmoothed},
                    scale);
    });
  passes::sum(c, kName, losses, rows, scale, loss.as<float>());
}

}  // namespace sluice::kernels
