// Weights foretold from those of an arena and what its optimiser keeps, in a pass of its own. `to` may not be an input.
#pragma once

#include "kernels/common/forecast.h"

namespace sluice::kernels {

/// to = keep w - reach D, with the factors of the scalars' first forecast: bit for bit what an update with that
/// forecast would have written. Elements outside every segment are left alone, and so are
/// those behind the end of `to`.
struct Forecast {
  static constexpr const char* kName = "forecast";
  ConstRef w;         // [n] f32
  ConstRef m, v;      // [n] f32; undefined where the direction does not take them
  Ref to;             // [at most n] f32
  ConstRef segments;  // [segments, 3] i64
  ConstRef scalars;   // kStepScalarsShape, u8
  DirectionRule direction;

  void check() const {
    const int64_t n = w.numel();
    expect_flat(kName, "to", to, to.numel(), DType::kF32);
    expect_flat(kName, "w", w, n, DType::kF32);
    if (direction.takes_m()) expect_flat(kName, "m", m, n, DType::kF32);
    if (direction.takes_v()) expect_flat(kName, "v", v, n, DType::kF32);
    if (to.numel() > n)
      throw ShapeError(str(kName, ": to has shape ", to.shape.text(), ", expected at most ", n, " elements"));
    expect_update(kName, n, segments, scalars, {});
    for (const ConstRef& in : {w, m, v})
      if (n > 0 && in.data == to.data) throw ShapeError(str(kName, ": to is an input, expected an array of its own"));
  }
  Operands operands() const {
    return {{w, direction.takes_m() ? m : ConstRef{}, direction.takes_v() ? v : ConstRef{}, segments, scalars}, {to}};
  }
  Cost cost() const {
    const int64_t arrays = 1 + (direction.takes_m() ? 1 : 0) + (direction.takes_v() ? 1 : 0);
    return {arrays * to.bytes() + segments.bytes() + scalars.bytes(), to.bytes(), to.numel() * 3 * (arrays - 1)};
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
