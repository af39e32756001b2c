// LSTMs of one direction and of both: one layer of torch.nn.LSTM(in, hidden), time-major.
#pragma once

#include "layers/module.h"

namespace sluice {

/// x [T, B, in] -> y [T, B, hidden], first step to last. 4 hidden (in + hidden + 2) parameters, which start as
/// BiLstm's.
class Lstm final : public Module {
 public:
  Lstm(const Init& init, int64_t in, int64_t hidden);
  Var forward(Ctx& c, const Var& x) const override { return lstm(c, x, params_).y; }

 private:
  LstmParams params_;
};

/// x [T, B, in] -> y [T, B, 2 hidden] and the last state of each direction. 2 (4 hidden (in + hidden + 2)) parameters,
/// which start at U(+-1/sqrt(hidden)): PyTorch's default for LSTM.
class BiLstm final : public Module {
 public:
  BiLstm(const Init& init, int64_t in, int64_t hidden);
  Var forward(Ctx& c, const Var& x) const override { return bi_lstm(c, x, params_).y; }
  /// From given states; `mask` [T, B] u8 marks padding with 0, undefined: none.
  BiLstmOutput forward(Ctx& c, const Var& x, const BiLstmState& initial, const Tensor& mask = {}) const {
    return bi_lstm(c, x, params_, initial, mask);
  }

 private:
  BiLstmParams params_;
};

}  // namespace sluice
