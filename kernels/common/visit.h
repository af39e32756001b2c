// From a dtype at run time to a type at compile time.
#pragma once

#include "kernels/common/ref.h"

namespace sluice {

/// Calls f.operator()<float>() or f.operator()<bf16>(). check() has refused every other dtype before.
template <class F>
void visit_float(DType t, F&& f) {
  if (t == DType::kF32) return f.template operator()<float>();
  if (t == DType::kBF16) return f.template operator()<bf16>();
  throw DTypeError(str("dtype ", name(t), " where f32 or bf16 is expected"));
}

/// to = T(v). A function, since g++ does not vectorise an `omp simd` loop in which a class temporary (bf16) is made.
template <class T>
SLUICE_HD void store(T& to, float v) {
  to = T(v);
}

}  // namespace sluice
