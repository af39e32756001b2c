// CPU halves of the fills. Blocks are multiples of four elements, so that no Philox draw is shared by two blocks.
#include "kernels/fill.h"

#include "kernels/common/normal.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void FillConstant::cpu<kIsa>(CpuContext& c) const {
  const auto fill = [&]<class T>(T v) {
    parallel_blocks(c, y.numel(), 16384, [out = y.as<T>(), v](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = v;
    });
  };
  if (y.dtype == DType::kI32) return fill(int32_t(value));
  visit_float(y.dtype, [&]<class T>() { fill(T(value)); });
}

template <>
void FillUniform::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    parallel_blocks(c, y.numel(), 16384, [this, out = y.as<T>()](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += 4) {
        const Philox4 words = philox(key, uint64_t(i / 4), 0);
        for (int64_t j = i; j < std::min(end, i + 4); ++j) out[j] = T(low + (high - low) * uniform(words.v[j - i]));
      }
    });
  });
}

template <>
void FillNormal::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    parallel_blocks(c, y.numel(), 16384, [this, out = y.as<T>()](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += 4) {
        const Normal4 draws = normal_within(cut, key, uint64_t(i / 4));
        for (int64_t j = i; j < std::min(end, i + 4); ++j) out[j] = T(mean + deviation * draws.v[j - i]);
      }
    });
  });
}

}  // namespace sluice::kernels
