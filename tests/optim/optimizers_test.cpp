// Optimisers over an arena: PyTorch's formulas in double, groups, absent gradients, skipped steps, counts per step.
#include <cmath>

#include "optim/adam.h"
#include "optim/clipped.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "tests/optim/small_net.h"

namespace sluice::optimizers_test {
namespace {

using OptimizersTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, OptimizersTest, testing::ValuesIn(test::test_devices()), test::device_label);

using test::kGroups;
using Net = test::SmallNet;

struct Reference {
  std::vector<double> w, a, b;  // weights and two states
};
using ReferenceStep = std::function<void(Reference&, size_t i, double g, GroupSettings s, int t)>;

/// Runs the optimiser and the reference side by side for six steps.
void compare(const Stream& s, Optimizer& optimizer, const ReferenceStep& reference_step) {
  Net net(s);
  std::vector<Reference> refs;
  for (const Param& p : net.params) {
    const std::vector<double> w = net.values(s, p);
    refs.push_back({w, std::vector<double>(w.size()), std::vector<double>(w.size())});
  }
  for (int step = 0; step < 6; ++step) {
    net.write_grads(s, uint64_t(100 * step));
    for (const Param& p : net.params) {
      const std::vector<double> g = net.grads(s, p);
      const GroupSettings settings = kGroups[size_t(net.arena.specs()[size_t(p.index)].group)];
      for (size_t i = 0; i < g.size(); ++i) reference_step(refs[size_t(p.index)], i, g[i], settings, step + 1);
    }
    optimizer.step(net.arena, s, {.step = step, .groups = kGroups});
  }
  for (const Param& p : net.params)
    test::expect_close(net.values(s, p), refs[size_t(p.index)].w, test::bound(DType::kF32));
  EXPECT_EQ(net.arena.states(), int(optimizer.state_names().size()));
}

TEST_P(OptimizersTest, SgdIsPyTorchs) {
  Stream stream(device());
  for (const SgdOptions o :
       {SgdOptions{.momentum = 0.0f}, SgdOptions{.momentum = 0.9f}, SgdOptions{.momentum = 0.8f, .nesterov = true},
        SgdOptions{.momentum = 0.7f, .dampening = 0.4f}}) {
    SCOPED_TRACE(o.momentum);
    Sgd sgd(o);
    compare(stream, sgd, [&](Reference& r, size_t i, double g, GroupSettings s, int t) {
      double d = g + double(s.weight_decay) * r.w[i];
      if (o.momentum != 0.0f) {
        r.a[i] = t == 1 ? d : double(o.momentum) * r.a[i] + (1 - double(o.dampening)) * d;
        d = o.nesterov ? d + double(o.momentum) * r.a[i] : r.a[i];
      }
      r.w[i] -= double(s.lr) * d;
    });
  }
}

TEST_P(OptimizersTest, AdamAndAdamWArePyTorchs) {
  Stream stream(device());
  for (bool decoupled : {false, true}) {
    SCOPED_TRACE(decoupled);
    Adam adam({.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6f, .decoupled = decoupled});
    compare(stream, adam, [&](Reference& r, size_t i, double g, GroupSettings s, int t) {
      const double lr = double(s.lr), decay = double(s.weight_decay);
      if (decoupled)
        r.w[i] *= 1 - lr * decay;
      else
        g += decay * r.w[i];
      r.a[i] = 0.8 * r.a[i] + 0.2 * g;
      r.b[i] = 0.99 * r.b[i] + 0.01 * g * g;
      const double m = r.a[i] / (1 - std::pow(0.8, t)), v = r.b[i] / (1 - std::pow(0.99, t));
      r.w[i] -= lr * m / (std::sqrt(v) + 1e-6);
    });
  }
}

TEST_P(OptimizersTest, RmspropIsPyTorchs) {
  Stream stream(device());
  Rmsprop rmsprop({.alpha = 0.9, .eps = 1e-3f});
  compare(stream, rmsprop, [](Reference& r, size_t i, double g, GroupSettings s, int) {
    g += double(s.weight_decay) * r.w[i];
    r.a[i] = 0.9 * r.a[i] + 0.1 * g * g;
    r.w[i] -= double(s.lr) * g / (std::sqrt(r.a[i]) + 1e-3);
  });
}

TEST_P(OptimizersTest, AGradientThatNobodyWroteCountsAsZero) {
  Stream stream(device());
  Net net(stream);
  Sgd sgd({.momentum = 0.0f});
  const std::vector<GroupSettings> no_decay{{.lr = 0.1f}, {.lr = 0.1f}};
  net.write_grads(stream, 1);
  sgd.step(net.arena, stream, {.step = 0, .groups = no_decay});
  const auto first = net.values(stream, net.params[0]), last = net.values(stream, net.params[2]);
  net.write_grad(stream, net.params[2], 2);  // the first parameter's gradient in memory is the old step's
  sgd.step(net.arena, stream, {.step = 1, .groups = no_decay});
  EXPECT_EQ(net.values(stream, net.params[0]), first);
  EXPECT_NE(net.values(stream, net.params[2]), last);
}

TEST_P(OptimizersTest, EveryStepMakesANewVersion) {
  Stream stream(device());
  Net net(stream);
  Adam adam;
  std::vector<uint64_t> versions{net.arena.weights().version};
  for (int step = 0; step < 3; ++step) {
    net.write_grads(stream, uint64_t(step));
    adam.step(net.arena, stream, {.step = step, .groups = kGroups});
    for (uint64_t seen : versions) EXPECT_NE(net.arena.weights().version, seen);
    versions.push_back(net.arena.weights().version);
  }
}

TEST_P(OptimizersTest, AStepThatIsNotFiniteIsSkipped) {
  Stream stream(device());
  Net net(stream);
  Adam adam;
  const Tensor bad = Tensor::from<int32_t>(stream, std::vector<int32_t>{0}, {1});
  const auto before = test::to_double(stream, net.arena.values());
  net.write_grads(stream, 1);
  adam.step(net.arena, stream, {.step = 0, .groups = kGroups, .finite = bad});
  EXPECT_EQ(test::to_double(stream, net.arena.values()), before);
  net.write_grads(stream, 2);
  adam.step(net.arena, stream, {.step = 1, .groups = kGroups});
  EXPECT_NE(test::to_double(stream, net.arena.values()), before);
}

TEST_P(OptimizersTest, AStepIsTwoLaunchesWithoutWaitsOrMemory) {
  Stream stream(device());
  Net net(stream);
  Adam adam;
  net.write_grads(stream, 0);
  adam.step(net.arena, stream, {.step = 0, .groups = kGroups});
  net.write_grads(stream, 1);
  stream.sync();
  const StreamStats before = stream.stats();
  const int64_t os_calls = stream.pool().os_calls(), blocks = stream.pool().live_blocks();
  adam.step(net.arena, stream, {.step = 1, .groups = kGroups});
  const StreamStats after = stream.stats();
  EXPECT_EQ(after.launches - before.launches, 2);  // the scalars, the update
  EXPECT_EQ(after.host_waits, before.host_waits);
  EXPECT_EQ(stream.pool().os_calls(), os_calls);
  EXPECT_EQ(stream.pool().live_blocks(), blocks);
  stream.sync();
}

TEST_P(OptimizersTest, RefusesMissingGroupsAndASecondArena) {
  Stream stream(device());
  Net net(stream), other(stream);
  Sgd sgd;
  net.write_grads(stream, 0);
  EXPECT_THROW(sgd.step(net.arena, stream, {.step = 0, .groups = {kGroups[0]}}), ConfigError);
  sgd.step(net.arena, stream, {.step = 0, .groups = kGroups});
  EXPECT_THROW(sgd.step(other.arena, stream, {.step = 1, .groups = kGroups}), Error);
  stream.sync();
}

TEST(Optimizers, RefuseSettingsOutOfRange) {
  EXPECT_THROW(Sgd({.momentum = 1.0f}), ConfigError);
  EXPECT_THROW(Sgd({.momentum = -0.1f}), ConfigError);
  EXPECT_THROW(Sgd({.momentum = 0.0f, .nesterov = true}), ConfigError);
  EXPECT_THROW(Sgd({.momentum = 0.9f, .dampening = 1.0f}), ConfigError);
  EXPECT_THROW(Sgd({.momentum = 0.0f, .dampening = 0.1f}), ConfigError);
  EXPECT_THROW(Sgd({.momentum = 0.9f, .nesterov = true, .dampening = 0.1f}), ConfigError);
  EXPECT_THROW(Adam({.beta1 = 1.0}), ConfigError);
  EXPECT_THROW(Adam({.beta2 = std::nan("")}), ConfigError);
  EXPECT_THROW(Adam({.eps = 0.0f}), ConfigError);
  EXPECT_THROW(Rmsprop({.alpha = 1.0}), ConfigError);
  EXPECT_THROW(Rmsprop({.eps = 0.0f}), ConfigError);
}

TEST(Optimizers, NameTheirState) {
  EXPECT_EQ(Sgd({.momentum = 0.0f}).state_names(), std::vector<std::string>{});
  EXPECT_EQ(Sgd({.momentum = 0.9f}).state_names(), std::vector<std::string>{"sgd.momentum"});
  using enum Lookahead;
  EXPECT_EQ(Sgd({.momentum = 0.0f, .remember = kDirection}).state_names(), std::vector<std::string>{"sgd.gradient"});
  EXPECT_EQ(Sgd({.momentum = 0.9f, .remember = kDirection}).state_names(), std::vector<std::string>{"sgd.momentum"});
  EXPECT_EQ(Sgd({.momentum = 0.9f, .remember = kReleased}).state_names(),
            (std::vector<std::string>{"sgd.momentum", "sgd.gradient"}));
  EXPECT_EQ(Adam().state_names(), (std::vector<std::string>{"adam.m", "adam.v"}));
  EXPECT_EQ(Rmsprop().state_names(), std::vector<std::string>{"rmsprop.v"});
  EXPECT_EQ(Rmsprop({.remember = true}).state_names(), (std::vector<std::string>{"rmsprop.v", "rmsprop.gradient"}));
}

/// Two arenas against one step of plain SGD by hand; the second time gradients are short enough.
TEST_P(OptimizersTest, ClippingShortensAllArenasByTheirCommonNorm) {
  const Stream s(device());
  for (const float most : {0.5f, 1000.0f}) {
    Net a(s), b(s);
    const auto clip = std::make_shared<GradientClip>(most);
    clip->add(a.arena);
    clip->add(b.arena);
    ClippedOptimizer first(std::make_unique<Sgd>(SgdOptions{.momentum = 0}), clip),
        second(std::make_unique<Sgd>(SgdOptions{.momentum = 0}), clip);
    for (int64_t step = 0; step < 3; ++step) {
      a.write_grads(s, uint64_t(10 + step));
      b.write_grad(s, b.params[0], uint64_t(20 + step));  // the others count as zero
      double squares = 0;
      std::vector<std::vector<double>> expected;
      for (Net* net : {&a, &b})
        for (const Param& p : net->params)
          if (net == &a || p.index == 0)
            for (const double g : net->grads(s, p)) squares += g * g;
      const double factor = std::min(1.0, double(most) / (std::sqrt(squares) + 1e-6));
      EXPECT_EQ(factor < 1, most < 1);
      for (Net* net : {&a, &b})
        for (const Param& p : net->params) {
          std::vector<double> w = net->values(s, p);
          const std::vector<double> g = net->grads(s, p);
          for (size_t i = 0; i < w.size(); ++i) w[i] -= 0.1 * (net == &a || p.index == 0 ? factor * g[i] : 0.0);
          expected.push_back(w);
        }
      const std::vector<GroupSettings> plain(2, GroupSettings{.lr = 0.1f});
      first.step(a.arena, s, {.step = step, .groups = plain});
      second.step(b.arena, s, {.step = step, .groups = plain});
      size_t at = 0;
      for (Net* net : {&a, &b})
        for (const Param& p : net->params)
          test::expect_close(net->values(s, p), expected[at++], test::bound(DType::kF32));
    }
  }
  EXPECT_THROW(GradientClip(0), ConfigError);
  EXPECT_THROW(GradientClip(1).factor(s, 0), Error);
}

}  // namespace
}  // namespace sluice::optimizers_test
