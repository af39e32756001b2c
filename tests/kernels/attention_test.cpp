// Attention against the formula in double, draw by draw, with masks of every kind; its gradients and what it keeps.
#include "kernels/attention.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::attention_test {
namespace {

using AttentionTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AttentionTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;
constexpr PhiloxKey kKey{123, 456};
constexpr int64_t kBase = 40;  // global index of the first sample

struct Size {
  int64_t samples, length, heads, head_cols;
  Shape qkv() const { return {samples, length, 3 * heads * head_cols}; }
  Shape y() const { return {samples, length, heads * head_cols}; }
};
std::string text(const Size& z) { return str(z.samples, " x ", z.length, ", ", z.heads, " heads of ", z.head_cols); }
// 1, primes, the model's 50 columns, one past a panel and a tile, whole tiles, the widest head, no rows at all.
const std::vector<Size> kSizes{{1, 1, 1, 1},   {2, 3, 2, 5},   {1, 33, 1, 50}, {2, 17, 3, 7}, {1, 64, 1, 8},
                               {1, 65, 1, 12}, {1, 7, 1, 128}, {1, 97, 1, 10}, {0, 4, 2, 3},  {2, 0, 2, 3}};

/// The draw of a probability: four keys share a counter, queries have neighbouring ones.
bool kept(int64_t sample, int64_t head, int64_t query, int64_t key, double p) {
  const uint64_t low = uint64_t(head) * (uint64_t(1) << 40) + uint64_t(key / 4) * (uint64_t(1) << 20) + uint64_t(query);
  return double(philox(kKey, low, uint64_t(kBase + sample)).v[key % 4] >> 8) / 16777216.0 >= p;
}

/// All of it from the formula, one sample and head at a time, with whole T x T matrices.
struct Reference {
  Values y, lse, dqkv;

  Reference(const Size& z, const Values& qkv, const std::vector<uint8_t>& mask, const Values& dy, double p,
            double scale = 0)
      : y(dy.size()), lse(size_t(z.samples * z.heads * z.length)), dqkv(qkv.size()) {
    const int64_t n = z.length, width = z.heads * z.head_cols;
    const double root = scale > 0 ? 1 / scale : std::sqrt(double(z.head_cols));
    for (int64_t b = 0; b < z.samples; ++b)
      for (int64_t h = 0; h < z.heads; ++h) {
        const auto in = [&](int64_t t, int64_t part, int64_t j) {
          return size_t((b * n + t) * 3 * width + part * width + h * z.head_cols + j);
        };
        const auto out = [&](int64_t t, int64_t j) { return size_t((b * n + t) * width + h * z.head_cols + j); };
        for (int64_t q = 0; q < n; ++q) {
          Values score(size_t(n), 0.0), prob(size_t(n), 0.0), dprob(size_t(n), 0.0), keep(size_t(n), 1.0);
          for (int64_t k = 0; k < n; ++k) {
            for (int64_t j = 0; j < z.head_cols; ++j) score[size_t(k)] += qkv[in(q, 0, j)] * qkv[in(k, 1, j)] / root;
            if (!mask.empty() && mask[size_t(b * n + k)] == 0) score[size_t(k)] = -1e9;
            if (p > 0) keep[size_t(k)] = kept(b, h, q, k, p) ? 1 / (1 - p) : 0.0;
          }
          const double top = *std::max_element(score.begin(), score.end());
          double sum = 0, inner = 0;
          for (const double v : score) sum += std::exp(v - top);
          lse[size_t((b * z.heads + h) * n + q)] = top <= -1e9 ? std::log(sum) : top + std::log(sum);
          for (int64_t k = 0; k < n; ++k) {
            const auto at = size_t(k);
            prob[at] = std::exp(score[at] - top) / sum;
            for (int64_t j = 0; j < z.head_cols; ++j) {
              y[out(q, j)] += prob[at] * keep[at] * qkv[in(k, 2, j)];
              dprob[at] += dy[out(q, j)] * qkv[in(k, 2, j)] * keep[at];
              dqkv[in(k, 2, j)] += prob[at] * keep[at] * dy[out(q, j)];
            }
            inner += prob[at] * dprob[at];
          }
          for (int64_t k = 0; k < n; ++k) {
            if (!mask.empty() && mask[size_t(b * n + k)] == 0) continue;  // the score is a constant
            const double dscore = prob[size_t(k)] * (dprob[size_t(k)] - inner) / root;
            for (int64_t j = 0; j < z.head_cols; ++j) {
              dqkv[in(q, 0, j)] += dscore * qkv[in(k, 1, j)];
              dqkv[in(k, 1, j)] += dscore * qkv[in(q, 0, j)];
            }
          }
        }
      }
  }
};

enum class Mask { kNone, kHoles, kPadding, kEmpty };

std::vector<uint8_t> mask_of(const Size& z, Mask kind) {
  if (kind == Mask::kNone) return {};
  std::vector<uint8_t> m(size_t(z.samples * z.length), 1);
  for (int64_t b = 0; b < z.samples; ++b)
    for (int64_t t = 0; t < z.length; ++t) {
      uint8_t& v = m[size_t(b * z.length + t)];
      if (kind == Mask::kHoles) v = (7 * t + b) % 3 == 0 ? 0 : 255;
      if (kind == Mask::kPadding) v = 2 * t <= z.length ? 1 : 0;
      if (kind == Mask::kEmpty) v = b == z.samples - 1 ? 0 : 1;  // the last sample has no key at all
    }
  return m;
}

/// The tensors of a call in both directions.
struct Case {
  Case(const Stream& s, const Size& z, DType t, const std::vector<uint8_t>& m)
      : qkv(random(s, z.qkv(), 1, -2, 2, t)),
        dy(random(s, z.y(), 2, -1, 1, t)),
        y(s, z.y(), t),
        lse(s, {z.samples, z.heads, z.length}),
        dqkv(s, z.qkv(), t),
        settings{.heads = int(z.heads), .key = kKey, .sample_base = kBase} {
    if (!m.empty() || (z.samples * z.length == 0)) mask = Tensor::from<uint8_t>(s, m, {z.samples, z.length});
  }
  kernels::Attention forward() const {
    return {.qkv = qkv.cref(), .mask = mask.cref(), .y = y.ref(), .lse = lse.ref(), .settings = settings};
  }
  kernels::AttentionGrad backward() const {
    return {.qkv = qkv.cref(),
            .mask = mask.cref(),
            .y = y.ref(),
            .lse = lse.ref(),
            .dy = dy.cref(),
            .dqkv = dqkv.ref(),
            .settings = settings};
  }
  Tensor qkv, dy, mask;
  Guarded y, lse, dqkv;
  kernels::AttentionSettings settings;
};

TEST_P(AttentionTest, BothDirectionsMatchTheFormula) {
  const Stream s(device());
  for (const Size& z : kSizes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const Mask kind : {Mask::kNone, Mask::kHoles, Mask::kPadding, Mask::kEmpty}) {
        const bool many = z.length > 40;  // of those an emulated GPU has enough with two
        if (kind != Mask::kHoles && (t == DType::kBF16 || (many && kind != Mask::kPadding))) continue;
        const float p = kind == Mask::kNone ? 0.0f : 0.3f;
        SCOPED_TRACE(testing::Message() << text(z) << " " << name(t) << " mask " << int(kind));
        const std::vector<uint8_t> mask = mask_of(z, kind);
        Case run(s, z, t, mask);
        run.settings.p = p;
        launch(run.forward(), s);
        launch(run.backward(), s);
        const Reference r(z, to_double(s, run.qkv), mask, to_double(s, run.dy), double(p));
        expect_close(to_double(s, run.y.tensor()), r.y, bound(t));
        expect_close(to_double(s, run.lse.tensor()), r.lse, bound(DType::kF32));
        expect_close(to_double(s, run.dqkv.tensor()), r.dqkv, 2 * bound(t));  // y is rounded to bf16 on the way
        for (const Guarded* g : {&run.y, &run.lse, &run.dqkv}) g->check();
      }
}

TEST_P(AttentionTest, AnotherScaleMultipliesTheScores) {
  const Stream s(device());
  const Size z{2, 17, 3, 7};
  for (const Mask kind : {Mask::kNone, Mask::kEmpty}) {
    const std::vector<uint8_t> mask = mask_of(z, kind);
    Case run(s, z, DType::kF32, mask);
    run.settings.scale = 0.7f;
    launch(run.forward(), s);
    launch(run.backward(), s);
    const Reference r(z, to_double(s, run.qkv), mask, to_double(s, run.dy), 0, double(run.settings.scale));
    expect_close(to_double(s, run.y.tensor()), r.y, bound(DType::kF32));
    expect_close(to_double(s, run.lse.tensor()), r.lse, bound(DType::kF32));
    expect_close(to_double(s, run.dqkv.tensor()), r.dqkv, 2 * bound(DType::kF32));
  }
}

TEST_P(AttentionTest, LargeScoresNeitherOverflowNorVanish) {
  const Stream s(device());
  const Size z{1, 40, 1, 16};
  Case run(s, z, DType::kF32, {});
  run.qkv = random(s, z.qkv(), 5, -40, 40);  // scores beyond +-3000
  launch(run.forward(), s);
  const Reference r(z, to_double(s, run.qkv), {}, to_double(s, run.dy), 0);
  expect_close(to_double(s, run.y.tensor()), r.y, 2e-3);  // a score of 3000 is known to 2^-12
}

TEST_P(AttentionTest, ASampleWithoutKeysGetsTheMeanOfAllValues) {
  const Stream s(device());
  const Size z{2, 37, 2, 6};
  const Case run(s, z, DType::kF32, std::vector<uint8_t>(2 * 37, 0));
  launch(run.forward(), s);
  launch(run.backward(), s);
  const Values qkv = to_double(s, run.qkv), y = to_double(s, run.y.tensor());
  Values expected(y.size());
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 37; ++t)
      for (int64_t j = 0; j < 12; ++j)
        for (int64_t k = 0; k < 37; ++k)
          expected[size_t((b * 37 + t) * 12 + j)] += qkv[size_t((b * 37 + k) * 36 + 24 + j)] / 37;
  expect_close(y, expected, bound(DType::kF32));
  const Values grad = to_double(s, run.dqkv.tensor());
  for (size_t i = 0; i < grad.size(); ++i) {
    EXPECT_EQ(i % 36 < 24 ? grad[i] : 0.0, 0.0) << i;  // neither queries nor keys had a say
  }
}

TEST_P(AttentionTest, MicroBatchesAndPaddingDrawWhatTheWholeBatchDraws) {
  const Stream s(device());
  const Size z{4, 19, 2, 5};
  Case run(s, z, DType::kF32, mask_of(z, Mask::kPadding));
  run.settings.p = 0.5f;
  launch(run.forward(), s);
  launch(run.backward(), s);
  const Tensor y = Tensor::empty(s, z.y()), lse = Tensor::empty(s, {4, 2, 19}), dqkv = Tensor::empty(s, z.qkv());
  for (int64_t first = 0; first < 4; first += 2) {
    kernels::Attention part = run.forward();
    part.qkv = run.qkv.rows(first, 2).cref();
    part.mask = run.mask.rows(first, 2).cref();
    part.y = y.rows(first, 2).ref();
    part.lse = lse.rows(first, 2).ref();
    part.settings.sample_base += first;
    launch(part, s);
    kernels::AttentionGrad grad = run.backward();
    grad.qkv = part.qkv;
    grad.mask = part.mask;
    grad.y = part.y;
    grad.lse = part.lse;
    grad.dy = run.dy.rows(first, 2).cref();
    grad.dqkv = dqkv.rows(first, 2).ref();
    grad.settings = part.settings;
    launch(grad, s);
  }
  EXPECT_EQ(to_double(s, y), to_double(s, run.y.tensor()));
  EXPECT_EQ(to_double(s, dqkv), to_double(s, run.dqkv.tensor()));
  // The first 10 positions alone are the ones that may be attended to: shorter documents draw the same numbers.
  std::vector<float> head;
  const std::vector<float> all = run.qkv.to_vector<float>(s);
  for (int64_t b = 0; b < 4; ++b)
    head.insert(head.end(), all.begin() + b * 19 * 30, all.begin() + b * 19 * 30 + 10 * 30);
  kernels::Attention shorter = run.forward();
  const Tensor qkv = Tensor::from<float>(s, head, {4, 10, 30}), got = Tensor::empty(s, {4, 10, 10});
  shorter.qkv = qkv.cref();
  shorter.mask = shorter.lse = {};
  shorter.y = got.ref();
  launch(shorter, s);
  const Values short_y = to_double(s, got), long_y = to_double(s, run.y.tensor());
  for (int64_t i = 0; i < 400; ++i) ASSERT_EQ(short_y[size_t(i)], long_y[size_t(i / 100 * 190 + i % 100)]);
}

TEST_P(AttentionTest, ResultsDoNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "teams are of CPU devices";
  std::vector<Values> seen;
  for (const int team : {1, 2}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Case run(s, {3, 70, 3, 11}, DType::kF32, {});
    launch(run.forward(), s);
    launch(run.backward(), s);
    seen.push_back(to_double(s, run.dqkv.tensor()));
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_P(AttentionTest, WrongShapesAndSettingsAreRefused) {
  const Stream s(device());
  const Size z{2, 5, 2, 4};
  const Case run(s, z, DType::kF32, mask_of(z, Mask::kHoles));
  const Tensor half = random(s, z.y(), 1, -1, 1, DType::kBF16), flat = random(s, {2, 5}, 1);
  const Tensor wide = random(s, {1, 2, 3 * 129}, 1), wide_y = random(s, {1, 2, 129}, 1);
  const auto with = [](auto call, auto change) {
    change(call);
    return call;
  };
  const auto forward = run.forward();
  const auto backward = run.backward();
  for (const int heads : {0, -1, 3})
    EXPECT_THROW(launch(with(forward, [&](auto& c) { c.settings.heads = heads; }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.qkv = flat.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.mask = flat.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.y = half.ref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.lse = flat.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(kernels::Attention{.qkv = wide.cref(), .y = wide_y.ref(), .settings = {}}, s), ShapeError);
  for (const float p : {1.0f, -0.1f, NAN})
    EXPECT_THROW(launch(with(forward, [&](auto& c) { c.settings.p = p; }), s), ConfigError);
  for (const float scale : {-1.0f, INFINITY, NAN})
    EXPECT_THROW(launch(with(forward, [&](auto& c) { c.settings.scale = scale; }), s), ConfigError);
  EXPECT_THROW(launch(with(backward, [&](auto& c) { c.dy = half.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(backward, [&](auto& c) { c.lse = {}; }), s), ShapeError);
  EXPECT_THROW(launch(with(backward, [&](auto& c) { c.dqkv = run.y.ref(); }), s), ShapeError);
}

// ---- the op ----

TEST_P(AttentionTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  const Size z{2, 9, 2, 5};
  for (const float p : {0.0f, 0.4f})
    for (const Mask kind : {Mask::kNone, Mask::kHoles, Mask::kEmpty}) {
      SCOPED_TRACE(testing::Message() << p << " mask " << int(kind));
      const Case run(s, z, DType::kF32, mask_of(z, kind));
      const auto f = [&](Ctx& c, const std::vector<Var>& in) {
        return attention(c, in[0], run.mask, {.heads = 2, .dropout = p, .path = path_hash("attn")});
      };
      check_gradients(s, Init(), {random(s, z.qkv(), 1)}, f, {.probes = 12, .training = p > 0});
    }
}

TEST_P(AttentionTest, TheOpPassesItsScaleOn) {
  const Stream s(device());
  const Tensor qkv = random(s, {2, 9, 30}, 1);
  const auto f = [](Ctx& c, const std::vector<Var>& in) {
    return attention(c, in[0], Tensor(), {.heads = 2, .scale = 0.3f});
  };
  check_gradients(s, Init(), {qkv}, f, {.probes = 12});
  Recorded pass(s);
  Ctx c = pass.ctx(false);
  const auto with = [&](float scale) {
    return to_double(s, attention(c, {qkv}, Tensor(), {.heads = 2, .scale = scale}).value);
  };
  EXPECT_EQ(with(0), with(1 / std::sqrt(5.0f)));
  EXPECT_NE(with(0), with(0.3f));
}

TEST_P(AttentionTest, NothingOfTheSizeOfTheScoresIsKept) {
  const Stream s(device());
  const Size z{2, 30, 2, 5};
  const Case run(s, z, DType::kF32, mask_of(z, Mask::kHoles));
  const AttentionSpec spec{.heads = 2, .dropout = 0.5f, .path = 3};
  Recorded pass(s);
  Ctx c = pass.ctx(), evaluation = pass.ctx(false);
  const Var x = pass.tape.leaf(run.qkv), y = attention(c, x, run.mask, spec);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), run.qkv.bytes() + y.value.bytes());
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), 2 * 30);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kStats), 2 * 2 * 30 * 4);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{y, random(s, y.shape(), 3)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
  const Tensor calm = attention(evaluation, x, run.mask, spec).value;
  const Tensor plain = attention(c, x, run.mask, {.heads = 2}).value;
  EXPECT_EQ(to_double(s, calm), to_double(s, plain));
  EXPECT_NE(to_double(s, calm), to_double(s, y.value));
}

}  // namespace
}  // namespace sluice::test::attention_test
