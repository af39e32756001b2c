// Declares a mixer block's parameters in the order in which they are used.
#include "layers/mixer_block.h"

#include "layers/checks.h"

namespace sluice {

MixerBlock::MixerBlock(const Init& init, const MixerBlockConfig& c)
    : token_norm_(init.scope("token_norm"), c.width),
      token_widen_(init.scope("token_widen"), c.tokens, c.token_inner, Act::kRelu, DenseStart::kFanIn,
                   c.auxiliary.rule(4)),
      token_narrow_(init.scope("token_narrow"), c.token_inner, c.tokens, Act::kNone, DenseStart::kFanIn,
                    c.auxiliary.rule(3, true)),
      channel_norm_(init.scope("channel_norm"), c.width),
      channel_widen_(init.scope("channel_widen"), c.width, c.channel_inner, Act::kRelu, DenseStart::kFanIn,
                     c.auxiliary.rule(2)),
      channel_narrow_(init.scope("channel_narrow"), c.channel_inner, c.width, Act::kNone, DenseStart::kFanIn,
                      c.auxiliary.rule(1, true)),
      dropout_(c.dropout) {
  expect_dropout(init, dropout_);
  const char* const names[] = {"token_inner_dropout", "token_out_dropout", "channel_inner_dropout",
                               "channel_out_dropout"};
  for (size_t i = 0; i < 4; ++i) paths_[i] = dropout_path(init, names[i]);
}

Var MixerBlock::forward(Ctx& c, const Var& x) const {
  const Var turned = transpose_tokens(c, token_norm_.forward(c, x));
  const Var over_tokens = dropout(c, token_widen_.forward(c, turned), dropout_, paths_[0]);
  const Var mixed = dropout(c, token_narrow_.forward(c, over_tokens), dropout_, paths_[1]);
  const Var y = transpose_tokens(c, mixed, x);
  const Var wide = dropout(c, channel_widen_.forward(c, channel_norm_.forward(c, y)), dropout_, paths_[2]);
  return dropout(c, channel_narrow_.forward(c, wide), y, dropout_, paths_[3]);
}

}  // namespace sluice
