// Plans on paper with unequal costs, links and bytes.
#include "pipeline/simulate.h"

#include <gtest/gtest.h>

#include <random>

#include "pipeline/schedules.h"
#include "pipeline/transfers.h"

namespace sluice::simulate_test {
namespace {

Wiring backprop_chain(int stages) {
  Wiring w;
  w.stages = stages;
  w.edges = chain(stages);
  return w;
}

/// The bubble of one step over 4 workers and 12 micro-batches that take 10, 12 and 8.
double unequal_bubble(const Plan& compute, const CostModel& costs) {
  const Wiring w = backprop_chain(4);
  return simulate(add_transfers(compute, w), w, costs, 12).bubble(0);
}
TEST(Simulation, ZeroBubbleGoesByTheCosts) {
  const CostModel costs{{10}, {12}, {8}, {}};
  EXPECT_EQ(unequal_bubble(one_f_one_b(one_each(4), 12), costs), 3 * (10 + 12 + 8));
  EXPECT_EQ(unequal_bubble(zb_h1_for(one_each(4), 12, costs), costs), 3 * (10 + 12 - 8));      // the formulas
  EXPECT_EQ(unequal_bubble(zb_h2_for(one_each(4), 12, costs), costs), 3 * (10 + 12 - 2 * 8));  //
  EXPECT_GT(unequal_bubble(zb_h1(one_each(4), 12), costs), 3 * (10 + 12 - 8));                 // made for equal times
  // Twice 1F1B's activations on every worker, where the published heuristic is left with 6.
  EXPECT_EQ(unequal_bubble(zero_bubble(one_each(4), 12, costs, {16, 16, 16, 16}), costs), 12);
  EXPECT_EQ(zb_h1_for(one_each(4), 12, {{5}, {5}, {5}, {}}), zb_h1(one_each(4), 12));
  // The V's too, whose chunks are half a worker's stages.
  const Placement v{0, 1, 2, 3, 3, 2, 1, 0};
  const CostModel halves{{5}, {6}, {4}, {}};
  const auto v_bubble = [&](const Plan& compute) {
    const Wiring w = backprop_chain(8);
    return simulate(add_transfers(compute, w), w, halves, 12).bubble(0);
  };
  EXPECT_EQ(v_bubble(zb_v(v, 12)), 55);
  EXPECT_EQ(v_bubble(zb_v_for(v, 12, halves)), 18);
  EXPECT_LE(v_bubble(v_half_for(v, 12, halves)), v_bubble(v_half(v, 12)));
  EXPECT_LE(v_bubble(v_min_for(v, 12, halves)), v_bubble(v_min(v, 12)));
  EXPECT_THROW(zero_bubble(one_each(2), 4, costs, {2, 1}), ScheduleError);
  EXPECT_THROW(zero_bubble(one_each(2), 4, costs, {4}), ScheduleError);
}

/// Forwards that come early by their costs may take the memory that those they wait for need: such an order is dropped.
TEST(ZeroBubbleOfUnequalCosts, IsAPlanForAnyCostsAndNoSlowerThanTheOneForEqualCosts) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> seconds(0.2, 3);
  for (int trial = 0; trial < 60; ++trial) {
    const int workers = 2 + trial % 5, mbs = 1 + trial % 13;
    Placement v = one_each(workers);
    for (int w = workers; w-- > 0;) v.push_back(w);
    CostModel costs{{}, {}, {}, {}};
    for (size_t s = 0; s < v.size(); ++s)
      for (std::vector<double>* times : {&costs.forward, &costs.backward_input, &costs.backward_weight})
        times->push_back(seconds(random));
    for (const PlanSchedule& schedule : schedules()) {
      if (schedule.make_for == nullptr) continue;
      const bool on_v = schedule.name != std::string("zb_h1") && schedule.name != std::string("zb_h2");
      const Placement placement = on_v ? v : one_each(workers);
      Wiring w;
      w.stages = int(placement.size());
      w.edges = chain(w.stages);
      const auto longest = [&](const Plan& plan) {
        return simulate(add_transfers(plan, w), w, costs, mbs).longest_stage_time();
      };
      EXPECT_LE(longest(schedule.make_for(placement, mbs, costs)), longest(schedule.make(placement, mbs)) * (1 + 1e-9))
          << schedule.name << ", " << workers << " workers, " << mbs << " micro-batches";
    }
  }
}

TEST(Simulation, ParcelsOfOneWayGoOneAfterAnother) {
  const Wiring w = backprop_chain(2);
  CostModel costs{.forward = {1},
                  .backward_input = {1},
                  .backward_weight = {},
                  .update = {},
                  .link = {.latency = 1, .bandwidth = 10},
                  .edges = {{.from = 0, .to = 1, .activations = 20, .gradients = 10}}};
  const Plan plan = add_transfers(gpipe(one_each(2), 2), w);
  EXPECT_EQ(picture(simulate(plan, w, costs, 2)),
            "F0.0 F0.1 .    .    .    .    .    .    .    .    D0.0 D0.1\n"
            ".    .    .    .    F1.0 .    F1.1 D1.0 D1.1 .    .    .\n");
  costs.link.holds_sender = true;
  const Timeline held = simulate(plan, w, costs, 2);
  EXPECT_EQ(picture(held),
            "F0.0   s0.0>1 s0.0>1 F0.1   s0.1>1 s0.1>1 .      .      .      .      .      D0.0   .      D0.1\n"
            ".      .      .      .      F1.0   .      .      F1.1   D1.0   s1.0>0 D1.1   s1.1>0 .      .\n");
}

TEST(Simulation, CountsTheBytesOfEachWorker) {
  const Wiring w = backprop_chain(2);
  const StageBytes first{.weights = 1, .gradients = 2, .optimizer = 3, .activations = 100, .deferred = 30};
  const StageBytes second{.weights = 10, .gradients = 20, .optimizer = 30, .activations = 1000};
  const CostModel costs{.forward = {1},
                        .backward_input = {1},
                        .backward_weight = {1},
                        .update = {},
                        .edges = {{.from = 0, .to = 1, .activations = 7, .gradients = 5}},
                        .bytes = {first, second}};
  const Timeline t = simulate(add_transfers(gpipe(one_each(2), 3), w), w, costs, 3);
  EXPECT_EQ(t.bytes[0].activations, 300);
  EXPECT_EQ(t.bytes[1].activations, 3000);
  EXPECT_EQ(t.bytes[0].parcels, 2 * 5);  // gradients: one that is read and one that is written
  EXPECT_EQ(t.bytes[1].parcels, 3 * 7);  // never more than there are micro-batches
  EXPECT_EQ(t.bytes[0].peak(), 1 + 2 + 3 + 10 + 300);
  EXPECT_EQ(t.bytes[1].peak(), 10 + 20 + 30 + 21 + 3000);
  // F0 F1 B0 W0 ...: the input half leaves 30 of 100.
  const Timeline split = simulate(add_transfers(zb_h1(one_each(2), 3), w), w, costs, 3);
  EXPECT_EQ(split.bytes[0].activations, 200);
  const Plan late = parse("| F0.0 F1.0 B1.0 B0.0 F0.1 F1.1 B1.1 B0.1 W1.0 W0.0 W1.1 W0.1 U0 U1 * 2 |");
  EXPECT_EQ(simulate(late, w, costs, 2).bytes[0].activations, 30 + 1100);
}

TEST(Simulation, CountsTheWeightsThatARuleKeeps) {
  Wiring w = backprop_chain(3);
  w.synchronous = false;
  w.backward = forward_weights;
  const CostModel costs{
      .forward = {1}, .backward_input = {1}, .backward_weight = {1}, .update = {}, .bytes = {{.weights = 100}}};
  const Timeline t = simulate(add_transfers(async_1f1b(one_each(3), 1), w), w, costs);
  for (size_t worker = 0; worker < 3; ++worker) EXPECT_EQ(t.bytes[worker].stash, 100 * (2 - int64_t(worker)));
}

}  // namespace
}  // namespace sluice::simulate_test
