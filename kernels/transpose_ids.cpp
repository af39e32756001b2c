// CPU half of the transposition: written in order, read in steps.
#include "kernels/transpose_ids.h"

#include "kernels/common/parallel.h"

namespace sluice::kernels {

template <>
void TransposeIds::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  const auto run = [&]<class T>(const T* in, T* out) {
    parallel_for(c, cols, [=](int64_t col) {
      for (int64_t r = 0; r < rows; ++r) out[col * rows + r] = in[r * cols + col];
    });
  };
  if (x.dtype == DType::kU8) return run(x.as<uint8_t>(), y.as<uint8_t>());
  run(x.as<int32_t>(), y.as<int32_t>());
}

}  // namespace sluice::kernels
