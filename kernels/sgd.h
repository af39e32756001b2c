// One SGD step over a whole arena: d = g + decay w; b = momentum b + rest d; w -= lr (nesterov ? d + momentum b : b).
// State in place; the new weights in place or to an array of their own, with forecasts of later ones.
#pragma once

#include "kernels/common/forecast.h"

namespace sluice::kernels {

/// As torch.optim.SGD (Sutskever et al., ICML 2013). A zero `buffer` and a rest of 1 give PyTorch's first step, b = d.
/// lr and decay are those of the segment's group. Forecasts are kMomentum or kNextMomentum; without momentum both take
/// d for D.
struct Sgd {
  static constexpr const char* kName = "sgd";
  Ref w;              // [n] f32
  ConstRef g;         // [n] f32
  Ref buffer;         // [n] f32, zero before the first step; undefined: no momentum
  Ref view;           // [n] bf16 copy of w, written in the same pass; may be undefined
  ConstRef segments;  // [segments, 3] i64
  ConstRef scalars;   // kStepScalarsShape, u8
  ConstRef finite;    // [1] i32: 0 leaves everything as it is, `next` and forecasts as w; may be undefined
  float momentum = 0;
  bool nesterov = false;
  float rest = 1;  // 1 - dampening
  Ref next{};      // [n] f32: the new weights, while w stays as it is; undefined: in place
  Ref last{};      // [n] f32: d, for forecasts later; may be undefined
  ForecastTo forecasts[kMaxForecasts]{};

  void check() const {
    const int64_t n = w.numel();
    expect_flat(kName, "w", w, n, DType::kF32);
    expect_flat(kName, "g", g, n, DType::kF32);
    if (buffer.defined()) expect_flat(kName, "buffer", buffer, n, DType::kF32);
    if (view.defined()) expect_flat(kName, "view", view, n, DType::kBF16);
    if (last.defined()) expect_flat(kName, "last", last, n, DType::kF32);
    expect_next(kName, n, w, next);
    expect_forecasts(kName, n, forecasts, {w, g, buffer, next, last});
    expect_update(kName, n, segments, scalars, finite);
  }
  Operands operands() const {
    const ConstRef old = next.defined() ? ConstRef(w) : ConstRef{};
    return {{g, segments, scalars, finite, old},
            {next.defined() ? next : w, buffer, view, last, forecasts[0].to, forecasts[1].to}};
  }
  Cost cost() const {
    Cost c = operands().once(w.numel() * (7 + 3 * count_forecasts(forecasts)));
    c.read += (next.defined() ? 0 : w.bytes()) + buffer.bytes();  // both read and written
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// What is the same for all elements of a segment.
struct SgdConstants {
  float lr, decay, momentum, rest;
  bool nesterov;
};

namespace detail {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD SgdConstants sgd_constants(const Sgd& call, const StepScalars& s, int64_t group) {
  return {.lr = s.lr[group],
          .decay = s.weight_decay[group],
          .momentum = call.momentum,
          .rest = call.rest,
          .nesterov = call.nesterov};
}
/// The new weight; `d`, the gradient, gets its decay and `b` is updated. One text for both devices.
template <bool kMomentum>
SLUICE_HD float sgd_update(float w, float& d, float& b, const SgdConstants& c) {
  d = d + c.decay * w;
  if constexpr (kMomentum) {
    b = c.momentum * b + c.rest * d;
    return w - c.lr * (c.nesterov ? d + c.momentum * b : b);
  } else {
    return w - c.lr * d;
  }
}
/// From the new weight and what the update made of `d` and `b`.
template <bool kMomentum>
SLUICE_HD float sgd_forecast(float w, float d, float b, const ForecastConstants& f) {
  return kMomentum ? foretell::by_momentum(w, b, d, f) : foretell::moved(w, f.reach * d, f);
}

}  // namespace SLUICE_ISA or host
}  // namespace detail

}  // namespace sluice::kernels
