// Columns side by side, and what their gradients are.
#include "kernels/concat.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::concat_test {
namespace {

using ConcatTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ConcatTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  Shape rows;
  std::vector<int64_t> columns;

  Shape with(int64_t last) const {
    Shape s = rows;
    s.push_back(last);
    return s;
  }
};
// One element, whole packs, primes, six parts, a part without columns, one part, no rows, more rows than a block.
const std::vector<Case> kCases{
    {{1}, {1, 1}},      {{2, 3, 4}, {64, 32}}, {{3, 5}, {7, 1, 13}}, {{2, 2}, {8, 16, 4, 8, 8, 24}},
    {{4}, {8, 0, 16}},  {{6, 2}, {5}},         {{0, 4}, {8, 3}},     {{2, 9, 7}, {1, 2, 3}},
    {{131}, {8, 8, 8}}, {{}, {3, 4}}};

TEST_P(ConcatTest, BothDirectionsCopyWhatTheyShould) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << e.rows.text() << " " << e.columns.size() << " parts " << name(t));
      int64_t all = 0;
      for (const int64_t columns : e.columns) all += columns;
      const Tensor dy = random(s, e.with(all), 2, -1, 1, t);
      const Guarded y(s, e.with(all), t);
      std::vector<Tensor> parts;
      std::vector<std::unique_ptr<Guarded>> dparts;
      kernels::Concat forward{.parts = {}, .y = y.ref()};
      kernels::ConcatGrad backward{.dy = dy.cref(), .dparts = {}};
      for (const int64_t columns : e.columns) {
        parts.push_back(random(s, e.with(columns), 3 + parts.size(), -1, 1, t));
        dparts.push_back(std::make_unique<Guarded>(s, e.with(columns), t));
        forward.parts.push_back(parts.back().cref());
        backward.dparts.push_back(dparts.back()->ref());
      }
      launch(forward, s);
      launch(backward, s);
      const std::vector<double> whole = to_double(s, y.tensor()), gradient = to_double(s, dy);
      int64_t begin = 0;
      for (size_t p = 0; p < parts.size(); ++p) {
        const std::vector<double> part = to_double(s, parts[p]), dpart = to_double(s, dparts[p]->tensor());
        std::vector<double> copied, wanted;
        for (int64_t row = 0; row < e.rows.numel(); ++row)
          for (int64_t j = 0; j < e.columns[p]; ++j) {
            copied.push_back(whole[size_t(row * all + begin + j)]);
            wanted.push_back(gradient[size_t(row * all + begin + j)]);
          }
        EXPECT_EQ(copied, part) << p;
        EXPECT_EQ(dpart, wanted) << p;
        dparts[p]->check();
        begin += e.columns[p];
      }
      y.check();
    }
}

TEST_P(ConcatTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 3, 4}, 1), random(s, {2, 3, 1}, 2), random(s, {2, 3, 5}, 3)},
                  [](Ctx& c, const std::vector<Var>& in) { return concat(c, in); });
  check_gradients(s, Init(), {random(s, {2, 3}, 1)},  // one value twice, and beside itself
                  [](Ctx& c, const std::vector<Var>& in) {
                    return concat(c, {in[0], concat(c, {in[0], in[0]})});
                  });
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {2, 3}, 1)), constant{random(s, {2, 4}, 2)};
  EXPECT_GE(concat(c, {constant, x}).node, 0) << "a gradient reaches one of the parts";
  EXPECT_LT(concat(c, {constant, constant}).node, 0);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(ConcatTest, PartsThatDoNotFitAreRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x{random(s, {2, 5, 3}, 1)};
  EXPECT_THROW(concat(c, {}), ShapeError);
  EXPECT_THROW(concat(c, std::vector<Var>(7, x)), ShapeError);
  EXPECT_THROW(concat(c, {x, {random(s, {2, 4, 3}, 2)}}), ShapeError);
  EXPECT_THROW(concat(c, {x, {random(s, {10, 3}, 2)}}), ShapeError);
  EXPECT_THROW(concat(c, {x, {random(s, {2, 5, 3}, 2, -1, 1, DType::kBF16)}}), DTypeError);
  const Guarded y(s, {2, 5, 7});
  kernels::Concat call{.parts = {}, .y = y.ref()};
  EXPECT_THROW(launch(call, s), ShapeError);
  call.parts.push_back(x.value.cref());
  call.parts.push_back(x.value.cref());
  EXPECT_THROW(launch(call, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::concat_test
