// Declares the parameters of additive attention.
#include "layers/bahdanau.h"

#include <cmath>

namespace sluice {

BahdanauAttention::BahdanauAttention(const Init& path, int64_t width) {
  const float bound = 1.0f / std::sqrt(float(width));
  const InitialValue start = InitialValue::uniform(bound);
  Init init = path;
  query_.weight = init.param("query", {width, width}, start);
  key_.weight = init.param("key", {width, width}, start);
  params_.v = init.param("v", {width}, start);
  params_.scale = init.param("scale", {1}, InitialValue::constant(bound));
  params_.b = init.param("b", {width}, InitialValue::constant(0));
}

}  // namespace sluice
