// The densely connected unit against the formula in double, its gradients, and what it keeps.
#include "layers/dense_unit.h"

#include "layers/sequential.h"
#include "tests/layers/images.h"

namespace sluice::test::dense_unit_test {
namespace {

using DenseUnitTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, DenseUnitTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  Shape x;
  int64_t inner, growth;
};
// Whole vectors, primes, one row.
const std::vector<Case> kCases{{{2, 4, 4, 16}, 8, 8}, {{2, 5, 7, 3}, 5, 2}, {{5, 1, 2, 2}, 4, 1}};

/// Two units, so that a gradient reaches x by five ways.
Sequential units(const Init& init, const Case& z) {
  Sequential net;
  net.add<DenseUnit>(init.scope("a"), DenseUnitConfig{.in = z.x[3], .inner = z.inner, .growth = z.growth});
  net.add<DenseUnit>(init.scope("b"), DenseUnitConfig{.in = z.x[3] + z.growth, .inner = z.inner, .growth = z.growth});
  return net;
}

std::vector<double> reference(const NamedValues& v, const Case& z, bool training) {
  Images x{z.x[0], z.x[1], z.x[2], z.x[3], v.at("x")};
  for (const std::string unit : {"a", "b"}) {
    const auto active = [&](Images y, const std::string& bn) {
      normalise(y, {v.at(unit + bn + ".weight"), v.at(unit + bn + ".bias"), training});
      relu(y);
      return y;
    };
    const Images inner = conv(active(x, ".bn1"), v.at(unit + ".conv1.weight"), z.inner, Sliding::square(1));
    x = joined({x, conv(active(inner, ".bn2"), v.at(unit + ".conv2.weight"), z.growth, Sliding::square(3))});
  }
  return x.v;
}

TEST_P(DenseUnitTest, AddsWhatItsLayersGive) {
  for (const DType t : product_dtypes(Stream(device())))
    for (const Case& z : kCases)
      for (const bool training : {false, true}) {
        SCOPED_TRACE(testing::Message() << z.x.text() << " " << name(t) << (training ? " training" : " evaluation"));
        Init init;
        const Sequential net = units(init, z);
        LayerRun run(Stream(device()), init);
        const Tensor x = random(run.stream, z.x, 1, -1, 1, t);
        const std::vector<double> expected = reference(named_values(run, x), z, training);
        const Tensor y = run(net, x, training);
        EXPECT_EQ(y.shape(), (Shape{z.x[0], z.x[1], z.x[2], z.x[3] + 2 * z.growth}));
        // Each of four convolutions and four norms rounds its result.
        expect_close(to_double(run.stream, y), expected, bound(t) * 8);
      }
}

TEST_P(DenseUnitTest, GradientsAreDifferencesOfTheReference) {
  for (const Case& z : kCases) {
    SCOPED_TRACE(z.x.text());
    Init init;
    const Sequential net = units(init, z);
    LayerRun run(Stream(device()), init);
    expect_gradients(run, net, random(run.stream, z.x, 1),
                     [&](const NamedValues& v, bool training) { return reference(v, z, training); });
  }
}

TEST_P(DenseUnitTest, KeepsTheInputsOfItsLayers) {
  const Case& z = kCases[0];
  Init init;
  const DenseUnit unit(init.scope("a"), {.in = z.x[3], .inner = z.inner, .growth = z.growth});
  LayerRun run(Stream(device()), init);
  const int64_t pixels = 2 * 4 * 4, statistics = 4 * (z.x[3] + z.inner);  // four numbers a channel of a batch norm
  EXPECT_EQ(run.kept(unit, random(run.stream, z.x, 1)), 4 * (pixels * 2 * (z.x[3] + z.inner) + statistics));
}

TEST(DenseUnit, DeclaresTwoNormsAndTwoConvolutions) {
  Init init;
  const DenseUnit unit(init.scope("u"), {.in = 6, .inner = 8, .growth = 2});
  EXPECT_THAT(declared(init),
              testing::ElementsAre("u.bn1.weight [6]", "u.bn1.bias [6]", "u.conv1.weight [8, 1, 1, 6]",
                                   "u.bn2.weight [8]", "u.bn2.bias [8]", "u.conv2.weight [2, 3, 3, 8]"));
}

}  // namespace
}  // namespace sluice::test::dense_unit_test
