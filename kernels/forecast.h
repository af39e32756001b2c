// Weights foretold from those of an arena and what its optimiser keeps, in a pass of its own. `to` may not be an input.
#pragma once

#include "kernels/common/forecast.h"

namespace sluice::kernels {

/// to = keep w - reach D, with the factors of the scalars' first forecast: bit for bit what an update with that
/// forecast would have written. Elements outside every segment are left alone.
struct Forecast {
  static constexpr const char* kName = "forecast";
  ConstRef w;         // [n] f32
  ConstRef m, v;      // [n] f32; undefined where the direction does not take them
  Ref to;             // [n] f32
  ConstRef segments;  // [segments, 3] i64
  ConstRef scalars;   // kStepScalarsShape, u8
  DirectionRule direction;

  bool takes_m() const { return direction.kind != Direction::kNone; }
  bool takes_v() const { return takes_m() && direction.kind != Direction::kMomentum; }
  void check() const {
    const int64_t n = to.numel();
    expect_flat(kName, "to", to, n, DType::kF32);
    expect_flat(kName, "w", w, n, DType::kF32);
    if (takes_m()) expect_flat(kName, "m", m, n, DType::kF32);
    if (takes_v()) expect_flat(kName, "v", v, n, DType::kF32);
    expect_update(kName, n, segments, scalars, {});
    for (const ConstRef& in : {w, m, v})
      if (n > 0 && in.data == to.data) throw ShapeError(str(kName, ": to is an input, expected an array of its own"));
  }
  Operands operands() const {
    return {{w, takes_m() ? m : ConstRef{}, takes_v() ? v : ConstRef{}, segments, scalars}, {to}};
  }
  Cost cost() const { return operands().once(to.numel() * (takes_v() ? 6 : 3)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
