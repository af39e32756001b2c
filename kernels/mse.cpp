// CPU half of the mean squared error: block sums in float, added in block order in double.
#include "kernels/mse.h"

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {
constexpr int64_t kBlock = 4096;
}

template <>
void Mse::cpu<kIsa>(CpuContext& c) const {
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
