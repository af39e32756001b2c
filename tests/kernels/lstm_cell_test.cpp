// The LSTM's cell against its equations in double precision; the op's gradients, and what it keeps, makes and takes.
#include "kernels/lstm_cell.h"

#include <cmath>

#include "kernels/common/library_record.h"
#include "tests/kernels/recorded.h"

namespace sluice::test::lstm_cell_test {
namespace {

using LstmCellTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LstmCellTest, testing::ValuesIn(test_devices()), device_label);

// 1, primes, one past a pack and a block, no samples.
const std::vector<std::pair<int64_t, int64_t>> kSizes{{1, 1}, {3, 31}, {7, 128}, {5, 257}, {64, 20}, {0, 8}};
constexpr DType kTypes[] = {DType::kF32, DType::kBF16};
enum class Mask { kNone, kSome, kAll };
constexpr Mask kMasks[] = {Mask::kNone, Mask::kSome, Mask::kAll};

Tensor mask_of(const Stream& s, Mask m, int64_t batch) {
  if (m == Mask::kNone) return {};
  std::vector<uint8_t> bits(size_t(batch), 0);
  for (size_t b = 0; b < bits.size(); ++b) bits[b] = m == Mask::kSome && b % 3 != 1 ? uint8_t(1 + 254 * (b % 2)) : 0;
  return Tensor::from<uint8_t>(s, bits, {batch});
}
bool padding(const Tensor& mask, const std::vector<double>& bits, int64_t b) {
  return mask.defined() && bits[size_t(b)] == 0;
}
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// Operands of both calls: y and dy are the middle columns of something wider.
struct Case {
  Case(const Stream& on, int64_t samples, int64_t size, DType t, Mask m)
      : s(on),
        batch(samples),
        hidden(size),
        type(t),
        column(size + 1),
        width(3 * size + 2),
        mask(mask_of(on, m, batch)),
        c_previous(random(on, {batch, hidden}, 2)),
        h_previous(random(on, {batch, hidden}, 3, -1, 1, t)),
        gates(on, {batch, 4 * hidden}, t),
        c(on, {batch, hidden}),
        dc(on, {batch, hidden}),
        h(on, {batch, hidden}, t),
        dh(on, {batch, hidden}, t),
        y(on, {batch, width}, t) {}

  void fill(const Guarded& to, uint64_t seed, float low, float high) const {
    copy(s, random(s, to.tensor().shape(), seed, low, high, to.tensor().dtype()), to.tensor());
  }
  std::vector<double> bits() const { return mask.defined() ? to_double(s, mask) : std::vector<double>{}; }
  kernels::LstmCell forward() const {
    return {.gates = gates.ref(),
            .c_previous = c_previous.cref(),
            .h_previous = h_previous.cref(),
            .mask = mask.cref(),
            .c = c.ref(),
            .h = h.ref(),
            .y = y.ref(),
            .column = column};
  }
  kernels::LstmCellGrad backward(const Tensor& state, bool with_dy) const {
    return {.gates = gates.ref(),
            .c = state.cref(),
            .c_previous = c_previous.cref(),
            .dy = with_dy ? y.ref() : Ref{},
            .mask = mask.cref(),
            .dh = dh.ref(),
            .dc = dc.ref(),
            .column = column};
  }
  void check_guards() const {
    for (const Guarded* g : {&gates, &c, &dc, &h, &dh, &y}) g->check();
  }

  Stream s;
  int64_t batch, hidden;
  DType type;
  int64_t column, width;
  Tensor mask, c_previous, h_previous;
  Guarded gates, c, dc, h, dh, y;
};

/// f(description, case) for every size, dtype and mask.
template <class F>
void for_each_case(const Stream& s, F f) {
  for (const auto& [batch, hidden] : kSizes)
    for (const DType t : kTypes)
      for (const Mask m : kMasks) {
        SCOPED_TRACE(testing::Message() << batch << " x " << hidden << " " << name(t) << " mask " << int(m));
        f(Case(s, batch, hidden, t, m));
      }
}

TEST_P(LstmCellTest, ForwardMatchesTheEquations) {
  for_each_case(Stream(device()), [](const Case& k) {
    k.fill(k.gates, 1, -4, 4);
    k.fill(k.y, 9, 5, 6);
    auto gates = to_double(k.s, k.gates.tensor()), y = to_double(k.s, k.y.tensor());
    auto c = to_double(k.s, k.c_previous), h = to_double(k.s, k.h_previous);
    const auto bits = k.bits();
    for (int64_t b = 0; b < k.batch; ++b)
      for (int64_t j = 0; j < k.hidden; ++j) {
        const auto at = size_t(b * k.hidden + j), out = size_t(b * k.width + k.column + j);
        y[out] = 0;
        if (padding(k.mask, bits, b)) continue;
        double* z = &gates[size_t(4 * b * k.hidden + j)];
        double &i = z[0], &f = z[k.hidden], &g = z[2 * k.hidden], &o = z[3 * k.hidden];
        i = sigmoid(i), f = sigmoid(f), g = std::tanh(g), o = sigmoid(o);
        c[at] = f * c[at] + i * g;
        y[out] = h[at] = o * std::tanh(c[at]);
      }
    launch(k.forward(), k.s);
    expect_close(to_double(k.s, k.gates.tensor()), gates, bound(k.type));
    expect_close(to_double(k.s, k.c.tensor()), c, bound(DType::kF32));
    expect_close(to_double(k.s, k.h.tensor()), h, bound(k.type));
    expect_close(to_double(k.s, k.y.tensor()), y, bound(k.type));
    k.check_guards();
  });
}

TEST_P(LstmCellTest, BackwardMatchesTheEquations) {
  for (const bool with_dy : {true, false})
    for_each_case(Stream(device()), [with_dy](const Case& k) {
      k.fill(k.gates, 1, -0.9f, 0.9f);
      k.fill(k.y, 4, -1, 1);
      k.fill(k.dh, 5, -1, 1);
      k.fill(k.dc, 6, -1, 1);
      const Tensor state = random(k.s, {k.batch, k.hidden}, 7, -2, 2);
      auto gates = to_double(k.s, k.gates.tensor()), dh = to_double(k.s, k.dh.tensor());
      auto dc = to_double(k.s, k.dc.tensor());
      const auto c = to_double(k.s, state), before = to_double(k.s, k.c_previous), dy = to_double(k.s, k.y.tensor()),
                 bits = k.bits();
      for (int64_t b = 0; b < k.batch; ++b)
        for (int64_t j = 0; j < k.hidden; ++j) {
          const auto at = size_t(b * k.hidden + j);
          double* a = &gates[size_t(4 * b * k.hidden + j)];
          double &i = a[0], &f = a[k.hidden], &g = a[2 * k.hidden], &o = a[3 * k.hidden];
          if (padding(k.mask, bits, b)) {
            i = f = g = o = 0;
            continue;
          }
          const double out = dh[at] + (with_dy ? dy[size_t(b * k.width + k.column + j)] : 0), t = std::tanh(c[at]);
          const double state_grad = dc[at] + out * o * (1 - t * t);
          dc[at] = state_grad * f;
          const double di = state_grad * g, df = state_grad * before[at], dg = state_grad * i;
          i = di * i * (1 - i), f = df * f * (1 - f), g = dg * (1 - g * g), o = out * t * o * (1 - o);
          if (k.mask.defined()) dh[at] = 0;
        }
      launch(k.backward(state, with_dy), k.s);
      expect_close(to_double(k.s, k.gates.tensor()), gates, bound(k.type));
      expect_close(to_double(k.s, k.dc.tensor()), dc, bound(DType::kF32));
      expect_close(to_double(k.s, k.dh.tensor()), dh, bound(k.type));
      EXPECT_EQ(to_double(k.s, k.y.tensor()), dy);
      k.check_guards();
    });
}

TEST_P(LstmCellTest, TheStateMayStayInPlace) {
  for_each_case(Stream(device()), [](const Case& k) {
    k.fill(k.gates, 1, -4, 4);
    k.fill(k.y, 9, 5, 6);
    const Tensor again = random(k.s, k.gates.tensor().shape(), 1, -4, 4, k.type);
    launch(k.forward(), k.s);
    kernels::LstmCell call = k.forward();
    call.gates = again.ref();
    call.c = k.c_previous.ref();
    call.h = k.h_previous.ref();
    call.y = {};
    launch(call, k.s);
    EXPECT_EQ(to_double(k.s, again), to_double(k.s, k.gates.tensor()));
    EXPECT_EQ(to_double(k.s, k.c_previous), to_double(k.s, k.c.tensor()));
    EXPECT_EQ(to_double(k.s, k.h_previous), to_double(k.s, k.h.tensor()));
  });
}

TEST_P(LstmCellTest, LargePreActivationsStaySane) {
  const Stream s(device());
  const Case k(s, 2, 3, DType::kF32, Mask::kNone);
  k.fill(k.gates, 1, -1e30f, 1e30f);
  launch(k.forward(), s);
  for (const Guarded* g : {&k.gates, &k.c, &k.h})
    for (const double v : to_double(s, g->tensor())) EXPECT_LE(std::abs(v), 2);
}

TEST_P(LstmCellTest, WrongOperandsAreRefused) {
  const Stream s(device());
  const Case k(s, 4, 6, DType::kF32, Mask::kSome);
  const Tensor state = random(s, {4, 6}, 1), half = random(s, {4, 6}, 1, -1, 1, DType::kBF16),
               odd = random(s, {4, 22}, 1), wide = random(s, {4, 28}, 1);
  const auto forward = [&](auto change) {
    kernels::LstmCell call = k.forward();
    change(call);
    launch(call, s);
  };
  const auto backward = [&](auto change) {
    kernels::LstmCellGrad call = k.backward(state, true);
    change(call);
    launch(call, s);
  };
  EXPECT_THROW(forward([&](auto& c) { c.gates = odd.ref(); }), ShapeError);
  EXPECT_THROW(forward([&](auto& c) { c.gates = wide.ref(); }), ShapeError);
  EXPECT_THROW(forward([&](auto& c) { c.c_previous = {}; }), ShapeError);
  EXPECT_THROW(forward([&](auto& c) { c.c = half.ref(); }), DTypeError);
  EXPECT_THROW(forward([&](auto& c) { c.h = half.ref(); }), DTypeError);
  EXPECT_THROW(forward([&](auto& c) { c.h_previous = {}; }), ShapeError);
  EXPECT_THROW(forward([&](auto& c) { c.mask = state.cref(); }), DTypeError);
  EXPECT_THROW(forward([&](auto& c) { c.column = 15; }), ShapeError);
  EXPECT_THROW(forward([&](auto& c) { c.column = -1; }), ShapeError);
  EXPECT_THROW(backward([&](auto& c) { c.gates = wide.ref(); }), ShapeError);
  EXPECT_THROW(backward([&](auto& c) { c.c = half.cref(); }), DTypeError);
  EXPECT_THROW(backward([&](auto& c) { c.dy = half.cref(); }), DTypeError);
  EXPECT_THROW(backward([&](auto& c) { c.column = 15; }), ShapeError);
  EXPECT_THROW(backward([&](auto& c) { c.dh = odd.ref(); }), ShapeError);
  EXPECT_THROW(backward([&](auto& c) { c.dc = half.ref(); }), DTypeError);
  s.sync();
}

// ---- the op ----

struct Declared {
  Init init;
  LstmParams params;
  Declared(int64_t in, int64_t hidden)
      : params{init.param("w_ih", {4 * hidden, in}, InitialValue::uniform(0.6f)),
               init.param("w_hh", {4 * hidden, hidden}, InitialValue::uniform(0.6f)),
               init.param("b_ih", {4 * hidden}, InitialValue::uniform(0.6f)),
               init.param("b_hh", {4 * hidden}, InitialValue::uniform(0.6f))} {}
};

Tensor sequence_mask(const Stream& s, int64_t steps, int64_t batch) {
  std::vector<uint8_t> bits;
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t b = 0; b < batch; ++b) bits.push_back(t < steps - b);  // sample b is b steps shorter
  return Tensor::from<uint8_t>(s, bits, {steps, batch});
}

TEST_P(LstmCellTest, GradientsOfTheOpAgreeWithDifferences) {
  const Stream s(device());
  const Declared d(3, 5);
  const Tensor target = random(s, {4, 2, 5}, 8), last = random(s, {2, 5}, 9);
  for (const bool reverse : {false, true})
    for (const bool masked : {false, true}) {
      SCOPED_TRACE(testing::Message() << reverse << masked);
      const LstmOptions o{masked ? sequence_mask(s, 4, 2) : Tensor(), reverse};
      check_gradients(s, d.init, {random(s, {4, 2, 3}, 1), random(s, {2, 5}, 2), random(s, {2, 5}, 3)},
                      [&](Ctx& c, const std::vector<Var>& in) {
                        const LstmOutput out = lstm(c, in[0], d.params, {in[1], in[2]}, o);
                        return add(c, mse(c, out.y, target), add(c, mse(c, out.h, last), mse(c, out.c, last)));
                      });
    }
}

TEST_P(LstmCellTest, TheOpKeepsWhatItNeedsAndNoMore) {
  const Stream s(device());
  constexpr int64_t kSteps = 3, kBatch = 4, kIn = 6, kHidden = 8;
  const Declared d(kIn, kHidden);
  Recorded pass(s, d.init);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {kSteps, kBatch, kIn}, 1));
  const LstmOptions o{sequence_mask(s, kSteps, kBatch), false};
  const LstmOutput out = lstm(c, x, d.params, {}, o);
  constexpr int64_t kRows = kSteps * kBatch, kGates = kRows * 4 * kHidden * 4, kStates = kRows * kHidden * 4;
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), x.value.bytes() + kGates + 2 * kStates + kBatch * kHidden * 4)
      << "x, gates, h and c before each step, c behind the last";
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), kRows);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward_input({{out.y, random(s, out.y.shape(), 3)}}, b);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), 0);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), 0);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), x.value.bytes() + kGates + kStates);
  pass.tape.backward_weight(b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(LstmCellTest, WithoutATapeNothingIsKeptAndTheResultIsTheSame) {
  const Stream s(device());
  const Declared d(6, 8);
  const Tensor x = random(s, {3, 4, 6}, 1), h = random(s, {4, 8}, 2), cell = random(s, {4, 8}, 3);
  for (const bool masked : {false, true}) {
    const LstmOptions o{masked ? sequence_mask(s, 3, 4) : Tensor(), true};
    Recorded pass(s, d.init);
    Ctx c = pass.ctx();
    const LstmOutput kept = lstm(c, {x}, d.params, {{h}, {cell}}, o);
    const int64_t bytes = pass.ledger.bytes();
    c.tape = nullptr;
    const LstmOutput out = lstm(c, {x}, d.params, {{h}, {cell}}, o);
    EXPECT_EQ(pass.ledger.bytes(), bytes);
    EXPECT_EQ(out.y.node, -1);
    EXPECT_EQ(to_double(s, out.y.value), to_double(s, kept.y.value));
    EXPECT_EQ(to_double(s, out.h.value), to_double(s, kept.h.value));
    EXPECT_EQ(to_double(s, out.c.value), to_double(s, kept.c.value));
  }
}

TEST_P(LstmCellTest, TheOpRefusesWhatDoesNotFit) {
  const Stream s(device());
  const Declared d(6, 8);
  Recorded pass(s, d.init);
  Ctx c = pass.ctx();
  const auto run = [&](const Tensor& x, const LstmState& initial, const Tensor& mask) {
    lstm(c, {x}, d.params, initial, {mask, false});
  };
  const Tensor x = random(s, {3, 4, 6}, 1), good = random(s, {4, 8}, 2), bad = random(s, {8, 4}, 2),
               half = random(s, {4, 8}, 2, -1, 1, DType::kBF16);
  EXPECT_THROW(run(random(s, {12, 6}, 1), {}, {}), ShapeError);
  EXPECT_THROW(run(random(s, {3, 4, 5}, 1), {}, {}), ShapeError);
  EXPECT_THROW(run(x, {{bad}, {good}}, {}), ShapeError);
  EXPECT_THROW(run(x, {{good}, {bad}}, {}), ShapeError);
  EXPECT_THROW(run(x, {{half}, {good}}, {}), DTypeError);
  EXPECT_THROW(run(x, {{good}, {half}}, {}), DTypeError);
  EXPECT_THROW(run(x, {}, sequence_mask(s, 4, 3)), ShapeError);
  EXPECT_THROW(run(x, {}, random(s, {3, 4}, 1)), DTypeError);
  s.sync();
}

TEST(LstmPlans, NoStepMakesAPlanPacksAWeightOrTakesMemoryAfterTheFirst) {
  const Stream s(Device{});
  const Declared d(24, 32);
  Recorded pass(s, d.init);
  const Tensor x = random(s, {9, 16, 24}, 1), mask = sequence_mask(s, 9, 16);
  const auto packs = [&] {
    int64_t count = 0;
    s.enqueue([&count](CpuContext& c) { count = library_record(c).packs; });
    s.sync();
    return count;
  };
  int64_t plans = 0, os_calls = 0, once = 0;
  for (int step = 0; step < 4; ++step) {
    pass.arena.begin_step();
    const int64_t before = packs();
    for (int64_t steps : {int64_t(9), int64_t(2)}) {  // packed by the first, for both
      pass.tape = Tape();
      Ctx c = pass.ctx();
      BackwardCtx b = pass.backward_ctx();
      const LstmOutput out = lstm(c, pass.tape.leaf(x.rows(0, steps)), d.params, {}, {mask.rows(0, steps), false});
      pass.tape.backward({{out.y, random(s, out.y.shape(), 2)}}, b);
    }
    s.sync();
    if (step == 0) once = packs() - before;
    if (step <= 1) {
      plans = s.plans_created();
      os_calls = s.pool().os_calls();
    }
    EXPECT_EQ(packs() - before, once) << "of each version";
    EXPECT_LE(once, 4) << "w_ih and w_hh for each number of rows, and not at every step";
    EXPECT_EQ(s.plans_created(), plans);
    EXPECT_EQ(s.pool().os_calls(), os_calls);
    pass.arena.bump_version();
  }
  s.enqueue([](CpuContext& c) {
    for (const std::string& i : library_record(c).implementations)
      EXPECT_THAT(i, testing::Not(testing::HasSubstr("ref")));
  });
  s.sync();
}

}  // namespace
}  // namespace sluice::test::lstm_cell_test
