// Embedding: rows by id, and the table's gradient against sums in double; ids that are in no table; the team.
#include "kernels/embedding.h"

#include <cmath>
#include <limits>

#include "kernels/forecast.h"
#include "tests/kernels/recorded.h"
#include "tests/kernels/update_case.h"

namespace sluice::test::embedding_test {
namespace {

using EmbeddingTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, EmbeddingTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  Shape ids;
  int64_t vocabulary, width;
};
const std::vector<Case> kCases{{{1}, 1, 1},    {{3, 5}, 7, 31},   {{257}, 11, 64}, {{2, 3, 67}, 5, 129},
                               {{0}, 4, 8},    {{1100}, 300, 12}, {{4, 0}, 3, 5},  {{256}, 4, 68},
                               {{2}, 2000, 3}, {{65, 17}, 1, 1},  {{}, 3, 2}};

Shape with_width(Shape s, int64_t width) {
  s.push_back(width);
  return s;
}
std::string label(const Case& e, DType t) {
  return str(e.ids.text(), " of ", e.vocabulary, " x ", e.width, " ", name(t));
}

std::vector<double> rows_of(const std::vector<double>& ids, const std::vector<double>& table, int64_t width) {
  std::vector<double> rows;
  const double vocabulary = width == 0 ? 0 : double(table.size()) / double(width);
  for (const double id : ids)
    for (int64_t j = 0; j < width; ++j)
      rows.push_back(id < 0 || id >= vocabulary ? std::nan("") : table[size_t(int64_t(id) * width + j)]);
  return rows;
}

void add_rows(const std::vector<double>& ids, const std::vector<double>& dy, int64_t width, std::vector<double>& sums) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= 0 && size_t(ids[i]) * size_t(width) < sums.size())
      for (int64_t j = 0; j < width; ++j)
        sums[size_t(int64_t(ids[i]) * width + j)] += dy[i * size_t(width) + size_t(j)];
}

TEST_P(EmbeddingTest, GivesTheRowsThatIdsName) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(label(e, t));
      const Tensor ids = random_ints(s, e.ids, 1, -1, int32_t(e.vocabulary) + 1);  // both neighbours of the range, too
      const Tensor table = random(s, {e.vocabulary, e.width}, 2);
      const Guarded y(s, with_width(e.ids, e.width), t);
      launch(kernels::Embedding{.ids = ids.cref(), .table = table.cref(), .y = y.ref()}, s);
      const std::vector<double> expected = rows_of(to_double(s, ids), to_double(s, table), e.width);
      expect_close(to_double(s, y.tensor()), expected, t == DType::kF32 ? 1e-30 : bound(t));
      y.check();
    }
}

/// The place among the scalars and the group are those of the second forecast and of one group among others.
TEST_P(EmbeddingTest, RowsAreForetoldAsTheWholeTableWouldBe) {
  const Stream s(device());
  StepScalars scalars = awkward_scalars();
  scalars.bias1 = 0.19f;
  scalars.root_bias2 = 0.05f;
  for (int g = 0; g < kMaxGroups; ++g) {
    scalars.forecasts[1].keep[g] = 1.0f - 0.03f * float(g);
    scalars.forecasts[1].reach[g] = 0.02f * float(g + 1);
  }
  const Tensor slot = scalar_slot(s, scalars);
  scalars.forecasts[0] = scalars.forecasts[1];
  const Tensor slot_of_whole = scalar_slot(s, scalars);
  constexpr int64_t kGroup = 3;
  for (const Case& e : kCases)
    for (const Direction kind :
         {Direction::kNone, Direction::kMomentum, Direction::kNextMomentum, Direction::kAdaptive})
      for (const DType t : {DType::kF32, DType::kBF16}) {
        SCOPED_TRACE(label(e, t) + str(", direction ", int(kind)));
        const DirectionRule rule{.kind = kind, .momentum = 0.9f, .rest = 0.7f, .eps = 1e-3f};
        const int64_t n = e.vocabulary * e.width;
        const Tensor ids = random_ints(s, e.ids, 1, -1, int32_t(e.vocabulary) + 1);
        const Tensor w = random(s, {n}, 2), m = random(s, {n}, 3), v = random(s, {n}, 4, 0, 1);
        const Tensor whole = Tensor::empty(s, {n}), segments = segment_table(s, {{0, n, kGroup}});
        launch(kernels::Forecast{.w = w.cref(),
                                 .m = m.cref(),
                                 .v = v.cref(),
                                 .to = whole.ref(),
                                 .segments = segments.cref(),
                                 .scalars = slot_of_whole.cref(),
                                 .direction = rule},
               s);
        const Shape shape{e.vocabulary, e.width};
        const Guarded y(s, with_width(e.ids, e.width), t);
        launch(kernels::Embedding{.ids = ids.cref(),
                                  .table = w.reshape(shape).cref(),
                                  .y = y.ref(),
                                  .direction = rule,
                                  .m = rule.takes_m() ? m.reshape(shape).cref() : ConstRef{},
                                  .v = rule.takes_v() ? v.reshape(shape).cref() : ConstRef{},
                                  .scalars = rule.takes_m() ? slot.cref() : ConstRef{},
                                  .place = 1,
                                  .group = kGroup},
               s);
        std::vector<double> expected = rows_of(to_double(s, ids), to_double(s, whole), e.width);
        if (t == DType::kBF16)
          for (double& x : expected) x = double(float(bf16(float(x))));
        expect_close(to_double(s, y.tensor()), expected, 1e-30);
        y.check();
      }
}

TEST_P(EmbeddingTest, ReadsNothingOutsideTheTableWhateverTheId) {
  const Stream s(device());
  constexpr int32_t kLow = std::numeric_limits<int32_t>::min(), kHigh = std::numeric_limits<int32_t>::max();
  const Tensor ids = Tensor::from<int32_t>(s, std::vector<int32_t>{kLow, 1, kHigh, -1, 2}, {5});
  const Tensor table = random(s, {2, 3}, 1), dy = random(s, {5, 3}, 2);
  const Guarded y(s, {5, 3}), dtable(s, {2, 3});
  launch(kernels::Embedding{.ids = ids.cref(), .table = table.cref(), .y = y.ref()}, s);
  const std::vector<double> rows = to_double(s, y.tensor());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(std::isnan(rows[i]), i / 3 != 1) << i;
  launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = dtable.ref()}, s);
  std::vector<double> expected(6, 0.0);
  add_rows(to_double(s, ids), to_double(s, dy), 3, expected);
  EXPECT_EQ(to_double(s, dtable.tensor()), expected);
  dtable.check();
}

TEST_P(EmbeddingTest, TheGradientSumsRowsOfEqualIds) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(label(e, t));
      const Tensor ids = random_ints(s, e.ids, 1, -1, int32_t(e.vocabulary) + 1);
      const Tensor dy = random(s, with_width(e.ids, e.width), 2, -1, 2, t);
      const Guarded dtable(s, {e.vocabulary, e.width});
      launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = dtable.ref()}, s);
      std::vector<double> expected(size_t(e.vocabulary * e.width), 0.0);
      add_rows(to_double(s, ids), to_double(s, dy), e.width, expected);
      expect_close(to_double(s, dtable.tensor()), expected, bound(DType::kF32));
      dtable.check();
      launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = dtable.ref(), .accumulate = true}, s);
      add_rows(to_double(s, ids), to_double(s, dy), e.width, expected);
      expect_close(to_double(s, dtable.tensor()), expected, bound(DType::kF32));
      dtable.check();
    }
}

/// Frequent ids are summed in windows of 64 places ahead of the rest: here windows and ids end together.
TEST_P(EmbeddingTest, IdsThatFillWholeWindowsAreSummedOnce) {
  const Stream s(device());
  std::vector<int32_t> ids;
  for (const auto& [id, times] : {std::pair{0, 64}, {2, 128}, {3, 64}}) ids.insert(ids.end(), size_t(times), id);
  const Tensor i = Tensor::from<int32_t>(s, ids, {int64_t(ids.size())});
  const Tensor dy = random(s, {i.numel(), 5}, 2), dtable = random(s, {4, 5}, 3);
  launch(kernels::EmbeddingGrad{.ids = i.cref(), .dy = dy.cref(), .dtable = dtable.ref()}, s);
  std::vector<double> expected(20, 0.0);
  add_rows(to_double(s, i), to_double(s, dy), 5, expected);
  expect_close(to_double(s, dtable), expected, bound(DType::kF32));
}

TEST_P(EmbeddingTest, RowsWithoutIdsBecomeZeroOrAreLeftAlone) {
  const Stream s(device());
  const Tensor ids = Tensor::from<int32_t>(s, std::vector<int32_t>{2, 0}, {2}), dy = random(s, {2, 5}, 2);
  const Tensor dtable = Tensor::from<float>(s, std::vector<float>(20, INFINITY), {4, 5});
  launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = dtable.ref(), .accumulate = true}, s);
  EXPECT_THAT(to_double(s, dtable), testing::Each(double(INFINITY)));
  launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = dtable.ref()}, s);
  std::vector<double> expected(20, 0.0);
  add_rows(to_double(s, ids), to_double(s, dy), 5, expected);
  EXPECT_EQ(to_double(s, dtable), expected);
}

TEST_P(EmbeddingTest, RowsAreAddedInTheOrderOfTheirPlaces) {
  const Stream s(device());
  // One large row among ones: the sum says when it was added.
  const std::vector<int32_t> ids{1, 0, 1, 0, 1, 1};
  const std::vector<float> dy{1e8f, 7, -1e8f, 8, 1, 0.5f};
  const Tensor i = Tensor::from<int32_t>(s, ids, {6}), d = Tensor::from<float>(s, dy, {6, 1});
  const Tensor dtable = random(s, {2, 1}, 1);
  launch(kernels::EmbeddingGrad{.ids = i.cref(), .dy = d.cref(), .dtable = dtable.ref()}, s);
  EXPECT_EQ(to_double(s, dtable), (std::vector<double>{15, 1.5}));
}

TEST_P(EmbeddingTest, DoesNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "a GPU has no team";
  std::vector<std::vector<double>> seen;
  for (const int team : {1, 2, 3}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Tensor common = random_ints(s, {3000}, 1, 0, 4), rare = random_ints(s, {3000}, 2, 0, 5000);
    const Tensor dy = random(s, {3000, 70}, 3), dtable = random(s, {5000, 70}, 4);
    launch(kernels::EmbeddingGrad{.ids = common.cref(), .dy = dy.cref(), .dtable = dtable.ref()}, s);
    launch(kernels::EmbeddingGrad{.ids = rare.cref(), .dy = dy.cref(), .dtable = dtable.ref(), .accumulate = true}, s);
    seen.push_back(to_double(s, dtable));
  }
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST_P(EmbeddingTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor ids = random_ints(s, {3}, 1, 0, 2), table = random(s, {2, 4}, 1), y = random(s, {3, 4}, 1);
  const Tensor half = random(s, {2, 4}, 1, -1, 1, DType::kBF16);
  const auto call = [&](const Tensor& i, const Tensor& t, const Tensor& out) {
    launch(kernels::Embedding{.ids = i.cref(), .table = t.cref(), .y = out.ref()}, s);
  };
  EXPECT_NO_THROW(call(ids, table, y));
  EXPECT_THROW(call(table, table, y), DTypeError);
  EXPECT_THROW(call(ids, half, y), DTypeError);
  EXPECT_THROW(call(ids, table, ids), DTypeError);
  EXPECT_THROW(call(ids, table, table), ShapeError);
  EXPECT_THROW(call(ids, y, random(s, {3, 3}, 1)), ShapeError);
  EXPECT_THROW(call(random_ints(s, {1, 1, 1, 1, 3}, 1, 0, 2), table, y), ShapeError);
  EXPECT_THROW(launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = y.cref(), .dtable = half.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = table.cref(), .dtable = table.ref()}, s),
               ShapeError);
}

// ---- the ops ----

TEST_P(EmbeddingTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  Init init;
  const Param table = init.param("table", {4, 3}, InitialValue::uniform(1));
  const Tensor ids = Tensor::from<int32_t>(s, std::vector<int32_t>{3, 0, 3, 3, 1, 0}, {2, 3});
  check_gradients(
      s, init, {},
      [&](Ctx& c, const std::vector<Var>&) {
        const Var once = embedding(c, ids, table);
        return add(c, once, activation(c, embedding(c, ids, table), Act::kTanh));  // two gradients: the second is added
      },
      {.probes = 12});
}

TEST_P(EmbeddingTest, KeepsTheIdsAndThenTheGradient) {
  const Stream s(device());
  Init init;
  const Param table = init.param("table", {10, 6}, InitialValue::uniform(1));
  Recorded pass(s, init);
  Ctx c = pass.ctx();
  const Var y = embedding(c, random_ints(s, {4, 5}, 1, 0, 10), table, DType::kBF16);
  EXPECT_EQ(y.shape(), (Shape{4, 5, 6}));
  EXPECT_EQ(y.value.dtype(), DType::kBF16);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), 20 * 4);
  EXPECT_EQ(pass.ledger.bytes(), 20 * 4);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward_input({{y, random(s, {4, 5, 6}, 3, -1, 1, DType::kBF16)}}, b);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), 120 * 2);
  pass.tape.backward_weight(b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
  c.tape = nullptr;
  EXPECT_EQ(embedding(c, random_ints(s, {4}, 1, 0, 10), table).node, -1) << "evaluation records nothing";
}

TEST_P(EmbeddingTest, RowsOfAnyTableAreGathered) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Tensor table = Tensor::from<float>(s, std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor labels = Tensor::from<int32_t>(s, std::vector<int32_t>{2, 0, 2}, {3});
  EXPECT_EQ(to_double(s, gather_rows(c, table, labels)), (std::vector<double>{5, 6, 1, 2, 5, 6}));
  EXPECT_EQ(pass.tape.size(), 0u);
  EXPECT_THROW(gather_rows(c, labels, labels), ShapeError);
}

}  // namespace
}  // namespace sluice::test::embedding_test
