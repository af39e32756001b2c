// The fields of networks over patches, and what the networks take where nothing is said.
#include "apps/config_parts.h"
#include "models/stages.h"

namespace sluice {

std::vector<ConfigField> vision_fields() {
  using C = RunConfig;
  return {
      {"patch", "vit: patches of each row and column of an image", &C::patch, true},
      {"hidden", "vit: width of a token", &C::hidden, true},
      {"mlp_hidden", "vit: width of the layers behind attention", &C::mlp_hidden, true},
      {"off_cls_token", "vit: logits from the mean over tokens, without a class token", &C::off_cls_token, true},
      {"patch_size", "mlp_mixer: side of a patch in pixels", &C::patch_size, true},
      {"hidden_size", "mlp_mixer: width of a token", &C::hidden_size, true},
      {"hidden_c", "mlp_mixer: width of the layers over channels", &C::hidden_c, true},
      {"hidden_s", "mlp_mixer: width of the layers over tokens", &C::hidden_s, true},
      {"conv_start",
       "resnets (resnet18 with --auxiliary or --gcp): how filters start. fan_in: uniform, as auxiliary activations "
       "were "
       "measured; fan_out: N(0, 2 / (filters x window)), as pipelines were",
       &C::conv_start, true},
      {"stage_layers", "vit, mlp_mixer, transformer_base and _big: layers of a stage", &C::stage_layers, true},
  };
}

RunConfig with_network_defaults(RunConfig given) {
  RunConfig c = with_weights_rule(with_auxiliary_rule(std::move(given)));
  const bool vit = c.model == "vit", mixer = c.model == "mlp_mixer", base = c.model == "transformer_base",
             big = c.model == "transformer_big", half = c.model == "alexnet" || c.model == "inception_v3";
  if (c.n_layers == 0) c.n_layers = vit ? 7 : mixer ? 8 : base || big ? 6 : 1;
  if (c.n_heads == 0) c.n_heads = vit ? 12 : base ? 8 : big ? 16 : 6;
  if (c.dropout < 0) c.dropout = vit || mixer ? 0.0 : base ? 0.1 : half ? 0.5 : is_gnmt(c) ? 0.2 : 0.3;
  if (c.max_len == 0) c.max_len = c.data == "wmt16" ? 48 : has_pairs(c) ? 100 : c.model == "residual_lstm" ? 200 : 128;
  return c;
}

void check_vision(const RunConfig& c) {
  expect_range<int64_t>("patch", c.patch, 1, 1 << 12);
  expect_range<int64_t>("hidden", c.hidden, 1, 1 << 16);
  expect_range<int64_t>("mlp_hidden", c.mlp_hidden, 1, 1 << 16);
  expect_range<int64_t>("patch_size", c.patch_size, 1, 1 << 12);
  expect_range<int64_t>("hidden_size", c.hidden_size, 1, 1 << 16);
  expect_range<int64_t>("hidden_c", c.hidden_c, 1, 1 << 16);
  expect_range<int64_t>("hidden_s", c.hidden_s, 1, 1 << 16);
  expect_range<int64_t>("stage_layers", c.stage_layers, 1, 1000);
  if (c.conv_start != "fan_in" && c.conv_start != "fan_out")
    throw ConfigError(str("conv_start='", c.conv_start, "': expected fan_in or fan_out"));
  if (c.model != "vit") return;
  const int64_t hidden = scaled(c.hidden, c.width);
  if (hidden % c.n_heads != 0 || hidden / c.n_heads > 128)
    throw ConfigError(str("hidden=", c.hidden, " times width=", c.width, " is ", hidden,
                          ", expected n_heads=", c.n_heads, " heads of at most 128"));
}

}  // namespace sluice
