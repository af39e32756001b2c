// The tape: order of sums, the two halves, isolation, what is freed when.
#include "engine/tape.h"

#include "kernels/add.h"
#include "tests/support/support.h"

namespace sluice::tape_test {
namespace {

using testing::Each;
using testing::ElementsAre;

/// y = x + x.
struct DoubleFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    in_place = dy.unique();
    Tensor dx = in_place ? dy : c.empty(dy.shape());
    launch(kernels::Add{.a = dy.cref(), .b = dy.cref(), .y = dx.ref()}, c.stream);
    return {dx};
  }
  static inline bool in_place = false;
};
Var doubled(Ctx& c, const Var& x) {
  Tensor y = c.empty(x.shape());
  launch(kernels::Add{.a = x.value.cref(), .b = x.value.cref(), .y = y.ref()}, c.stream);
  return c.tape->record(std::make_unique<DoubleFn>(), y, {x}, false);
}

/// The gradient of w (+)= what was deferred, if anything.
void add_weight_grad(const Param& w, Saved& deferred, BackwardCtx& c) {
  if (!deferred.defined()) return;
  const GradSlot slot = c.arena.grad(w);
  if (slot.accumulate)
    launch(kernels::Add{.a = slot.ref, .b = deferred.cref(), .y = slot.ref}, c.stream);
  else
    copy(c.stream, deferred.tensor(), c.arena.grads().flat_view(c.arena.offset(w.index), w.shape));
  deferred.reset();
}

/// y = x + w. Keeps x, of which the weight half keeps dy.
struct ShiftFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    kept.reset();
    deferred = Saved(dy, SaveKind::kDeferred, &c.ledger);
    return {dy};
  }
  void backward_weight(BackwardCtx& c) override { add_weight_grad(w, deferred, c); }
  Saved kept, deferred;
  Param w;
};
Var shifted(Ctx& c, const Var& x, const Param& w) {
  Tensor y = c.empty(x.shape());
  launch(kernels::Add{.a = x.value.cref(), .b = c.weight(w).ref, .y = y.ref()}, c.stream);
  if (!c.recording({x}, true)) return {y};
  auto f = std::make_unique<ShiftFn>();
  f->kept = c.save(SaveKind::kActivation, x.value);
  f->w = w;
  return c.tape->record(std::move(f), y, {x}, true);
}

/// A reader of x whose gradient is given.
struct GivenFn final : Function {
  explicit GivenFn(Tensor g) : grad(std::move(g)) {}
  GradList backward_input(Tensor, BackwardCtx&) override { return {grad}; }
  Tensor grad;
};

/// first = x, second = 2 x + w. Notes which gradients came.
struct PairFn final : Function {
  GradList backward_input(Tensor, BackwardCtx& c) override {
    ++calls;
    const Tensor first = take_dy(0), second = take_dy(1);
    came = {first.defined(), second.defined()};
    in_place = second.defined() && second.unique();
    deferred = Saved(second, SaveKind::kDeferred, &c.ledger);
    if (!second.defined()) return {first};
    Tensor dx = c.empty(second.shape());
    launch(kernels::Add{.a = second.cref(), .b = second.cref(), .y = dx.ref()}, c.stream);
    if (first.defined()) launch(kernels::Add{.a = dx.cref(), .b = first.cref(), .y = dx.ref()}, c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override { add_weight_grad(w, deferred, c); }
  Param w;
  Saved deferred;
  static inline int calls = 0;
  static inline bool in_place = false;
  static inline std::pair<bool, bool> came;
};
std::vector<Var> pair_of(Ctx& c, const Var& x, const Param& w, bool has_weights = true) {
  Tensor y = c.empty(x.shape());
  launch(kernels::Add{.a = x.value.cref(), .b = x.value.cref(), .y = y.ref()}, c.stream);
  if (has_weights) launch(kernels::Add{.a = y.cref(), .b = c.weight(w).ref, .y = y.ref()}, c.stream);
  PairFn::calls = 0;
  auto f = std::make_unique<PairFn>();
  f->w = w;
  return c.tape->record_outputs(std::move(f), {x.value, y}, {x}, has_weights);
}

class TapeTest : public test::OnEachDevice {
 protected:
  TapeTest() { w = init.param("w", {4}, InitialValue::constant(1)); }
  Ctx ctx(Tape* t) {
    return {.stream = stream, .weights = arena().weights(), .arena = arena(), .ledger = ledger, .tape = t};
  }
  BackwardCtx backward_ctx() {
    return {.stream = stream, .weights = arena().weights(), .arena = arena(), .ledger = ledger};
  }
  Arena& arena() {
    if (!arena_) arena_ = std::make_unique<Arena>(stream, init, 1);
    return *arena_;
  }
  Tensor four(float v) const { return Tensor::from<float>(stream, std::vector<float>(4, v), {4}); }
  std::vector<float> read(const Tensor& t) const { return t.to_vector<float>(stream); }
  std::vector<float> weight_grad() { return read(arena().grads().flat_view(0, {4})); }
  Var given(Tape& t, const Var& x, float v) const {
    return t.record(std::make_unique<GivenFn>(four(v)), four(0), {x}, false);
  }

  const Stream stream{device()};
  Ledger ledger;
  Init init;
  Param w;

 private:
  std::unique_ptr<Arena> arena_;
};

TEST_P(TapeTest, GradientsOfSeveralReadersAreAddedNewestFirst) {
  Tape t;
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(0));
  const Var first = given(t, x, 1.0f), second = given(t, x, -1e8f), third = given(t, x, 1e8f);
  t.backward({{first, four(0)}, {second, four(0)}, {third, four(0)}}, b);
  EXPECT_THAT(read(t.take_grad(x)), Each(1.0f)) << "(1e8 + -1e8) + 1: any other order gives 0";
}

TEST_P(TapeTest, ChainsAndBranches) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(3));
  const Var y = doubled(c, x);
  const Var z = doubled(c, y);  // 4 x
  EXPECT_THAT(read(z.value), Each(12.0f));
  t.backward({{z, four(1)}, {y, four(10)}}, b);  // two roots, one behind the other
  EXPECT_THAT(read(t.take_grad(x)), Each(24.0f));
}

TEST_P(TapeTest, OverwritesAGradientOnlyWhenNobodyElseHoldsIt) {
  BackwardCtx b = backward_ctx();
  {
    Tape t;
    Ctx c = ctx(&t);
    const Tensor dy = four(1);
    t.backward({{doubled(c, t.leaf(four(3))), dy}}, b);
    EXPECT_FALSE(DoubleFn::in_place);
    EXPECT_THAT(read(dy), Each(1.0f));
  }
  Tape t;
  Ctx c = ctx(&t);
  const Var x = t.leaf(four(3));
  t.backward({{doubled(c, doubled(c, x)), four(1)}}, b);
  EXPECT_TRUE(DoubleFn::in_place) << "the gradient between the two ops is nobody's";
}

TEST_P(TapeTest, SplitBackwardEqualsJointBackward) {
  std::vector<float> gradients[2], inputs[2];
  for (const bool split : {false, true}) {
    arena().begin_step();
    for (int mb = 0; mb < 3; ++mb) {
      Tape t;
      Ctx c = ctx(&t);
      BackwardCtx b = backward_ctx();
      const Var x = t.leaf(test::random(stream, {4}, uint64_t(mb)));
      const Var y = shifted(c, doubled(c, shifted(c, x, w)), w);
      const Root root{y, test::random(stream, {4}, uint64_t(10 + mb))};
      if (split) {
        t.backward_input({root}, b);
        t.backward_weight(b);
      } else {
        t.backward({root}, b);
      }
      for (const float v : read(t.take_grad(x))) inputs[split].push_back(v);
      EXPECT_EQ(ledger.bytes(), 0);
    }
    gradients[split] = weight_grad();
  }
  EXPECT_EQ(inputs[0], inputs[1]);
  EXPECT_EQ(gradients[0], gradients[1]);
}

TEST_P(TapeTest, WeightHalfKeepsOnlyWhatItNeeds) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var y = shifted(c, doubled(c, shifted(c, t.leaf(four(1)), w)), w);
  EXPECT_EQ(ledger.bytes(SaveKind::kActivation), 32) << "two ops keep 16 bytes each";
  t.backward_input({{y, four(1)}}, b);
  EXPECT_EQ(ledger.bytes(SaveKind::kActivation), 0);
  EXPECT_EQ(ledger.bytes(SaveKind::kDeferred), 32);
  EXPECT_EQ(arena().grad(w).accumulate, false) << "the input half writes no weight gradient";
  arena().begin_step();
  t.backward_weight(b);
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_THAT(weight_grad(), Each(3.0f));
}

TEST_P(TapeTest, KeptByTwoOpsCountsOnce) {
  Tape t;
  Ctx c = ctx(&t);
  const Var x = t.leaf(four(1));
  shifted(c, x, w);
  shifted(c, x, w);
  EXPECT_EQ(ledger.bytes(), 16);
}

TEST_P(TapeTest, DetachLetsNoGradientThrough) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(2));
  const Var before = shifted(c, x, w);
  const Var after = shifted(c, detach(before), w);
  t.backward({{after, four(1)}}, b);
  EXPECT_FALSE(t.take_grad(x).defined());
  EXPECT_THAT(weight_grad(), Each(1.0f)) << "of the op behind the cut only";
  EXPECT_EQ(ledger.bytes(), 16) << "the op before it still waits for its own root";
}

TEST_P(TapeTest, RecordsNothingThatNoGradientCanReach) {
  Tape t;
  Ctx c = ctx(&t);
  EXPECT_FALSE(c.recording({Var{four(1)}}, false));
  EXPECT_TRUE(c.recording({Var{four(1)}}, true));
  const Var constant = doubled(c, Var{four(1)});
  EXPECT_EQ(constant.node, -1);
  for (const Var& v : pair_of(c, Var{four(1)}, w, false)) EXPECT_EQ(v.node, -1);
  EXPECT_EQ(t.size(), 0u);
  Ctx evaluation = ctx(nullptr);
  EXPECT_FALSE(evaluation.recording({t.leaf(four(1))}, true));
  EXPECT_EQ(shifted(evaluation, Var{four(1)}, w).node, -1);
  EXPECT_EQ(ledger.bytes(), 0);
}

TEST_P(TapeTest, RefusesARootThatIsNotOnIt) {
  Tape t;
  BackwardCtx b = backward_ctx();
  EXPECT_THROW(t.backward({{Var{four(1)}, four(1)}}, b), Error);
  Tape longer;
  longer.leaf(four(1));
  const Var elsewhere = longer.leaf(four(1));
  t.leaf(four(1));
  EXPECT_THROW(t.backward({{elsewhere, four(1)}}, b), Error);
  EXPECT_FALSE(t.take_grad(Var{}).defined());
}

TEST_P(TapeTest, DroppingItFreesTheMicroBatch) {
  arena();
  const int64_t before = stream.pool().live_blocks();
  {
    Tape t;
    Ctx c = ctx(&t);
    Var v = t.leaf(four(1));
    for (int i = 0; i < 10; ++i) v = shifted(c, doubled(c, v), w);
    EXPECT_GT(stream.pool().live_blocks(), before);
    EXPECT_EQ(ledger.bytes(), 160);
  }
  EXPECT_EQ(stream.pool().live_blocks(), before);
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_EQ(ledger.peak(), 160);
}

TEST_P(TapeTest, BackwardFreesAsItGoes) {
  arena();
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  Var v = t.leaf(four(1));
  const Var x = v;
  for (int i = 0; i < 10; ++i) v = shifted(c, v, w);
  const Root root{std::move(v), four(1)};
  t.backward({root}, b);
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_THAT(read(t.take_grad(x)), ElementsAre(1, 1, 1, 1));
  EXPECT_FALSE(t.take_grad(x).defined()) << "moved out";
  EXPECT_EQ(stream.pool().in_use(MemoryTag::kActivations), 3 * int64_t(root.grad.storage()->bytes()))
      << "the input, the output and its gradient, which callers hold";
}

// ---- several outputs ----

TEST_P(TapeTest, AFunctionOfSeveralOutputsGetsTheGradientsOfAllAtOnce) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(3));
  const std::vector<Var> y = pair_of(c, doubled(c, x), w);
  ASSERT_EQ(y.size(), 2u);
  EXPECT_THAT(read(y[0].value), Each(6.0f));
  EXPECT_THAT(read(y[1].value), Each(13.0f));
  const Var first = doubled(c, y[0]), second = doubled(c, y[1]);
  t.backward({{first, four(1)}, {second, four(10)}}, b);
  EXPECT_EQ(PairFn::calls, 1);
  EXPECT_EQ(PairFn::came, std::pair(true, true));
  EXPECT_TRUE(PairFn::in_place) << "the gradients are moved to the function";
  EXPECT_THAT(read(t.take_grad(x)), Each(2 * (2.0f + 2 * 20.0f)));
  EXPECT_THAT(weight_grad(), Each(20.0f));
}

TEST_P(TapeTest, AnOutputThatNobodyReadsHasNoGradient) {
  for (const size_t used : {0u, 1u}) {
    SCOPED_TRACE(used);
    arena().begin_step();
    Tape t;
    Ctx c = ctx(&t);
    BackwardCtx b = backward_ctx();
    const Var x = t.leaf(four(1));
    const std::vector<Var> y = pair_of(c, x, w);
    t.backward({{doubled(c, y[used]), four(1)}}, b);
    EXPECT_EQ(PairFn::calls, 1);
    EXPECT_EQ(PairFn::came, std::pair(used == 0, used == 1));
    EXPECT_THAT(read(t.take_grad(x)), Each(used == 0 ? 2.0f : 4.0f));
    EXPECT_FALSE(t.take_grad(y[used]).defined()) << "moved to the function";
  }
}

TEST_P(TapeTest, SeveralOutputsThatNoGradientReachesRunNoBackward) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(1)), other = doubled(c, x);
  pair_of(c, x, w);
  t.backward_input({{other, four(1)}}, b);
  t.backward_weight(b);
  EXPECT_EQ(PairFn::calls, 0);
  EXPECT_THAT(read(t.take_grad(x)), Each(2.0f));
}

TEST_P(TapeTest, GradientsOfEachOutputsReadersAreAddedNewestFirst) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(0));
  const std::vector<Var> y = pair_of(c, x, w);
  // Interleaved. From the newest on the first gets (1e8 - 1e8) + 1 = 1, the second (1 - 1e8) + 1e8 = 0.
  std::vector<Root> roots;
  for (const auto& [output, grad] :
       std::vector<std::pair<size_t, float>>{{0, 1.0f}, {1, 1e8f}, {0, -1e8f}, {1, -1e8f}, {1, 1.0f}, {0, 1e8f}})
    roots.push_back({given(t, y[output], grad), four(0)});
  t.backward(roots, b);
  EXPECT_EQ(PairFn::calls, 1);
  EXPECT_THAT(weight_grad(), Each(0.0f));
  EXPECT_THAT(read(t.take_grad(x)), Each(1.0f));
}

TEST_P(TapeTest, RootsMayBeOutputsThatAreReadToo) {
  Tape t;
  Ctx c = ctx(&t);
  BackwardCtx b = backward_ctx();
  const Var x = t.leaf(four(1));
  const std::vector<Var> y = pair_of(c, x, w);
  t.backward({{y[0], four(5)}, {y[1], four(1)}, {doubled(c, y[0]), four(1)}}, b);
  EXPECT_THAT(read(t.take_grad(x)), Each(5.0f + 2 + 2));
  EXPECT_THROW(t.backward({{y[1], Tensor()}}, b), Error) << "one of several outputs is no loss";
}

TEST_P(TapeTest, SplitBackwardOfSeveralOutputsEqualsJointBackward) {
  std::vector<float> gradients[2], inputs[2];
  for (const bool split : {false, true}) {
    arena().begin_step();
    for (int mb = 0; mb < 3; ++mb) {
      Tape t;
      Ctx c = ctx(&t);
      BackwardCtx b = backward_ctx();
      const Var x = t.leaf(test::random(stream, {4}, uint64_t(mb)));
      const std::vector<Var> y = pair_of(c, shifted(c, x, w), w), z = pair_of(c, y[1], w);
      const std::vector<Root> roots{{z[0], test::random(stream, {4}, uint64_t(10 + mb))},
                                    {shifted(c, y[0], w), test::random(stream, {4}, uint64_t(20 + mb))},
                                    {z[1], test::random(stream, {4}, uint64_t(30 + mb))}};
      if (split) {
        t.backward_input(roots, b);
        EXPECT_GT(ledger.bytes(SaveKind::kDeferred), 0);
        t.backward_weight(b);
      } else {
        t.backward(roots, b);
      }
      for (const float v : read(t.take_grad(x))) inputs[split].push_back(v);
      EXPECT_EQ(ledger.bytes(), 0);
    }
    gradients[split] = weight_grad();
  }
  EXPECT_EQ(inputs[0], inputs[1]);
  EXPECT_EQ(gradients[0], gradients[1]);
}

INSTANTIATE_TEST_SUITE_P(Devices, TapeTest, testing::ValuesIn(test::test_devices()), test::device_label);

}  // namespace
}  // namespace sluice::tape_test
