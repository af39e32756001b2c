// One time step of an LSTM (Hochreiter and Schmidhuber 1997, with forget gates by Gers et al. 2000) behind its matrix
// products, for a batch: gates, cell state and output in one pass, and its gradient in one pass. In place: the gates;
// c may be c_previous, h may be h_previous.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/math.h"

namespace sluice::kernels {

/// i, f, o = sigmoid, g = tanh of the pre-activations; c = f c_previous + i g; h = o tanh(c). Blocks of columns of the
/// gates, in PyTorch's order: i, f, g, o. A sample whose mask is 0 is padding: its state is carried on, its row of y is
/// 0, and its gates stay as they are.
struct LstmCell {
  static constexpr const char* kName = "lstm_cell";
  Ref gates;              // [B, 4H], f32 or bf16: pre-activations in, activated gates out
  ConstRef c_previous;    // [B, H] f32
  ConstRef h_previous{};  // [B, H], as gates; with a mask only, which needs it
  ConstRef mask{};        // [B] u8; undefined: no padding
  Ref c;                  // [B, H] f32
  Ref h;                  // [B, H], as gates
  Ref y{};                // [B, W], as gates: h is also written to columns [column, column + H); undefined: not wanted
  int64_t column = 0;

  void check() const;
  Operands operands() const { return {{gates, c_previous, h_previous, mask}, {gates, c, h, y}}; }
  Cost cost() const;
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// The gradient of LstmCell. dh and dc carry what the later steps hand down: in, the gradients of h and c; out, dc is
/// the gradient of c_previous, and with a mask dh becomes what passes padding by: the gradient of h_previous but for
/// the part that goes through the gates, dgates W_hh, which is then added to it. Without a mask dh stays as it is.
struct LstmCellGrad {
  static constexpr const char* kName = "lstm_cell_grad";
  Ref gates;            // [B, 4H], f32 or bf16: activated gates in, gradients of the pre-activations out; padding: 0
  ConstRef c;           // [B, H] f32
  ConstRef c_previous;  // [B, H] f32
  ConstRef dy{};        // [B, W], as gates: added to dh from columns [column, column + H); undefined: 0
  ConstRef mask{};      // [B] u8; undefined: no padding
  Ref dh;               // [B, H], as gates
  Ref dc;               // [B, H] f32
  int64_t column = 0;

  void check() const;
  Operands operands() const { return {{c, c_previous, dy, mask}, {gates, dh, dc}}; }
  Cost cost() const;
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- one element, the same on every device. Floats only: g++ vectorises no loop in which structs are made ----

#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif
/// The gradient of c that a step sees: from later steps and through h = o t, t = tanh(c).
SLUICE_HD float lstm_state_grad(float dc, float dh, float o, float t) { return dc + dh * o * (1.0f - t * t); }
/// Of a pre-activation, from the gradient d of its sigmoid a, and of its tanh a.
SLUICE_HD float lstm_sigmoid_grad(float d, float a) { return d * (a * (1.0f - a)); }
SLUICE_HD float lstm_tanh_grad(float d, float a) { return d * (1.0f - a * a); }
}  // namespace SLUICE_ISA or host

// ---- checks and costs ----

namespace detail {
inline void expect_gates(const char* op, const Ref& gates) {
  expect_float(op, "gates", gates.dtype);
  expect_rank(op, "gates", gates.shape, 2);
  if (gates.dim(1) % 4 != 0)
    throw ShapeError(str(op, ": gates has shape ", gates.shape.text(), ", expected four blocks of columns"));
}
inline Shape state_shape(const Ref& gates) { return {gates.dim(0), gates.dim(1) / 4}; }
/// [B, H].
inline void expect_state(const char* op, const char* what, const ConstRef& r, const Ref& gates, DType t) {
  expect_dtype(op, what, r.dtype, t);
  expect_shape(op, what, r.shape, state_shape(gates));
}
/// u8 [B].
inline void expect_lstm_mask(const char* op, const ConstRef& mask, const Ref& gates) {
  if (!mask.defined()) return;
  expect_dtype(op, "mask", mask.dtype, DType::kU8);
  expect_shape(op, "mask", mask.shape, {gates.dim(0)});
}
/// [B, W] with H columns from `column` on.
inline void expect_columns(const char* op, const char* what, const ConstRef& r, int64_t column, const Ref& gates) {
  if (!r.defined()) return;
  expect_dtype(op, what, r.dtype, gates.dtype);
  expect_rank(op, what, r.shape, 2);
  const int64_t hidden = gates.dim(1) / 4;
  if (r.dim(0) != gates.dim(0) || column < 0 || column + hidden > r.dim(1))
    throw ShapeError(str(op, ": ", what, " has shape ", r.shape.text(), ", expected ", gates.dim(0),
                         " rows with columns [", column, ", ", column + hidden, ")"));
}
}  // namespace detail

inline void LstmCell::check() const {
  detail::expect_gates(kName, gates);
  detail::expect_state(kName, "c_previous", c_previous, gates, DType::kF32);
  detail::expect_lstm_mask(kName, mask, gates);
  if (mask.defined()) detail::expect_state(kName, "h_previous", h_previous, gates, gates.dtype);
  detail::expect_state(kName, "c", c, gates, DType::kF32);
  detail::expect_state(kName, "h", h, gates, gates.dtype);
  detail::expect_columns(kName, "y", y, column, gates);
}
inline void LstmCellGrad::check() const {
  detail::expect_gates(kName, gates);
  detail::expect_state(kName, "c", c, gates, DType::kF32);
  detail::expect_state(kName, "c_previous", c_previous, gates, DType::kF32);
  detail::expect_columns(kName, "dy", dy, column, gates);
  detail::expect_lstm_mask(kName, mask, gates);
  detail::expect_state(kName, "dh", dh, gates, gates.dtype);
  detail::expect_state(kName, "dc", dc, gates, DType::kF32);
}
/// Of a batch without padding; of y and dy only the columns in question.
inline Cost LstmCell::cost() const {
  const int64_t out = y.defined() ? h.bytes() : 0;
  return {gates.bytes() + c_previous.bytes() + mask.bytes(), gates.bytes() + c.bytes() + h.bytes() + out,
          c.numel() * 100};
}
inline Cost LstmCellGrad::cost() const {
  const int64_t in = dy.defined() ? dh.bytes() : 0, carried = mask.defined() ? dh.bytes() : 0;
  return {gates.bytes() + c.bytes() + c_previous.bytes() + in + mask.bytes() + dh.bytes() + dc.bytes(),
          gates.bytes() + dc.bytes() + carried, c.numel() * 45};
}

}  // namespace sluice::kernels
