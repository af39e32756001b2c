// Conv2d over NHWC images with KRSC filters.
#pragma once

#include "layers/auxiliary.h"
#include "layers/module.h"

namespace sluice {

/// How a convolution's filters start; what they see of an image is `in` channels over groups, times the window.
enum class ConvStart : uint8_t {
  kFanIn,     // U(+-1/sqrt(what a filter sees)), bias too: PyTorch's default
  kFanOut,    // N(0, 2 / (out * window)), bias 0 (He et al. 2015, as for the backward pass)
  kTruncated  // N(0, 0.1^2) without what lies two deviations away, bias 0 (Szegedy et al. 2016)
};

/// x [N, H, W, in] -> [N, P, Q, out]. The rule may add a parameter (declare_rule()).
class Conv2d final : public Module {
 public:
  struct Shape2d {
    int64_t in = 0, out = 0;
    ByAxis window = 3;
  };
  Conv2d(Init init, Shape2d shape, Conv2dSpec spec, bool bias = true, const WeightRule& rule = {},
         ConvStart start = ConvStart::kFanIn);
  Var forward(Ctx& c, const Var& x) const override { return conv2d(c, x, params_); }
  /// With the weight gradient from `residual`, as conv2d.
  Var forward(Ctx& c, const Var& x, const Tensor& residual) const { return conv2d(c, x, params_, residual); }

 private:
  Conv2dParams params_;
};

}  // namespace sluice
