// Declares layer norm's parameters.
#include "layers/layer_norm.h"

namespace sluice {

LayerNorm::LayerNorm(Init init, int64_t cols, LayerNormForm form, float eps) {
  params_.gamma = init.param("weight", {cols}, InitialValue::constant(1));
  params_.beta = init.param("bias", {cols}, InitialValue::constant(0));
  params_.eps = eps;
  params_.form = form;
}

}  // namespace sluice
