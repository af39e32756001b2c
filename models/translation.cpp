// Cuts the encoder-decoder transformer into stages.
#include "models/translation.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "layers/checks.h"
#include "layers/transformer_decoder.h"
#include "layers/transformer_encoder.h"

namespace sluice {
namespace {

const Port kMask{.name = "mask", .dtype = DType::kU8, .differentiable = false};
const Port kTarget{.name = "target", .dtype = DType::kI32, .differentiable = false};

Port hidden(const char* name, const TranslationConfig& c) { return {.name = name, .dtype = c.dtype}; }

TransformerLayerConfig layer_config(const TranslationConfig& c, bool last) {
  return {.width = c.width,
          .heads = c.heads,
          .inner = c.inner,
          .dropout = c.dropout,
          .final_norm = last,
          .recompute = c.recompute,
          .auxiliary = c.auxiliary,
          .standard = true};
}

/// ids -> drop(sqrt(d) embedding + sinusoids).
class PositionedEmbedding {
 public:
  PositionedEmbedding(const Init& path, int64_t vocabulary, const TranslationConfig& c)
      : dtype_(c.dtype), scale_(std::sqrt(float(c.width))), dropout_(c.dropout), path_(dropout_path(path, "dropout")) {
    Init init = path;
    table_ = init.table("weight", {vocabulary, c.width},
                        InitialValue::uniform(std::sqrt(6.0f / float(vocabulary + c.width))));
  }
  Var forward(Ctx& c, const Tensor& ids) const {
    return dropout(c, positional_encoding(c, embedding(c, ids, table_, dtype_), scale_), dropout_, path_);
  }

 private:
  Param table_;
  DType dtype_;
  float scale_, dropout_;
  uint64_t path_;  // of the dropout
};

/// source, target -> s, its mask, target.
class SourceBlock final : public Block {
 public:
  SourceBlock(const Init& init, const TranslationConfig& c)
      : out_{hidden("s", c), kMask, kTarget}, embedding_(init.scope("embedding"), c.source_vocabulary, c) {}
  std::vector<Port> in_ports() const override {
    return {{.name = "source", .dtype = DType::kI32, .differentiable = false}, kTarget};
  }
  std::vector<Port> out_ports() const override { return out_; }
  Bundle forward(Ctx& c, const Bundle& in) const override {
    return {embedding_.forward(c, in[0].value), {token_mask(c, in[0].value)}, in[1]};
  }

 private:
  std::vector<Port> out_;
  PositionedEmbedding embedding_;
};

/// Which layers of a half a stage has.
struct LayerRange {
  int begin, end;
};

/// s, mask, target -> the same through encoder layers.
class EncoderStack final : public Block {
 public:
  EncoderStack(const Init& init, const TranslationConfig& c, LayerRange range)
      : ports_{hidden("s", c), kMask, kTarget} {
    for (int i = range.begin; i < range.end; ++i)
      layers_.push_back(
          std::make_unique<TransformerEncoder>(init.scope(str("layer", i + 1)), layer_config(c, i + 1 == c.layers)));
  }
  std::vector<Port> in_ports() const override { return ports_; }
  std::vector<Port> out_ports() const override { return ports_; }
  Bundle forward(Ctx& c, const Bundle& in) const override {
    Var s = in[0];
    for (const auto& layer : layers_) s = layer->forward(c, s, in[1].value);
    return {s, in[1], in[2]};
  }

 private:
  std::vector<Port> ports_;
  std::vector<std::unique_ptr<TransformerEncoder>> layers_;
};

/// s, mask, y -> the same with y through decoder layers; the first takes the target in place of y and embeds it, the
/// last gives y alone.
class DecoderStack final : public Block {
 public:
  DecoderStack(const Init& init, const TranslationConfig& c, LayerRange range)
      : in_{hidden("s", c), kMask, hidden("y", c)}, out_(in_) {
    if (range.begin == 0) {
      in_[2] = kTarget;
      embedding_.emplace(init.scope("embedding"), c.target_vocabulary, c);
    }
    if (range.end == c.layers) out_ = {hidden("y", c)};
    for (int i = range.begin; i < range.end; ++i)
      layers_.push_back(
          std::make_unique<TransformerDecoder>(init.scope(str("layer", i + 1)), layer_config(c, i + 1 == c.layers)));
  }
  std::vector<Port> in_ports() const override { return in_; }
  std::vector<Port> out_ports() const override { return out_; }
  Bundle forward(Ctx& c, const Bundle& in) const override {
    Var y = embedding_ ? embedding_->forward(c, in[2].value) : in[2];
    for (const auto& layer : layers_) y = layer->forward(c, y, in[0], in[1].value);
    if (out_.size() == 1) return {y};
    return {in[0], in[1], y};
  }

 private:
  std::vector<Port> in_, out_;
  std::optional<PositionedEmbedding> embedding_;
  std::vector<std::unique_ptr<TransformerDecoder>> layers_;
};

/// y [B, T, d] -> logits [B T, words].
class GeneratorBlock final : public Block {
 public:
  GeneratorBlock(const Init& path, const TranslationConfig& c) : in_(hidden("y", c)) {
    Init init = path.scope("fc");
    const int64_t d = c.width, words = c.target_vocabulary;
    linear_.weight = init.param("weight", {words, d}, InitialValue::uniform(std::sqrt(6.0f / float(d + words))));
    linear_.bias = init.param("bias", {words}, InitialValue::uniform(1.0f / std::sqrt(float(d))));
  }
  std::vector<Port> in_ports() const override { return {in_}; }
  std::vector<Port> out_ports() const override { return {{.name = "logits", .dtype = in_.dtype}}; }
  Bundle forward(Ctx& c, const Bundle& in) const override { return {matmul(c, as_rows(c, in[0]), linear_)}; }

 private:
  Port in_;
  Linear linear_;
};

void expect_valid(const TranslationConfig& c) {
  if (c.source_vocabulary < 2 || c.target_vocabulary < 2)
    throw ConfigError(str("translation: vocabularies of ", c.source_vocabulary, " and ", c.target_vocabulary,
                          " words, expected 2 or more"));
  if (c.width < 1 || c.inner < 1 || c.layers < 1 || c.stage_layers < 1)
    throw ConfigError("translation: widths, layers and layers of a stage must be positive");
}

}  // namespace

std::vector<StageNet> translation_backprop(const TranslationConfig& c) {
  expect_valid(c);
  std::vector<StageNet> stages;
  const auto add = [&](auto&& make, bool last = false) {
    StageNet net{.name = str("stage", stages.size()), .init = {}, .body = nullptr};
    BlockPtr f = make(net.init.scope(net.name).scope("f"));
    net.body = std::make_unique<BackpropStage>(std::move(f), StagePosition{.first = stages.empty(), .last = last},
                                               TargetKind::kTokens);
    stages.push_back(std::move(net));
  };
  const auto add_layers = [&](auto&& make) {
    for (int first = 0; first < c.layers; first += c.stage_layers)
      add([&](const Init& init) -> BlockPtr {
        return make(init, {first, std::min(first + c.stage_layers, c.layers)});
      });
  };
  add([&](const Init& init) -> BlockPtr { return std::make_unique<SourceBlock>(init, c); });
  add_layers([&](const Init& init, LayerRange r) { return std::make_unique<EncoderStack>(init, c, r); });
  add_layers([&](const Init& init, LayerRange r) { return std::make_unique<DecoderStack>(init, c, r); });
  add([&](const Init& init) -> BlockPtr { return std::make_unique<GeneratorBlock>(init, c); }, true);
  return stages;
}

}  // namespace sluice
