// Where the windows of a 2-d pooling lie over NHWC images; shared by max_pool and avg_pool.
#pragma once

#include "kernels/common/ref.h"

namespace sluice::kernels {

/// Window (i, j) covers rows [i * stride - padding, + window_h) and columns alike, as far as they are in the image.
struct Pool2d {
  int window_h = 2, window_w = 2, stride = 2, padding = 0;

  static int64_t out(int64_t size, int window, int stride, int padding) {
    return (size + 2 * padding - window) / stride + 1;
  }
  /// Shape of the output [N, P, Q, C] for an input [N, H, W, C]. Throws ShapeError when a window does not fit or
  /// could lie in the padding alone.
  Shape output(const char* op, const Shape& x) const {
    expect_rank(op, "x", x, 4);
    if (window_h < 1 || window_w < 1 || stride < 1 || padding < 0 || 2 * padding > window_h || 2 * padding > window_w)
      throw ShapeError(str(op, ": window ", window_h, "x", window_w, ", stride ", stride, ", padding ", padding,
                           ", expected positive sizes and a padding of at most half the window"));
    if (x[1] + 2 * padding < window_h || x[2] + 2 * padding < window_w)
      throw ShapeError(str(op, ": x has shape ", x.text(), ", expected images of at least ", window_h, "x", window_w,
                           " with the padding of ", padding));
    return {x[0], out(x[1], window_h, stride, padding), out(x[2], window_w, stride, padding), x[3]};
  }
};

}  // namespace sluice::kernels
