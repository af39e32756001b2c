// What tests of kernels with one bit an element share.
#pragma once

#include "kernels/convert.h"
#include "tests/support/support.h"

namespace sluice::test {

/// One bit an element, lowest first, spare bits 0.
inline std::vector<double> packed(const std::vector<bool>& bits) {
  std::vector<double> bytes((bits.size() + 7) / 8, 0.0);
  for (size_t i = 0; i < bits.size(); ++i)
    if (bits[i]) bytes[i / 8] += double(1 << (i % 8));
  return bytes;
}
inline std::vector<bool> positive(const std::vector<double>& values) {
  std::vector<bool> bits;
  for (const double v : values) bits.push_back(v > 0);
  return bits;
}

inline Tensor bytes_on(const Stream& s, const std::vector<double>& values) {
  const std::vector<uint8_t> bytes(values.begin(), values.end());
  return Tensor::from<uint8_t>(s, bytes, {int64_t(bytes.size())});
}

/// Random numbers, every fourth of them 0.
inline Tensor with_zeroes(const Stream& s, const Shape& shape, uint64_t seed, DType t, float low = -1) {
  std::vector<float> v = random_values(shape.numel(), seed, low, 1);
  for (size_t i = 3; i < v.size(); i += 4) v[i] = 0;
  const Tensor f32 = Tensor::from<float>(s, v, shape);
  if (t == DType::kF32) return f32;
  const Tensor narrow = Tensor::empty(s, shape, t);
  launch(kernels::Convert{.x = f32.cref(), .y = narrow.ref()}, s);
  return narrow;
}

}  // namespace sluice::test
