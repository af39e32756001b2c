// y = act(x) and dx = dy * act'(x), element by element. y may be x; dx may be dy.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/math.h"

namespace sluice {

/// The activations that ops can end in. LeakyReLU's slope is 0.01; GELU is the tanh form (Hendrycks, Gimpel 2016).
enum class Act : uint8_t { kNone, kRelu, kLeakyRelu, kSigmoid, kTanh, kGelu };

namespace math {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif
SLUICE_HD float gelu_inner(float x) { return tanh(0.7978845608f * (x + 0.044715f * x * x * x)); }

template <Act A>
SLUICE_HD float act(float x) {
  if constexpr (A == Act::kRelu) return x > 0.0f ? x : 0.0f;
  if constexpr (A == Act::kLeakyRelu) return x > 0.0f ? x : 0.01f * x;
  if constexpr (A == Act::kSigmoid) return sigmoid(x);
  if constexpr (A == Act::kTanh) return tanh(x);
  if constexpr (A == Act::kGelu) return 0.5f * x * (1.0f + gelu_inner(x));
  return x;
}
/// The derivative from what forward keeps: the output y, for GELU the input x.
template <Act A>
SLUICE_HD float act_slope(float kept) {
  if constexpr (A == Act::kRelu) return kept > 0.0f ? 1.0f : 0.0f;
  if constexpr (A == Act::kLeakyRelu) return kept > 0.0f ? 1.0f : 0.01f;
  if constexpr (A == Act::kSigmoid) return kept * (1.0f - kept);
  if constexpr (A == Act::kTanh) return 1.0f - kept * kept;
  if constexpr (A == Act::kGelu) {
    const float t = gelu_inner(kept);
    return 0.5f * (1.0f + t) + 0.5f * kept * (1.0f - t * t) * 0.7978845608f * (1.0f + 0.134145f * kept * kept);
  }
  return 1.0f;
}
}  // namespace SLUICE_ISA or host
}  // namespace math

/// Whether the backward pass of A needs forward's input (GELU) rather than its output.
constexpr bool keeps_input(Act a) { return a == Act::kGelu; }

/// Calls f.operator()<A>() for the activation chosen at run time.
template <class F>
void visit_act(Act a, F&& f) {
  switch (a) {
    case Act::kNone:
      return f.template operator()<Act::kNone>();
    case Act::kRelu:
      return f.template operator()<Act::kRelu>();
    case Act::kLeakyRelu:
      return f.template operator()<Act::kLeakyRelu>();
    case Act::kSigmoid:
      return f.template operator()<Act::kSigmoid>();
    case Act::kTanh:
      return f.template operator()<Act::kTanh>();
    case Act::kGelu:
      return f.template operator()<Act::kGelu>();
  }
}

namespace kernels {

struct Activation {
  static constexpr const char* kName = "activation";
  ConstRef x;  // any shape; f32 or bf16
  Ref y;       // as x
  Act act = Act::kNone;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(x.numel() * (act < Act::kSigmoid ? 1 : 20)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct ActivationGrad {
  static constexpr const char* kName = "activation_grad";
  ConstRef kept;  // y, or x where keeps_input(act)
  ConstRef dy;    // as kept
  Ref dx;         // as kept
  Act act = Act::kNone;

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_dtype(kName, "kept", kept.dtype, dy.dtype);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_shape(kName, "kept", kept.shape, dy.shape);
    expect_shape(kName, "dx", dx.shape, dy.shape);
  }
  Operands operands() const { return {{kept, dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel() * (act < Act::kSigmoid ? 2 : 22)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace kernels
}  // namespace sluice
