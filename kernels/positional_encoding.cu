// CUDA half of positional encoding: a thread has one position and column of all samples, so it needs one sinusoid.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/positional_encoding.h"

namespace sluice::kernels {

struct EncodedShape {
  int64_t samples, length, cols;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    positional_encoding_kernel(T* y, const T* x, EncodedShape z, float scale, bool positions) {
  const int64_t of_sample = z.length * z.cols;
  for (int64_t i = global_thread(); i < of_sample; i += grid_threads()) {
    const int64_t t = i / z.cols;
    const float add = positions ? sinusoid(t, i - t * z.cols, z.cols) : 0.0f;
    for (int64_t at = i; at < z.samples * of_sample; at += of_sample) y[at] = T(scale * float(x[at]) + add);
  }
}

void PositionalEncoding::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  const EncodedShape z{x.dim(0), x.dim(1), x.dim(2)};
  const Grid g = grid_for(c, z.length * z.cols);
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, positional_encoding_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), x.as<T>(), z, scale,
                  positions);
  });
}

}  // namespace sluice::kernels
