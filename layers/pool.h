// Pooling over NHWC images and over tokens.
#pragma once

#include "layers/module.h"

namespace sluice {

class MaxPool final : public Module {
 public:
  explicit MaxPool(Pool2dSpec spec) : spec_(spec) {}
  Var forward(Ctx& c, const Var& x) const override { return max_pool(c, x, spec_); }

 private:
  Pool2dSpec spec_;
};

class AvgPool final : public Module {
 public:
  explicit AvgPool(Pool2dSpec spec) : spec_(spec) {}
  Var forward(Ctx& c, const Var& x) const override { return avg_pool(c, x, spec_); }

 private:
  Pool2dSpec spec_;
};

/// [N, H, W, C] -> [N, C]: the mean over each image.
class GlobalAvgPool final : public Module {
 public:
  Var forward(Ctx& c, const Var& x) const override;
};

/// [B, T, D] -> [B, D]: the mean over the tokens of each sample.
class TokenMean final : public Module {
 public:
  Var forward(Ctx& c, const Var& x) const override { return masked_mean(c, x, Tensor(), 1); }
};

/// [B, T, D] -> [B, D]: the first token of each sample.
class FirstToken final : public Module {
 public:
  Var forward(Ctx& c, const Var& x) const override { return flatten(c, slice_tokens(c, x, 0, 1)); }
};

}  // namespace sluice
