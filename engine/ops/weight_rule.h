// What the layers with a weight rule share: what they multiply, what they keep and what they indicate.
#pragma once

#include "engine/ops.h"

namespace sluice {

/// y = x + epsilon sign(x), and the packed signs where `bits` are defined.
void add_sign(const Ctx& c, const Tensor& x, const WeightRule& rule, const Tensor& y, const Tensor& bits);

/// A tensor in 8 bits (kEightBits); undefined until it is made.
struct EightBits {
  Saved q, ranges;
  EightBits() = default;
  EightBits(const Ctx& c, const Tensor& x);
  /// The tensor again, and nothing is kept here any more.
  Saved whole(BackwardCtx& c, const Shape& shape, DType dtype);
};

/// Appends the layer's learning indicators, `rows` numbers, where the pass asks for them and there is something to
/// indicate: signs, a `vector` as long as the last dimension of x, or a `residual` that is not x itself.
struct Indicated {
  ConstRef vector{};
  Tensor residual{};
};
void indicate(Ctx& c, const Tensor& x, const WeightRule& rule, int64_t rows, const Indicated& by);

}  // namespace sluice
