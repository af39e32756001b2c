// CUDA half of SupervisedContrastive: a warp per row finds its loss and what the gradient needs, a second kernel makes
// the gradient, the rows' losses are added in order. dproducts may be products.
#include "kernels/common/math.h"
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/supervised_contrastive.h"

namespace sluice::kernels {

struct ContrastiveBatch {
  const float* products;
  const int32_t* labels;
  int64_t rows;
  float scale;   // 1 / temperature
  float weight;  // of a row's loss: weight / rows
};

__global__ void __launch_bounds__(kThreads)
    contrastive_rows_kernel(float* losses, ContrastiveRow* rows, ContrastiveBatch in) {
  const int64_t a = global_thread() / 32, n = in.rows;
  if (a >= n) return;  // whole warps
  const float* s = in.products + a * n;
  const int32_t label = in.labels[a];
  float top = Max::kNeutral, same = 0.0f;
  for (int64_t k = lane(); k < n; k += 32) {
    if (k != a) top = Max::combine(s[k] * in.scale, top);  // a NaN is left to the sum
    same += in.labels[k] == label ? 1.0f : 0.0f;
  }
  top = warp_reduce<Max>(top);
  same = warp_reduce<Sum>(same);  // exact: below 2^24
  float sum = 0.0f;
  for (int64_t k = lane(); k < n; k += 32)
    if (k != a) sum += math::exp(s[k] * in.scale - top);
  const float log_sum = math::log(warp_reduce<Sum>(sum));
  float positives = 0.0f;
  for (int64_t k = lane(); k < n; k += 32)
    if (k != a && in.labels[k] == label) positives += (s[k] * in.scale - top) - log_sum;
  positives = warp_reduce<Sum>(positives);
  if (lane() != 0) return;
  const float pull = in.weight * in.scale / same;
  rows[a] = {top + log_sum, pull, pull * (same - 1.0f)};
  losses[a] = same > 1.0f ? -positives / same : 0.0f;
}

__global__ void __launch_bounds__(kThreads)
    contrastive_grad_kernel(float* dproducts, const ContrastiveRow* rows, ContrastiveBatch in) {
  const int64_t a = global_thread() / 32, n = in.rows;
  if (a >= n) return;  // whole warps
  const ContrastiveRow mine = rows[a];
  const int32_t label = in.labels[a];
  for (int64_t k = lane(); k < n; k += 32) {
    const ContrastiveRow other = rows[k];
    const float v = in.products[a * n + k] * in.scale;
    const float push = mine.push * math::exp(v - mine.log_sum) + other.push * math::exp(v - other.log_sum);
    const float pull = in.labels[k] == label ? mine.pull + other.pull : 0.0f;
    dproducts[a * n + k] = k == a ? 0.0f : push - pull;
  }
}

void SupervisedContrastive::cuda(CudaContext& c) const {
  const int64_t n = products.dim(0), blocks = ceil_div(n * 32, kThreads);
  const float mean = n == 0 ? 0.0f : weight / float(n);
  auto* rows = static_cast<ContrastiveRow*>(
      c.workspace(size_t(std::max<int64_t>(1, n)) * (sizeof(ContrastiveRow) + sizeof(float))));
  auto* losses = reinterpret_cast<float*>(rows + n);
  const ContrastiveBatch in{products.as<float>(), labels.as<int32_t>(), n, 1.0f / temperature, mean};
  if (n > 0) launch_kernel(c, kName, contrastive_rows_kernel, blocks, kThreads, 0, losses, rows, in);
  if (n > 0 && dproducts.defined())
    launch_kernel(c, kName, contrastive_grad_kernel, blocks, kThreads, 0, dproducts.as<float>(), rows, in);
  passes::sum(c, kName, losses, n, mean, loss.as<float>());
}

}  // namespace sluice::kernels
