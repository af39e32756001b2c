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
  const float* weights;  // [rows], or null
  int64_t rows, classes;
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
  float sum = 0.0f;
  for (int64_t k = lane(); k < classes; k += 32) sum += math::exp(float(x[k]) - top);
  sum = warp_reduce<Sum>(sum);
  const int32_t label = in.labels[row];
  const bool known = label >= 0 && label < classes;
  const float nan = __builtin_nanf("");
  const float weight = in.weights != nullptr ? in.weights[row] : 1.0f;
  if (lane() == 0) losses[row] = known ? weight * (math::log(sum) + (top - float(x[label]))) : nan;
  if (dlogits == nullptr) return;
  __syncwarp();  // lane 0 has read the label's logit, which another lane may overwrite now
  share *= weight;
  const float scale = share / sum;
  for (int64_t k = lane(); k < classes; k += 32) {
    const float hot = k == label ? share : 0.0f;
    dlogits[row * classes + k] = T(known ? math::exp(float(x[k]) - top) * scale - hot : nan);
  }
}

void SoftmaxCrossEntropy::cuda(CudaContext& c) const {
  const int64_t rows = logits.dim(0);
  const float share = rows == 0 ? 0.0f : row_weights.defined() ? weight : weight / float(rows);
  auto* losses = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, rows)) * sizeof(float)));
  if (rows > 0)
    visit_float(logits.dtype, [&]<class T>() {
      launch_kernel(c, kName, softmax_cross_entropy_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, losses,
                    dlogits.as<T>(),
                    LabelledRows<T>{logits.as<T>(), labels.as<int32_t>(), row_weights.as<float>(), rows, logits.dim(1)},
                    share);
    });
  passes::sum(c, kName, losses, rows, share, loss.as<float>());
}

}  // namespace sluice::kernels
