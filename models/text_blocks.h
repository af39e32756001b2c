// The blocks that text classifiers are made of: bundles of a sequence, its mask and its states.
#pragma once

#include "layers/embedding.h"
#include "layers/lstm.h"
#include "layers/transformer_encoder.h"
#include "models/text.h"

namespace sluice {

/// Which dimension of a sequence counts samples.
enum class SequenceOrder { kBatchFirst, kTimeFirst };

/// tokens [B, T] -> s [B, T, width] or [T, B, width], mask of the same first dimensions.
class EmbeddingBlock final : public Block {
 public:
  EmbeddingBlock(const Init& init, const TextConfig& config, SequenceOrder order);
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  Bundle forward(Ctx& c, const Bundle& in) const override;

 private:
  Embedding embedding_;
  SequenceOrder order_;
  DType dtype_;
};

/// s, mask -> s, mask through transformer layers.
class EncoderBlock final : public Block {
 public:
  EncoderBlock(const Init& init, const TextConfig& config);
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override { return in_ports(); }
  Bundle forward(Ctx& c, const Bundle& in) const override;

 private:
  DType dtype_;
  std::vector<std::unique_ptr<TransformerEncoder>> layers_;
};

/// s, mask and the states of the stage before (none in the first) -> s, mask, states of both directions.
class LstmBlock final : public Block {
 public:
  LstmBlock(const Init& init, const TextConfig& config, bool first);
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  Bundle forward(Ctx& c, const Bundle& in) const override;
  /// Sum of the final hidden states of both directions, [B, hidden].
  static Var reduce(Ctx& c, const Bundle& s);

 private:
  bool first_, masked_;
  DType dtype_;
  BiLstm lstm_;
};

/// s, mask -> logits: Linear on the mean over the tokens.
class TransformerHead final : public Block {
 public:
  TransformerHead(const Init& init, const TextConfig& config);
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override { return {{.name = "logits", .dtype = dtype_}}; }
  Bundle forward(Ctx& c, const Bundle& in) const override;

 private:
  DType dtype_;
  Linear linear_;
};

/// s, states -> logits: Linear on both directions' final states, or as the original on the last position of s, where
/// the reverse direction has seen one step.
class LstmHead final : public Block {
 public:
  LstmHead(const Init& init, const TextConfig& config);
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override { return {{.name = "logits", .dtype = dtype_}}; }
  Bundle forward(Ctx& c, const Bundle& in) const override;

 private:
  bool faithful_;
  DType dtype_;
  Linear forward_, reverse_;  // faithful: forward_ alone
};

}  // namespace sluice
