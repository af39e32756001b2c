// CUDA half of CorrectCount: a warp per row finds the first largest logit, then the hits are counted.
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"
#include "kernels/correct_count.h"

namespace sluice::kernels {

inline constexpr int kNoClass = 0x7fffffff;

/// hits[row] = 1 where the row is right, else 0.
template <class T>
__global__ void __launch_bounds__(kThreads)
    correct_count_kernel(float* hits, const T* logits, const int32_t* labels, int64_t rows, int64_t classes) {
  const int64_t row = global_thread() / 32;
  if (row >= rows) return;  // whole warps
  float top = 0.0f;
  int at = kNoClass;
  for (int64_t k = lane(); k < classes; k += 32) {
    const float v = float(logits[row * classes + k]);
    if (v == v && (at == kNoClass || v > top)) {
      top = v;
      at = int(k);
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, top, step);
    const int other_at = __shfl_xor_sync(kAllLanes, at, step);
    const bool better = at == kNoClass || other > top || (other == top && other_at < at);
    if (other_at != kNoClass && better) {
      top = other;
      at = other_at;
    }
  }
  if (lane() == 0) hits[row] = at != kNoClass && at == labels[row] ? 1.0f : 0.0f;
}

void CorrectCount::cuda(CudaContext& c) const {
  const int64_t rows = logits.dim(0);
  auto* hits = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, rows)) * sizeof(float)));
  if (rows > 0)
    visit_float(logits.dtype, [&]<class T>() {
      launch_kernel(c, kName, correct_count_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, hits, logits.as<T>(),
                    labels.as<int32_t>(), rows, logits.dim(1));
    });
  passes::sum(c, kName, hits, rows, 1.0f, count.as<float>());
}

}  // namespace sluice::kernels
