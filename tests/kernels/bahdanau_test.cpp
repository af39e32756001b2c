// Additive attention against its formulas in double: what masks hide, the parameters' gradients, and what it keeps.
#include "kernels/bahdanau.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::bahdanau_test {
namespace {

using BahdanauTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, BahdanauTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;

struct Sizes {
  int64_t queries, keys, samples, hidden, width;
};
// 1, primes, one past a block of queries or keys and past a strip or a block of columns, no samples, no queries.
const std::vector<Sizes> kSizes{{1, 1, 1, 1, 1},   {3, 5, 2, 31, 29}, {5, 9, 3, 65, 128}, {4, 37, 2, 8, 257},
                                {9, 4, 1, 300, 7}, {2, 3, 0, 16, 16}, {0, 3, 2, 16, 16}};
enum class Mask { kNone, kSome, kAll };
constexpr Mask kMasks[] = {Mask::kNone, Mask::kSome, Mask::kAll};

/// Sample b is b keys shorter than all, and kAll leaves sample 0 without any.
Tensor mask_of(const Stream& s, Mask m, const Sizes& z) {
  if (m == Mask::kNone) return {};
  std::vector<uint8_t> bits;
  for (int64_t t = 0; t < z.keys; ++t)
    for (int64_t b = 0; b < z.samples; ++b)
      bits.push_back((t < std::max<int64_t>(1, z.keys - b) && (m == Mask::kSome || b > 0)) ? uint8_t(1 + 254 * (b % 2))
                                                                                           : uint8_t(0));
  return Tensor::from<uint8_t>(s, bits, {z.keys, z.samples});
}

/// The operands of a call in both directions.
struct Case {
  Case(const Stream& on, const Sizes& sizes, DType type, Mask m)
      : s(on),
        z(sizes),
        t(type),
        q(random(on, {z.queries, z.samples, z.hidden}, 1, -2, 2, t)),
        k(random(on, {z.keys, z.samples, z.hidden}, 2, -2, 2, t)),
        memory(random(on, {z.keys, z.samples, z.width}, 3, -1, 2, t)),
        dy(random(on, {z.queries, z.samples, z.width}, 4, -1, 1, t)),
        v(random(on, {z.hidden}, 5)),
        scale(random(on, {1}, 6, 1.5f, 3)),
        b(random(on, {z.hidden}, 7)),
        mask(mask_of(on, m, z)),
        y(on, dy.shape(), t),
        weights(on, {z.queries, z.samples, z.keys}),
        dq(on, q.shape(), t),
        dk(on, k.shape(), t),
        dmemory(on, memory.shape(), t),
        sums(on, {2, z.hidden}) {}

  kernels::Bahdanau forward() const {
    return {.q = q.cref(),
            .k = k.cref(),
            .memory = memory.cref(),
            .mask = mask.cref(),
            .v = v.cref(),
            .scale = scale.cref(),
            .b = b.cref(),
            .y = y.ref(),
            .weights = weights.ref()};
  }
  kernels::BahdanauGrad backward() const {
    return {.q = q.cref(),
            .k = k.cref(),
            .memory = memory.cref(),
            .mask = mask.cref(),
            .v = v.cref(),
            .scale = scale.cref(),
            .b = b.cref(),
            .weights = weights.tensor().cref(),
            .dy = dy.cref(),
            .dq = dq.ref(),
            .dk = dk.ref(),
            .dmemory = dmemory.ref(),
            .sums = sums.ref()};
  }
  void check_guards() const {
    for (const Guarded* g : {&y, &weights, &dq, &dk, &dmemory, &sums}) g->check();
  }

  Stream s;
  Sizes z;
  DType t;
  Tensor q, k, memory, dy, v, scale, b, mask;
  Guarded y, weights, dq, dk, dmemory, sums;
};

/// The formulas, one sample and query after another. A masked score is -65504, as in the published networks.
struct Reference {
  Values y, weights, dq, dk, dmemory, dv, db;

  explicit Reference(const Case& c)
      : z(c.z),
        q(to_double(c.s, c.q)),
        k(to_double(c.s, c.k)),
        memory(to_double(c.s, c.memory)),
        v(to_double(c.s, c.v)),
        b(to_double(c.s, c.b)),
        mask(c.mask.defined() ? to_double(c.s, c.mask) : Values(size_t(z.keys * z.samples), 1.0)) {
    double squares = 0;
    for (const double e : v) squares += e * e;
    for (double& e : v) e *= to_double(c.s, c.scale)[0] / std::sqrt(squares);
    const Values dy = to_double(c.s, c.dy);
    y.assign(dy.size(), 0.0);
    dq.assign(q.size(), 0.0);
    dk.assign(k.size(), 0.0);
    dmemory.assign(memory.size(), 0.0);
    dv.assign(v.size(), 0.0);
    db.assign(v.size(), 0.0);
    for (int64_t t = 0; t < z.queries; ++t)
      for (int64_t sample = 0; sample < z.samples; ++sample) query(t, sample, dy);
  }

 private:
  size_t row(int64_t t, int64_t sample) const { return size_t(t * z.samples + sample); }
  double tanh_of(size_t query, size_t key, size_t j) const {
    const auto h = size_t(z.hidden);
    return std::tanh(q[query * h + j] + k[key * h + j] + b[j]);
  }

  void query(int64_t t, int64_t sample, const Values& dy) {
    const auto h = size_t(z.hidden), m = size_t(z.width), at = row(t, sample);
    Values w, dw(size_t(z.keys), 0.0);
    double sum = 0, dot = 0;
    for (int64_t s = 0; s < z.keys; ++s) {
      double score = 0;
      for (size_t j = 0; j < h; ++j) score += v[j] * tanh_of(at, row(s, sample), j);
      w.push_back(mask[row(s, sample)] != 0 ? score : -65504.0);
    }
    const double top = *std::max_element(w.begin(), w.end());
    for (double& e : w) sum += e = std::exp(e - top);
    for (int64_t s = 0; s < z.keys; ++s) {
      const size_t key = row(s, sample);
      w[size_t(s)] /= sum;
      weights.push_back(w[size_t(s)]);
      for (size_t j = 0; j < m; ++j) {
        y[at * m + j] += w[size_t(s)] * memory[key * m + j];
        dmemory[key * m + j] += w[size_t(s)] * dy[at * m + j];
        dw[size_t(s)] += dy[at * m + j] * memory[key * m + j];
      }
      dot += w[size_t(s)] * dw[size_t(s)];
    }
    for (int64_t s = 0; s < z.keys; ++s) {
      const size_t key = row(s, sample);
      if (mask[key] == 0) continue;
      const double dscore = w[size_t(s)] * (dw[size_t(s)] - dot);
      for (size_t j = 0; j < h; ++j) {
        const double th = tanh_of(at, key, j), slope = dscore * v[j] * (1 - th * th);
        dq[at * h + j] += slope;
        dk[key * h + j] += slope;
        dv[j] += dscore * th;
        db[j] += slope;
      }
    }
  }

  Sizes z;
  Values q, k, memory, v, b, mask;
};

Values joined(Values a, const Values& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_P(BahdanauTest, MatchesTheFormulasInBothDirections) {
  const Stream s(device());
  for (const Sizes& z : kSizes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const Mask m : kMasks) {
        SCOPED_TRACE(testing::Message() << z.queries << " " << z.keys << " " << z.samples << " " << z.hidden << " "
                                        << z.width << " " << name(t) << " mask " << int(m));
        const Case c(s, z, t, m);
        launch(c.forward(), s);
        launch(c.backward(), s);
        const Reference r(c);
        expect_close(to_double(s, c.y.tensor()), r.y, bound(t));
        expect_close(to_double(s, c.weights.tensor()), r.weights, bound(DType::kF32));
        expect_close(to_double(s, c.dq.tensor()), r.dq, bound(t));
        expect_close(to_double(s, c.dk.tensor()), r.dk, bound(t));
        expect_close(to_double(s, c.dmemory.tensor()), r.dmemory, bound(t));
        expect_close(to_double(s, c.sums.tensor()), joined(r.dv, r.db), bound(DType::kF32));
        c.check_guards();
      }
}

TEST_P(BahdanauTest, WhatTheMaskHidesIsNotRead) {
  const Stream s(device());
  const Case c(s, {3, 5, 2, 31, 29}, DType::kF32, Mask::kSome);
  launch(c.forward(), s);
  launch(c.backward(), s);
  const auto all = [&] {
    Values v = to_double(s, c.y.tensor());
    for (const Guarded* g : {&c.dq, &c.dk, &c.dmemory, &c.sums}) v = joined(v, to_double(s, g->tensor()));
    return v;
  };
  const Values before = all();
  for (const Tensor& of : {c.k, c.memory}) {  // the last key of sample 1
    const int64_t n = of.shape()[2];
    Tensor hidden = of.rows(4, 1).reshape({2, n}).rows(1, 1);
    hidden.assign<float>(s, std::vector<float>(size_t(n), std::nanf("")));
  }
  launch(c.forward(), s);
  launch(c.backward(), s);
  EXPECT_EQ(all(), before);
}

TEST_P(BahdanauTest, ParameterGradientsGoThroughTheNormalisedVector) {
  const Stream s(device());
  for (const int64_t hidden : {1, 31, 300})
    for (const int adds : {0, 1, 2, 4, 7}) {
      SCOPED_TRACE(testing::Message() << hidden << " " << adds);
      const Tensor sums = random(s, {2, hidden}, 1), v = random(s, {hidden}, 2, 0.1f, 1), scale = random(s, {1}, 3);
      const Tensor dv = random(s, {hidden}, 4), dscale = random(s, {1}, 5), db = random(s, {hidden}, 6);
      const Values g = to_double(s, sums), at = to_double(s, v);
      Values expected_v = to_double(s, dv), expected_scale = to_double(s, dscale), expected_b = to_double(s, db);
      double squares = 0, dot = 0;
      for (size_t j = 0; j < at.size(); ++j) {
        squares += at[j] * at[j];
        dot += g[j] * at[j];
      }
      const double length = std::sqrt(squares), factor = to_double(s, scale)[0];
      for (size_t i = 0; i < at.size(); ++i) {
        double sum = (adds & 1) != 0 ? expected_v[i] : 0.0;  // of g_j d(factor v_j / |v|) / d v_i
        for (size_t j = 0; j < at.size(); ++j)
          sum += g[j] * factor * ((i == j ? 1 / length : 0.0) - at[j] * at[i] / (squares * length));
        expected_v[i] = sum;
        expected_b[i] = ((adds & 4) != 0 ? expected_b[i] : 0.0) + g[at.size() + i];
      }
      expected_scale[0] = ((adds & 2) != 0 ? expected_scale[0] : 0.0) + dot / length;
      launch(kernels::BahdanauGradParams{.sums = sums.cref(),
                                         .v = v.cref(),
                                         .scale = scale.cref(),
                                         .dv = dv.ref(),
                                         .dscale = dscale.ref(),
                                         .db = db.ref(),
                                         .accumulate_v = (adds & 1) != 0,
                                         .accumulate_scale = (adds & 2) != 0,
                                         .accumulate_b = (adds & 4) != 0},
             s);
      // One number has no direction but its own: its gradient is 0, and what rounding leaves is small beside factor g.
      if (hidden > 1) expect_close(to_double(s, dv), expected_v, bound(DType::kF32));
      expect_close(to_double(s, dscale), expected_scale, bound(DType::kF32));
      expect_close(to_double(s, db), expected_b, bound(DType::kF32));
    }
}

TEST_P(BahdanauTest, ResultsDoNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "teams are of CPU devices";
  std::vector<Values> seen;
  for (const int team : {1, 2}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Case c(s, {9, 11, 5, 130, 70}, DType::kF32, Mask::kSome);
    launch(c.forward(), s);
    launch(c.backward(), s);
    Values all = to_double(s, c.y.tensor());
    for (const Guarded* g : {&c.dq, &c.dk, &c.dmemory, &c.sums}) all = joined(all, to_double(s, g->tensor()));
    seen.push_back(all);
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_P(BahdanauTest, WrongOperandsAreRefused) {
  const Stream s(device());
  const Case c(s, {3, 5, 2, 8, 6}, DType::kF32, Mask::kSome);
  const Tensor half = random(s, {5, 2, 8}, 1, -1, 1, DType::kBF16), odd = random(s, {5, 3, 8}, 1),
               one = random(s, {1}, 1);
  const auto with = [](auto call, auto change) {
    change(call);
    return call;
  };
  const auto forward = c.forward();
  const auto backward = c.backward();
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.k = half.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.k = odd.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.memory = odd.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.v = one.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.scale = c.v.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.b = one.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.mask = one.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.y = c.dq.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.weights = c.dq.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(backward, [&](auto& k) { k.dy = c.q.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(backward, [&](auto& k) { k.dk = c.dq.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(backward, [&](auto& k) { k.sums = c.dq.ref(); }), s), ShapeError);
  const Tensor none = random(s, {0, 2, 8}, 1);
  EXPECT_THROW(launch(with(forward, [&](auto& k) { k.k = k.memory = none.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(kernels::BahdanauGradParams{.sums = c.v.cref(),
                                                  .v = c.v.cref(),
                                                  .scale = one.cref(),
                                                  .dv = c.v.ref(),
                                                  .dscale = one.ref(),
                                                  .db = c.v.ref()},
                      s),
               ShapeError);
}

// ---- the op ----

struct Declared {
  Init init;
  BahdanauParams params;
  explicit Declared(int64_t hidden)
      : params{init.param("v", {hidden}, InitialValue::uniform(0.7f)), init.param("scale", {1}, {2.0f, 2.5f}),
               init.param("b", {hidden}, InitialValue::uniform(0.5f))} {}
};

TEST_P(BahdanauTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  const Declared d(7);
  const Sizes z{3, 4, 2, 7, 5};
  const Tensor q = random(s, {3, 2, 7}, 1), k = random(s, {4, 2, 7}, 2), memory = random(s, {4, 2, 5}, 3);
  for (const Mask m : kMasks) {
    const Tensor mask = mask_of(s, m, z);
    check_gradients(s, d.init, {q, k, memory}, [&](Ctx& c, const std::vector<Var>& in) {
      return bahdanau_attention(c, in[0], in[1], in[2], mask, d.params);
    });
  }
  check_gradients(s, d.init, {k}, [&](Ctx& c, const std::vector<Var>& in) {  // one sequence for all three
    return bahdanau_attention(c, in[0], in[0], in[0], {}, d.params);
  });
  check_gradients(s, d.init, {}, [&](Ctx& c, const std::vector<Var>&) {
    return bahdanau_attention(c, {q}, {k}, {memory}, {}, d.params);
  });
}

TEST_P(BahdanauTest, KeepsWhatItReadsAndTheWeightsWhichAreHandedOut) {
  const Stream s(device());
  const Declared d(8);
  Recorded pass(s, d.init);
  Ctx c = pass.ctx();
  std::vector<Tensor> weights;
  c.attention = &weights;
  const Var q = pass.tape.leaf(random(s, {3, 2, 8}, 1)), k = pass.tape.leaf(random(s, {5, 2, 8}, 2)),
            memory = pass.tape.leaf(random(s, {5, 2, 6}, 3));
  const Var y = bahdanau_attention(c, q, k, memory, mask_of(s, Mask::kSome, {3, 5, 2, 8, 6}), d.params);
  ASSERT_EQ(weights.size(), 1u);
  const Values w = to_double(s, weights[0]);
  for (size_t row = 0; row < w.size(); row += 5) {
    double sum = 0;
    for (size_t j = 0; j < 5; ++j) sum += w[row + j];
    EXPECT_NEAR(sum, 1, 1e-6);
  }
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation),
            q.value.bytes() + k.value.bytes() + memory.value.bytes() + 3 * 2 * 5 * 4);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), 10);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward_input({{y, random(s, y.shape(), 4)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), pass.ledger.bytes(SaveKind::kDeferred));
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), 2 * 8 * 4);
  pass.tape.backward_weight(b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

}  // namespace
}  // namespace sluice::test::bahdanau_test
