// One RMSprop step over a whole arena: d = g + decay w; v = alpha v + (1-alpha) d^2; w -= lr d / (sqrt(v) + eps). v in
// place; the new weights in place or to an array of their own, with forecasts of later ones.
#pragma once

#include "kernels/common/forecast.h"

namespace sluice::kernels {

/// As torch.optim.RMSprop without momentum and not centred (Tieleman, Hinton, 2012). lr and decay are those of the
/// segment's group; bias1 and root_bias2 of the scalars are 1. Forecasts are kAdaptive, from d and v.
struct Rmsprop {
  static constexpr const char* kName = "rmsprop";
  Ref w;                // [n] f32
  ConstRef g;           // [n] f32
  Ref v;                // [n] f32, zero before the first step
  Ref view;             // [n] bf16 copy of w, written in the same pass; may be undefined
  ConstRef segments;    // [segments, 3] i64
  ConstRef scalars;     // kStepScalarsShape, u8
  ConstRef finite;      // [1] i32: 0 leaves everything, `next` and forecasts as w; may be undefined
  double alpha = 0.99;  // 1 - alpha loses digits when alpha is a float
  float eps = 1e-8f;
  Ref next{};  // [n] f32: the new weights, while w stays as it is; undefined: in place
  Ref last{};  // [n] f32: d, for forecasts later; may be undefined
  ForecastTo forecasts[kMaxForecasts]{};

  void check() const {
    const int64_t n = w.numel();
    expect_flat(kName, "w", w, n, DType::kF32);
    expect_flat(kName, "g", g, n, DType::kF32);
    expect_flat(kName, "v", v, n, DType::kF32);
    if (view.defined()) expect_flat(kName, "view", view, n, DType::kBF16);
    if (last.defined()) expect_flat(kName, "last", last, n, DType::kF32);
    expect_next(kName, n, w, next);
    expect_forecasts(kName, n, forecasts, {w, g, v, next, last});
    expect_update(kName, n, segments, scalars, finite);
  }
  Operands operands() const {
    const ConstRef old = next.defined() ? ConstRef(w) : ConstRef{};
    return {{g, segments, scalars, finite, old},
            {next.defined() ? next : w, v, view, last, forecasts[0].to, forecasts[1].to}};
  }
  Cost cost() const {
    Cost c = operands().once(w.numel() * (11 + 7 * count_forecasts(forecasts)));
    c.read += (next.defined() ? 0 : w.bytes()) + v.bytes();  // read and written
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// What is the same for all elements of a segment.
struct RmspropConstants {
  float lr, decay;
  float alpha, rest;  // alpha, 1 - alpha
  float eps;
};

namespace detail {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD RmspropConstants rmsprop_constants(const Rmsprop& call, const StepScalars& s, int64_t group) {
  return {.lr = s.lr[group],
          .decay = s.weight_decay[group],
          .alpha = float(call.alpha),
          .rest = float(1.0 - call.alpha),
          .eps = call.eps};
}
/// The new weight; `d`, the gradient, gets its decay and `v` is updated. One text for both devices.
SLUICE_HD float rmsprop_update(float w, float& d, float& v, const RmspropConstants& c) {
  d = d + c.decay * w;
  v = c.alpha * v + c.rest * d * d;
  return w - c.lr * d / (sqrtf(v) + c.eps);
}

}  // namespace SLUICE_ISA or host
}  // namespace detail

}  // namespace sluice::kernels
