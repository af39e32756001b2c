// oneDNN called bare, in every layout and implementation worth comparing with: what our calls are measured against.
// Like our calls, a rival starts from plain operands and ends with plain results, the filters included.
#pragma once

#include "bench/case.h"
#include "kernels/conv2d.h"

namespace sluice::bench {

enum class Direction { kForward, kGradInput, kGradWeight };

/// NHWC and blocked activations, filters in the library's own layout. f32.
std::vector<Rival> bare_convolutions(Direction d, const Shape& x, const Shape& w, const Shape& y,
                                     const kernels::Conv2dGeometry& g);
/// Inner product and matmul, plain and packed weights, bias included where the library fuses it. f32.
std::vector<Rival> bare_products(Direction d, int64_t rows, int64_t in, int64_t out);

}  // namespace sluice::bench
