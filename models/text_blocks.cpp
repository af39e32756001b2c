// Forward passes of the blocks of text classifiers.
#include "models/text_blocks.h"

#include <cmath>

namespace sluice {
namespace {

Port sequence(SequenceOrder order, DType dtype) {
  return {.name = "s", .dtype = dtype, .batch_axis = order == SequenceOrder::kBatchFirst ? 0 : 1};
}
Port mask(SequenceOrder order) {
  return {.name = "mask",
          .dtype = DType::kU8,
          .differentiable = false,
          .batch_axis = order == SequenceOrder::kBatchFirst ? 0 : 1};
}
std::vector<Port> states(DType dtype) {
  return {{.name = "h", .dtype = dtype}, {.name = "c"}, {.name = "h_reverse", .dtype = dtype}, {.name = "c_reverse"}};
}

Linear linear(const Init& init, int64_t in, int64_t out, int64_t fan_in, bool bias) {
  const InitialValue start = InitialValue::uniform(1.0f / std::sqrt(float(fan_in)));  // PyTorch's default for Linear
  Init scope = init;
  return {scope.param("weight", {out, in}, start), bias ? scope.param("bias", {out}, start) : Param{}, Act::kNone};
}

}  // namespace

EmbeddingBlock::EmbeddingBlock(const Init& init, const TextConfig& config, SequenceOrder order)
    : embedding_(init.scope("embedding"), config.vocabulary, config.embedding, config.dtype),
      order_(order),
      dtype_(config.dtype) {}

std::vector<Port> EmbeddingBlock::in_ports() const {
  return {{.name = "tokens", .dtype = DType::kI32, .differentiable = false}};
}
std::vector<Port> EmbeddingBlock::out_ports() const { return {sequence(order_, dtype_), mask(order_)}; }

Bundle EmbeddingBlock::forward(Ctx& c, const Bundle& in) const {
  const Tensor ids = order_ == SequenceOrder::kBatchFirst ? in[0].value : transpose_ids(c, in[0].value);
  return {embedding_.forward(c, ids), {token_mask(c, ids)}};
}

EncoderBlock::EncoderBlock(const Init& init, const TextConfig& config) : dtype_(config.dtype) {
  for (int i = 0; i < config.layers; ++i)
    layers_.push_back(std::make_unique<TransformerEncoder>(init.scope(str("layer", i + 1)),
                                                           TransformerLayerConfig{.width = config.embedding,
                                                                                  .heads = config.heads,
                                                                                  .inner = config.hidden,
                                                                                  .dropout = config.dropout,
                                                                                  .final_norm = i + 1 == config.layers,
                                                                                  .recompute = config.recompute,
                                                                                  .auxiliary = config.auxiliary}));
}
std::vector<Port> EncoderBlock::in_ports() const {
  return {sequence(SequenceOrder::kBatchFirst, dtype_), mask(SequenceOrder::kBatchFirst)};
}
Bundle EncoderBlock::forward(Ctx& c, const Bundle& in) const {
  Var s = in[0];
  for (const auto& layer : layers_) s = layer->forward(c, s, in[1].value);
  return {s, in[1]};
}

LstmBlock::LstmBlock(const Init& init, const TextConfig& config, bool first)
    : first_(first),
      masked_(!config.faithful),
      dtype_(config.dtype),
      lstm_(init.scope("lstm"), first ? config.embedding : 2 * config.hidden, config.hidden) {}

std::vector<Port> LstmBlock::in_ports() const {
  std::vector<Port> ports{sequence(SequenceOrder::kTimeFirst, dtype_), mask(SequenceOrder::kTimeFirst)};
  if (!first_)
    for (Port& p : states(dtype_)) ports.push_back(std::move(p));
  return ports;
}
std::vector<Port> LstmBlock::out_ports() const {
  std::vector<Port> ports{sequence(SequenceOrder::kTimeFirst, dtype_), mask(SequenceOrder::kTimeFirst)};
  for (Port& p : states(dtype_)) ports.push_back(std::move(p));
  return ports;
}
Bundle LstmBlock::forward(Ctx& c, const Bundle& in) const {
  BiLstmState from;
  if (!first_) from = {{in[2], in[3]}, {in[4], in[5]}};
  const BiLstmOutput out = lstm_.forward(c, in[0], from, masked_ ? in[1].value : Tensor());
  return {out.y, in[1], out.last.forward.h, out.last.forward.c, out.last.reverse.h, out.last.reverse.c};
}
Var LstmBlock::reduce(Ctx& c, const Bundle& s) { return add(c, s[2], s[4]); }

TransformerHead::TransformerHead(const Init& init, const TextConfig& config)
    : dtype_(config.dtype),
      linear_(linear(init.scope("fc"), config.embedding, config.classes, config.embedding, true)) {}

std::vector<Port> TransformerHead::in_ports() const {
  return {sequence(SequenceOrder::kBatchFirst, dtype_), mask(SequenceOrder::kBatchFirst)};
}
Bundle TransformerHead::forward(Ctx& c, const Bundle& in) const {
  return {matmul(c, masked_mean(c, in[0], in[1].value, 1), linear_)};
}

LstmHead::LstmHead(const Init& init, const TextConfig& config) : faithful_(config.faithful), dtype_(config.dtype) {
  const int64_t both = 2 * config.hidden;
  if (faithful_) {
    forward_ = linear(init.scope("fc"), both, config.classes, both, true);
    return;
  }
  forward_ = linear(init.scope("fc"), config.hidden, config.classes, both, true);
  reverse_ = linear(init.scope("fc_reverse"), config.hidden, config.classes, both, false);
}
std::vector<Port> LstmHead::in_ports() const {
  if (faithful_) return {sequence(SequenceOrder::kTimeFirst, dtype_)};
  return {{.name = "h", .dtype = dtype_}, {.name = "h_reverse", .dtype = dtype_}};
}
Bundle LstmHead::forward(Ctx& c, const Bundle& in) const {
  if (faithful_) return {matmul(c, last_step(c, in[0]), forward_)};
  return {add(c, matmul(c, in[0], forward_), matmul(c, in[1], reverse_))};
}

}  // namespace sluice
