// Later weights foretold from what an optimiser keeps: keep W - reach D, with D the direction of its last step (Guan et
// al., PipeOptim, 2025). One text for updates that write forecasts in their pass and for the pass of its own.
#pragma once

#include <cmath>

#include "kernels/common/context.h"
#include "kernels/common/segments.h"

namespace sluice {

/// How D comes from two numbers an element that the optimiser keeps, m and v.
enum class Direction : uint8_t {
  kNone,          // there was no step: the weights themselves
  kMomentum,      // m
  kNextMomentum,  // momentum m + rest v, with v the last gradient: the recursion of m once more
  kAdaptive       // m^ / (sqrt(v^) + eps), corrected by bias1 and root_bias2 of the scalars
};
struct DirectionRule {
  Direction kind = Direction::kMomentum;
  float momentum = 0, rest = 1;
  float eps = 1e-8f;

  bool takes_m() const { return kind != Direction::kNone; }
  bool takes_v() const { return kind == Direction::kNextMomentum || kind == Direction::kAdaptive; }
};

/// A forecast that an update writes in its pass, with the factors of its place in StepScalars.
struct ForecastTo {
  /// f32, nothing that the update reads or writes otherwise; undefined: none. [n], or fewer up to the end of a segment:
  /// those behind are not foretold.
  Ref to{};
  DirectionRule direction{};
};

/// The forecasts asked for, which stand in front of those that are not.
inline int count_forecasts(const ForecastTo (&all)[kMaxForecasts]) {
  int count = 0;
  while (count < kMaxForecasts && all[count].to.defined()) ++count;
  return count;
}
/// The elements that are foretold: the first ones.
inline int64_t count_foretold(const ForecastTo (&all)[kMaxForecasts]) {
  return all[0].to.defined() ? all[0].to.numel() : 0;
}
/// Throws unless each is an array of its own and they have one size. `taken`: what the update reads and writes
/// otherwise.
inline void expect_forecasts(const char* op, int64_t n, const ForecastTo (&all)[kMaxForecasts],
                             std::initializer_list<ConstRef> taken) {
  const int count = count_forecasts(all);
  for (int k = 0; k < kMaxForecasts; ++k) {
    if (!all[k].to.defined()) continue;
    if (k >= count) throw ShapeError(str(op, ": forecast ", k, " without one before it"));
    expect_flat(op, "forecast", all[k].to, count_foretold(all), DType::kF32);
    if (count_foretold(all) > n)
      throw ShapeError(
          str(op, ": forecast ", k, " has shape ", all[k].to.shape.text(), ", expected at most ", n, " elements"));
    for (const ConstRef& other : taken)
      if (n > 0 && other.data == all[k].to.data)
        throw ShapeError(str(op, ": forecast ", k, " lies on another array of the update, expected one of its own"));
    if (n > 0 && k > 0 && all[k].to.data == all[0].to.data)
      throw ShapeError(str(op, ": two forecasts lie on one array, expected one each"));
  }
}

/// Calls f.operator()<0>() up to <kMaxForecasts>().
template <class F>
void visit_count(int forecasts, F&& f) {
  static_assert(kMaxForecasts == 2);
  if (forecasts == 0) return f.template operator()<0>();
  if (forecasts == 1) return f.template operator()<1>();
  return f.template operator()<2>();
}
template <class F>
void visit_direction(Direction d, F&& f) {
  switch (d) {
    case Direction::kNone:
      return f.template operator()<Direction::kNone>();
    case Direction::kMomentum:
      return f.template operator()<Direction::kMomentum>();
    case Direction::kNextMomentum:
      return f.template operator()<Direction::kNextMomentum>();
    case Direction::kAdaptive:
      return f.template operator()<Direction::kAdaptive>();
  }
}
/// From flags at run time to flags at compile time.
template <bool... known, class F>
void visit_flags(F&& f) {
  f.template operator()<known...>();
}
template <bool... known, class F, class... More>
void visit_flags(F&& f, bool flag, More... more) {
  if (flag)
    visit_flags<known..., true>(f, more...);
  else
    visit_flags<known..., false>(f, more...);
}

/// What is the same for all elements of a segment.
struct ForecastConstants {
  float keep, reach;
  bool next_momentum;
  float momentum, rest;
  float eps, inverse_root_bias2;
};

namespace foretell {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD ForecastConstants constants(const DirectionRule& d, const StepScalars& s, int k, int64_t group) {
  const bool corrected = d.kind == Direction::kAdaptive;
  const float reach = s.forecasts[k].reach[group];
  return {.keep = s.forecasts[k].keep[group],
          .reach = corrected ? reach / s.bias1 : reach,
          .next_momentum = d.kind == Direction::kNextMomentum,
          .momentum = d.momentum,
          .rest = d.rest,
          .eps = d.eps,
          .inverse_root_bias2 = corrected ? 1.0f / s.root_bias2 : 1.0f};
}
/// `move` is reach D.
SLUICE_HD float moved(float w, float move, const ForecastConstants& c) {
  return c.reach == 0.0f ? w : c.keep * w - move;
}
/// kMomentum, or kNextMomentum where the constants say so.
SLUICE_HD float by_momentum(float w, float m, float v, const ForecastConstants& c) {
  return moved(w, c.reach * (c.next_momentum ? c.momentum * m + c.rest * v : m), c);
}
SLUICE_HD float adaptively(float w, float m, float v, const ForecastConstants& c) {
  return moved(w, c.reach * m / (sqrtf(v) * c.inverse_root_bias2 + c.eps), c);
}
template <Direction D>
SLUICE_HD float weight(float w, float m, float v, const ForecastConstants& c) {
  if constexpr (D == Direction::kNone)
    return w;
  else if constexpr (D == Direction::kAdaptive)
    return adaptively(w, m, v, c);
  else
    return by_momentum(w, m, v, c);
}

}  // namespace SLUICE_ISA or host
}  // namespace foretell

}  // namespace sluice
