// A part of a network that runs again in backward: the same gradients to the bit, only its inputs kept, running
// statistics updated once, the same dropout.
#include "engine/recompute.h"

#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/pointwise.h"
#include "tests/kernels/recorded.h"

namespace sluice::test::recompute_test {
namespace {

using RecomputeTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, RecomputeTest, testing::ValuesIn(test_devices()), device_label);

/// Batch norm, convolution, dropout, batch norm; and a second input that is added.
struct Net {
  Init init;
  BatchNorm bn1{init.scope("bn1"), 4, Act::kRelu}, bn2{init.scope("bn2"), 6};
  Conv2d conv{init.scope("conv"), {4, 6, 3}, {.padding = 1}, true};
  Dropout drop{init.scope("drop"), 0.25f};

  Var body(Ctx& c, const std::vector<Var>& in) const {
    return add(c, bn2.forward(c, drop.forward(c, conv.forward(c, bn1.forward(c, in[0])))), in[1]);
  }
};

struct Outcome {
  std::vector<double> y, dx, dadd, grads, buffers;
  int64_t kept = 0, left = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const Stream& s, const Net& net, bool again, bool split) {
  Recorded pass(s, net.init);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {3, 5, 4, 4}, 1)), more = pass.tape.leaf(random(s, {3, 5, 4, 6}, 2));
  const auto body = [&net](Ctx& ctx, const std::vector<Var>& in) { return net.body(ctx, in); };
  const Var y = again ? recompute(c, {x, more}, body) : body(c, {x, more});
  Outcome o{.y = to_double(s, y.value), .dx = {}, .dadd = {}, .grads = {}, .buffers = {}, .kept = pass.ledger.bytes()};
  BackwardCtx b = pass.backward_ctx();
  const Root root{y, random(s, y.shape(), 3)};
  if (split) {
    pass.tape.backward_input({root}, b);
    pass.tape.backward_weight(b);
  } else {
    pass.tape.backward({root}, b);
  }
  pass.arena.finish_grads(s);
  o.dx = to_double(s, pass.tape.take_grad(x));
  o.dadd = to_double(s, pass.tape.take_grad(more));
  o.grads = to_double(s, pass.arena.grads());
  o.buffers = to_double(s, pass.arena.buffers());
  o.left = pass.ledger.bytes();
  return o;
}

TEST_P(RecomputeTest, GradientsAndRunningStatisticsAreThoseOfOneRun) {
  const Stream s(device());
  const Net net;
  Outcome once = run(s, net, false, false);
  for (const bool split : {false, true}) {
    Outcome twice = run(s, net, true, split);
    constexpr int64_t kInputs = 3 * 5 * 4 * (4 + 6) * 4, kStatistics = 4 * (4 + 6) * 4;
    EXPECT_EQ(twice.kept, kInputs + kStatistics);
    EXPECT_EQ(twice.left, 0);
    twice.kept = once.kept;
    EXPECT_EQ(twice, once);
  }
}

TEST_P(RecomputeTest, InEvaluationItIsTheBody) {
  const Stream s(device());
  const Net net;
  Recorded pass(s, net.init);
  Ctx c = pass.ctx(false);
  c.tape = nullptr;
  const Var x{random(s, {3, 5, 4, 4}, 1)}, more{random(s, {3, 5, 4, 6}, 2)};
  const auto body = [&net](Ctx& ctx, const std::vector<Var>& in) { return net.body(ctx, in); };
  EXPECT_EQ(to_double(s, recompute(c, {x, more}, body).value), to_double(s, body(c, {x, more}).value));
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(RecomputeTest, OnePartInsideAnotherRunsWithIt) {
  const Stream s(device());
  const Net net;
  const auto body = [&net](Ctx& ctx, const std::vector<Var>& in) { return net.body(ctx, in); };
  std::vector<std::vector<double>> seen;
  for (const bool nested : {false, true}) {
    Recorded pass(s, net.init);
    Ctx c = pass.ctx();
    const Var x = pass.tape.leaf(random(s, {3, 5, 4, 4}, 1)), more = pass.tape.leaf(random(s, {3, 5, 4, 6}, 2));
    const Var y = recompute(c, {x, more}, [&](Ctx& ctx, const std::vector<Var>& in) {
      return nested ? recompute(ctx, in, body) : body(ctx, in);
    });
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward({{y, random(s, y.shape(), 3)}}, b);
    pass.arena.finish_grads(s);
    seen.push_back(to_double(s, pass.arena.grads()));
    EXPECT_EQ(pass.ledger.bytes(), 0);
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_P(RecomputeTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  const Net net;
  check_gradients(s, net.init, {random(s, {2, 3, 3, 4}, 1), random(s, {2, 3, 3, 6}, 2)},
                  [&](Ctx& c, const std::vector<Var>& in) {
                    return recompute(c, in, [&](Ctx& ctx, const std::vector<Var>& v) { return net.body(ctx, v); });
                  },
                  {.step = 2e-3});
}

}  // namespace
}  // namespace sluice::test::recompute_test
