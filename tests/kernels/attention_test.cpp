// Attention against the formula in double, draw by draw, with masks of every kind; its gradients and what it keeps.
#include "kernels/attention.h"

#include <cmath>

#include "tests/kernels/attention_case.h"

namespace sluice::test::attention_test {
namespace {

using namespace attention_case;

using AttentionTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AttentionTest, testing::ValuesIn(test_devices()), device_label);

/// Both directions of a call against the reference, and what lies around their results.
void expect_formula(const Stream& s, const Size& z, DType t, Mask kind, float p) {
  SCOPED_TRACE(testing::Message() << text(z) << " " << name(t) << " mask " << int(kind));
  const std::vector<uint8_t> mask = mask_of(z, kind);
  Case run(s, z, t, mask);
  run.settings.p = p;
  launch(run.forward(), s);
  launch(run.backward(), s);
  const Values kv = run.kv.defined() ? to_double(s, run.kv) : Values();
  const Reference r(z, {to_double(s, run.qkv), to_double(s, run.dy), mask, double(p), 0, kv});
  expect_close(to_double(s, run.y.tensor()), r.y, bound(t));
  expect_close(to_double(s, run.lse.tensor()), r.lse, bound(DType::kF32));
  expect_close(to_double(s, run.dqkv.tensor()), r.dqkv, 2 * bound(t));  // y is rounded to bf16 on the way
  if (z.memory > 0) expect_close(to_double(s, run.dkv.tensor()), r.dkv, 2 * bound(t));
  for (const Guarded* g : {&run.y, &run.lse, &run.dqkv, &run.dkv}) g->check();
}

TEST_P(AttentionTest, BothDirectionsMatchTheFormula) {
  const Stream s(device());
  for (const Size& z : kSizes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const Mask kind : {Mask::kNone, Mask::kHoles, Mask::kPadding, Mask::kEmpty}) {
        const bool many = z.length > 40;  // of those an emulated GPU has enough with two
        if (kind != Mask::kHoles && (t == DType::kBF16 || (many && kind != Mask::kPadding))) continue;
        expect_formula(s, z, t, kind, kind == Mask::kNone ? 0.0f : 0.3f);
      }
}

TEST_P(AttentionTest, KeysOfAnotherSequenceAndEarlierOnesMatchTheFormula) {
  const Stream s(device());
  for (const Size& z : kOtherSizes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const Mask kind : {Mask::kNone, Mask::kHoles, Mask::kEmpty}) {
        if (kind != Mask::kNone && (z.causal || t == DType::kBF16)) continue;
        expect_formula(s, z, t, kind, kind == Mask::kHoles || z.causal ? 0.3f : 0.0f);
      }
}

TEST_P(AttentionTest, WhatIsLaterChangesNothing) {
  const Stream s(device());
  const Size z{1, 70, 2, 6, 0, true};
  Case run(s, z, DType::kF32, {});
  launch(run.forward(), s);
  const Values before = to_double(s, run.y.tensor());
  std::vector<float> other = run.qkv.to_vector<float>(s);
  for (size_t i = 50 * 36; i < other.size(); ++i) other[i] = -3 * other[i] + 1;
  run.qkv.assign<float>(s, other);
  launch(run.forward(), s);
  const Values after = to_double(s, run.y.tensor());
  for (size_t i = 0; i < 50 * 12; ++i) ASSERT_EQ(before[i], after[i]) << i;
  EXPECT_NE(before, after);
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
    const Reference r(z, {to_double(s, run.qkv), to_double(s, run.dy), mask, 0, double(run.settings.scale)});
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
  const Reference r(z, {to_double(s, run.qkv), to_double(s, run.dy)});
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
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.settings.causal = true; }), s), ConfigError);  // and a mask
}

TEST_P(AttentionTest, WrongKeysOfAnotherSequenceAreRefused) {
  const Stream s(device());
  const Size z{2, 5, 2, 4, 6};
  const Case run(s, z, DType::kF32, mask_of(z, Mask::kHoles));
  const Tensor narrow = random(s, {2, 6, 8}, 1), fewer = random(s, {1, 6, 16}, 1), none = Tensor::empty(s, {2, 0, 16});
  const Tensor half = random(s, z.kv(), 1, -1, 1, DType::kBF16),
               mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>{1, 1}, {2, 1});
  const auto with = [](auto call, auto change) {
    change(call);
    return call;
  };
  const auto forward = run.forward();
  const auto backward = run.backward();
  for (const Tensor* kv : {&narrow, &fewer, &none})
    EXPECT_THROW(launch(with(forward, [&](auto& c) { c.kv = kv->cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.kv = half.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(forward, [&](auto& c) { c.mask = mask.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(forward,
                           [&](auto& c) {
                             c.mask = {};
                             c.settings.causal = true;
                           }),
                      s),
               ConfigError);
  EXPECT_THROW(launch(with(backward, [&](auto& c) { c.dkv = {}; }), s), ShapeError);
  EXPECT_THROW(launch(with(backward, [&](auto& c) { c.dkv = run.y.ref(); }), s), ShapeError);
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

TEST_P(AttentionTest, GradientsOfTwoSequencesAndOfEarlierPositionsAgreeWithDifferences) {
  const Stream s(device());
  const std::vector<uint8_t> open{1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1};
  const Tensor mask = Tensor::from<uint8_t>(s, open, {2, 6});
  for (const bool recompute : {false, true}) {
    const AttentionSpec spec{.heads = 2, .dropout = 0.4f, .path = path_hash("attn"), .recompute = recompute};
    check_gradients(s, Init(), {random(s, {2, 9, 10}, 1), random(s, {2, 6, 20}, 2)},
                    [&](Ctx& c, const std::vector<Var>& in) { return attention(c, in[0], in[1], mask, spec); },
                    {.probes = 12, .training = true});
    AttentionSpec causal = spec;
    causal.causal = true;
    check_gradients(s, Init(), {random(s, {2, 9, 30}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return attention(c, in[0], Tensor(), causal); },
                    {.probes = 12, .training = true});
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
