// Forecasts of later weights and updates to other memory: golden values worked out by hand from the papers' formulas,
// formulas in double over several steps and groups, what must agree bit for bit, counts, refusals.
#include <cmath>
#include <memory>

#include "optim/adam.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "tests/optim/small_net.h"

namespace sluice::forecasts_test {
namespace {

using test::kGroups;
using Net = test::SmallNet;
using enum Lookahead;
using ForecastsTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, ForecastsTest, testing::ValuesIn(test::test_devices()), test::device_label);

Tensor like_values(const Stream& s, const Arena& arena) {
  return Tensor::empty(s, arena.values().shape(), DType::kF32, MemoryTag::kWeights);
}
std::vector<float> floats(const Stream& s, const Tensor& t) { return t.to_vector<float>(s); }

// ---- one weight, by hand: gradients 0.5, 0.4, 0.3, 0.2, 0.1 from W = 1 ----

struct Golden {
  Lookahead how;
  int64_t ahead;
  std::vector<double> weights, foretold;  // after steps 1 to 5
};

/// Every forecast is written by the update, and then made again from what the optimiser kept.
void expect_golden(const Stream& s, Optimizer& optimizer, GroupSettings settings, const Golden& golden) {
  SCOPED_TRACE(testing::Message() << optimizer.state_names()[0] << ", way " << int(golden.how) << ", " << golden.ahead
                                  << " ahead");
  constexpr double kHalfADigit = 5e-7, kRounding = 3e-7;
  Init init;
  const Param w = init.param("w", {1}, InitialValue::constant(1));
  Arena arena(s, init, 1);
  const std::vector<GroupSettings> groups{settings};
  const Tensor fused = like_values(s, arena), later = like_values(s, arena);
  for (int64_t step = 0; step < 5; ++step) {
    launch(kernels::FillConstant{.y = arena.grad(w).ref, .value = 0.1f * float(5 - step)}, s);
    optimizer.step(arena, s, {.step = step, .groups = groups, .forecasts = {{fused, golden.ahead, golden.how}}});
    optimizer.forecast(arena, s, step + 1, groups, {later, golden.ahead, golden.how});
    const auto at = size_t(step);
    if (std::isnan(golden.weights[at])) continue;  // the table skips a step
    EXPECT_NEAR(double(floats(s, arena.values())[0]), golden.weights[at], kHalfADigit + kRounding) << "step " << step;
    EXPECT_NEAR(double(floats(s, fused)[0]), golden.foretold[at], kHalfADigit + kRounding) << "step " << step;
    EXPECT_EQ(floats(s, fused), floats(s, later)) << "step " << step;
  }
}

TEST_P(ForecastsTest, SgdGivesTheGoldenValues) {
  const Stream s(device());
  const std::vector<double> w{0.950000, 0.865000, 0.758500, 0.642650, 0.528385};
  for (const Golden& golden : {Golden{kDirection, 3, w, {0.800000, 0.610000, 0.439000, 0.295100, 0.185590}},
                               Golden{kReleased, 4, w, {0.570000, 0.399000, 0.255100, 0.145590, 0.077031}},
                               Golden{kDirection, 1, w, {0.900000, 0.780000, 0.652000, 0.526800, 0.414120}},
                               Golden{kReleased, 2, w, {0.760000, 0.632000, 0.506800, 0.394120, 0.302708}},
                               Golden{kReleased, 1, w, {0.855000, 0.748500, 0.632650, 0.518385, 0.415546}},
                               Golden{kDecayAware, 3, w, {0.800000, 0.610000, 0.439000, 0.295100, 0.185590}}}) {
    Sgd sgd({.momentum = 0.9f, .remember = golden.how});
    expect_golden(s, sgd, {.lr = 0.1f}, golden);
  }
}

TEST_P(ForecastsTest, AdamAndAdamWGiveTheGoldenValues) {
  const Stream s(device());
  const double none = std::nan("");
  const std::vector<double> w{0.990000, 0.980119, 0.970491, none, 0.952902},
      decayed{0.989000, 0.978130, 0.967524, none, 0.948010};
  const GroupSettings adam{.lr = 0.01f}, adamw{.lr = 0.01f, .weight_decay = 0.1f};
  for (const Golden& golden : {Golden{kDirection, 3, w, {0.960000, 0.950475, 0.941608, none, 0.927649}},
                               Golden{kDecayAware, 3, w, {0.960000, 0.950475, 0.941608, none, 0.927649}},
                               Golden{kReleased, 4, w, {0.950000, 0.940594, 0.931980, none, 0.919231}}}) {
    Adam optimizer;
    expect_golden(s, optimizer, adam, golden);
  }
  for (const Golden& golden : {Golden{kDirection, 3, decayed, {0.959000, 0.948486, 0.938641, none, 0.922757}},
                               Golden{kDecayAware, 3, decayed, {0.956066, 0.945584, 0.935770, none, 0.919941}}}) {
    Adam optimizer({.decoupled = true});
    expect_golden(s, optimizer, adamw, golden);
  }
}

// ---- formulas in double, over parameters of two groups ----

struct Kept {
  double w = 0, m = 0, v = 0, d = 0;  // d: the last gradient
};
using Step = std::function<void(Kept&, double g, GroupSettings, int64_t t)>;
using Direct = std::function<double(const Kept&, Lookahead, int64_t t)>;  // D after step t, counted from 1

struct Formulas {
  Step step;
  Direct direction;
  bool decoupled = false;
};

double foretold(const Formulas& f, const Kept& k, GroupSettings s, const Forecast& forecast, int64_t t) {
  const double lr = double(s.lr), d = f.direction(k, forecast.how, t);
  double w = k.w;
  for (int64_t i = 0; i < forecast.ahead; ++i)
    w = (f.decoupled && forecast.how == kDecayAware ? 1 - lr * double(s.weight_decay) : 1.0) * w - lr * d;
  return w;
}

void compare(const Stream& s, Optimizer& optimizer, const Formulas& formulas, std::pair<Lookahead, Lookahead> how) {
  Net net(s);
  const Forecast first{like_values(s, net.arena), 3, how.first}, second{like_values(s, net.arena), 5, how.second};
  std::vector<std::vector<Kept>> kept;
  for (const Param& p : net.params) {
    kept.emplace_back();
    for (const double w : net.values(s, p)) kept.back().push_back({.w = w});
  }
  for (int64_t step = 0; step < 5; ++step) {
    net.write_grads(s, uint64_t(100 * step));
    std::vector<std::vector<double>> grads;
    for (const Param& p : net.params) grads.push_back(net.grads(s, p));
    optimizer.step(net.arena, s, {.step = step, .groups = kGroups, .forecasts = {first, second}});
    for (const Param& p : net.params) {
      const auto at = size_t(p.index);
      const GroupSettings settings = kGroups[size_t(net.arena.specs()[at].group)];
      std::vector<double> near, far;
      for (size_t i = 0; i < kept[at].size(); ++i) {
        formulas.step(kept[at][i], grads[at][i], settings, step + 1);
        near.push_back(foretold(formulas, kept[at][i], settings, first, step + 1));
        far.push_back(foretold(formulas, kept[at][i], settings, second, step + 1));
      }
      test::expect_close(net.read(s, first.to, p), near, test::bound(DType::kF32));
      test::expect_close(net.read(s, second.to, p), far, test::bound(DType::kF32));
    }
  }
}

TEST_P(ForecastsTest, SgdForetellsByItsFormula) {
  const Stream stream(device());
  for (const SgdOptions o :
       {SgdOptions{.momentum = 0.0f}, SgdOptions{.momentum = 0.9f}, SgdOptions{.momentum = 0.8f, .nesterov = true},
        SgdOptions{.momentum = 0.7f, .dampening = 0.4f}}) {
    SCOPED_TRACE(o.momentum);
    const double u = double(o.momentum), rest = 1 - double(o.dampening);
    Sgd sgd(o);
    const Step step = [=](Kept& k, double g, GroupSettings s, int64_t t) {
      k.d = g + double(s.weight_decay) * k.w;
      k.m = u == 0 || t == 1 ? k.d : u * k.m + rest * k.d;
      k.w -= double(s.lr) * (o.nesterov ? k.d + u * k.m : k.m);
    };
    const Direct direction = [=](const Kept& k, Lookahead how, int64_t) {
      return how == kReleased && u != 0 ? u * k.m + rest * k.d : k.m;
    };
    compare(stream, sgd, {step, direction}, {kReleased, kDirection});
  }
}

TEST_P(ForecastsTest, AdamAndAdamWForetellByTheirFormula) {
  const Stream stream(device());
  for (const bool decoupled : {false, true}) {
    SCOPED_TRACE(decoupled);
    const Step step = [=](Kept& k, double g, GroupSettings s, int64_t t) {
      const double lr = double(s.lr), decay = double(s.weight_decay);
      if (decoupled)
        k.w *= 1 - lr * decay;
      else
        g += decay * k.w;
      k.m = 0.8 * k.m + 0.2 * g;
      k.v = 0.99 * k.v + 0.01 * g * g;
      k.w -= lr * (k.m / (1 - std::pow(0.8, t))) / (std::sqrt(k.v / (1 - std::pow(0.99, t))) + 1e-2);
    };
    const Direct direction = [](const Kept& k, Lookahead how, int64_t t) {
      const double eps = how == kReleased ? 1e-8 : 1e-2;
      return k.m / (1 - std::pow(0.8, t)) / (std::sqrt(k.v / (1 - std::pow(0.99, t))) + eps);
    };
    for (const auto& how : {std::pair(kDirection, kDecayAware), std::pair(kReleased, kDirection)}) {
      Adam adam({.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-2f, .decoupled = decoupled});
      compare(stream, adam, {step, direction, decoupled}, how);
    }
  }
}

TEST_P(ForecastsTest, RmspropForetellsByItsFormula) {
  const Stream stream(device());
  const Step step = [](Kept& k, double g, GroupSettings s, int64_t) {
    k.d = g + double(s.weight_decay) * k.w;
    k.v = 0.9 * k.v + 0.1 * k.d * k.d;
    k.w -= double(s.lr) * k.d / (std::sqrt(k.v) + 1e-3);
  };
  const Direct direction = [](const Kept& k, Lookahead, int64_t) { return k.d / (std::sqrt(k.v) + 1e-3); };
  Rmsprop rmsprop({.alpha = 0.9, .eps = 1e-3f});
  compare(stream, rmsprop, {step, direction}, {kReleased, kDirection});
}

// ---- what must agree ----

using Make = std::function<OptimizerPtr()>;
std::vector<Make> all_optimizers() {
  return {[] { return std::make_unique<Sgd>(SgdOptions{.momentum = 0.0f, .remember = kDirection}); },
          [] { return std::make_unique<Sgd>(SgdOptions{.momentum = 0.9f, .remember = kReleased}); },
          [] { return std::make_unique<Sgd>(SgdOptions{.momentum = 0.9f, .nesterov = true, .remember = kReleased}); },
          [] { return std::make_unique<Rmsprop>(RmspropOptions{.remember = true}); },
          [] { return std::make_unique<Adam>(AdamOptions{.eps = 1e-3f}); },
          [] { return std::make_unique<Adam>(AdamOptions{.decoupled = true}); }};
}

TEST_P(ForecastsTest, NoUpdateAheadIsTheWeightsThemselves) {
  const Stream s(device());
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr optimizer = make();
    Net net(s);
    const Tensor fused = like_values(s, net.arena), later = like_values(s, net.arena);
    optimizer->forecast(net.arena, s, 0, kGroups, {later, 7, kReleased});  // no step yet: nothing to go by
    EXPECT_EQ(floats(s, later), floats(s, net.arena.values()));
    for (int64_t step = 0; step < 2; ++step) {
      net.write_grads(s, uint64_t(step));
      optimizer->step(net.arena, s, {.step = step, .groups = kGroups, .forecasts = {{fused, 0, kDirection}}});
      optimizer->forecast(net.arena, s, step + 1, kGroups, {later, 0, kDirection});
      EXPECT_EQ(floats(s, fused), floats(s, net.arena.values()));
      EXPECT_EQ(floats(s, later), floats(s, net.arena.values()));
    }
  }
}

TEST_P(ForecastsTest, ConstantGradientsComeTrue) {
  const Stream s(device());
  const std::vector<GroupSettings> groups{{.lr = 0.1f}, {.lr = 0.03f}};
  Net net(s);
  Sgd sgd({.momentum = 0.0f});
  const Tensor ahead = like_values(s, net.arena);
  for (int64_t step = 0; step < 5; ++step) {
    net.write_grads(s, 7);
    if (step == 0)
      sgd.step(net.arena, s, {.step = step, .groups = groups, .forecasts = {{ahead, 4, kDirection}}});
    else
      sgd.step(net.arena, s, {.step = step, .groups = groups});
  }
  test::expect_close(test::to_double(s, ahead), test::to_double(s, net.arena.values()), 3e-7);  // a few roundings
}

TEST_P(ForecastsTest, OtherMemoryAndForecastsChangeNoBitOfTheUpdate) {
  const Stream s(device());
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr plain = make(), other = make();
    Net a(s), b(s);
    std::vector<Tensor> ring{like_values(s, b.arena), like_values(s, b.arena)};
    const Tensor first = like_values(s, b.arena), second = like_values(s, b.arena);
    for (int64_t step = 0; step < 5; ++step) {
      a.write_grads(s, uint64_t(10 * step));
      b.write_grads(s, uint64_t(10 * step));
      plain->step(a.arena, s, {.step = step, .groups = kGroups});
      const Tensor old = b.arena.values(), next = ring[0];
      const auto before = floats(s, old);
      const Weights seen = b.arena.weights();
      other->step(b.arena, s,
                  {.step = step, .groups = kGroups, .next = next, .forecasts = {{first, 2, kReleased}, {second, 1}}});
      EXPECT_EQ(floats(s, old), before);
      EXPECT_EQ(seen.values.storage(), old.storage());
      EXPECT_EQ(b.arena.values().storage(), next.storage());
      EXPECT_NE(b.arena.weights().version, seen.version);
      EXPECT_EQ(floats(s, next), floats(s, a.arena.values()));
      for (int k = 0; k < a.arena.states(); ++k)
        EXPECT_EQ(floats(s, a.arena.state(s, k)), floats(s, b.arena.state(s, k)));
      ring = {ring[1], old};
    }
  }
}

TEST_P(ForecastsTest, TheSameBitsBetweenTheSteps) {
  const Stream s(device());
  for (const Make& make : all_optimizers())
    for (const Lookahead how : {kDirection, kDecayAware, kReleased}) {
      const OptimizerPtr optimizer = make();
      Net net(s);
      const Tensor fused = like_values(s, net.arena), other = like_values(s, net.arena);
      const Tensor later = like_values(s, net.arena);
      for (int64_t step = 0; step < 3; ++step) {
        net.write_grads(s, uint64_t(10 * step));
        optimizer->step(net.arena, s,
                        {.step = step, .groups = kGroups, .forecasts = {{other, 9, kDirection}, {fused, 3, how}}});
        optimizer->forecast(net.arena, s, step + 1, kGroups, {later, 3, how});
        EXPECT_EQ(floats(s, fused), floats(s, later));
        EXPECT_NE(floats(s, fused), floats(s, other));
        EXPECT_NE(floats(s, fused), floats(s, net.arena.values()));
      }
    }
}

TEST_P(ForecastsTest, ASkippedStepHandsTheOldWeightsOn) {
  const Stream s(device());
  const Tensor bad = Tensor::from<int32_t>(s, std::vector<int32_t>{0}, {1});
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr optimizer = make();
    Net net(s);
    net.write_grads(s, 1);
    optimizer->step(net.arena, s, {.step = 0, .groups = kGroups});
    const auto before = floats(s, net.arena.values());
    std::vector<std::vector<float>> states;
    for (int k = 0; k < net.arena.states(); ++k) states.push_back(floats(s, net.arena.state(s, k)));
    const Tensor next = like_values(s, net.arena), first = like_values(s, net.arena),
                 second = like_values(s, net.arena);
    net.write_grads(s, 2);
    optimizer->step(
        net.arena, s,
        {.step = 1, .groups = kGroups, .finite = bad, .next = next, .forecasts = {{first, 3}, {second, 4}}});
    EXPECT_EQ(net.arena.values().storage(), next.storage());
    for (const Tensor& t : {next, first, second}) EXPECT_EQ(floats(s, t), before);
    for (int k = 0; k < net.arena.states(); ++k) EXPECT_EQ(floats(s, net.arena.state(s, k)), states[size_t(k)]);
  }
}

TEST_P(ForecastsTest, AnUpdateWithForecastsIsTwoLaunchesWithoutWaitsOrMemory) {
  const Stream s(device());
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr optimizer = make();
    Net net(s);
    const Tensor next = like_values(s, net.arena), first = like_values(s, net.arena),
                 second = like_values(s, net.arena), old = net.arena.values();
    const auto step = [&](int64_t at, const Tensor& to) {
      optimizer->step(net.arena, s,
                      {.step = at, .groups = kGroups, .next = to, .forecasts = {{first, 3}, {second, 4}}});
    };
    net.write_grads(s, 0);
    step(0, next);
    optimizer->forecast(net.arena, s, 1, kGroups, {first, 2});
    net.write_grads(s, 1);
    s.sync();
    const StreamStats before = s.stats();
    const int64_t os_calls = s.pool().os_calls(), blocks = s.pool().live_blocks();
    step(1, old);
    EXPECT_EQ(s.stats().launches - before.launches, 2);  // the scalars, the update
    optimizer->forecast(net.arena, s, 2, kGroups, {first, 2});
    EXPECT_EQ(s.stats().launches - before.launches, 4);
    EXPECT_EQ(s.stats().host_waits, before.host_waits);
    EXPECT_EQ(s.pool().os_calls(), os_calls);
    EXPECT_EQ(s.pool().live_blocks(), blocks);
    s.sync();
  }
}

// ---- refusals ----

TEST_P(ForecastsTest, RefusesTargetsThatDoNotFit) {
  const Stream s(device());
  for (const Make& make : all_optimizers()) {
    const OptimizerPtr optimizer = make();
    Net net(s);
    const Tensor to = like_values(s, net.arena), other = like_values(s, net.arena), third = like_values(s, net.arena);
    const Tensor shorter = Tensor::empty(s, {net.arena.values().numel() - 1});
    const Tensor half = Tensor::empty(s, net.arena.values().shape(), DType::kBF16);
    const Tensor values = net.arena.values();
    net.write_grads(s, 0);
    const uint64_t version = net.arena.weights().version;
    const auto step = [&](const Tensor& next, std::vector<Forecast> forecasts) {
      optimizer->step(net.arena, s, {.groups = kGroups, .next = next, .forecasts = std::move(forecasts)});
    };
    EXPECT_THROW(step(shorter, {}), ShapeError);
    EXPECT_THROW(step(half, {}), DTypeError);
    EXPECT_THROW(step(values, {}), ShapeError);
    EXPECT_THROW(step({}, {{shorter, 1}}), ShapeError);
    EXPECT_THROW(step({}, {{half, 1}}), DTypeError);
    EXPECT_THROW(step({}, {{values, 1}}), ShapeError);
    EXPECT_THROW(step({}, {{net.arena.grads(), 1}}), ShapeError);
    EXPECT_THROW(step(to, {{to, 1}}), ShapeError);
    EXPECT_THROW(step({}, {{to, 1}, {to, 2}}), ShapeError);
    EXPECT_THROW(step({}, {{to, -1}}), Error);
    EXPECT_THROW(step({}, {{Tensor(), 1}}), Error);
    EXPECT_THROW(step({}, {{to, 1}, {other, 2}, {third, 3}}), Error);
    EXPECT_THROW(optimizer->forecast(net.arena, s, 1, kGroups, {shorter, 1}), ShapeError);
    EXPECT_THROW(optimizer->forecast(net.arena, s, 1, kGroups, {values, 1}), ShapeError);
    EXPECT_THROW(optimizer->forecast(net.arena, s, 1, kGroups, {to, -1}), Error);
    EXPECT_THROW(optimizer->forecast(net.arena, s, 1, {kGroups[0]}, {to, 1}), ConfigError);
    EXPECT_THROW(net.arena.replace_values(shorter), ShapeError);
    EXPECT_THROW(net.arena.replace_values(half), DTypeError);
    EXPECT_EQ(net.arena.weights().version, version);
    EXPECT_EQ(net.arena.values().storage(), values.storage());
    s.sync();
  }
}

TEST_P(ForecastsTest, RefusesWhatIsNotRemembered) {
  const Stream s(device());
  Net net(s);
  const Tensor to = like_values(s, net.arena);
  Sgd plain({.momentum = 0.0f}), momentum({.momentum = 0.9f, .remember = kDirection});
  Rmsprop rmsprop;
  EXPECT_THROW(rmsprop.forecast(net.arena, s, 1, kGroups, {to, 1}), Error);
  EXPECT_NO_THROW(rmsprop.forecast(net.arena, s, 0, kGroups, {to, 1}));
  EXPECT_THROW(plain.forecast(net.arena, s, 1, kGroups, {to, 1}), Error);
  EXPECT_THROW(momentum.forecast(net.arena, s, 1, kGroups, {to, 1, kReleased}), Error);
  EXPECT_NO_THROW(plain.forecast(net.arena, s, 0, kGroups, {to, 1}));
  EXPECT_NO_THROW(momentum.forecast(net.arena, s, 0, kGroups, {to, 1, kReleased}));
  s.sync();
}

}  // namespace
}  // namespace sluice::forecasts_test
