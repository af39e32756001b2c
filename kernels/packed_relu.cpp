// CPU halves of the packed ReLU: one pass, eight elements and their byte at a time.
#include "kernels/packed_relu.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void PackedRelu::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    const T *in = x.as<T>(), *add = residual.as<T>();
    T* out = y.as<T>();
    uint8_t* packed = bits.as<uint8_t>();
    parallel_blocks(c, x.numel(), 16384, [=](int64_t begin, int64_t end) {
      for_eights(begin, end, [=](int64_t i, auto count) {
        float v[8] = {};
        for (int64_t k = 0; k < count; ++k) v[k] = float(in[i + k]);
        if (add != nullptr)
          for (int64_t k = 0; k < count; ++k) v[k] += float(add[i + k]);
        if (packed != nullptr) packed[i / 8] = positive_bits(v);
        if (out == nullptr) return;
        for (int64_t k = 0; k < count; ++k) store(out[i + k], v[k] < 0.0f ? 0.0f : v[k]);  // NaN passes
      });
    });
  });
}

template <>
void PackedReluGrad::cpu<kIsa>(CpuContext& c) const {
  visit_float(dy.dtype, [&]<class T>() {
    const T* in = dy.as<T>();
    T* out = dx.as<T>();
    const uint8_t* packed = bits.as<uint8_t>();
    parallel_blocks(c, dy.numel(), 16384, [=](int64_t begin, int64_t end) {
      for_eights(begin, end, [=](int64_t i, auto count) {
        const int32_t byte = packed[i / 8];
        for (int64_t k = 0; k < count; ++k) store(out[i + k], (byte >> k & 1) != 0 ? float(in[i + k]) : 0.0f);
      });
    });
  });
}

}  // namespace sluice::kernels
