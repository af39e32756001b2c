// LSTM, one direction or two: one product for the inputs of all steps, then per step a product with the last output,
// added to it, and the cell. Backward walks the steps the other way; products of all steps at once give the gradients
// of weights and x. The directions run one after the other: side by side in one call they are 1.1 times slower (a batch
// of two [64, 256] x [256, 1024] on one core).
#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/add.h"
#include "kernels/fill.h"
#include "kernels/lstm_cell.h"
#include "kernels/matmul.h"

namespace sluice {
namespace {

struct Sizes {
  int64_t steps, batch, hidden;
};

/// Step t of a sequence [T, B, ...]; undefined of an undefined one.
Tensor at_step(const Tensor& sequence, int64_t t) {
  if (!sequence.defined()) return {};
  const Shape& s = sequence.shape();
  const Tensor one = sequence.rows(t, 1);
  return s.rank() == 2 ? one.reshape({s[1]}) : one.reshape({s[1], s[2]});
}
/// The steps of a sequence [T, B, n] as rows.
Tensor as_rows(const Tensor& sequence) {
  const Shape& s = sequence.shape();
  return sequence.reshape({s[0] * s[1], s[2]});
}

/// One direction's way through the sequence. The states before each step lie in the order of time, so that their
/// product with the gates' gradients is one call; the state behind the last step lies alone, since it lives longer.
struct Direction {
  LstmParams params;
  bool reverse = false;
  int64_t column = 0;  // of its outputs in y
  Tensor gates;        // [T, B, 4H]
  Tensor h, c;         // [T, B, H]: before each step; undefined: nothing is recorded, states stay in place
  Tensor h_last, c_last;

  int64_t time(int64_t k) const { return reverse ? gates.dim(0) - 1 - k : k; }
  Tensor before(int64_t k, const Tensor& states, const Tensor& last) const {
    return states.defined() && k < states.dim(0) ? at_step(states, time(k)) : last;
  }
};

/// A copy of `from`, or zeroes.
void start_state(const Stream& s, const Tensor& from, const Tensor& to) {
  if (from.defined()) return copy(s, from, to);
  launch(kernels::FillConstant{.y = to.ref(), .value = 0.0f}, s);
}

void check_state(const LstmState& s, const Sizes& z, DType t) {
  const auto check = [&](const char* what, const Tensor& v, DType dtype) {
    if (!v.defined()) return;
    expect_dtype("lstm", what, v.dtype(), dtype);
    expect_shape("lstm", what, v.shape(), {z.batch, z.hidden});
  };
  check("h", s.h.value, t);
  check("c", s.c.value, DType::kF32);
}

/// gates = x w_ih^T + b_ih + b_hh for all steps.
Tensor input_gates(Ctx& c, const Tensor& x, const LstmParams& p) {
  const int64_t width = p.w_ih.shape[0];
  const Tensor bias = c.empty({width}), gates = c.empty({x.dim(0), x.dim(1), width}, x.dtype());
  launch(kernels::Add{.a = c.weight(p.b_ih).ref, .b = c.weight(p.b_hh).ref, .y = bias.ref()}, c.stream);
  const Weight w = c.weight(p.w_ih);
  launch(
      kernels::Matmul{
          .x = as_rows(x).cref(), .w = w.ref, .bias = bias.cref(), .y = as_rows(gates).ref(), .w_version = w.version},
      c.stream);
  return gates;
}

/// Runs the steps of a direction, which writes its columns of y.
void run(Ctx& c, Direction& d, const LstmState& initial, const Tensor& y, const Tensor& mask) {
  const int64_t steps = d.gates.dim(0);
  start_state(c.stream, initial.h.value, d.before(0, d.h, d.h_last));
  start_state(c.stream, initial.c.value, d.before(0, d.c, d.c_last));
  const Weight w = c.weight(d.params.w_hh);
  for (int64_t k = 0; k < steps; ++k) {
    const Tensor z = at_step(d.gates, d.time(k)), h = d.before(k, d.h, d.h_last);
    if (k > 0 || initial.h.value.defined())
      launch(kernels::Matmul{.x = h.cref(),
                             .w = w.ref,
                             .bias = {},
                             .y = z.ref(),
                             .w_version = w.version,
                             .accumulate = true,
                             .w_reused = true},
             c.stream);
    launch(kernels::LstmCell{.gates = z.ref(),
                             .c_previous = d.before(k, d.c, d.c_last).cref(),
                             .h_previous = mask.defined() ? h.cref() : ConstRef{},
                             .mask = at_step(mask, d.time(k)).cref(),
                             .c = d.before(k + 1, d.c, d.c_last).ref(),
                             .h = d.before(k + 1, d.h, d.h_last).ref(),
                             .y = at_step(y, d.time(k)).ref(),
                             .column = d.column},
           c.stream);
  }
}

/// What backward keeps of a direction.
struct Kept {
  Direction d;  // without tensors
  Saved gates, h, c, c_last;
};

struct LstmFn final : Function {
  GradList backward_input(Tensor, BackwardCtx& c) override {
    const Tensor dy = take_dy(0);
    GradList grads;
    for (size_t i = 0; i < kept.size(); ++i) walk_back(i, dy, c, grads);
    mask.reset();
    if (needs(0)) {
      grads[0] = c.empty(x.tensor().shape(), x.tensor().dtype());
      for (const Kept& k : kept) {
        const Weight w = c.weights.at(k.d.params.w_ih);
        launch(kernels::MatmulGradInput{.dz = as_rows(k.gates.tensor()).cref(),
                                        .w = w.ref,
                                        .dx = as_rows(grads[0]).ref(),
                                        .w_version = w.version,
                                        .accumulate = &k != &kept.front()},
               c.stream);
      }
    }
    defer(x, c);
    return grads;
  }

  void backward_weight(BackwardCtx& c) override {
    for (Kept& k : kept) {
      const Tensor dz = as_rows(k.gates.tensor());
      const Tensor db = c.empty({dz.dim(1)});
      grad_weight(k.d.params.w_ih, as_rows(x.tensor()), dz, db, c);
      grad_weight(k.d.params.w_hh, as_rows(k.h.tensor()), dz, {}, c);
      for (const Param& b : {k.d.params.b_ih, k.d.params.b_hh}) {  // one sum over dz is the gradient of both
        const GradSlot slot = c.arena.grad(b);
        if (slot.accumulate)
          launch(kernels::Add{.a = slot.ref, .b = db.cref(), .y = slot.ref}, c.stream);
        else
          copy(c.stream, db, c.arena.grads().flat_view(c.arena.offset(b.index), b.shape));
      }
    }
    kept.clear();
    x.reset();
  }

  /// Turns the gates of direction i into the gradients of their pre-activations, last step first.
  void walk_back(size_t i, const Tensor& dy, BackwardCtx& c, GradList& grads) {
    Kept& k = kept[i];
    Direction& d = k.d;
    d.gates = k.gates.tensor();
    const auto h_input = int(1 + 2 * i);
    const Shape state = k.c_last.tensor().shape();
    const Tensor dh = handed_down(take_dy(h_input), state, d.gates.dtype(), c),
                 dc = handed_down(take_dy(h_input + 1), state, DType::kF32, c);
    const Weight w = c.weights.at(d.params.w_hh);
    for (int64_t step = d.gates.dim(0); step-- > 0;) {
      const int64_t t = d.time(step);
      const Tensor dz = at_step(d.gates, t);
      launch(kernels::LstmCellGrad{.gates = dz.ref(),
                                   .c = d.before(step + 1, k.c.tensor(), k.c_last.tensor()).cref(),
                                   .c_previous = at_step(k.c.tensor(), t).cref(),
                                   .dy = at_step(dy, t).cref(),
                                   .mask = at_step(mask.tensor(), t).cref(),
                                   .dh = dh.ref(),
                                   .dc = dc.ref(),
                                   .column = d.column},
             c.stream);
      if (step > 0 || needs(h_input))
        launch(
            kernels::MatmulGradInput{
                .dz = dz.cref(), .w = w.ref, .dx = dh.ref(), .w_version = w.version, .accumulate = mask.defined()},
            c.stream);
    }
    d.gates = {};
    k.c.reset();
    k.c_last.reset();
    defer(k.gates, c);
    defer(k.h, c);
    grads[size_t(h_input)] = dh;
    grads[size_t(h_input) + 1] = dc;
  }

  /// The gradient of a last state, to be overwritten; zeroes where none came.
  static Tensor handed_down(Tensor grad, const Shape& shape, DType t, BackwardCtx& c) {
    if (grad.defined() && grad.unique()) return grad;
    const Tensor own = c.empty(shape, t);
    start_state(c.stream, grad, own);
    return own;
  }
  static void defer(Saved& s, BackwardCtx& c) {
    const Tensor t = s.tensor();
    s.reset();
    s = Saved(t, SaveKind::kDeferred, &c.ledger);
  }
  /// dw (+)= dz^T in, and db, where it is wanted, the column sums of dz.
  static void grad_weight(const Param& w, const Tensor& in, const Tensor& dz, const Tensor& db, BackwardCtx& c) {
    const GradSlot dw = c.arena.grad(w);
    launch(
        kernels::MatmulGradWeight{
            .x = in.cref(), .dz = dz.cref(), .dw = dw.ref, .db = db.ref(), .accumulate_w = dw.accumulate},
        c.stream);
  }

  Saved x, mask;
  std::vector<Kept> kept;
};

/// One direction or two, with its initial state.
struct Plan {
  LstmParams params;
  LstmState initial;
  bool reverse;
};

Direction prepare(Ctx& c, const Tensor& x, const Plan& p, const Sizes& z, bool record) {
  Direction d;
  d.params = p.params;
  d.reverse = p.reverse;
  d.gates = input_gates(c, x, p.params);
  if (record) {
    d.h = c.empty({z.steps, z.batch, z.hidden}, x.dtype());
    d.c = c.empty({z.steps, z.batch, z.hidden});
  }
  d.h_last = c.empty({z.batch, z.hidden}, x.dtype());
  d.c_last = c.empty({z.batch, z.hidden});
  return d;
}

/// y, then h and c behind the last step of each direction.
std::vector<Var> run_all(Ctx& c, const Var& x, const std::vector<Plan>& plans, const Tensor& mask) {
  expect_rank("lstm", "x", x.shape(), 3);
  const Sizes z{x.shape()[0], x.shape()[1], plans[0].params.w_hh.shape[1]};
  if (mask.defined()) {
    expect_dtype("lstm", "mask", mask.dtype(), DType::kU8);
    expect_shape("lstm", "mask", mask.shape(), {z.steps, z.batch});
  }
  const bool record = c.recording({x}, true);
  const Tensor y = c.empty({z.steps, z.batch, z.hidden * int64_t(plans.size())}, x.value.dtype());
  std::vector<Tensor> outs{y};
  std::vector<Var> inputs{x};
  auto f = std::make_unique<LstmFn>();
  for (const Plan& p : plans) {
    check_state(p.initial, z, x.value.dtype());
    Direction d = prepare(c, x.value, p, z, record);
    d.column = z.hidden * int64_t(f->kept.size());
    run(c, d, p.initial, y, mask);
    outs.insert(outs.end(), {d.h_last, d.c_last});
    inputs.insert(inputs.end(), {p.initial.h, p.initial.c});
    Kept& k = f->kept.emplace_back();
    if (!record) continue;
    k.gates = c.save(SaveKind::kActivation, d.gates);
    k.h = c.save(SaveKind::kActivation, d.h);
    k.c = c.save(SaveKind::kActivation, d.c);
    k.c_last = c.save(SaveKind::kActivation, d.c_last);
    k.d.params = d.params;
    k.d.reverse = d.reverse;
    k.d.column = d.column;
  }
  if (!record) {
    std::vector<Var> constants;
    for (const Tensor& t : outs) constants.push_back({t});
    return constants;
  }
  f->x = c.save(SaveKind::kActivation, x.value);
  f->mask = c.save(SaveKind::kMask, mask);
  return c.tape->record_outputs(std::move(f), outs, inputs, true);
}

}  // namespace

LstmOutput lstm(Ctx& c, const Var& x, const LstmParams& p, const LstmState& initial, const LstmOptions& o) {
  const std::vector<Var> out = run_all(c, x, {{p, initial, o.reverse}}, o.mask);
  return {out[0], out[1], out[2]};
}

BiLstmOutput bi_lstm(Ctx& c, const Var& x, const BiLstmParams& p, const BiLstmState& initial, const Tensor& mask) {
  const std::vector<Var> out =
      run_all(c, x, {{p.forward, initial.forward, false}, {p.reverse, initial.reverse, true}}, mask);
  return {out[0], {{out[1], out[2]}, {out[3], out[4]}}};
}

}  // namespace sluice
