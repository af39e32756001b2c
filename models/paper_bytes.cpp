// The closed forms, term by term.
#include "models/paper_bytes.h"

namespace sluice {
namespace {

constexpr int64_t kFloat = 4;

int64_t out_side(const ResnetUnit& u) { return u.stride == 2 ? (u.side + 1) / 2 : u.side; }

/// What the first convolution and the projection keep of the unit's input.
int64_t input_bytes(const AuxiliaryResnetConfig& c, const ResnetUnit& u) {
  const int64_t elements = u.in * u.side * u.side;
  if (u.head) return kFloat * elements;
  return c.rule == ResnetRule::kSign ? elements / 8 * (u.projects ? 2 : 1) : 0;
}

int64_t unit_bytes(const AuxiliaryResnetConfig& c, const ResnetUnit& u) {
  const int64_t e = resnet_expansion(c), before = u.side * u.side, after = out_side(u) * out_side(u);
  const int64_t first = u.planes * (e > 1 ? before : after), second = u.planes * after, out = e * u.planes * after;
  const int64_t projected = u.projects && !(c.recompute && u.alone) ? out : 0;
  if (c.recompute) return kFloat * (first + second + projected) + out / 8;
  const int64_t inner = e > 1 ? 2 * first + 2 * second + out : 2 * first + second;  // inputs of norms, convolutions
  return kFloat * (inner + projected) + (e > 1 ? first + second + out : first + out) / 8;
}

int64_t stem_bytes(const AuxiliaryResnetConfig& c) {
  if (c.recompute) return 0;
  const bool pooled = c.stem == ResnetStem::k7x7Pooled;
  const int64_t channels = scaled(64, c.width), side = resnet_stem_side(c);
  const int64_t inside = pooled ? (c.image + 1) / 2 : side, elements = channels * inside * inside;
  const int64_t pool = pooled ? kFloat * elements + 8 * channels * side * side : 0;
  return kFloat * elements + elements / 8 + pool;
}

int64_t norm_channels(const AuxiliaryResnetConfig& c, const ResnetUnit& u) {
  const int64_t e = resnet_expansion(c);
  return u.planes * ((e > 1 ? 2 : 1) + e + (u.projects ? e : 0));
}

/// Floats and signs of the inputs of layers that a rule converts.
int64_t less(const PaperRule& rule, int64_t elements) {
  if (rule.from == Auxiliary::kNone) return 0;
  return kFloat * elements - (rule.from == Auxiliary::kSign ? elements / 8 : 0);
}

}  // namespace

PaperBytes paper_bytes(const AuxiliaryResnetConfig& c) {
  if (c.rule == ResnetRule::kBackprop || c.rule == ResnetRule::kEightBits)
    throw ConfigError("paper_bytes: neither the usual network nor 8 bits have a closed form");
  PaperBytes bytes{.per_sample = stem_bytes(c), .per_batch = 0};
  int64_t classified = 0;
  for (int s = 0; s < 4; ++s)
    for (const ResnetUnit& u : resnet_units(c, s)) {
      bytes.per_sample += input_bytes(c, u) + unit_bytes(c, u);
      bytes.per_batch += 2 * kFloat * norm_channels(c, u);
      classified = resnet_expansion(c) * u.planes;
    }
  bytes.per_sample += kFloat * classified;
  return bytes;
}

int64_t vit_paper_bytes(const VitSizes& v, const PaperRule& rule) {
  const int64_t t = v.tokens, d = v.width, m = v.mlp;
  // Inputs of norms, products and attention, two norms' statistics; the bits of both ReLUs; the head; the patches.
  int64_t bytes =
      kFloat * (v.layers * t * (8 * d + m + 4) + t * d + d + 2 + v.patch * (t - 1)) + v.layers * t * (m + d) / 8;
  const int64_t converted[] = {m, d, d, d};  // inputs of fc2, fc1, the output projection, the projections
  for (int level = 0; level < rule.level; ++level) bytes -= less(rule, v.layers * t * converted[level]);
  return bytes;
}

int64_t mixer_paper_bytes(const MixerSizes& v, const PaperRule& rule) {
  const int64_t p = v.tokens, d = v.width, s = v.token_mlp, c = v.channel_mlp;
  int64_t bytes =
      kFloat * (v.layers * (4 * p * d + d * s + p * c + 4 * p) + p * d + 2 * p + d) + v.layers * (d * s + p * c) / 8;
  const int64_t converted[] = {p * c, p * d, d * s, p * d};
  for (int level = 0; level < rule.level; ++level) bytes -= less(rule, v.layers * converted[level]);
  return bytes;
}

double transformer_paper_bytes(const TranslationSizes& v, const PaperRule& rule) {
  const double s = double(v.source), t = double(v.target), d = double(v.width), both = s + t;
  double floats = 6 * s * (13.625 * d + 4) + 6 * t * (17.875 * d + 6) + 12 * s * d + (d + 2) * both + d * both +
                  0.25 * d * both + double(v.vocabulary) * t;
  const double queries = 6 * d * (s + 2 * t);
  const double converted[] = {4 * d * 6 * both, d * 6 * both, queries, queries + d * s};
  const double signs[] = {converted[0], converted[1], converted[2], 6 * d * (2 * s + 2 * t)};  // one map a layer
  for (int level = 0; level < rule.level && rule.from != Auxiliary::kNone; ++level)
    floats -= converted[level] - (rule.from == Auxiliary::kSign ? signs[level] / 32 : 0);
  return kFloat * floats;
}

}  // namespace sluice
