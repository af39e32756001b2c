// The traffic of the kernels of auxiliary activations.
#include "kernels/add_sign.h"
#include "kernels/auxiliary_bias.h"
#include "kernels/conv_taps.h"
#include "kernels/expand_signs.h"
#include "kernels/learning_indicator.h"
#include "kernels/packed_relu.h"
#include "kernels/sign_grad_weight.h"
#include "tests/emu/traffic.h"

namespace sluice::test {
namespace {

using TrafficAuxiliaryTest = Traffic;
INSTANTIATE_TEST_SUITE_P(Types, TrafficAuxiliaryTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& of) { return name(of.param); });

constexpr int64_t kRows = 130, kCols = 37;

TEST_P(TrafficAuxiliaryTest, SignsMoveOnce) {
  const Tensor x = random({kRows, kCols}), y = empty({kRows, kCols});
  const Tensor bits = Tensor::empty(s, {packed_bytes(kRows * kCols)}, DType::kU8);
  expect_traffic(kernels::PackedRelu{.x = x.cref(), .y = y.ref(), .bits = bits.ref()});
  expect_traffic(kernels::PackedReluGrad{.bits = bits.cref(), .dy = x.cref(), .dx = y.ref()});
  const Tensor residual = random({kRows, kCols}, 2);
  expect_traffic(kernels::PackedRelu{.x = x.cref(), .residual = residual.cref(), .y = y.ref(), .bits = bits.ref()});
  expect_traffic(kernels::PackedRelu{.x = x.cref(), .bits = bits.ref()});
  expect_traffic(kernels::AddSign{.x = x.cref(), .y = y.ref(), .bits = bits.ref()});
  expect_traffic(kernels::AddSign{.x = x.cref(), .y = y.ref()});
  expect_traffic(kernels::ExpandSigns{.bits = bits.cref(), .y = y.ref()});
}

TEST_P(TrafficAuxiliaryTest, WeightGradientReadsTheBitsAlone) {
  const Tensor dz = random({33, 20}), bits = Tensor::empty(s, {packed_bytes(33 * 40)}, DType::kU8);
  launch(kernels::AddSign{.x = random({33, 40}).cref(), .y = empty({33, 40}).ref(), .bits = bits.ref()}, s);
  const Tensor dw = floats({20, 40}), db = floats({20});
  expect_traffic(kernels::SignGradWeight{.bits = bits.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = {}});
  expect_traffic(
      kernels::SignGradWeight{
          .bits = bits.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref(), .accumulate_w = true},
      {.read = 33 * 20 * size + 20 * 4, .written = 20 * 4, .why = "db is a pass over dz, in two steps"});
}

TEST_P(TrafficAuxiliaryTest, BiasMovesNothingOfTheActivationsSizeButDz) {
  const Tensor dz = random({33, 20}), w = floats({20, 40}), a = floats({40}), y = floats({20});
  const Tensor dw = floats({20, 40}), db = floats({20}), da = floats({40});
  expect_traffic(kernels::AuxiliaryBias{.w = w.cref(), .a = a.cref(), .bias = db.cref(), .y = y.ref()},
                 {.loads = 2, .why = "each row of w meets the vector"});
  constexpr int64_t kSums = 20 * 4;
  expect_traffic(
      kernels::AuxiliaryBiasGrad{
          .dz = dz.cref(), .w = w.cref(), .a = a.cref(), .dw = dw.ref(), .db = db.ref(), .da = da.ref()},
      {.read = 4 * kSums,
       .written = 2 * kSums,
       .loads = 4,
       .why = "the column sums and their parts; each weight loads its row's sum and its column's number"});
}

TEST_P(TrafficAuxiliaryTest, TapsOfAConvolutionReadDyOnceAndTouchTheBorderAlone) {
  constexpr int64_t kImages = 2, kSide = 6, kFilters = 12, kWindow = 3, kClasses = 9;
  const Tensor dy = random({kImages, kSide, kSide, kFilters}), taps = floats({kFilters, kWindow, kWindow}, 2);
  const Tensor sums = floats({kFilters, kWindow, kWindow}), db = floats({kFilters}), bias = floats({kFilters}, 3);
  const kernels::ImageSize image{kSide, kSide};
  constexpr int64_t kPartial = kImages * kClasses * kFilters * 4;
  expect_traffic(
      kernels::TapSums{.dy = dy.cref(), .sums = sums.ref(), .db = db.ref(), .image = image, .geometry = {.padding = 1}},
      {.read = kPartial, .written = kPartial, .loads = 4, .why = "sums of each class of pixels, in two steps"});
  expect_traffic(kernels::TapTotals{.taps = taps.cref(), .bias = bias.cref(), .y = db.ref()});
  expect_traffic(
      kernels::TapBorder{.taps = taps.cref(), .y = dy.ref(), .image = image, .geometry = {.padding = 1}},
      {.read = -kFilters * 4, .loads = 12, .why = "the tap in the middle is never outside; each pixel loads its taps"});
}

TEST_P(TrafficAuxiliaryTest, AnIndicatorIsOnePass) {
  const Tensor x = random({kRows, kCols}), residual = random({kRows, kCols}, 2), y = floats({kRows});
  const Tensor vector = floats({kCols}, 3);
  expect_traffic(kernels::LearningIndicator{.x = x.cref(), .y = y.ref()});
  expect_traffic(kernels::LearningIndicator{.x = x.cref(), .residual = residual.cref(), .y = y.ref()});
  expect_traffic(kernels::LearningIndicator{.x = x.cref(), .vector = vector.cref(), .y = y.ref()},
                 {.loads = 3, .why = "each row meets the vector"});
}

}  // namespace
}  // namespace sluice::test
