// Tables: an update foretells everything else, and their rows when they are read, bit for bit as a forecast of the
// whole.
#include <memory>

#include "kernels/fill.h"
#include "optim/adam.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "tests/support/support.h"

namespace sluice::tables_test {
namespace {

using enum Lookahead;
using TablesTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, TablesTest, testing::ValuesIn(test::test_devices()), test::device_label);

const std::vector<GroupSettings> kGroups{{.lr = 0.1f, .weight_decay = 0.2f}, {.lr = 0.03f, .weight_decay = 0.05f}};

/// A matrix and two tables, of two groups.
struct Words {
  explicit Words(const Stream& s)
      : dense(init.param("w", {5, 7}, InitialValue::uniform(1))),
        first(init.table("first", {9, 5}, InitialValue::uniform(1))),
        second(init.group(1).table("second", {4, 3}, InitialValue::uniform(1))),
        arena(s, init, /*seed=*/5) {}
  void write_grads(const Stream& s, uint32_t seed) {
    for (const Param& p : {dense, first, second})
      launch(kernels::FillUniform{.y = arena.grad(p).ref, .low = -1.0f, .high = 1.0f, .key = {seed, uint32_t(p.index)}},
             s);
  }
  Tensor room(const Stream& s, int64_t size) const { return Tensor::empty(s, {size}); }
  /// Every row, as a forward pass reads them.
  std::vector<float> rows(const Stream& s, const Weights& w, const Param& table) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < int32_t(table.shape[0]); ++i) ids.push_back(i);
    Ledger ledger;
    Ctx c{.stream = s, .weights = w, .arena = arena, .ledger = ledger};
    const Tensor all = Tensor::from<int32_t>(s, ids, {table.shape[0]});
    return embedding(c, all, table).value.to_vector<float>(s);
  }
  std::vector<float> part(const Stream& s, const Tensor& flat, const Param& p) const {
    return flat.flat_view(arena.offset(p.index), p.shape).to_vector<float>(s);
  }

  Init init;
  Param dense, first, second;
  Arena arena;
};

using Make = std::function<OptimizerPtr()>;
std::vector<Make> all_optimizers() {
  return {[] { return std::make_unique<Sgd>(SgdOptions{.momentum = 0.0f, .remember = kDirection}); },
          [] { return std::make_unique<Sgd>(SgdOptions{.momentum = 0.9f, .remember = kReleased}); },
          [] { return std::make_unique<Rmsprop>(RmspropOptions{.remember = true}); },
          [] { return std::make_unique<Adam>(AdamOptions{.eps = 1e-3f}); },
          [] { return std::make_unique<Adam>(AdamOptions{.decoupled = true}); }};
}

/// Two arenas side by side, one of which foretells everything at once.
void expect_same(const Stream& s, Words& rows, const Weights& of_rows, Words& whole, const Weights& of_whole) {
  EXPECT_EQ(rows.part(s, of_rows.values, rows.dense), whole.part(s, of_whole.values, whole.dense));
  for (const auto& [a, b] : {std::pair(rows.first, whole.first), std::pair(rows.second, whole.second)}) {
    EXPECT_EQ(rows.rows(s, of_rows, a), whole.part(s, of_whole.values, b));
    EXPECT_EQ(rows.rows(s, of_rows, a), whole.rows(s, of_whole, b));
    EXPECT_NE(rows.rows(s, of_rows, a), rows.rows(s, rows.arena.weights(), a)) << "nothing was foretold";
  }
}

TEST_P(TablesTest, RowsAreForetoldAsTheyAreRead) {
  const Stream s(device());
  for (const Make& make : all_optimizers())
    for (const Lookahead how : {kDirection, kDecayAware, kReleased}) {
      const OptimizerPtr a = make(), b = make();
      Words rows(s), whole(s);
      ASSERT_EQ(rows.arena.dense_size(), 48);
      const Tensor near = rows.room(s, 48), far = rows.room(s, 48), later = rows.room(s, 48);
      const int64_t all = whole.arena.values().numel();
      const Tensor near_all = whole.room(s, all), far_all = whole.room(s, all), later_all = whole.room(s, all);
      for (int64_t step = 0; step < 3; ++step) {
        rows.write_grads(s, uint32_t(step));
        whole.write_grads(s, uint32_t(step));
        const auto of_rows =
            a->step(rows.arena, s, {.step = step, .groups = kGroups, .forecasts = {{near, 1, how}, {far, 4, how}}});
        const auto of_whole = b->step(
            whole.arena, s, {.step = step, .groups = kGroups, .forecasts = {{near_all, 1, how}, {far_all, 4, how}}});
        const Weights again = a->forecast(rows.arena, s, step + 1, kGroups, {later, 2, how});
        const Weights again_whole = b->forecast(whole.arena, s, step + 1, kGroups, {later_all, 2, how});
        ASSERT_EQ(of_rows.size(), 2u);
        for (size_t k = 0; k < 2; ++k) expect_same(s, rows, of_rows[k], whole, of_whole[k]);
        expect_same(s, rows, again, whole, again_whole);
        EXPECT_NE(of_rows[0].version, of_rows[1].version);
        EXPECT_NE(of_rows[0].version, rows.arena.weights().version);
      }
    }
}

TEST_P(TablesTest, ASkippedStepLeavesTheRowsAsTheyWere) {
  const Stream s(device());
  const Tensor bad = Tensor::from<int32_t>(s, std::vector<int32_t>{0}, {1});
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr optimizer = make();
    Words words(s);
    words.write_grads(s, 1);
    optimizer->step(words.arena, s, {.step = 0, .groups = kGroups});
    const auto before = words.part(s, words.arena.values(), words.first);
    const Tensor to = words.room(s, 48), next = words.room(s, words.arena.values().numel());
    words.write_grads(s, 2);
    const auto foretold = optimizer->step(
        words.arena, s, {.step = 1, .groups = kGroups, .finite = bad, .next = next, .forecasts = {{to, 3, kReleased}}});
    EXPECT_EQ(words.rows(s, foretold[0], words.first), before);
    EXPECT_EQ(words.part(s, to, words.dense), words.part(s, next, words.dense));
  }
}

TEST_P(TablesTest, BeforeTheFirstStepRowsAreTheWeights) {
  const Stream s(device());
  for (const Make& make : all_optimizers()) {
    Words words(s);
    const Weights w = make()->forecast(words.arena, s, 0, kGroups, {words.room(s, 48), 3, kReleased});
    EXPECT_EQ(words.rows(s, w, words.first), words.part(s, words.arena.values(), words.first));
    EXPECT_EQ(words.part(s, w.values, words.dense), words.part(s, words.arena.values(), words.dense));
  }
}

TEST_P(TablesTest, RefuseWhatIsGoneOrWasNotKept) {
  const Stream s(device());
  Words words(s);
  Sgd sgd({.momentum = 0.9f});
  const Tensor to = words.room(s, 48), all = words.room(s, words.arena.values().numel());
  words.write_grads(s, 0);
  const auto foretold = sgd.step(words.arena, s, {.step = 0, .groups = kGroups, .forecasts = {{to, 2}}});
  EXPECT_NO_THROW(foretold[0].rows_of(words.first));
  EXPECT_THROW(foretold[0].at(words.first), Error);
  words.write_grads(s, 1);
  EXPECT_THROW(sgd.step(words.arena, s, {.step = 1, .groups = kGroups, .forecasts = {{to, 2, kReleased}}}), Error);
  EXPECT_THROW(sgd.step(words.arena, s, {.step = 1, .groups = kGroups, .forecasts = {{to, 2}, {all, 3}}}), ShapeError);
  EXPECT_THROW(sgd.step(words.arena, s, {.step = 1, .groups = kGroups, .forecasts = {{words.room(s, 47), 2}}}),
               ShapeError);
  EXPECT_NO_THROW(foretold[0].rows_of(words.first)) << "refused updates change nothing";
  sgd.step(words.arena, s, {.step = 1, .groups = kGroups});
  EXPECT_THROW(foretold[0].rows_of(words.first), Error);
  EXPECT_NO_THROW(foretold[0].at(words.dense));
  s.sync();
}

}  // namespace
}  // namespace sluice::tables_test
