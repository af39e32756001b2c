// Additive attention with a normalised vector (Bahdanau, Cho and Bengio 2015; Wu et al. 2016), time-major.
#pragma once

#include "layers/module.h"

namespace sluice {

/// x [Q, B, width] attends to memory [S, B, width], mask [S, B] u8 (0: padding) -> the memory's means [Q, B, width]:
/// the weights are softmax(v' . tanh(W_q x + W_k memory + b)) over S. 2 width^2 + 2 width + 1 parameters: matrices
/// start as Dense's, v U(+-1/sqrt(width)), its length 1/sqrt(width), b 0. Not a Module: three values go in.
class BahdanauAttention final {
 public:
  BahdanauAttention(const Init& init, int64_t width);
  Var forward(Ctx& c, const Var& x, const Var& memory, const Tensor& mask) const {
    return bahdanau_attention(c, matmul(c, x, query_), matmul(c, memory, key_), memory, mask, params_);
  }

 private:
  Linear query_, key_;
  BahdanauParams params_;
};

}  // namespace sluice
