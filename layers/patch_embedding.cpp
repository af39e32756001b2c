// Declares the patches' convolution, positions and class token.
#include "layers/patch_embedding.h"

#include <cmath>

namespace sluice {

int64_t PatchEmbedding::tokens(const PatchConfig& c) {
  const int64_t side = c.image / c.patch;
  return side * side + (c.class_token ? 1 : 0);
}

PatchEmbedding::PatchEmbedding(Init init, const PatchConfig& c) {
  if (c.patch < 1 || c.image < c.patch || c.image % c.patch != 0)
    throw ShapeError(str(init.path(), ": an image of side ", c.image, " does not split into patches of ", c.patch));
  if (c.class_token && !c.positions) throw ConfigError(str(init.path(), ": a class token without positions"));
  const InitialValue start = InitialValue::uniform(1.0f / std::sqrt(float(c.patch * c.patch * c.in_channels)));
  Init embed = init.scope("embedding");
  embed_.weight = embed.param("weight", {c.width, c.patch, c.patch, c.in_channels}, start);
  embed_.bias = embed.param("bias", {c.width}, start);
  embed_.spec = {.stride = int(c.patch)};
  if (c.positions) positions_.positions = init.param("positions", {tokens(c), c.width}, InitialValue::normal(0, 1));
  if (c.class_token) positions_.token = init.param("class_token", {c.width}, InitialValue::normal(0, 1));
}

Var PatchEmbedding::forward(Ctx& c, const Var& x) const {
  const Var tokens = image_tokens(c, conv2d(c, x, embed_));
  return positions_.positions.index < 0 ? tokens : add_positions(c, tokens, positions_);
}

}  // namespace sluice
