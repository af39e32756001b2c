// Patches to tokens: parameters and their start, the order in a patch and of the patches, gradients.
#include "layers/patch_embedding.h"

#include "tests/layers/formula.h"

namespace sluice::test::patch_embedding_test {
namespace {

using PatchEmbeddingTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, PatchEmbeddingTest, testing::ValuesIn(test_devices()), device_label);

PatchConfig small(bool positions, bool class_token) {
  return {.in_channels = 2, .image = 6, .patch = 3, .width = 5, .positions = positions, .class_token = class_token};
}

TEST(PatchEmbedding, DeclaresWhatItLearns) {
  Init vit, mixer;
  const PatchEmbedding with(vit.scope("f"), {.positions = true, .class_token = true}), without(mixer.scope("f"), {});
  EXPECT_THAT(declared(vit), testing::ElementsAre("f.embedding.weight [384, 4, 4, 3]", "f.embedding.bias [384]",
                                                  "f.positions [65, 384]", "f.class_token [384]"));
  EXPECT_THAT(declared(mixer), testing::ElementsAre("f.embedding.weight [384, 4, 4, 3]", "f.embedding.bias [384]"));
  EXPECT_EQ(vit.params()[0].initial.high, float(1 / std::sqrt(48.0)));
  for (const size_t i : {2u, 3u}) EXPECT_EQ(vit.params()[i].initial.deviation, 1);
}

TEST(PatchEmbedding, RefusesImagesThatDoNotSplit) {
  EXPECT_THROW(PatchEmbedding(Init().scope("f"), {.image = 30}), ShapeError);
  EXPECT_THROW(PatchEmbedding(Init().scope("f"), {.image = 2}), ShapeError);
  EXPECT_THROW(PatchEmbedding(Init().scope("f"), {.patch = 0}), ShapeError);
  EXPECT_THROW(PatchEmbedding(Init().scope("f"), {.class_token = true}), ConfigError);
}

TEST_P(PatchEmbeddingTest, EachTokenIsALinearMapOfItsPatch) {
  for (const auto& [positions, class_token] : {std::pair{false, false}, {true, false}, {true, true}}) {
    SCOPED_TRACE(testing::Message() << positions << class_token);
    const PatchConfig config = small(positions, class_token);
    Init init;
    const PatchEmbedding layer(init.scope("f"), config);
    LayerRun run(Stream(device()), init);
    const Tensor x = random(run.stream, {2, 6, 6, 2}, 1);
    const Values in = to_double(run.stream, x), at = run.values("f.positions"), token = run.values("f.class_token");
    const Weights64 w(run, "f.embedding");
    Values expected;
    for (size_t b = 0; b < 2; ++b) {
      const size_t begin = expected.size();
      expected.insert(expected.end(), token.begin(), token.end());
      for (size_t py = 0; py < 2; ++py)
        for (size_t px = 0; px < 2; ++px) {
          Values patch;
          for (size_t y = 0; y < 3; ++y)
            for (size_t k = 0; k < 6; ++k) patch.push_back(in[((b * 6 + py * 3 + y) * 6 + px * 3) * 2 + k]);
          const Values mapped = w.linear(patch);
          expected.insert(expected.end(), mapped.begin(), mapped.end());
        }
      for (size_t i = 0; i < at.size(); ++i) expected[begin + i] += at[i];
    }
    const Tensor y = run(layer, x);
    EXPECT_EQ(y.shape(), (Shape{2, PatchEmbedding::tokens(config), 5}));
    expect_close(to_double(run.stream, y), expected, bound(DType::kF32));
  }
}

TEST_P(PatchEmbeddingTest, GradientsFollowFiniteDifferencesOfPositionsAndClassTokenToo) {
  const Stream s(device());
  for (const auto& [positions, class_token] : {std::pair{false, false}, {true, false}, {true, true}}) {
    Init init;
    const PatchEmbedding layer(init.scope("f"), small(positions, class_token));
    for (const char* params : {"embedding", "positions", "class_token"})
      check_gradients(s, init, {random(s, {2, 6, 6, 2}, 1)},
                      [&](Ctx& c, const std::vector<Var>& in) { return layer.forward(c, in[0]); }, {.params = params});
  }
}

}  // namespace
}  // namespace sluice::test::patch_embedding_test
