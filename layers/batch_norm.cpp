// Declares batch norm's parameters and running statistics.
#include "layers/batch_norm.h"

namespace sluice {

BatchNorm::BatchNorm(Init init, int64_t channels, Act act, float variance, float eps) : act_(act) {
  params_.eps = eps;
  params_.gamma = init.param("weight", {channels}, InitialValue::constant(1));
  params_.beta = init.param("bias", {channels}, InitialValue::constant(0));
  params_.running_mean = init.buffer("running_mean", {channels}, 0);
  params_.running_var = init.buffer("running_var", {channels}, variance);
}

}  // namespace sluice
