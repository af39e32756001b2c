// An encoder layer: two sublayers, and a norm.
#include "layers/transformer_encoder.h"

namespace sluice {

TransformerEncoder::TransformerEncoder(const Init& init, const TransformerLayerConfig& config)
    : attention_(init, config, AttentionTo::kAll), inner_(init, config) {
  if (config.final_norm) final_norm_ = transformer_norm(init, "final_norm", config);
}

Var TransformerEncoder::forward(Ctx& c, const Var& x, const Tensor& mask) const {
  const Var y = inner_.forward(c, attention_.forward(c, x, mask));
  return final_norm_ ? final_norm_->forward(c, y) : y;
}

}  // namespace sluice
