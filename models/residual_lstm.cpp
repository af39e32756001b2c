// The units of the residual LSTM.
#include "models/residual_lstm.h"

#include "layers/dense.h"
#include "layers/embedding.h"
#include "layers/lstm.h"
#include "models/function_block.h"

namespace sluice {
namespace {

Port tokens() { return {.name = "tokens", .dtype = DType::kI32, .differentiable = false}; }
Port token_steps() { return {.name = "mask", .dtype = DType::kU8, .differentiable = false, .batch_axis = 1}; }
Port features(DType dtype) { return {.name = "s", .dtype = dtype, .batch_axis = 1}; }

/// tokens [B, T] -> s [T, B, width], mask.
BlockPtr embed(const Init& init, const ResidualLstmConfig& c) {
  return std::make_unique<FunctionBlock>(
      std::vector{tokens()}, std::vector{features(c.dtype), token_steps()},
      [table = Embedding(init, c.vocabulary, c.width, c.dtype)](Ctx& ctx, const Bundle& in) {
        const Tensor ids = transpose_ids(ctx, in[0].value);
        return Bundle{table.forward(ctx, ids), {token_mask(ctx, ids)}};
      });
}

/// s -> s + Linear(LSTM(s)).
BlockPtr residual(const Init& init, const ResidualLstmConfig& c) {
  return std::make_unique<FunctionBlock>(
      std::vector{features(c.dtype)}, std::vector{features(c.dtype)},
      [lstm = Lstm(init.scope("lstm"), c.width, c.width), linear = Dense(init.scope("fc"), c.width, c.width)](
          Ctx& ctx, const Bundle& in) {
        return Bundle{add(ctx, linear.forward(ctx, lstm.forward(ctx, in[0])), in[0])};
      });
}

/// s, mask -> logits.
BlockPtr head(const Init& init, const ResidualLstmConfig& c) {
  return std::make_unique<FunctionBlock>(
      std::vector{features(c.dtype), token_steps()}, std::vector{Port{.name = "logits", .dtype = c.dtype}},
      [linear = Dense(init, c.width, c.classes), over_padding = c.faithful](Ctx& ctx, const Bundle& in) {
        return Bundle{linear.forward(ctx, masked_mean(ctx, in[0], over_padding ? Tensor() : in[1].value, 0))};
      });
}

}  // namespace

UnitNet residual_lstm(const ResidualLstmConfig& c) {
  if (c.vocabulary < 2 || c.classes < 2 || c.width < 1 || c.blocks < 1)
    throw ConfigError(str("residual_lstm: ", c.vocabulary, " words, ", c.classes, " classes, a width of ", c.width,
                          " and ", c.blocks, " blocks, expected 2 or more of the former, 1 or more of the latter"));
  UnitNet net;
  net.sample = {{1, 200}};  // tokens of a review in the published runs
  const auto unit = [&](const std::string& name, BlockPtr (*make)(const Init&, const ResidualLstmConfig&)) {
    net.units.push_back({name, [name, make, c](const Init& root) { return make(root.scope(name), c); }});
  };
  unit("embedding", embed);
  for (int k = 1; k <= c.blocks; ++k) {
    if (k > 1) net.cuts.push_back(k);
    unit(str("block", k), residual);
  }
  unit("head", head);
  return net;
}

}  // namespace sluice
