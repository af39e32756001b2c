// Contents of the benchmarks' tensors.
#include "bench/case.h"

#include "kernels/common/visit.h"

namespace sluice::bench {

Tensor filled(const Stream& s, Shape shape, DType dtype) {
  std::vector<float> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 61) / 30.5f - 1.0f;
  if (dtype == DType::kF32) return Tensor::from<float>(s, values, shape);
  std::vector<bf16> rounded(values.begin(), values.end());
  return Tensor::from<bf16>(s, rounded, shape);
}

}  // namespace sluice::bench
