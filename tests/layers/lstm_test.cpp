// BiLstm: its parameters, and outputs and all gradients against an LSTM written out in double precision.
#include "layers/lstm.h"

#include <cmath>

#include "tests/layers/run.h"

namespace sluice::test::lstm_test {
namespace {

using LstmTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LstmTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;

struct Sizes {
  int64_t steps, batch, in, hidden;
};
std::string text(const Sizes& z) { return str(z.steps, " x ", z.batch, " x ", z.in, " -> ", z.hidden); }

/// One direction, forward and back, sample by sample. Gates i, f, g, o.
struct Reference {
  Sizes z;
  bool reverse = false;
  Values x, mask;  // [T, B, in], [T, B] or empty
  Values w_ih, w_hh, b_ih, b_hh, h0, c0;
  // forward
  Values y, h, c;           // [T, B, H], [B, H]: behind the last step
  std::vector<Values> all;  // per step: [B, 7H] i f g o, c before, c, h before
  // backward
  Values dx, dw_ih, dw_hh, db, dh, dc;  // dh, dc: of the last state in, of the first out

  int64_t time(int64_t k) const { return reverse ? z.steps - 1 - k : k; }
  bool padding(int64_t t, int64_t b) const { return !mask.empty() && mask[size_t(t * z.batch + b)] == 0; }

  double pre(int64_t t, int64_t b, int64_t row) const {
    double sum = b_ih[size_t(row)] + b_hh[size_t(row)];
    for (int64_t k = 0; k < z.in; ++k) sum += w_ih[size_t(row * z.in + k)] * x[size_t((t * z.batch + b) * z.in + k)];
    for (int64_t k = 0; k < z.hidden; ++k) sum += w_hh[size_t(row * z.hidden + k)] * h[size_t(b * z.hidden + k)];
    return sum;
  }
  void forward() {
    const int64_t n = z.hidden;
    const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
    h = h0, c = c0;
    y.assign(size_t(z.steps * z.batch * n), 0);
    for (int64_t k = 0; k < z.steps; ++k) {
      const int64_t t = time(k);
      Values& step = all.emplace_back(size_t(z.batch * 7 * n));
      Values next_h = h, next_c = c;
      for (int64_t b = 0; b < z.batch; ++b)
        for (int64_t j = 0; j < n && !padding(t, b); ++j) {
          const auto at = size_t(b * n + j);
          const double i = sigmoid(pre(t, b, j)), f = sigmoid(pre(t, b, n + j)), g = std::tanh(pre(t, b, 2 * n + j)),
                       o = sigmoid(pre(t, b, 3 * n + j));
          next_c[at] = f * c[at] + i * g;
          next_h[at] = o * std::tanh(next_c[at]);
          y[size_t((t * z.batch + b) * n + j)] = next_h[at];
          double* s = &step[size_t(7 * b * n + j)];
          s[0] = i, s[n] = f, s[2 * n] = g, s[3 * n] = o, s[4 * n] = c[at], s[5 * n] = next_c[at], s[6 * n] = h[at];
        }
      h = next_h, c = next_c;
    }
  }
  void backward(const Values& dy) {
    const int64_t n = z.hidden;
    dx.assign(x.size(), 0), dw_ih.assign(w_ih.size(), 0), dw_hh.assign(w_hh.size(), 0), db.assign(b_ih.size(), 0);
    for (int64_t k = z.steps; k-- > 0;)
      for (int64_t b = 0; b < z.batch; ++b) {
        const int64_t t = time(k);
        if (padding(t, b)) continue;
        Values dz(size_t(4 * n));
        for (int64_t j = 0; j < n; ++j) {
          const double* s = &all[size_t(k)][size_t(7 * b * n + j)];
          const double i = s[0], f = s[n], g = s[2 * n], o = s[3 * n], tc = std::tanh(s[5 * n]);
          const double out = dh[size_t(b * n + j)] + dy[size_t((t * z.batch + b) * n + j)];
          double& state = dc[size_t(b * n + j)];
          state += out * o * (1 - tc * tc);
          dz[size_t(j)] = state * g * i * (1 - i);
          dz[size_t(n + j)] = state * s[4 * n] * f * (1 - f);
          dz[size_t(2 * n + j)] = state * i * (1 - g * g);
          dz[size_t(3 * n + j)] = out * tc * o * (1 - o);
          state *= f;
          dh[size_t(b * n + j)] = 0;
        }
        hand_down(k, t, b, dz);
      }
  }
  void hand_down(int64_t k, int64_t t, int64_t b, const Values& dz) {
    const int64_t n = z.hidden;
    for (int64_t row = 0; row < 4 * n; ++row) {
      const double d = dz[size_t(row)];
      db[size_t(row)] += d;
      for (int64_t q = 0; q < z.in; ++q) {
        const auto at = size_t((t * z.batch + b) * z.in + q);
        dx[at] += d * w_ih[size_t(row * z.in + q)];
        dw_ih[size_t(row * z.in + q)] += d * x[at];
      }
      for (int64_t q = 0; q < n; ++q) {
        dh[size_t(b * n + q)] += d * w_hh[size_t(row * n + q)];
        dw_hh[size_t(row * n + q)] += d * all[size_t(k)][size_t((7 * b + 6) * n + q)];
      }
    }
  }
};

/// Which of the five outputs of a run a gradient reaches.
struct Reached {
  bool y = true, h = true, c = true;
};

/// A layer on a device, its inputs, and the references of both directions.
struct Case {
  Case(const Stream& on, const Sizes& sizes, bool masked, DType dtype = DType::kF32)
      : s(on),
        z(sizes),
        t(dtype),
        layer(init.scope("l"), z.in, z.hidden),
        arena(on, init, /*seed=*/5),
        x(random(on, {z.steps, z.batch, z.in}, 1, -1, 1, t)),
        dy(random(on, {z.steps, z.batch, 2 * z.hidden}, 2, -1, 1, t)) {
    for (uint64_t i = 0; i < 8; ++i)  // h and c of both directions at the start, gradients of them at the end
      states.push_back(random(s, {z.batch, z.hidden}, 10 + i, -1, 1, i % 2 == 0 ? t : DType::kF32));
    if (!masked) return;
    std::vector<uint8_t> bits;
    for (int64_t k = 0; k < z.steps; ++k)
      for (int64_t b = 0; b < z.batch; ++b) bits.push_back(k < z.steps - b % 4);
    mask = Tensor::from<uint8_t>(s, bits, {z.steps, z.batch});
  }
  Ctx ctx() { return {.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape}; }
  BackwardCtx backward_ctx() { return {.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger}; }
  Values param(const Tensor& all, int index) const {
    return to_double(s, all.flat_view(arena.offset(index), init.params()[size_t(index)].shape));
  }
  Reference reference(bool reverse, bool initial) const {
    const int p = reverse ? 4 : 0;
    const size_t st = reverse ? 2 : 0;
    const Values zero(size_t(z.batch * z.hidden));
    Reference r;
    r.z = z;
    r.reverse = reverse;
    r.x = to_double(s, x);
    if (mask.defined()) r.mask = to_double(s, mask);
    r.w_ih = param(arena.values(), p), r.w_hh = param(arena.values(), p + 1);
    r.b_ih = param(arena.values(), p + 2), r.b_hh = param(arena.values(), p + 3);
    r.h0 = initial ? to_double(s, states[st]) : zero;
    r.c0 = initial ? to_double(s, states[st + 1]) : zero;
    r.forward();
    return r;
  }
  /// The columns of one direction of a sequence [T, B, 2H].
  Values half(const Tensor& both, bool reverse) const {
    const Values all = to_double(s, both);
    Values columns;
    for (size_t i = 0; i < all.size(); ++i)
      if ((int64_t(i) / z.hidden % 2 == 1) == reverse) columns.push_back(all[i]);
    return columns;
  }
  void run(bool initial);
  void backward(const Reached& reached, bool split);
  void expect(bool initial, const Reached& reached, double limit);

  Stream s;
  Sizes z;
  DType t;
  Init init;
  BiLstm layer;
  Arena arena;
  Ledger ledger;
  Tape tape;
  Tensor x, dy, mask;
  std::vector<Tensor> states;
  Var in;
  std::vector<Var> first;  // h, c of forward, h, c of reverse
  BiLstmOutput out;
};

void Case::run(bool initial) {
  Ctx c = ctx();
  in = tape.leaf(x);
  for (size_t i = 0; i < 4; ++i) first.push_back(initial ? tape.leaf(states[i]) : Var{});
  out = layer.forward(c, in, {{first[0], first[1]}, {first[2], first[3]}}, mask);
}

void Case::backward(const Reached& reached, bool split) {
  std::vector<Root> roots;
  if (reached.y) roots.push_back({out.y, dy});
  for (const bool reverse : {false, true}) {
    const LstmState& last = reverse ? out.last.reverse : out.last.forward;
    if (reached.h) roots.push_back({last.h, states[reverse ? 6 : 4]});
    if (reached.c) roots.push_back({last.c, states[reverse ? 7 : 5]});
  }
  BackwardCtx b = backward_ctx();
  if (split) {
    tape.backward_input(roots, b);
    return tape.backward_weight(b);
  }
  tape.backward(roots, b);
}

void Case::expect(bool initial, const Reached& reached, double limit) {
  Values dx(size_t(x.numel()));
  for (const bool reverse : {false, true}) {
    SCOPED_TRACE(reverse ? "reverse" : "forward");
    Reference r = reference(reverse, initial);
    const LstmState& last = reverse ? out.last.reverse : out.last.forward;
    const size_t st = reverse ? 2 : 0;
    const int p = reverse ? 4 : 0;
    expect_close(half(out.y.value, reverse), r.y, limit);
    expect_close(to_double(s, last.h.value), r.h, limit);
    expect_close(to_double(s, last.c.value), r.c, limit);
    const Values zero(size_t(z.batch * z.hidden));
    r.dh = reached.h ? to_double(s, states[4 + st]) : zero;
    r.dc = reached.c ? to_double(s, states[5 + st]) : zero;
    r.backward(reached.y ? half(dy, reverse) : Values(r.y.size()));
    for (size_t i = 0; i < dx.size(); ++i) dx[i] += r.dx[i];
    expect_close(param(arena.grads(), p), r.dw_ih, limit);
    expect_close(param(arena.grads(), p + 1), r.dw_hh, limit);
    expect_close(param(arena.grads(), p + 2), r.db, limit);
    EXPECT_EQ(param(arena.grads(), p + 3), param(arena.grads(), p + 2));
    if (!initial) continue;
    expect_close(to_double(s, tape.take_grad(first[st])), r.dh, limit);
    expect_close(to_double(s, tape.take_grad(first[st + 1])), r.dc, limit);
  }
  expect_close(to_double(s, tape.take_grad(in)), dx, limit);
  EXPECT_EQ(ledger.bytes(), 0);
}

// B = 1, T = 1, primes, one past a block of columns, more samples than steps.
const std::vector<Sizes> kSizes{{1, 1, 1, 1}, {7, 1, 3, 5}, {1, 5, 4, 8}, {5, 3, 7, 13}, {3, 6, 9, 67}, {6, 4, 16, 8}};

TEST_P(LstmTest, OutputsAndGradientsMatchTheEquations) {
  for (const Sizes& z : kSizes)
    for (const bool initial : {false, true})
      for (const bool masked : {false, true}) {
        SCOPED_TRACE(testing::Message() << text(z) << " initial " << initial << " mask " << masked);
        Case k(Stream(device()), z, masked);
        k.run(initial);
        k.backward({}, false);
        k.expect(initial, {}, 2e-5);
      }
}

TEST_P(LstmTest, GradientsMayReachAnyOfTheOutputs) {
  for (int which = 1; which < 8; ++which)
    for (const bool split : {false, true}) {
      SCOPED_TRACE(testing::Message() << "outputs " << which << " split " << split);
      const Reached reached{(which & 1) != 0, (which & 2) != 0, (which & 4) != 0};
      Case k(Stream(device()), {5, 3, 7, 12}, which % 2 == 0);
      k.run(true);
      k.backward(reached, split);
      k.expect(true, reached, 2e-5);
    }
}

TEST_P(LstmTest, AccumulatesIntoTheGradientsOfTheStep) {
  const Stream s(device());
  Case k(s, {3, 4, 5, 8}, false);
  Values once, twice;
  for (int mb = 0; mb < 3; ++mb) {
    if (mb == 1) k.arena.begin_step();
    k.tape = Tape();
    k.first.clear();
    k.run(true);
    k.backward({}, false);
    (mb == 0 ? once : twice) = to_double(s, k.arena.grads());
  }
  for (double& v : once) v *= 2;
  expect_close(twice, once, 1e-6);
}

TEST_P(LstmTest, Bf16StaysCloseToTheEquations) {
  if (product_dtypes(Stream(device())).size() < 2) GTEST_SKIP() << "this device has no bf16 products";
  for (const Sizes& z : kSizes)
    for (const bool masked : {false, true}) {
      SCOPED_TRACE(testing::Message() << text(z) << " mask " << masked);
      Case k(Stream(device()), z, masked, DType::kBF16);
      k.run(true);
      EXPECT_EQ(k.out.y.value.dtype(), DType::kBF16);
      EXPECT_EQ(k.out.last.forward.c.value.dtype(), DType::kF32) << "states are never rounded";
      k.backward({}, false);
      k.expect(true, {}, 3e-2);
    }
}

TEST_P(LstmTest, StatesAreCarriedFromPieceToPiece) {
  const Stream s(device());
  Case whole(s, {6, 3, 4, 8}, false), parts(s, {6, 3, 4, 8}, false);
  whole.run(true);
  // The forward direction of two pieces equals that of the whole, and so does the reverse one of the pieces in turn.
  Ctx c = parts.ctx();
  c.tape = nullptr;
  const LstmState start{{whole.states[0]}, {whole.states[1]}}, end{{whole.states[2]}, {whole.states[3]}};
  const Tensor early = parts.x.rows(0, 2), late = parts.x.rows(2, 4);
  const BiLstmOutput a = parts.layer.forward(c, {early}, {start, {}});
  const BiLstmOutput b = parts.layer.forward(c, {late}, {a.last.forward, end});
  const BiLstmOutput r = parts.layer.forward(c, {early}, {start, b.last.reverse});
  EXPECT_EQ(to_double(s, b.last.forward.h.value), to_double(s, whole.out.last.forward.h.value));
  EXPECT_EQ(to_double(s, b.last.forward.c.value), to_double(s, whole.out.last.forward.c.value));
  EXPECT_EQ(to_double(s, r.last.reverse.h.value), to_double(s, whole.out.last.reverse.h.value));
  EXPECT_EQ(to_double(s, r.last.reverse.c.value), to_double(s, whole.out.last.reverse.c.value));
  Values pieces = to_double(s, r.y.value);
  for (const double v : to_double(s, b.y.value)) pieces.push_back(v);
  EXPECT_EQ(pieces, to_double(s, whole.out.y.value));
}

TEST_P(LstmTest, PaddingChangesNothing) {
  const Stream s(device());
  Case shorter(s, {3, 1, 4, 8}, false), padded(s, {5, 1, 4, 8}, false);
  shorter.run(true);
  padded.mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>{1, 1, 1, 0, 0}, {5, 1});
  padded.x.rows(0, 3).assign<float>(s, shorter.x.to_vector<float>(s));
  padded.run(true);
  const auto expect_equal = [&](const Var& a, const Var& b) {
    EXPECT_EQ(to_double(s, a.value), to_double(s, b.value));
  };
  expect_equal(padded.out.last.forward.h, shorter.out.last.forward.h);
  expect_equal(padded.out.last.forward.c, shorter.out.last.forward.c);
  expect_equal(padded.out.last.reverse.h, shorter.out.last.reverse.h);
  expect_equal(padded.out.last.reverse.c, shorter.out.last.reverse.c);
  EXPECT_EQ(to_double(s, padded.out.y.value.rows(0, 3)), to_double(s, shorter.out.y.value));
  EXPECT_THAT(to_double(s, padded.out.y.value.rows(3, 2)), testing::Each(0.0));
}

TEST_P(LstmTest, NoStepsOrNoSamples) {
  const Stream s(device());
  for (const Sizes& z : {Sizes{0, 2, 3, 4}, Sizes{3, 0, 3, 4}}) {
    SCOPED_TRACE(text(z));
    Case k(s, z, false);
    k.run(true);
    k.backward({}, false);
    k.expect(true, {}, 1e-6);
    EXPECT_THAT(to_double(s, k.arena.grads()), testing::Each(0.0));
  }
}

TEST_P(LstmTest, FinalStatesOfNoStepsAreTheInitialOnes) {
  const Stream s(device());
  Case k(s, {0, 2, 3, 4}, false);
  k.run(true);
  EXPECT_EQ(to_double(s, k.out.last.reverse.h.value), to_double(s, k.states[2]));
  EXPECT_EQ(to_double(s, k.out.last.forward.c.value), to_double(s, k.states[1]));
}

TEST_P(LstmTest, GradientsOfTheLayerAgreeWithDifferences) {
  const Stream s(device());
  Init init;
  const BiLstm layer(init.scope("l"), 3, 5);
  const Tensor target = random(s, {4, 2, 10}, 8), last = random(s, {2, 5}, 9);
  std::vector<Tensor> inputs{random(s, {4, 2, 3}, 1)};
  for (uint64_t i = 0; i < 4; ++i) inputs.push_back(random(s, {2, 5}, 2 + i));
  check_gradients(s, init, inputs, [&](Ctx& c, const std::vector<Var>& in) {
    const BiLstmOutput out = layer.forward(c, in[0], {{in[1], in[2]}, {in[3], in[4]}});
    const Var states = add(c, mse(c, out.last.forward.h, last), mse(c, out.last.reverse.c, last));
    return add(c, mse(c, out.y, target), states);
  });
}

TEST(Lstm, HasThePublishedNumberOfParameters) {
  for (const auto& [in, count] : {std::pair<int64_t, int64_t>{300, 1142784}, {512, 1576960}}) {
    Init init;
    const BiLstm layer(init.scope("l"), in, 256);
    int64_t sum = 0;
    for (const ParamSpec& p : init.params()) sum += p.shape.numel();
    EXPECT_EQ(sum, count);
  }
  Init init;
  const BiLstm layer(init.scope("l"), 3, 4);
  EXPECT_THAT(declared(init),
              testing::ElementsAre("l.forward.w_ih [16, 3]", "l.forward.w_hh [16, 4]", "l.forward.b_ih [16]",
                                   "l.forward.b_hh [16]", "l.reverse.w_ih [16, 3]", "l.reverse.w_hh [16, 4]",
                                   "l.reverse.b_ih [16]", "l.reverse.b_hh [16]"));
  for (const ParamSpec& p : init.params()) {
    EXPECT_EQ(p.initial.low, -0.5f);
    EXPECT_EQ(p.initial.high, 0.5f);
  }
}

}  // namespace
}  // namespace sluice::test::lstm_test
