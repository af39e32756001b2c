// The units of GNMT, and where the published scripts cut them.
#include "models/gnmt.h"

#include <algorithm>

#include "layers/bahdanau.h"
#include "layers/checks.h"
#include "layers/dense.h"
#include "layers/embedding.h"
#include "layers/lstm.h"
#include "models/function_block.h"

namespace sluice {
namespace {

Port ids(const char* name) { return {.name = name, .dtype = DType::kI32, .differentiable = false}; }
Port source_mask() { return {.name = "mask", .dtype = DType::kU8, .differentiable = false, .batch_axis = 1}; }
/// Of time-major sequences.
Port sequence(const char* name, DType dtype) { return {.name = name, .dtype = dtype, .batch_axis = 1}; }

/// How the two halves of the network call their values.
struct Half {
  const char* scope;
  const char* value;  // what the last layer gave
  const char* input;  // what the next one reads
  bool decodes;
};
constexpr Half kEncoder{"encoder", "s", "s_in", false}, kDecoder{"decoder", "y", "y_in", true};

BlockPtr block(std::vector<Port> in, std::vector<Port> out, FunctionBlock::Run run) {
  return std::make_unique<FunctionBlock>(std::move(in), std::move(out), std::move(run));
}

// ---- the units' blocks ----

/// source [B, S] -> s [S, B, H], mask.
BlockPtr source_embedding(const Init& init, const GnmtConfig& c) {
  return block({ids("source")}, {sequence("s", c.dtype), source_mask()},
               [table = Embedding(init, c.source_vocabulary, c.hidden, c.dtype)](Ctx& ctx, const Bundle& in) {
                 const Tensor tokens = transpose_ids(ctx, in[0].value);
                 return Bundle{table.forward(ctx, tokens), {token_mask(ctx, tokens)}};
               });
}

/// s [S, B, H] -> [S, B, 2H].
BlockPtr both_ways(const Init& init, const GnmtConfig& c) {
  return block({sequence("s", c.dtype), source_mask()}, {sequence("s", c.dtype)},
               [lstm = BiLstm(init, c.hidden, c.hidden)](Ctx& ctx, const Bundle& in) {
                 return Bundle{lstm.forward(ctx, in[0], {}, in[1].value).y};
               });
}

/// target [B, Q] -> y [Q, B, H].
BlockPtr target_embedding(const Init& init, const GnmtConfig& c) {
  return block({ids("target")}, {sequence("y", c.dtype)},
               [table = Embedding(init, c.target_vocabulary, c.hidden, c.dtype)](Ctx& ctx, const Bundle& in) {
                 return Bundle{table.forward(ctx, transpose_ids(ctx, in[0].value))};
               });
}

BlockPtr first_decoder(const Init& init, const GnmtConfig& c) {
  return block(
      {sequence("y", c.dtype)}, {sequence("y", c.dtype)},
      [lstm = Lstm(init, c.hidden, c.hidden)](Ctx& ctx, const Bundle& in) { return Bundle{lstm.forward(ctx, in[0])}; });
}

BlockPtr attention(const Init& init, const GnmtConfig& c) {
  return block({sequence("y", c.dtype), sequence("s", c.dtype), source_mask()}, {sequence("context", c.dtype)},
               [attend = BahdanauAttention(init, c.hidden)](Ctx& ctx, const Bundle& in) {
                 return Bundle{attend.forward(ctx, in[0], in[1], in[2].value)};
               });
}

/// What a layer reads: the layer before, dropped, and in the decoder the context beside it.
BlockPtr layer_input(const Init& init, const GnmtConfig& c, const Half& half) {
  std::vector<Port> in{sequence(half.value, c.dtype)};
  if (half.decodes) in.push_back(sequence("context", c.dtype));
  return block(std::move(in), {sequence(half.input, c.dtype)},
               [p = c.dropout, path = dropout_path(init, "dropout")](Ctx& ctx, const Bundle& v) {
                 const Var dropped = dropout(ctx, v[0], p, path, 1);
                 return Bundle{v.size() > 1 ? concat(ctx, {dropped, v[1]}) : dropped};
               });
}

/// Two values side by side are what the encoder's second layer reads, and every one of the decoder.
BlockPtr layer(const Init& init, const GnmtConfig& c, const Half& half, int k) {
  const int64_t width = k == 2 || half.decodes ? 2 * c.hidden : c.hidden;
  std::vector<Port> in{sequence(half.input, c.dtype)};
  if (k > 2) in.push_back(sequence(half.value, c.dtype));
  return block(std::move(in), {sequence(half.value, c.dtype)},
               [lstm = Lstm(init, width, c.hidden)](Ctx& ctx, const Bundle& v) {
                 const Var y = lstm.forward(ctx, v[0]);
                 return Bundle{v.size() > 1 ? add(ctx, y, v[1]) : y};
               });
}

/// y [Q, B, H] -> logits [B Q, words].
BlockPtr classifier(const Init& init, const GnmtConfig& c) {
  return block({sequence("y", c.dtype)}, {{.name = "logits", .dtype = c.dtype}},
               [linear = Dense(init, c.hidden, c.target_vocabulary)](Ctx& ctx, const Bundle& in) {
                 return Bundle{linear.forward(ctx, as_rows(ctx, swap_axes(ctx, in[0])))};
               });
}

// ---- all of them ----

constexpr int64_t kUsualTokens = 50;  // of either side: the longest that the published runs train on

void add_unit(UnitNet& net, const std::string& name, const std::function<BlockPtr(const Init&)>& make) {
  net.units.push_back({name, [name, make](const Init& root) { return make(root.scope(name)); }});
}
void add_layers(UnitNet& net, const GnmtConfig& c, const Half& half) {
  for (int k = 2; k <= c.layers; ++k) {
    add_unit(net, str(half.scope, ".input", k), [c, half](const Init& init) { return layer_input(init, c, half); });
    add_unit(net, str(half.scope, ".lstm", k), [c, half, k](const Init& init) { return layer(init, c, half, k); });
  }
}

/// The units that the published stages of GNMT-8 and GNMT-16 end in.
std::vector<std::string> published_ends(int layers) {
  if (layers == 4) return {"encoder.input3", "decoder.attention", "decoder.input4"};
  if (layers == 8) return {"encoder.input6", "decoder.lstm2", "decoder.input7"};
  return {};
}

void expect_valid(const GnmtConfig& c) {
  if (c.source_vocabulary < 2 || c.target_vocabulary < 2)
    throw ConfigError(
        str("gnmt: vocabularies of ", c.source_vocabulary, " and ", c.target_vocabulary, " words, expected 2 or more"));
  if (c.hidden < 1 || c.layers < 2) throw ConfigError("gnmt: expected a positive width and 2 layers or more");
  if (!(c.dropout >= 0.0f && c.dropout < 1.0f))
    throw ConfigError(str("gnmt: dropout probability ", c.dropout, ", expected [0, 1)"));
}

}  // namespace

UnitNet gnmt(const GnmtConfig& c) {
  expect_valid(c);
  UnitNet net{
      .units = {}, .cuts = {}, .sample = {{1, kUsualTokens}, {1, kUsualTokens}}, .targets = TargetKind::kTokens};
  const auto unit = [&](const char* name, BlockPtr (*make)(const Init&, const GnmtConfig&)) {
    add_unit(net, name, [make, c](const Init& init) { return make(init, c); });
  };
  unit("encoder.embedding", source_embedding);
  unit("encoder.lstm1", both_ways);
  add_layers(net, c, kEncoder);
  unit("decoder.embedding", target_embedding);
  unit("decoder.lstm1", first_decoder);
  unit("decoder.attention", attention);
  add_layers(net, c, kDecoder);
  unit("classifier", classifier);
  for (const std::string& end : published_ends(c.layers)) {
    const auto at = std::find_if(net.units.begin(), net.units.end(), [&](const Unit& u) { return u.name == end; });
    net.cuts.push_back(1 + int(at - net.units.begin()));
  }
  return net;
}

}  // namespace sluice
