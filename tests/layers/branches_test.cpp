// Branches of convolutions with batch norm and of pools against the formula in double, and their gradients.
#include "layers/branches.h"

#include "layers/conv_norm.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "tests/layers/images.h"

namespace sluice::test::branches_test {
namespace {

using BranchesTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, BranchesTest, testing::ValuesIn(test_devices()), device_label);

constexpr ConvNormStyle kStyle{.bias = true, .start = ConvStart::kFanOut, .eps = 1e-3f};

struct Case {
  Shape x;
  int64_t wide, narrow;  // channels
};
const std::vector<Case> kCases{{{2, 5, 7, 4}, 3, 2}, {{3, 4, 4, 9}, 16, 8}, {{4, 1, 3, 2}, 1, 1}};

/// 1x1 | 1x1 with 1x7 and 7x1 behind it, side by side | average, 1x1 | maximum: six layers, five results.
Branches branches(const Init& init, const Case& z) {
  const auto layer = [&](const char* name, int64_t in, int64_t out, ByAxis window) -> ModulePtr {
    return std::make_unique<ConvNorm>(init.scope(name), Conv2d::Shape2d{in, out, window},
                                      Conv2dSpec{.padding = {window.rows / 2, window.columns / 2}}, kStyle);
  };
  Branches all;
  all.add(layer("one", z.x[3], z.wide, 1));
  std::vector<ModulePtr> ends;
  ends.push_back(layer("row", z.narrow, z.wide, {1, 7}));
  ends.push_back(layer("column", z.narrow, z.narrow, {7, 1}));
  all.add(layer("trunk", z.x[3], z.narrow, 1), std::move(ends));
  auto averaged = std::make_unique<Sequential>();
  averaged->add<AvgPool>(Pool2dSpec{.window = 3, .stride = 1, .padding = 1});
  averaged->add(layer("averaged", z.x[3], z.wide, 1));
  all.add(std::move(averaged));
  all.add(std::make_unique<MaxPool>(Pool2dSpec{.window = 3, .stride = 1, .padding = 1}));
  return all;
}

std::vector<double> reference(const NamedValues& v, const Case& z, bool training) {
  const auto layer = [&](const std::string& name, const Images& x, int64_t out, const Sliding& window) {
    Images y = conv(x, v.at(name + ".conv.weight"), out, window, v.at(name + ".conv.bias"));
    normalise(y, {v.at(name + ".bn.weight"), v.at(name + ".bn.bias"), training, 1e-3});
    relu(y);
    return y;
  };
  const Images x{z.x[0], z.x[1], z.x[2], z.x[3], v.at("x")};
  const Sliding one = Sliding::square(1), three = Sliding::square(3);
  const Images trunk = layer("trunk", x, z.narrow, one);
  return joined({layer("one", x, z.wide, one), layer("row", trunk, z.wide, {1, 7, 1, 0, 3}),
                 layer("column", trunk, z.narrow, {7, 1, 1, 3, 0}),
                 layer("averaged", pooled(x, three, false), z.wide, one), pooled(x, three, true)})
      .v;
}

TEST_P(BranchesTest, AreTheirResultsSideBySide) {
  for (const DType t : product_dtypes(Stream(device())))
    for (const Case& z : kCases)
      for (const bool training : {false, true}) {
        SCOPED_TRACE(testing::Message() << z.x.text() << " " << name(t) << (training ? " training" : " evaluation"));
        Init init;
        const Branches layer = branches(init, z);
        LayerRun run(Stream(device()), init);
        const Tensor x = random(run.stream, z.x, 1, -1, 1, t);
        const std::vector<double> expected = reference(named_values(run, x), z, training);
        const Tensor y = run(layer, x, training);
        EXPECT_EQ(y.shape(), (Shape{z.x[0], z.x[1], z.x[2], 3 * z.wide + z.narrow + z.x[3]}));
        EXPECT_EQ(y.dtype(), t);
        expect_close(to_double(run.stream, y), expected, bound(t) * 4);  // each layer rounds its result
      }
}

TEST_P(BranchesTest, GradientsAreDifferencesOfTheReference) {
  for (const Case& z : kCases) {
    SCOPED_TRACE(z.x.text());
    Init init;
    const Branches layer = branches(init, z);
    LayerRun run(Stream(device()), init);
    expect_gradients(run, layer, random(run.stream, z.x, 1),
                     [&](const NamedValues& v, bool training) { return reference(v, z, training); });
  }
}

TEST(Branches, RefusesASeventhResult) {
  Branches layer;
  const auto pool = [] { return std::make_unique<MaxPool>(Pool2dSpec{}); };
  for (int i = 0; i < 5; ++i) layer.add(pool());
  std::vector<ModulePtr> ends;
  ends.push_back(pool());
  ends.push_back(pool());
  EXPECT_THROW(layer.add(pool(), std::move(ends)), ConfigError);
}

}  // namespace
}  // namespace sluice::test::branches_test
