// A decoder layer: three sublayers, and a norm.
#include "layers/transformer_decoder.h"

namespace sluice {

TransformerDecoder::TransformerDecoder(const Init& init, const TransformerLayerConfig& config)
    : self_(init.scope("self"), config, AttentionTo::kEarlier),
      cross_(init.scope("cross"), config, AttentionTo::kMemory),
      inner_(init, config) {
  if (config.final_norm) final_norm_ = transformer_norm(init, "final_norm", config);
}

Var TransformerDecoder::forward(Ctx& c, const Var& x, const Var& memory, const Tensor& memory_mask) const {
  const Var y = cross_.forward(c, self_.forward(c, x, Tensor()), memory, memory_mask);
  const Var z = inner_.forward(c, y);
  return final_norm_ ? final_norm_->forward(c, z) : z;
}

}  // namespace sluice
