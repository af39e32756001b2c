// Cuts networks over patches into stages.
#include "models/vision.h"

#include <algorithm>

#include "layers/dense.h"
#include "layers/layer_norm.h"
#include "layers/mixer_block.h"
#include "layers/patch_embedding.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "layers/vision_block.h"

namespace sluice {
namespace {

/// What both families say alike.
template <class Config>
void expect_valid(const char* model, const Config& c) {
  if (c.classes < 2 || c.in_channels < 1)
    throw ConfigError(
        str(model, ": ", c.classes, " classes and ", c.in_channels, " channels, expected at least 2 and 1"));
  if (c.hidden < 1 || c.layers < 1 || c.stage_layers < 1)
    throw ConfigError(str(model, ": widths, layers and layers of a stage must be positive"));
}

PatchConfig patches_of(const VisionTransformerConfig& c) {
  expect_valid("vit", c);
  if (c.mlp_hidden < 1) throw ConfigError("vit: widths must be positive");
  if (c.patches < 1 || c.image < c.patches || c.image % c.patches != 0)
    throw ConfigError(
        str("vit: images of side ", c.image, " do not split into ", c.patches, " by ", c.patches, " patches"));
  return {.in_channels = c.in_channels,
          .image = c.image,
          .patch = c.image / c.patches,
          .width = c.hidden,
          .positions = true,
          .class_token = c.class_token};
}
PatchConfig patches_of(const MixerConfig& c) {
  expect_valid("mlp_mixer", c);
  if (c.hidden_c < 1 || c.hidden_s < 1) throw ConfigError("mlp_mixer: widths must be positive");
  if (c.patch < 1 || c.image < c.patch || c.image % c.patch != 0)
    throw ConfigError(str("mlp_mixer: images of side ", c.image, " do not split into patches of side ", c.patch));
  return {.in_channels = c.in_channels, .image = c.image, .patch = c.patch, .width = c.hidden};
}

ModulePtr block(const Init& init, const VisionTransformerConfig& c) {
  return std::make_unique<VisionBlock>(init, VisionBlockConfig{.width = c.hidden,
                                                               .heads = c.heads,
                                                               .inner = c.mlp_hidden,
                                                               .dropout = c.dropout,
                                                               .recompute = c.recompute,
                                                               .auxiliary = c.auxiliary});
}
ModulePtr block(const Init& init, const MixerConfig& c) {
  return std::make_unique<MixerBlock>(init, MixerBlockConfig{.tokens = PatchEmbedding::tokens(patches_of(c)),
                                                             .width = c.hidden,
                                                             .token_inner = c.hidden_s,
                                                             .channel_inner = c.hidden_c,
                                                             .dropout = c.dropout,
                                                             .auxiliary = c.auxiliary});
}

Var mean_of_tokens(Ctx& c, const Bundle& s) { return TokenMean().forward(c, s[0]); }
Var class_token(Ctx& c, const Bundle& s) { return FirstToken().forward(c, s[0]); }

Reduce feature(const VisionTransformerConfig& c) { return c.class_token ? class_token : mean_of_tokens; }
Reduce feature(const MixerConfig&) { return mean_of_tokens; }

/// The patches, then stage by stage the blocks.
template <class Config>
std::vector<ImageSlice> slices(const Config& c) {
  const PatchConfig patches = patches_of(c);
  const Shape map{PatchEmbedding::tokens(patches), c.hidden};
  std::vector<ImageSlice> all;
  all.push_back({[patches](const Init& init) -> ModulePtr { return std::make_unique<PatchEmbedding>(init, patches); },
                 map, c.dtype, mean_of_tokens});
  for (int first = 0; first < c.layers; first += c.stage_layers) {
    const int count = std::min(c.stage_layers, c.layers - first);
    const MakeModule f = [c, count](const Init& init) -> ModulePtr {
      auto net = std::make_unique<Sequential>();
      for (int i = 0; i < count; ++i) net->add(block(init.scope(str("block", i + 1)), c));
      return net;
    };
    all.push_back({f, map, c.dtype, feature(c)});
  }
  return all;
}

template <class Config>
std::vector<StageNet> associated(const Config& c) {
  return associated_stages(
      slices(c), {.classes = c.classes, .code = c.code, .hidden = c.bridge, .acts = c.acts, .faithful = c.faithful});
}

}  // namespace

UnitNet vit_units(const VisionTransformerConfig& c) {
  return backprop_units({c.image, c.image, c.in_channels}, slices(c), [c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add(c.class_token ? ModulePtr(std::make_unique<FirstToken>()) : std::make_unique<TokenMean>());
    net->add<LayerNorm>(init.scope("norm"), c.hidden);
    net->add<Dense>(init.scope("fc"), c.hidden, c.classes);
    return net;
  });
}
std::vector<StageNet> vit_associated(const VisionTransformerConfig& c) { return associated(c); }

UnitNet mixer_units(const MixerConfig& c) {
  return backprop_units({c.image, c.image, c.in_channels}, slices(c), [c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<LayerNorm>(init.scope("norm"), c.hidden);
    net->add<TokenMean>();
    net->add<Dense>(init.scope("fc"), c.hidden, c.classes);
    return net;
  });
}
std::vector<StageNet> mixer_associated(const MixerConfig& c) { return associated(c); }

}  // namespace sluice
