// The layer norm layer: what it declares, and that the form reaches the op.
#include "layers/layer_norm.h"

#include <cmath>

#include "tests/layers/run.h"

namespace sluice::test::layer_norm_test {
namespace {

using LayerNormLayerTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LayerNormLayerTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(LayerNormLayerTest, NormalisesEachRowInEitherForm) {
  Init init;
  const LayerNorm standard(init.scope("ln"), 5), unbiased(init.scope("ln2"), 5, LayerNormForm::kUnbiasedStd, 0.5f);
  EXPECT_THAT(declared(init), testing::ElementsAre("ln.weight [5]", "ln.bias [5]", "ln2.weight [5]", "ln2.bias [5]"));
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {2, 3, 5}, 1, 2, 5);
  const std::vector<double> in = to_double(run.stream, x);
  std::vector<double> by_variance(in.size()), by_deviation(in.size());
  for (size_t row = 0; row < in.size(); row += 5) {
    double mean = 0, square = 0;
    for (size_t j = 0; j < 5; ++j) mean += in[row + j] / 5;
    for (size_t j = 0; j < 5; ++j) square += std::pow(in[row + j] - mean, 2);
    for (size_t j = 0; j < 5; ++j) {
      by_variance[row + j] = (in[row + j] - mean) / std::sqrt(square / 5 + 1e-5);
      by_deviation[row + j] = (in[row + j] - mean) / (std::sqrt(square / 4) + 0.5);
    }
  }
  expect_close(to_double(run.stream, run(standard, x)), by_variance, bound(DType::kF32));
  expect_close(to_double(run.stream, run(unbiased, x)), by_deviation, bound(DType::kF32));
}

}  // namespace
}  // namespace sluice::test::layer_norm_test
