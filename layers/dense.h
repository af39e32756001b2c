// Dense: y = act(x w^T + b).
#pragma once

#include "layers/auxiliary.h"
#include "layers/module.h"

namespace sluice {

/// How a dense layer's weights start.
enum class DenseStart {
  kFanIn,     // U(+-1/sqrt(in)), bias too: PyTorch's default for Linear
  kSpread,    // U(+-12 sqrt(6/(in + out))), bias 0: three times what Glorot and Bengio (2010) give sigmoids, so that
              // the codes of different inputs start near different corners of the unit cube
  kNormal,    // N(0, 0.01^2), bias 0 (Simonyan and Zisserman 2015)
  kTruncated  // N(0, 0.1^2) without what lies two deviations away, bias as kFanIn (Szegedy et al. 2016)
};

/// x [..., in] -> [..., out]. The rule may add a parameter (declare_rule()).
class Dense final : public Module {
 public:
  Dense(Init init, int64_t in, int64_t out, Act act = Act::kNone, DenseStart start = DenseStart::kFanIn,
        const WeightRule& rule = {});
  Var forward(Ctx& c, const Var& x) const override { return matmul(c, x, linear_); }

 private:
  Linear linear_;
};

}  // namespace sluice
