// Conv2d over NHWC images with KRSC filters.
#pragma once

#include "layers/auxiliary.h"
#include "layers/module.h"

namespace sluice {

/// x [N, H, W, in] -> [N, P, Q, out]. Starts at U(+-1/sqrt(window * window * in / groups)) (PyTorch's default). The
/// rule may add a parameter (declare_rule()).
class Conv2d final : public Module {
 public:
  struct Shape2d {
    int64_t in = 0, out = 0, window = 3;
  };
  Conv2d(Init init, Shape2d shape, Conv2dSpec spec, bool bias = true, const WeightRule& rule = {});
  Var forward(Ctx& c, const Var& x) const override { return conv2d(c, x, params_); }
  /// With the weight gradient from `residual`, as conv2d.
  Var forward(Ctx& c, const Var& x, const Tensor& residual) const { return conv2d(c, x, params_, residual); }

 private:
  Conv2dParams params_;
};

}  // namespace sluice
