// Embedding: its table, how it starts, and rows by id.
#include "layers/embedding.h"

#include "tests/layers/run.h"

namespace sluice::test::embedding_test {
namespace {

using EmbeddingTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, EmbeddingTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(EmbeddingTest, GivesTheRowsOfItsTable) {
  Init init;
  const Embedding layer(init.scope("words"), 5, 3);
  EXPECT_THAT(declared(init), testing::ElementsAre("words.weight [5, 3]"));
  LayerRun run(Stream(device()), init);
  const std::vector<int32_t> ids{4, 0, 4, 1};
  Ctx c{.stream = run.stream, .weights = run.arena.weights(), .arena = run.arena, .ledger = run.ledger};
  const Var y = layer.forward(c, Tensor::from<int32_t>(run.stream, ids, {2, 2}));
  EXPECT_EQ(y.shape(), (Shape{2, 2, 3}));
  const std::vector<double> table = run.values("words.weight");
  std::vector<double> expected;
  for (const int32_t id : ids)
    for (int32_t j = 0; j < 3; ++j) expected.push_back(table[size_t(id * 3 + j)]);
  EXPECT_EQ(to_double(run.stream, y.value), expected);
}

TEST_P(EmbeddingTest, StartsNormal) {
  Init init;
  const Embedding layer(init.scope("words"), 400, 25);
  LayerRun run(Stream(device()), init);
  const std::vector<double> values = run.values("words.weight");
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / double(values.size()), 0, 0.06);       // six standard deviations of 10,000 draws
  EXPECT_NEAR(squares / double(values.size()), 1, 0.085);  // the same
}

TEST_P(EmbeddingTest, GradientsFollowFiniteDifferences) {
  const Stream s(device());
  Init init;
  const Embedding layer(init.scope("words"), 4, 3);
  const Tensor ids = Tensor::from<int32_t>(s, std::vector<int32_t>{1, 3, 3, 0}, {4});
  check_gradients(s, init, {},
                  [&](Ctx& c, const std::vector<Var>&) { return activation(c, layer.forward(c, ids), Act::kTanh); },
                  {.probes = 12});
}

}  // namespace
}  // namespace sluice::test::embedding_test
