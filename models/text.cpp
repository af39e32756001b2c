// Cuts text classifiers into stages.
#include "models/text.h"

#include "layers/dense.h"
#include "layers/sequential.h"
#include "models/text_blocks.h"

namespace sluice {
namespace {

void expect_valid(const char* model, const TextConfig& c) {
  if (c.vocabulary < 2 || c.classes < 2)
    throw ConfigError(
        str(model, ": a vocabulary of ", c.vocabulary, " and ", c.classes, " classes, expected 2 or more"));
  if (c.embedding < 1 || c.hidden < 1 || c.code < 1 || c.encoders < 1 || c.layers < 1)
    throw ConfigError(str(model, ": widths, encoders and layers must be positive"));
}

/// What the two families differ in.
struct Family {
  SequenceOrder order;
  BlockPtr (*encoder)(const Init& init, const TextConfig& c, bool first);
  BlockPtr (*head)(const Init& init, const TextConfig& c);
  Reduce reduce;    // of an encoder's output
  int64_t feature;  // its width
};

Reduce token_mean(const TextConfig& c, SequenceOrder order) {
  const int axis = order == SequenceOrder::kBatchFirst ? 1 : 0;
  return [axis, over_padding = c.faithful](Ctx& ctx, const Bundle& s) {
    return masked_mean(ctx, s[0], over_padding ? Tensor() : s[1].value, axis);
  };
}

Family lstm(const TextConfig& c) {
  return {SequenceOrder::kTimeFirst,
          [](const Init& init, const TextConfig& t, bool first) -> BlockPtr {
            return std::make_unique<LstmBlock>(init, t, first);
          },
          [](const Init& init, const TextConfig& t) -> BlockPtr { return std::make_unique<LstmHead>(init, t); },
          LstmBlock::reduce, c.hidden};
}
Family transformer(const TextConfig& c) {
  return {
      SequenceOrder::kBatchFirst,
      [](const Init& init, const TextConfig& t, bool) -> BlockPtr { return std::make_unique<EncoderBlock>(init, t); },
      [](const Init& init, const TextConfig& t) -> BlockPtr { return std::make_unique<TransformerHead>(init, t); },
      [](Ctx& ctx, const Bundle& s) { return masked_mean(ctx, s[0], s[1].value, 1); }, c.embedding};
}

BlockPtr block(const Family& family, const Init& init, const TextConfig& c, int stage) {
  if (stage == 0) return std::make_unique<EmbeddingBlock>(init, c, family.order);
  return family.encoder(init, c, stage == 1);
}

std::vector<StageNet> backprop(const Family& family, const TextConfig& c, int encoders) {
  std::vector<StageNet> stages;
  for (int i = 0; i < encoders + 2; ++i) {
    const bool last = i == encoders + 1;
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    const Init init = net.init.scope(net.name).scope("f");
    BlockPtr f = last ? family.head(init, c) : block(family, init, c, i);
    net.body = std::make_unique<BackpropStage>(std::move(f), StagePosition{.first = i == 0, .last = last});
    stages.push_back(std::move(net));
  }
  return stages;
}

std::vector<StageNet> associated(const Family& family, const TextConfig& c) {
  std::vector<StageNet> stages;
  for (int i = 0; i <= c.encoders; ++i) {
    const bool first = i == 0;
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    const Init path = net.init.scope(net.name);
    const Init encoder = path.group(kEncoderGroup), labels = path.group(kAutoencoderGroup);
    const int64_t label_in = first ? c.classes : c.code;
    AssociatedModules m;
    m.f = block(family, encoder.scope("f"), c, i);
    m.b = std::make_unique<Dense>(encoder.scope("b"), first ? c.embedding : family.feature, c.code, c.act);
    m.g = std::make_unique<Dense>(labels.scope("g"), label_in, c.code, c.act);
    m.h = std::make_unique<Dense>(labels.scope("h"), c.code, label_in, first && c.faithful ? Act::kTanh : Act::kNone);
    m.reduce = first ? token_mean(c, family.order) : family.reduce;
    if (first) m.label_loss = cross_entropy_labels;
    net.body = std::make_unique<AssociatedStage>(std::move(m), StagePosition{.first = first, .last = i == c.encoders},
                                                 c.classes, c.faithful ? LabelPath::kBatch : LabelPath::kClassTable);
    stages.push_back(std::move(net));
  }
  return stages;
}

std::vector<StageNet> contrastive(const Family& family, const TextConfig& c, const ContrastiveOptions& codes) {
  std::vector<StageNet> stages;
  for (int i = 0; i <= c.encoders; ++i) {
    const bool first = i == 0, last = i == c.encoders;
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    const Init init = net.init.scope(net.name);
    const int64_t feature = first ? c.embedding : family.feature;
    ContrastiveModules m;
    m.f = block(family, init.scope("f"), c, i);
    m.reduce = first ? token_mean(c, family.order) : family.reduce;
    m.projector = make_projector(init.scope("p"), codes.projector, feature);
    m.temperature = codes.temperature;
    if (last) {
      auto head = std::make_unique<Sequential>();
      head->add<Dense>(init.scope("head").scope("fc1"), feature, feature, Act::kTanh);
      head->add<Dense>(init.scope("head").scope("fc2"), feature, c.classes);
      m.head = std::move(head);
    }
    net.body = std::make_unique<ContrastiveStage>(std::move(m), StagePosition{.first = first, .last = last});
    stages.push_back(std::move(net));
  }
  return stages;
}

}  // namespace

std::vector<StageNet> lstm_backprop(const TextConfig& c) {
  expect_valid("lstm", c);
  return backprop(lstm(c), c, c.encoders);
}
std::vector<StageNet> lstm_associated(const TextConfig& c) {
  expect_valid("lstm", c);
  return associated(lstm(c), c);
}
std::vector<StageNet> lstm_contrastive(const TextConfig& c, const ContrastiveOptions& codes) {
  expect_valid("lstm", c);
  return contrastive(lstm(c), c, codes);
}
std::vector<StageNet> bag_of_embeddings_backprop(const TextConfig& c) {
  expect_valid("bag_of_embeddings", c);
  return backprop(transformer(c), c, 0);
}
std::vector<StageNet> transformer_backprop(const TextConfig& c) {
  expect_valid("transformer", c);
  return backprop(transformer(c), c, c.encoders);
}
std::vector<StageNet> transformer_associated(const TextConfig& c) {
  expect_valid("transformer", c);
  return associated(transformer(c), c);
}
std::vector<StageNet> transformer_contrastive(const TextConfig& c, const ContrastiveOptions& codes) {
  expect_valid("transformer", c);
  return contrastive(transformer(c), c, codes);
}

}  // namespace sluice
