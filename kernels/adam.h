// One Adam or AdamW step over a whole arena: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr m^ / (sqrt(v^) + eps).
// Moments in place; the new weights in place or to an array of their own, with forecasts of later ones.
#pragma once

#include "kernels/common/forecast.h"

namespace sluice::kernels {

/// Adam (Kingma, Ba, ICLR 2015) adds decay w to the gradient; AdamW (Loshchilov, Hutter, ICLR 2019), `decoupled`,
/// shrinks w by lr decay instead. m^ and v^ are corrected by bias1 and root_bias2 of the scalars, as in PyTorch:
/// sqrt(v^) = sqrt(v) / root_bias2. lr and decay are those of the segment's group. Forecasts are kAdaptive.
struct Adam {
  static constexpr const char* kName = "adam";
  Ref w;                              // [n] f32
  ConstRef g;                         // [n] f32
  Ref m, v;                           // [n] f32, zero before the first step
  Ref view;                           // [n] bf16 copy of w, written in the same pass; may be undefined
  ConstRef segments;                  // [segments, 3] i64
  ConstRef scalars;                   // kStepScalarsShape, u8
  ConstRef finite;                    // [1] i32: 0 leaves everything, `next` and forecasts as w; may be undefined
  double beta1 = 0.9, beta2 = 0.999;  // 1 - beta2 loses five digits when beta2 is a float
  float eps = 1e-8f;
  bool decoupled = false;
  Ref next{};  // [n] f32: the new weights, while w stays as it is; undefined: in place
  ForecastTo forecasts[kMaxForecasts]{};

  void check() const {
    const int64_t n = w.numel();
    expect_flat(kName, "w", w, n, DType::kF32);
    expect_flat(kName, "g", g, n, DType::kF32);
    expect_flat(kName, "m", m, n, DType::kF32);
    expect_flat(kName, "v", v, n, DType::kF32);
    if (view.defined()) expect_flat(kName, "view", view, n, DType::kBF16);
    expect_next(kName, n, w, next);
    expect_forecasts(kName, n, forecasts, {w, g, m, v, next});
    expect_update(kName, n, segments, scalars, finite);
  }
  Operands operands() const {
    const ConstRef old = next.defined() ? ConstRef(w) : ConstRef{};
    return {{g, segments, scalars, finite, old},
            {next.defined() ? next : w, m, v, view, forecasts[0].to, forecasts[1].to}};
  }
  Cost cost() const {
    Cost c = operands().once(w.numel() * (16 + 7 * count_forecasts(forecasts)));
    c.read += (next.defined() ? 0 : w.bytes()) + m.bytes() + v.bytes();  // read and written
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// What is the same for all elements of a segment.
struct AdamConstants {
  float shrink;  // lr decay
  float decay;
  float beta1, rest1;  // beta, 1 - beta
  float beta2, rest2;
  float eps;
  float step_size;  // lr / bias1
  float inverse_root_bias2;
};

namespace detail {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD AdamConstants adam_constants(const Adam& call, const StepScalars& s, int64_t group) {
  return {.shrink = s.lr[group] * s.weight_decay[group],
          .decay = s.weight_decay[group],
          .beta1 = float(call.beta1),
          .rest1 = float(1.0 - call.beta1),
          .beta2 = float(call.beta2),
          .rest2 = float(1.0 - call.beta2),
          .eps = call.eps,
          .step_size = s.lr[group] / s.bias1,
          .inverse_root_bias2 = 1.0f / s.root_bias2};
}
/// The new weight; `m` and `v` are updated. One text for both devices.
template <bool kDecoupled>
SLUICE_HD float adam_update(float w, float g, float& m, float& v, const AdamConstants& c) {
  if constexpr (kDecoupled)
    w = w - c.shrink * w;
  else
    g = g + c.decay * w;
  m = c.beta1 * m + c.rest1 * g;
  v = c.beta2 * v + c.rest2 * g * g;
  return w - c.step_size * m / (sqrtf(v) * c.inverse_root_bias2 + c.eps);
}

}  // namespace SLUICE_ISA or host
}  // namespace detail

}  // namespace sluice::kernels
