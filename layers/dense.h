// Dense: y = act(x w^T + b).
#pragma once

#include "layers/module.h"

namespace sluice {

/// x [rows, in] -> [rows, out]. Starts at U(+-1/sqrt(in)) for weight and bias (PyTorch's default for Linear).
class Dense final : public Module {
 public:
  Dense(Init init, int64_t in, int64_t out, Act act = Act::kNone, bool bias = true);
  Var forward(Ctx& c, const Var& x) const override { return matmul(c, x, linear_); }

 private:
  Linear linear_;
};

}  // namespace sluice
