// Declares the parameters of LSTMs.
#include "layers/lstm.h"

#include <cmath>

namespace sluice {
namespace {

LstmParams declare(const Init& init, int64_t in, int64_t hidden) {
  Init at = init;
  const InitialValue start = InitialValue::uniform(1.0f / std::sqrt(float(hidden)));
  LstmParams p;
  p.w_ih = at.param("w_ih", {4 * hidden, in}, start);
  p.w_hh = at.param("w_hh", {4 * hidden, hidden}, start);
  p.b_ih = at.param("b_ih", {4 * hidden}, start);
  p.b_hh = at.param("b_hh", {4 * hidden}, start);
  return p;
}

}  // namespace

Lstm::Lstm(const Init& init, int64_t in, int64_t hidden) : params_(declare(init, in, hidden)) {}

BiLstm::BiLstm(const Init& init, int64_t in, int64_t hidden)
    : params_{declare(init.scope("forward"), in, hidden), declare(init.scope("reverse"), in, hidden)} {}

}  // namespace sluice
