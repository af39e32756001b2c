// Text classifiers: published parameter counts, shapes, and what padding may not change.
#include "models/text.h"

#include <cmath>

#include "pipeline/inference.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::text_test {
namespace {

TEST(LstmTest, HasThePublishedParameterCounts) {
  for (const auto& [classes, backprop, associated] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {2, 13'297'730, 13'533'634}, {4, 13'298'756, 13'534'148}, {14, 13'303'886, 13'536'718}})
    for (const bool faithful : {false, true}) {
      EXPECT_EQ(total(lstm_backprop({.classes = classes, .faithful = faithful})), backprop) << classes;
      EXPECT_EQ(total(lstm_associated({.classes = classes, .faithful = faithful})), associated) << classes;
    }
  const std::vector<StageNet> nets = lstm_associated({.classes = 2});
  ASSERT_EQ(nets.size(), 4u);
  EXPECT_EQ(lstm_backprop({.classes = 2}).size(), 5u);
  EXPECT_EQ(count(nets[1].init, "stage1.f."), 1'142'784);
  EXPECT_EQ(count(nets[2].init, "stage2.f."), 1'576'960);
  EXPECT_EQ(count(nets[3].init, "stage3.b."), 32'896);
}

/// The original registers templates that it never uses; these are the counts of what it trains.
TEST(TransformerTest, HasThePublishedParameterCounts) {
  EXPECT_EQ(total(transformer_backprop({.classes = 14})), 10'555'682);
  EXPECT_EQ(total(transformer_associated({.classes = 14})), 10'808'378);
  const std::vector<StageNet> nets = transformer_associated({.classes = 14});
  ASSERT_EQ(nets.size(), 4u);
  EXPECT_EQ(transformer_backprop({.classes = 14}).size(), 5u);
  EXPECT_EQ(count(nets[1].init, "stage1.f."), 517'156);
}

TEST(BagOfEmbeddings, IsATableAndALinearLayer) {
  EXPECT_EQ(total(bag_of_embeddings_backprop({.classes = 4})), 30'000 * 300 + 301 * 4);
  EXPECT_EQ(bag_of_embeddings_backprop({.classes = 4}).size(), 2u);
}

struct Family {
  const char* name;
  std::vector<StageNet> (*backprop)(const TextConfig&);
  std::vector<StageNet> (*associated)(const TextConfig&);
};
const std::vector<Family> kFamilies{{"lstm", lstm_backprop, lstm_associated},
                                    {"transformer", transformer_backprop, transformer_associated}};

TextConfig small(bool faithful = false) {
  return {.vocabulary = 20, .classes = 3, .embedding = 12, .hidden = 8, .code = 6, .heads = 2, .faithful = faithful};
}

/// Three documents of 7, 4 and 1 tokens, padded to `length`.
Tensor tokens(const Stream& s, int64_t length) {
  std::vector<int32_t> ids(static_cast<size_t>(3 * length), 0);
  const int64_t lengths[] = {7, 4, 1};
  for (int64_t b = 0; b < 3; ++b)
    for (int64_t t = 0; t < lengths[b]; ++t) ids[size_t(b * length + t)] = int32_t(2 + (5 * b + 3 * t) % 18);
  return Tensor::from<int32_t>(s, ids, {3, length});
}

/// Logits of the whole chain, as evaluate() makes them.
std::vector<double> logits(const Stream& s, const std::vector<StageNet>& nets, const Tensor& ids) {
  std::vector<std::unique_ptr<Arena>> arenas;
  Ledger ledger;
  Bundle x{{ids}};
  const auto ctx = [&](size_t i) {
    return Ctx{.stream = s, .weights = arenas[i]->weights(), .arena = *arenas[i], .ledger = ledger};
  };
  for (size_t i = 0; i < nets.size(); ++i) {
    arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
    Ctx c = ctx(i);
    if (i > 0) x = handed_on(*nets[i - 1].body, *nets[i].body, x);
    x = nets[i].body->infer(c, x);
  }
  Ctx c = ctx(nets.size() - 1);
  Var z = nets.back().body->head(c, x);
  for (size_t i = nets.size(); i-- > 0;) {
    Ctx here = ctx(i);
    z = nets[i].body->decode(here, z);
  }
  return to_double(s, z.value);
}

using TextModelTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TextModelTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(TextModelTest, PaddingChangesNothingUnlessFaithful) {
  const Stream s(device());
  for (const Family& f : kFamilies)
    for (const auto make : {f.backprop, f.associated}) {
      SCOPED_TRACE(f.name);
      const std::vector<double> tight = logits(s, make(small()), tokens(s, 7));
      ASSERT_EQ(tight.size(), 9u);
      expect_close(logits(s, make(small()), tokens(s, 16)), tight, bound(DType::kF32));
    }
  const std::vector<double> tight = logits(s, lstm_associated(small(true)), tokens(s, 7));
  EXPECT_GT(normalised_error(logits(s, lstm_associated(small(true)), tokens(s, 16)), tight), 1e-3);
}

TEST_P(TextModelTest, AnEmptyDocumentGivesNumbers) {
  const Stream s(device());
  std::vector<int32_t> ids(10, 0);
  ids[0] = 4;
  for (const Family& f : kFamilies)
    for (const auto make : {f.backprop, f.associated})
      for (const double v : logits(s, make(small()), Tensor::from<int32_t>(s, ids, {2, 5})))
        EXPECT_TRUE(std::isfinite(v)) << f.name;
}

/// Sum of |gradient| under `prefix` of a stage after backward from one of its losses.
double gradient(const Stream& s, const Arena& arena, const std::string& prefix) {
  double sum = 0;
  for (size_t i = 0; i < arena.specs().size(); ++i)
    if (arena.specs()[i].path.rfind(prefix, 0) == 0)
      for (const double g : to_double(s, arena.grads().flat_view(arena.offset(int(i)), arena.specs()[i].shape)))
        sum += std::abs(g);
  return sum;
}

TEST_P(TextModelTest, AssociatedLossesReachOnlyTheirOwnModules) {
  const Stream s(device());
  for (const Family& f : kFamilies)
    for (const bool faithful : {false, true}) {
      const std::vector<StageNet> nets = f.associated(small(faithful));
      Bundle given{{tokens(s, 8)}, {random_ints(s, {3}, 4, 0, 3)}};
      for (size_t i = 0; i < nets.size(); ++i) {
        SCOPED_TRACE(testing::Message() << f.name << " stage " << i << " faithful " << faithful);
        Bundle out;
        for (const size_t loss : {0u, 1u}) {
          Arena arena(s, nets[i].init, 3);
          Ledger ledger;
          Tape tape;
          Ctx c{.stream = s,
                .weights = arena.weights(),
                .arena = arena,
                .ledger = ledger,
                .tape = &tape,
                .rng = {1, 0, 0},
                .training = true};
          StageOutput result = nets[i].body->forward(c, given, given, 1.0f);
          ASSERT_EQ(result.losses.size(), 2u);
          BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
          arena.begin_step();
          tape.backward({{result.losses[loss], {}}}, b);
          arena.finish_grads(s);
          const std::string stage = nets[i].name;
          for (const char* module : {".f.", ".b."}) EXPECT_EQ(gradient(s, arena, stage + module) > 0, loss == 1);
          for (const char* module : {".g.", ".h."}) EXPECT_EQ(gradient(s, arena, stage + module) > 0, loss == 0);
          for (const Var& v : result.out) EXPECT_LT(v.node, 0);
          out = std::move(result.out);
        }
        given = std::move(out);
      }
    }
}

}  // namespace
}  // namespace sluice::test::text_test
