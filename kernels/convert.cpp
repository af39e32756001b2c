// CPU half of the conversion: one pass.
#include "kernels/convert.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void Convert::cpu<kIsa>(CpuContext& c) const {
  const auto run = [&]<class From, class To>(const From* in, To* out) {
    parallel_blocks(c, x.numel(), 16384, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(out[i], float(in[i]));
    });
  };
  if (x.dtype == DType::kF32) return run(x.as<float>(), y.as<bf16>());
  run(x.as<bf16>(), y.as<float>());
}

}  // namespace sluice::kernels
