// The residual units of deep residual networks (He et al. 2016), basic and bottleneck, whose first convolution and
// projection may take their weight gradients from auxiliary activations (Woo and Jeon, ICLR 2023).
#pragma once

#include <optional>

#include "layers/batch_norm.h"
#include "layers/conv2d.h"

namespace sluice {

struct ResidualUnitConfig {
  int64_t in = 64, planes = 64;  // channels of x, and of the inner convolutions
  bool bottleneck = false;       // 1x1, 3x3, 1x1 to 4 planes; else 3x3, 3x3
  int stride = 1;
  WeightRule rule{};                               // of the first convolution and the projection
  bool recompute = false;                          // gradient checkpointing of all behind the first convolution
  bool recompute_projection = false;               // of the projection and its batch norm, which then keep x alone
  bool first_biases = false, more_biases = false;  // of the first convolution and the projection; of the others
  float recomputed_variance = 1;                   // what the running one starts with in norms that run again
  ConvStart start = ConvStart::kFanIn;

  int64_t out() const { return bottleneck ? 4 * planes : planes; }
  bool projects() const { return stride != 1 || in != out(); }
};

/// x [N, H, W, in] -> [N, H', W', out()], H' = H over `stride`, rounded up: relu(bn(...) + shortcut). The 3x3
/// convolution of a bottleneck has the stride, else the first of the two. The shortcut is x, or a 1x1 projection with
/// batch norm where shapes differ. Kept besides what the first convolution's rule keeps: the input of every batch norm
/// and convolution; with `recompute` the outputs of the first two convolutions alone, of a basic unit's both; and one
/// bit an element of the output.
class ResidualUnit final : public Module {
 public:
  ResidualUnit(const Init& init, const ResidualUnitConfig& config);
  Var forward(Ctx& c, const Var& x) const override { return forward(c, x, Tensor()); }
  /// With the weight gradients of the first convolution and the projection from `residual`, as conv2d.
  Var forward(Ctx& c, const Var& x, const Tensor& residual) const;

 private:
  struct Normed {
    Conv2d conv;
    BatchNorm bn;
  };
  Var shortcut(Ctx& c, const Var& x, const Tensor& residual) const;

  bool recompute_, recompute_projection_;
  Normed first_, second_;
  std::optional<Normed> third_, projection_;
};

}  // namespace sluice
