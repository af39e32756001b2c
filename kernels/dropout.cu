// CUDA half of Dropout: a thread draws once for the four elements that take the draw's words. y may be x or residual.
#include "kernels/common/device.cuh"
#include "kernels/common/visit.h"
#include "kernels/dropout.h"

namespace sluice::kernels {

struct DropoutShape {
  int64_t draws;     // of the whole call
  int64_t per_row;   // draws
  int64_t elements;  // of a row
  int64_t samples;   // rows of a step
};

struct DropoutDraws {
  PhiloxKey key;
  int64_t sample_base;
  float p;
};

/// residual: null for none.
template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(T* y, const T* x, const T* residual, DropoutShape s, DropoutDraws from) {
  const float scale = 1.0f / (1.0f - from.p);
  for (int64_t d = global_thread(); d < s.draws; d += grid_threads()) {
    const int64_t row = d / s.per_row, low = d - row * s.per_row, step = row / s.samples;
    const int64_t first = low / 16 * 64 + low % 16;  // the inverse of dropout_draw() for word 0
    const Philox4 words =
        philox(from.key, dropout_draw(first, step).low, uint64_t(from.sample_base + row - step * s.samples));
    for (int word = 0; word < 4; ++word) {
      const int64_t e = first + 16 * word, i = row * s.elements + e;
      if (e >= s.elements) continue;
      const float kept = uniform(words.v[word]) >= from.p ? float(x[i]) * scale : 0.0f;
      y[i] = T(residual == nullptr ? kept : float(residual[i]) + kept);
    }
  }
}

void Dropout::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  const int64_t elements = x.numel() / rows(), per_row = ceil_div(elements, 64) * 16;
  const DropoutShape s{rows() * per_row, per_row, elements, samples()};
  visit_float(x.dtype, [&]<class T>() {
    const Grid g = grid_for(c, s.draws);
    launch_kernel(c, kName, dropout_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), x.as<T>(), residual.as<T>(), s,
                  DropoutDraws{key, sample_base, p});
  });
}

}  // namespace sluice::kernels
