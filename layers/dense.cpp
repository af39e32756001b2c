// Declares a dense layer's parameters.
#include "layers/dense.h"

#include <cmath>

namespace sluice {

Dense::Dense(Init init, int64_t in, int64_t out, Act act, bool bias) {
  const InitialValue initial = InitialValue::uniform(1.0f / std::sqrt(float(in)));
  linear_.weight = init.param("weight", {out, in}, initial);
  if (bias) linear_.bias = init.param("bias", {out}, initial);
  linear_.act = act;
}

}  // namespace sluice
