// Linear layers whose weight gradient comes from auxiliary activations: the worked examples of the method, exact
// gradients of inputs, biases and the learned vector, and what is kept.
#include <cmath>
#include <map>

#include "kernels/common/bits.h"
#include "layers/dense.h"
#include "layers/transformer_encoder.h"
#include "tests/support/support.h"

namespace sluice::test::auxiliary_test {
namespace {

using AuxiliaryTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AuxiliaryTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;
const std::vector<float> kX{1, -2, 0, 3, -1, 0, 2, -3, 0, 1, 1, -1, 0, 2, -2, 4};
const std::vector<float> kW{1, 0, -1, 2, 0, 1, -1, 0, 0, 1, 1, 0, -1, 0, 2, 1};
const std::vector<float> kB{0.5f, -0.5f}, kDelta{1, 2, -1, 3};
const std::vector<float> kVector{0.5f, -0.25f, 0.125f, 0, 1, -1, 0.25f, -0.5f};

/// One step of a layer with the weights above on x [1, 2, 8].
struct Step {
  Step(const Stream& s, const WeightRule& rule) {
    Init init;
    const Dense layer(init.scope("fc"), 8, 2, Act::kNone, DenseStart::kFanIn, rule);
    Arena arena(s, init, 1);
    const auto param = [&](const Tensor& of, const std::string& path) {
      for (size_t i = 0; i < arena.specs().size(); ++i)
        if (arena.specs()[i].path == path) return of.flat_view(arena.offset(int(i)), arena.specs()[i].shape);
      return Tensor();
    };
    param(arena.values(), "fc.weight").assign<float>(s, kW);
    param(arena.values(), "fc.bias").assign<float>(s, kB);
    if (rule.from == Auxiliary::kBias) param(arena.values(), "fc.auxiliary_bias").assign<float>(s, kVector);
    arena.bump_version();
    Ledger ledger;
    Tape tape;
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    const Var x = tape.leaf(Tensor::from<float>(s, kX, {1, 2, 8}));
    const Var out = layer.forward(c, x);
    y = to_double(s, out.value);
    kept = ledger.bytes();
    BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
    tape.backward({{out, Tensor::from<float>(s, kDelta, {1, 2, 2})}}, b);
    arena.finish_grads(s);
    dx = to_double(s, tape.take_grad(x));
    dw = to_double(s, param(arena.grads(), "fc.weight"));
    db = to_double(s, param(arena.grads(), "fc.bias"));
    if (rule.from == Auxiliary::kBias) da = to_double(s, param(arena.grads(), "fc.auxiliary_bias"));
    left = ledger.bytes();
  }
  Values y, dx, dw, db, da;
  int64_t kept = 0, left = 0;  // bytes
};

/// What is left of dw by 8 bits of x in [-3, 4]: half a step of 7 / 255 for each row.
constexpr double kEightBitError = 2 * 3 * 0.5 * 7 / 255;

const Values kDx{1, 2, 1, 2, -2, 1, 3, 2, -1, 3, 4, -2, -3, -1, 7, 3}, kDb{0, 5};
const Values kDwSign{2, -2, -2, 2, 0, -2, 2, -2, -1, 1, 1, -1, -5, 1, -1, 1};

void expect_exact_rest(const Step& step) {
  EXPECT_EQ(step.dx, kDx);
  EXPECT_EQ(step.db, kDb);
  EXPECT_EQ(step.left, 0);
}

TEST_P(AuxiliaryTest, EightBitsOfTheInput) {
  const Stream s(device());
  const Step exact(s, {}), step(s, {.from = Auxiliary::kEightBits});
  EXPECT_EQ(step.y, exact.y);
  EXPECT_EQ(step.dx, exact.dx);
  EXPECT_EQ(step.db, exact.db);
  EXPECT_EQ(step.kept, 16 + 2 * 4) << "a byte an element, two numbers for up to 256 of them";
  EXPECT_EQ(step.left, 0);
  for (size_t i = 0; i < step.dw.size(); ++i) EXPECT_NEAR(step.dw[i], exact.dw[i], kEightBitError);
}

TEST_P(AuxiliaryTest, BackpropKeepsTheInput) {
  const Step step(Stream(device()), {});
  expect_exact_rest(step);
  EXPECT_EQ(step.kept, 64);
}

TEST_P(AuxiliaryTest, SignKeepsABitAndGivesTheWorkedExample) {
  const Step step(Stream(device()), {.from = Auxiliary::kSign});
  expect_close(step.y, {5.52, -0.5, 1.48, 1.52}, 1e-6);  // 0 counts as -1 forward and backward
  expect_close(step.dw, kDwSign, 1e-6);
  expect_exact_rest(step);
  EXPECT_EQ(step.kept, 2);
}

TEST_P(AuxiliaryTest, SignAfterReluTakesZeroForZero) {
  const Step step(Stream(device()), {.from = Auxiliary::kSign, .after_relu = true});
  expect_close(step.y, {5.52, -0.49, 1.49, 1.51}, 1e-6);
  expect_close(step.dw, {1, -1, -1, 1, 0, -1, 1, -1, 2, 3, 3, 2, 0, 3, 2, 3}, 1e-6);
  expect_exact_rest(step);
}

TEST_P(AuxiliaryTest, FaithfulForwardDiffersFromItsBackwardAtZero) {
  const Step step(Stream(device()), {.from = Auxiliary::kSign, .faithful = true});
  expect_close(step.y, {5.52, -0.49, 1.49, 1.51}, 1e-6);
  expect_close(step.dw, kDwSign, 1e-6);
}

TEST_P(AuxiliaryTest, ALayerBehindAReluSharesItsBits) {
  const Stream s(device());
  const auto run = [&](bool share) {
    Init init;
    const Dense wide(init.scope("wide"), 6, 21, Act::kRelu);
    const Dense narrow(init.scope("narrow"), 21, 4, Act::kNone, DenseStart::kFanIn,
                       {.from = Auxiliary::kSign, .after_relu = true});
    Arena arena(s, init, 1);
    Ledger ledger;
    Tape tape;
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    const Var x = tape.leaf(random(s, {5, 6}, 1));
    Var hidden = wide.forward(c, x);
    if (!share) hidden.positive = {};
    const Var y = narrow.forward(c, hidden);
    EXPECT_EQ(ledger.bytes(SaveKind::kBits), (share ? 1 : 2) * packed_bytes(5 * 21));
    BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
    tape.backward({{y, random(s, {5, 4}, 2)}}, b);
    arena.finish_grads(s);
    EXPECT_EQ(ledger.bytes(), 0);
    return std::pair{to_double(s, arena.grads()), to_double(s, tape.take_grad(x))};
  };
  EXPECT_EQ(run(true), run(false));
}

TEST_P(AuxiliaryTest, MoreRowsThanStayNearGiveTheSameBits) {
  const Stream s(device());
  if (!device().is_cpu()) GTEST_SKIP() << "16 MiB of a GPU take an emulated one minutes";
  const int64_t rows = 3 * device().near_bytes() / (64 * 4) / 2 + 5, some = 24;
  Init init;
  const Dense layer(init.scope("fc"), 64, 8, Act::kNone, DenseStart::kFanIn, {.from = Auxiliary::kSign});
  Arena arena(s, init, 1);
  Ledger ledger;
  const Tensor x = random(s, {rows, 64}, 1);
  const auto run = [&](const Tensor& of) {
    Tape tape;
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    const std::vector<double> y = to_double(s, layer.forward(c, tape.leaf(of)).value);
    EXPECT_EQ(ledger.bytes(SaveKind::kBits), packed_bytes(of.numel()));
    return y;
  };
  const std::vector<double> all = run(x);
  for (const int64_t first : {int64_t{0}, rows - some}) {
    const std::vector<double> alone = run(x.rows(first, some));
    expect_close({all.begin() + first * 8, all.begin() + (first + some) * 8}, alone, 1e-6);
  }
}

TEST_P(AuxiliaryTest, AScaleMultipliesTheGradientAlone) {
  const Step step(Stream(device()), {.from = Auxiliary::kSign, .scale = 100 / 0.01f});
  expect_close(step.y, {5.52, -0.5, 1.48, 1.52}, 1e-6);
  Values expected;
  for (const double v : kDwSign) expected.push_back(100 * v);  // the authors' fused projections
  EXPECT_EQ(step.dw, expected);
  expect_exact_rest(step);
}

TEST_P(AuxiliaryTest, BiasKeepsNothingAndGivesTheWorkedExample) {
  const Step step(Stream(device()), {.from = Auxiliary::kBias});
  expect_close(step.y, {4.625, -1.625, 0.625, 0.375}, 1e-6);
  expect_close(step.dw, {0, 0, 0, 0, 0, 0, 0, 0, 250, -125, 62.5, 0, 500, -500, 125, -250}, 1e-6);
  expect_close(step.da, {0, 5, 5, 0, -5, 0, 10, 5}, 1e-6);
  expect_exact_rest(step);
  EXPECT_EQ(step.kept, 0);
}

TEST_P(AuxiliaryTest, ExactGradientsFollowFiniteDifferences) {
  const Stream s(device());
  for (const Auxiliary from : {Auxiliary::kBias, Auxiliary::kSign})
    for (const Act act : {Act::kNone, Act::kRelu, Act::kGelu}) {
      SCOPED_TRACE(testing::Message() << int(from) << " " << int(act));
      Init init;
      const Dense layer(init.scope("fc"), 9, 5, act, DenseStart::kFanIn, {.from = from});
      // Away from 0, where the sign jumps; "bias" is the layer's and, by its name, the learned vector too.
      check_gradients(s, init, {random(s, {4, 9}, 1, 0.1f, 1)},
                      [&](Ctx& c, const std::vector<Var>& x) { return layer.forward(c, x[0]); }, {.params = "bias"});
    }
}

TEST_P(AuxiliaryTest, EvaluationAddsWhatTrainingAdds) {
  const Stream s(device());
  for (const Auxiliary from : {Auxiliary::kBias, Auxiliary::kSign}) {
    Init init;
    const Dense layer(init.scope("fc"), 9, 5, Act::kNone, DenseStart::kFanIn, {.from = from});
    Arena arena(s, init, 1);
    Ledger ledger;
    Tape tape;
    const Tensor x = random(s, {4, 9}, 1);
    Ctx training{
        .stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    Ctx evaluation{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
    const Values y = to_double(s, layer.forward(training, {x}).value);
    EXPECT_EQ(to_double(s, layer.forward(evaluation, {x}).value), y);
    EXPECT_EQ(ledger.bytes(), from == Auxiliary::kSign ? 5 : 0);  // 36 bits, of the training pass
  }
}

// ---- encoder blocks ----

constexpr int64_t kSamples = 3, kLength = 6, kWidth = 8, kInner = 16;
TransformerLayerConfig covered(Auxiliary from, int level, float epsilon = 0.01f) {
  return {.width = kWidth,
          .heads = 2,
          .inner = kInner,
          .dropout = 0.3f,
          .auxiliary = {.from = from, .level = level, .epsilon = epsilon}};
}

/// Bytes that a block keeps for its backward pass.
int64_t kept_by(const Stream& s, const TransformerLayerConfig& config) {
  Init init;
  const TransformerEncoder block(init.scope("f"), config);
  Arena arena(s, init, 1);
  Ledger ledger;
  Tape tape;
  Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
  block.forward(c, tape.leaf(random(s, {kSamples, kLength, kWidth}, 1)));
  return ledger.bytes();
}

TEST_P(AuxiliaryTest, EveryLevelOfAnEncoderKeepsLess) {
  const Stream s(device());
  constexpr int64_t kRows = kSamples * kLength;
  // The inputs of fc2, fc1, of the output projection (attention keeps its output anyway), and of Q, K and V together.
  constexpr int64_t kWidths[] = {kInner, kWidth, 0, kWidth};
  const int64_t backprop = kept_by(s, covered(Auxiliary::kNone, 0));
  int64_t saved = 0, bits = 0;
  for (int level = 1; level <= 4; ++level) {
    saved += kRows * kWidths[level - 1] * 4;
    bits += packed_bytes(kRows * (level == 1 ? kInner : kWidth));
    EXPECT_EQ(kept_by(s, covered(Auxiliary::kBias, level)), backprop - saved) << level;
    EXPECT_EQ(kept_by(s, covered(Auxiliary::kSign, level)), backprop - saved + bits) << level;
  }
}

TEST_P(AuxiliaryTest, AnEncodersExactGradientsFollowFiniteDifferences) {
  const Stream s(device());
  for (const Auxiliary from : {Auxiliary::kBias, Auxiliary::kSign}) {
    SCOPED_TRACE(int(from));
    Init init;
    const TransformerEncoder block(init.scope("f"), covered(from, 4, 1e-6f));  // jumps so small that they do not show
    check_gradients(s, init, {random(s, {kSamples, kLength, kWidth}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return block.forward(c, in[0]); },
                    {.step = 1e-3, .probes = 4, .params = "bias"});
  }
}

/// Gradients of a block by name, after one step with a loss whose gradient is random.
std::map<std::string, Values> gradients_of(const Stream& s, const TransformerLayerConfig& config) {
  Init init;
  const TransformerEncoder block(init.scope("f"), config);
  Arena arena(s, init, 1);
  Ledger ledger;
  Tape tape;
  Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
  const Shape shape{kSamples, kLength, kWidth};
  const Var y = block.forward(c, tape.leaf(random(s, shape, 1)));
  BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  tape.backward({{y, random(s, shape, 2)}}, b);
  arena.finish_grads(s);
  std::map<std::string, Values> all;
  for (size_t i = 0; i < arena.specs().size(); ++i)
    all[arena.specs()[i].path] = to_double(s, arena.grads().flat_view(arena.offset(int(i)), arena.specs()[i].shape));
  return all;
}

TEST_P(AuxiliaryTest, FaithfulProjectionsToQueriesKeysAndValuesTakeAHundredWithoutEpsilon) {
  const Stream s(device());
  for (const float epsilon : {0.01f, 0.02f}) {
    TransformerLayerConfig config = covered(Auxiliary::kSign, 4, epsilon);
    const auto usual = gradients_of(s, config);
    config.auxiliary.faithful = true;
    const auto faithful = gradients_of(s, config);
    for (const auto& [path, values] : usual) {
      SCOPED_TRACE(path);
      Values expected = values;
      for (double& v : expected) v *= path == "f.qkv.weight" ? 1.0 / double(epsilon) : 1.0;
      expect_close(faithful.at(path), expected, 1e-6);
    }
  }
}

TEST_P(AuxiliaryTest, ProjectionsToQueriesKeysAndValuesHaveAVectorEach) {
  Init init;
  const TransformerEncoder block(init.scope("f"), covered(Auxiliary::kBias, 4));
  std::vector<std::string> vectors;
  for (const ParamSpec& p : init.params())
    if (p.path.ends_with("auxiliary_bias")) vectors.push_back(p.path + " " + p.shape.text());
  EXPECT_THAT(vectors, testing::ElementsAre("f.qkv.auxiliary_bias [3, 8]", "f.out.auxiliary_bias [8]",
                                            "f.widen.auxiliary_bias [8]", "f.narrow.auxiliary_bias [16]"));
}

}  // namespace
}  // namespace sluice::test::auxiliary_test
