// The batch norm layer: its statistics are the micro-batch's in training and the running ones in evaluation.
#include "layers/batch_norm.h"

#include <cmath>

#include "kernels/common/bits.h"
#include "tests/kernels/recorded.h"
#include "tests/layers/run.h"

namespace sluice::test::batch_norm_test {
namespace {

using BatchNormLayerTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, BatchNormLayerTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(BatchNormLayerTest, NormalisesByTheBatchInTrainingAndByRunningStatisticsInEvaluation) {
  const int64_t rows = 9, channels = 3;
  Init init;
  const BatchNorm layer(init.scope("bn"), channels);
  EXPECT_THAT(declared(init), testing::ElementsAre("bn.weight [3]", "bn.bias [3]"));
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {rows, channels}, 1, 2, 5);
  const std::vector<double> in = to_double(run.stream, x);
  std::vector<double> trained(in.size()), evaluated(in.size());
  for (int64_t c = 0; c < channels; ++c) {
    double mean = 0, square = 0;
    for (int64_t r = 0; r < rows; ++r) mean += in[size_t(r * channels + c)] / double(rows);
    for (int64_t r = 0; r < rows; ++r) square += std::pow(in[size_t(r * channels + c)] - mean, 2);
    const double running_mean = 0.1 * mean, running_var = 0.9 + 0.1 * square / double(rows - 1);
    for (int64_t r = 0; r < rows; ++r) {
      const size_t i = size_t(r * channels + c);
      trained[i] = (in[i] - mean) / std::sqrt(square / double(rows) + 1e-5);
      evaluated[i] = (in[i] - running_mean) / std::sqrt(running_var + 1e-5);
    }
  }
  expect_close(to_double(run.stream, run(layer, x, /*training=*/true)), trained, bound(DType::kF32));
  expect_close(to_double(run.stream, run(layer, x)), evaluated, bound(DType::kF32));
}

TEST_P(BatchNormLayerTest, CanEndInReLU) {
  Init init;
  const BatchNorm plain(init.scope("bn"), 4), clipped(init.scope("bn2"), 4, Act::kRelu);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {6, 4}, 1);
  std::vector<double> expected = to_double(run.stream, run(plain, x, true));
  for (double& v : expected) v = std::max(v, 0.0);
  expect_close(to_double(run.stream, run(clipped, x, true)), expected, bound(DType::kF32));
}

// ---- the op ----

struct Fusion {
  bool relu, residual;
};
constexpr Fusion kFusions[] = {{false, false}, {true, false}, {false, true}, {true, true}};

struct Declared {
  Init init;
  BatchNormParams params;
  explicit Declared(int64_t channels)
      : params{init.param("gamma", {channels}, {0.5f, 1.5f}), init.param("beta", {channels}, {-0.5f, 0.5f}),
               init.buffer("mean", {channels}, 0.1f), init.buffer("var", {channels}, 0.7f)} {}
};

TEST_P(BatchNormLayerTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  for (const bool training : {true, false})
    for (const Fusion f : kFusions) {
      SCOPED_TRACE(testing::Message() << training << f.relu << f.residual);
      const Declared d(5);
      check_gradients(s, d.init, {random(s, {2, 3, 2, 5}, 1), random(s, {2, 3, 2, 5}, 2)},
                      [&](Ctx& c, const std::vector<Var>& in) {
                        return batch_norm(c, in[0], f.residual ? in[1] : Var{}, d.params, f.relu);
                      },
                      {.step = 2e-3, .training = training});
    }
}

TEST_P(BatchNormLayerTest, BehindAResidualOneBitAnElementIsKept) {
  const Stream s(device());
  const Declared d(8);
  for (const Fusion f : kFusions) {
    SCOPED_TRACE(testing::Message() << f.relu << f.residual);
    Recorded pass(s, d.init);
    Ctx c = pass.ctx();
    const Var x = pass.tape.leaf(random(s, {2, 3, 3, 8}, 1)), r = pass.tape.leaf(random(s, {2, 3, 3, 8}, 2));
    const Var y = batch_norm(c, x, f.residual ? r : Var{}, d.params, f.relu);
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), x.value.bytes());
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kBits), f.relu && f.residual ? packed_bytes(y.shape().numel()) : 0);
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kStats), 4 * 8 * 4);
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward_input({{y, random(s, y.shape(), 3)}}, b);
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation) + pass.ledger.bytes(SaveKind::kBits), 0);
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), 2 * 8 * 4);
    pass.tape.backward_weight(b);
    EXPECT_EQ(pass.ledger.bytes(), 0);
  }
}

}  // namespace
}  // namespace sluice::test::batch_norm_test
