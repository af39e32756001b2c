// Branch-free exp, tanh, sigmoid and erf for float, one text for CPU and CUDA, so that loops over them vectorise.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/common/context.h"
#include "kernels/common/hd.h"

namespace sluice::math {

// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// e^x. Clamped to the finite range; at most 2 ulp from the double result.
SLUICE_HD float exp(float x) {
  x = x < -87.3f ? -87.3f : (x > 88.3f ? 88.3f : x);
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // round to nearest by the magic constant 1.5 * 2^23
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;    // ln 2 in two parts (Cody and Waite)
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float scale;
  memcpy(&scale, &bits, 4);
  return p * scale;
}

SLUICE_HD float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

/// tanh by a rational function on |x| <= 7.9 (13th over 6th degree, least squares); 5 ulp at most.
SLUICE_HD float tanh(float x) {
  x = x < -7.90531110763549805f ? -7.90531110763549805f : (x > 7.90531110763549805f ? 7.90531110763549805f : x);
  const float s = x * x;
  float p = -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice::math
