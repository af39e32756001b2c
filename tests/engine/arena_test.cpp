// Arenas: layout, initial values, versions, gradient slots, states and buffers.
#include "kernels/common/step_scalars.h"
#include "kernels/fill.h"
#include "tests/support/support.h"

namespace sluice::arena_test {
namespace {

using testing::Each;

class ArenaTest : public test::OnEachDevice {
 protected:
  std::vector<float> read(const Tensor& t) const { return t.to_vector<float>(stream); }
  std::vector<float> value(const Arena& a, const Param& p) const {
    return read(a.values().flat_view(a.offset(p.index), p.shape));
  }
  void write(const GradSlot& slot, float v) const { launch(kernels::FillConstant{.y = slot.ref, .value = v}, stream); }
  const Stream stream{device()};
};

TEST_P(ArenaTest, LaysGroupsOutOneAfterAnother) {
  Init init;
  const Param w0 = init.param("w0", {3, 5}, InitialValue::constant(1));
  const Param b0 = init.group(1).param("b0", {5}, InitialValue::constant(2));
  const Param w1 = init.param("w1", {17}, InitialValue::constant(3));
  const Arena a(stream, init, 1);
  EXPECT_EQ(a.offset(w0.index), 0);
  EXPECT_EQ(a.offset(w1.index), 16);
  EXPECT_EQ(a.offset(b0.index), 48);
  ASSERT_EQ(a.segments().size(), 2u);
  EXPECT_EQ(a.segments()[0].offset, 0);
  EXPECT_EQ(a.segments()[0].count, 48);
  EXPECT_EQ(a.segments()[1].offset, 48);
  EXPECT_EQ(a.segments()[1].count, 16);
  EXPECT_EQ(a.segments()[1].group, 1);
  EXPECT_EQ(a.count(), 15 + 5 + 17);
  EXPECT_EQ(a.values().numel(), a.grads().numel());
  EXPECT_THAT(value(a, w0), Each(1.0f));
  EXPECT_THAT(value(a, b0), Each(2.0f));
  EXPECT_THAT(value(a, w1), Each(3.0f));
  EXPECT_EQ(read(a.values())[15], 0.0f) << "padding starts at zero";
  EXPECT_THAT(read(a.grads()), Each(0.0f));
}

TEST_P(ArenaTest, LaysTablesOutBehindEverythingElse) {
  Init init;
  const Param t0 = init.table("t0", {3, 7}, InitialValue::constant(1));
  const Param w0 = init.param("w0", {5}, InitialValue::constant(2));
  const Param t1 = init.group(1).table("t1", {2, 2}, InitialValue::constant(3));
  const Param b0 = init.group(1).param("b0", {5}, InitialValue::constant(4));
  const Arena a(stream, init, 1);
  EXPECT_EQ(a.offset(w0.index), 0);
  EXPECT_EQ(a.offset(b0.index), 16);
  EXPECT_EQ(a.offset(t0.index), 32);
  EXPECT_EQ(a.offset(t1.index), 64);
  EXPECT_EQ(a.dense_size(), 32);
  EXPECT_EQ(a.values().numel(), 80);
  ASSERT_EQ(a.segments().size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(a.segments()[i].group, int(i % 2));
  EXPECT_EQ(a.segments()[2].offset, 32);
  EXPECT_EQ(a.segments()[2].count, 32);
  EXPECT_THAT(value(a, t0), Each(1.0f));
  EXPECT_THAT(value(a, t1), Each(3.0f));
  EXPECT_THROW(init.table("t2", {3}, InitialValue::constant(1)), ShapeError);
}

TEST_P(ArenaTest, GivesTablesByTheRowAlone) {
  Init init;
  const Param table = init.table("t", {3, 7}, InitialValue::constant(1)), w = init.param("w", {5, 2}, {});
  const Arena a(stream, init, 1);
  EXPECT_THROW(a.weights().at(table), Error);
  EXPECT_EQ(a.weights().rows_of(table).w.data, a.values().flat_view(16, {3, 7}).cref().data);
  EXPECT_EQ(a.weights().rows_of(table).direction.kind, Direction::kNone);
  EXPECT_EQ(a.weights().rows_of(w).w.data, a.weights().at(w).ref.data);
}

TEST_P(ArenaTest, InitialValuesDependOnPathAndSeedAlone) {
  const InitialValue uniform = InitialValue::uniform(0.5f);
  Init whole;
  whole.scope("stage0").param("w", {100}, uniform);
  const Param in_whole = whole.scope("stage1").scope("dense").param("w", {7, 11}, uniform);
  Init cut;
  const Param in_cut = cut.scope("stage1").scope("dense").param("w", {7, 11}, uniform);
  const Param other_path = cut.scope("stage2").param("w", {7, 11}, uniform);
  const Arena a(stream, whole, 42), b(stream, cut, 42), c(stream, cut, 43);
  EXPECT_EQ(b.specs()[0].path, "stage1.dense.w");
  EXPECT_EQ(value(a, in_whole), value(b, in_cut));
  EXPECT_NE(value(b, in_cut), value(c, in_cut)) << "another seed";
  EXPECT_NE(value(b, in_cut), value(b, other_path)) << "another path";
  double sum = 0;
  for (const float v : value(a, in_whole)) {
    EXPECT_LE(std::abs(v), 0.5f);
    sum += double(v);
  }
  EXPECT_LT(std::abs(sum / 77), 0.15);
}

TEST_P(ArenaTest, NormalValuesDependOnPathAndSeedAloneToo) {
  const InitialValue normal = InitialValue::normal(3, 0.5f);
  Init whole;
  whole.scope("stage0").param("w", {100}, normal);
  const Param in_whole = whole.scope("stage1").param("w", {100, 100}, normal);
  Init cut;
  const Param in_cut = cut.scope("stage1").param("w", {100, 100}, normal);
  const Param other_path = cut.scope("stage2").param("w", {100, 100}, normal);
  const Arena a(stream, whole, 42), b(stream, cut, 42), c(stream, cut, 43);
  EXPECT_EQ(value(a, in_whole), value(b, in_cut));
  EXPECT_NE(value(b, in_cut), value(c, in_cut)) << "another seed";
  EXPECT_NE(value(b, in_cut), value(b, other_path)) << "another path";
  double sum = 0, squares = 0;
  for (const float v : value(a, in_whole)) {
    sum += (double(v) - 3) / 1e4;
    squares += (double(v) - 3) * (double(v) - 3) / 1e4;
  }
  EXPECT_NEAR(sum, 0, 0.03);          // six standard deviations
  EXPECT_NEAR(squares, 0.25, 0.022);  // the same
}

TEST_P(ArenaTest, TruncatedValuesStayWithinTheirDeviations) {
  Init init;
  const Param p = init.param("p", {10'000}, InitialValue::truncated(0.1f, 2));
  double squares = 0;
  for (const float v : value(Arena(stream, init, 42), p)) {
    ASSERT_LE(std::abs(v), 0.2f);
    squares += double(v) * double(v) / 1e4;
  }
  EXPECT_NEAR(squares, 0.00774, 0.0005);  // six standard deviations
}

TEST_P(ArenaTest, VersionsNeverRepeat) {
  Init init;
  const Param p = init.param("p", {4}, InitialValue::constant(1));
  Arena a(stream, init, 1);
  const Arena b(stream, init, 1);
  const Weights before = a.weights();
  EXPECT_NE(before.version, 0u);
  EXPECT_NE(before.version, b.weights().version);
  EXPECT_EQ(before.at(p).version, before.version);
  a.bump_version();
  EXPECT_NE(a.weights().version, before.version);
  EXPECT_NE(a.weights().version, b.weights().version);
  EXPECT_EQ(a.weights().at(p).ref.data, before.at(p).ref.data);
  EXPECT_EQ(a.weights().at(p).ref.shape, p.shape);
}

TEST_P(ArenaTest, FirstGradientOfAStepWrites) {
  Init init;
  const Param p = init.param("p", {3}, InitialValue::constant(0));
  const Param never = init.param("never", {2}, InitialValue::constant(0));
  Arena a(stream, init, 1);
  for (int step = 0; step < 2; ++step) {
    a.begin_step();
    EXPECT_FALSE(a.grad(p).accumulate);
    EXPECT_TRUE(a.grad(p).accumulate);
    write(a.grad(p), 5);
    a.finish_grads(stream);
    EXPECT_THAT(read(a.grads().flat_view(a.offset(p.index), {3})), Each(5.0f));
    EXPECT_THAT(read(a.grads().flat_view(a.offset(never.index), {2})), Each(0.0f));
  }
  a.begin_step();
  write(a.grad(never), 9);
  a.begin_step();
  a.finish_grads(stream);  // nobody wrote in this step: nothing stale is left
  EXPECT_THAT(read(a.grads()), Each(0.0f));
}

TEST_P(ArenaTest, GradientsOfReplicasAreAddedAndTakenOver) {
  Init init;
  const Param p = init.param("p", {3}, InitialValue::constant(0)), q = init.param("q", {2}, InitialValue::constant(0));
  Arena a(stream, init, 1), b(stream, init, 1);
  write(a.grad(p), 5);
  write(b.grad(p), 2);
  write(b.grad(q), 3);
  b.finish_grads(stream);
  a.add_grads(stream, b.grads());
  b.set_grads(stream, a.grads());
  for (Arena* arena : {&a, &b}) {
    arena->finish_grads(stream);  // as an update does: nothing of the sum is lost
    EXPECT_THAT(read(arena->grads().flat_view(arena->offset(p.index), {3})), Each(7.0f));
    EXPECT_THAT(read(arena->grads().flat_view(arena->offset(q.index), {2})), Each(3.0f));
    arena->begin_step();
    EXPECT_FALSE(arena->grad(q).accumulate);
  }
}

TEST_P(ArenaTest, StatesAreZeroAndBuffersApart) {
  Init init;
  init.param("p", {3}, InitialValue::constant(1));
  const Buffer mean = init.buffer("mean", {5}, 0);
  const Buffer var = init.scope("bn").buffer("var", {5}, 1);
  Arena a(stream, init, 1);
  EXPECT_EQ(a.states(), 0);
  EXPECT_EQ(a.state(stream, 1).numel(), a.values().numel());
  EXPECT_EQ(a.states(), 2);
  EXPECT_THAT(read(a.state(stream, 0)), Each(0.0f));
  EXPECT_EQ(a.state(stream, 1).storage(), a.state(stream, 1).storage()) << "made once";
  EXPECT_THAT(read(a.buffer(mean)), Each(0.0f));
  EXPECT_THAT(read(a.buffer(var)), Each(1.0f));
  EXPECT_EQ(a.buffer_specs()[1].path, "bn.var");
  EXPECT_EQ(a.count(), 3) << "buffers are not trained";
  EXPECT_GT(stream.pool().in_use(MemoryTag::kOptimizer), 0);
}

TEST_P(ArenaTest, LeavesNothingBehind) {
  {
    Init init;
    init.param("p", {1000}, InitialValue::uniform(1));
    Arena a(stream, init, 1);
    a.state(stream, 0);
    EXPECT_EQ(stream.pool().live_blocks(), 4);
  }
  EXPECT_EQ(stream.pool().live_blocks(), 0);
}

TEST_P(ArenaTest, MayBeEmpty) {
  Arena a(stream, Init(), 1);
  a.begin_step();
  a.finish_grads(stream);
  EXPECT_EQ(a.count(), 0);
  EXPECT_TRUE(a.segments().empty());
  EXPECT_NO_THROW(stream.sync());
}

INSTANTIATE_TEST_SUITE_P(Devices, ArenaTest, testing::ValuesIn(test::test_devices()), test::device_label);

TEST(InitTest, RefusesTakenPathsAndUnknownGroups) {
  Init init;
  Init inner = init.scope("a");
  inner.param("w", {1}, InitialValue::constant(0));
  inner.buffer("w", {1}, 0);  // another list
  EXPECT_THROW(init.scope("a").param("w", {2}, InitialValue::constant(0)), ConfigError);
  EXPECT_THROW(inner.buffer("w", {1}, 0), ConfigError);
  EXPECT_THROW(init.group(-1), ConfigError);
  EXPECT_THROW(init.group(kMaxGroups), ConfigError);
  EXPECT_EQ(init.params().size(), 1u);
}

}  // namespace
}  // namespace sluice::arena_test
