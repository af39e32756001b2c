// The batch norm layer: its statistics are the micro-batch's in training and the running ones in evaluation.
#include "layers/batch_norm.h"

#include <cmath>

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

}  // namespace
}  // namespace sluice::test::batch_norm_test
