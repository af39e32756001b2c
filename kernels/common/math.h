// Branch-free exp, log, tanh, sigmoid and erf for float, one text for CPU and CUDA, so that loops over them vectorise.
// Polynomials fitted by iterated reweighted least squares to the minimum of the largest relative error. The bounds
// are of the CPU without contraction, in units in the last place of the exact result; tests/kernels/math_test.cpp
// sweeps the floats for them. NaN gives NaN everywhere.
#pragma once

#include <cmath>
#include <cstdint>
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

SLUICE_HD int32_t to_bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
SLUICE_HD float from_bits(int32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/// e^x, 1 ulp; infinity from 88.73 on; below -87.33, where the result is denormal, 2 ulp, and 0 from -104 on.
SLUICE_HD float exp(float x) {
  x = x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x);
  const float shifted = x * 1.44269504f + 12582912.0f;  // rounds to nearest: 1.5 * 2^23 leaves no bits for a fraction
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts (Cody and Waite), the first exact
  float p = 1.381461043e-3f;
  p = p * r + 8.368710987e-3f;
  p = p * r + 4.166838899e-2f;
  p = p * r + 1.666652113e-1f;
  p = p * r + 4.999999404e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t whole = to_bits(shifted) - 0x4b400000;  // n without a conversion, which NaN would make undefined
  const int32_t half = whole >> 1;                      // 2^n alone can be neither 2^128 nor denormal
  return p * from_bits((half + 127) << 23) * from_bits((whole - half + 127) << 23);
}

/// Natural logarithm, 1 ulp, of denormals too; log(0) = -infinity, NaN below.
SLUICE_HD float log(float x) {
  const bool tiny = x < 1.17549435e-38f;
  // The exponent counts from sqrt(1/2). Unsigned: a negative x, whose result is NaN below, would overflow.
  const auto from_root = int32_t(uint32_t(to_bits(tiny ? x * 33554432.0f : x)) - 0x3f3504f3u);
  const float e = float((from_root >> 23) - (tiny ? 25 : 0));
  const float f = from_bits((from_root & 0x7fffff) + 0x3f3504f3) - 1.0f;  // x = 2^e (1 + f), |f| < 0.42
  float p = -7.634496689e-2f;
  p = p * f + 1.276157647e-1f;
  p = p * f + -1.316018254e-1f;
  p = p * f + 1.420175731e-1f;
  p = p * f + -1.662335694e-1f;
  p = p * f + 2.000122666e-1f;
  p = p * f + -2.500081956e-1f;
  p = p * f + 3.333333135e-1f;
  const float f2 = f * f;
  const float y = (f + ((f * f2 * p - e * 2.12194440e-4f) - 0.5f * f2)) + e * 0.693359375f;
  const float finite = x > 3.40282347e38f ? x : y;
  return x > 0.0f ? finite : (x == 0.0f ? -INFINITY : NAN);
}

/// 1 / (1 + e^-x), 3 ulp above -87.3; 0 below -88.73.
SLUICE_HD float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

/// Hyperbolic tangent, 2 ulp; odd, +-1 from 9.02 on.
SLUICE_HD float tanh(float x) {
  const float a = fabsf(x), s = x * x;
  float p = -5.704986863e-3f;
  p = p * s + 2.063908614e-2f;
  p = p * s + -5.373971537e-2f;
  p = p * s + 1.333144158e-1f;
  p = p * s + -3.333328068e-1f;
  const float near = a + a * (s * p);
  const float far = 1.0f - 2.0f / (exp(2.0f * a) + 1.0f);
  return copysignf(a < 0.625f ? near : far, x);
}

/// Error function, 2 ulp; odd, +-1 from 3.92 on. Away from 0 it is 1 - e^-h with a polynomial h = -log(erfc).
SLUICE_HD float erf(float x) {
  const float a = fabsf(x), s = x * x;
  float p = 8.422672545e-5f;
  p = p * s + -8.156705881e-4f;
  p = p * s + 5.202463828e-3f;
  p = p * s + -2.686009929e-2f;
  p = p * s + 1.128371209e-1f;
  p = p * s + -3.761263490e-1f;
  const float near = a + a * (s * p + 1.283791671e-1f);  // 2 / sqrt(pi) = 1 + this
  const float t = a > 4.0f ? 4.0f : a;
  float h = -1.959372603e-4f;
  h = h * t + 3.043217584e-3f;
  h = h * t + -2.222692035e-2f;
  h = h * t + 1.039315984e-1f;
  h = h * t + 6.371822357e-1f;
  h = h * t + 1.127675653e+0f;
  h = h * t + 1.956754131e-4f;
  return copysignf(a < 0.92f ? near : 1.0f - exp(-h), x);
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice::math
