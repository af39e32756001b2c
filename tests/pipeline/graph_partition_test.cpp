// PipeDream's partitioner against published figures, by trying everything, and on memory.
#include "pipeline/graph_partition.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "engine/error.h"
#include "pipeline/partition.h"

namespace sluice::graph_partition_test {
namespace {

Profile chain_of(const std::vector<double>& forward_ms, const std::vector<double>& backward_ms,
                 const std::vector<double>& activations, const std::vector<double>& parameters) {
  Profile p{{{.id = "node0", .description = "Input0", .activation_bytes = {0}}}, {}};
  for (size_t i = 0; i < forward_ms.size(); ++i) {
    p.nodes.push_back({.id = "node" + std::to_string(i + 1),
                       .description = "Layer",
                       .forward_ms = forward_ms[i],
                       .backward_ms = backward_ms[i],
                       .activation_bytes = {activations[i]},
                       .parameter_bytes = parameters[i]});
    p.edges.emplace_back(i, i + 1);
  }
  return p;
}
std::vector<CutState> golden_chain() {
  return cut_states(chain_of({2, 3, 4, 6, 8, 5}, {4, 6, 8, 12, 16, 10}, {40e6, 30e6, 20e6, 10e6, 5e6, 0.1e6},
                             {1e6, 2e6, 4e6, 10e6, 40e6, 80e6}));
}

/// "(0,3) (3,4)x2": stages as layers from and up to, with their replicas.
std::string text(const GraphPartition& p) {
  std::string out;
  size_t from = 0;
  for (const GraphStage& s : p.stages) {
    out += str(from == 0 ? "" : " ", "(", from, ",", s.last + 1, ")");
    if (s.machines() > 1) out += str("x", s.machines());
    from = s.last + 1;
  }
  return out;
}

// What the published program gives for this chain.
TEST(GraphPartition, IsThePublishedOne) {
  const std::vector<CutState> states = golden_chain();
  const GraphPartition slow = partition_graph(states, {.levels = {{4, 1e9}}, .compression = {}});
  EXPECT_EQ(text(slow), "(0,3) (3,4) (4,5) (5,6)");
  EXPECT_DOUBLE_EQ(slow.seconds, 0.027);
  EXPECT_NEAR(slow.one_machine_seconds / slow.seconds, 3.111, 5e-4);
  EXPECT_NEAR(slow.one_machine_seconds / slow.data_parallel_seconds, 0.679, 5e-4);

  const GraphPartition fast = partition_graph(states, {.levels = {{4, 1e10}}, .compression = {}});
  EXPECT_EQ(text(fast), "(0,4)x2 (4,5) (5,6)");
  EXPECT_DOUBLE_EQ(fast.seconds, 0.0242);
  EXPECT_NEAR(fast.one_machine_seconds / fast.seconds, 3.471, 5e-4);

  const GraphPartition sent = partition_graph(states, {.levels = {{4, 1e9}}, .compression = 1.0});
  EXPECT_EQ(text(sent), "(0,3) (3,4)x2 (4,6)");
  EXPECT_DOUBLE_EQ(sent.seconds, 0.039);

  const GraphPartition levels = partition_graph(states, {.levels = {{2, 1e10}, {2, 1e9}}, .compression = {}});
  EXPECT_EQ(text(levels), "(0,4)x2 (4,5) (5,6)");
  EXPECT_DOUBLE_EQ(levels.seconds, 0.0242);
  EXPECT_EQ(levels.stages[0].replicas, (std::vector<int>{2, 1}));
}

TEST(GraphPartition, WritesTheStagesIntoTheProfile) {
  Profile p = chain_of({1, 1, 4}, {1, 1, 4}, {1, 1, 1}, {1, 1, 1});
  const std::vector<CutState> states = cut_states(p);
  std::vector<CutState> cuts;
  for (const GraphStage& s : partition_graph(states, {.levels = {{2, 1e9}}, .straight = true}).stages)
    cuts.push_back(states[s.last]);
  assign_stages(p, cuts);
  std::vector<int> stages;
  for (const ProfileNode& n : p.nodes) stages.push_back(*n.stage);
  EXPECT_EQ(stages, (std::vector<int>{0, 0, 0, 1}));
}

/// The least seconds over every way to give the layers from `from` on to the machines that are left; communication
/// counts. The slowest stage or cut so far is `worst`; `crossing` entered this stage.
double try_all(const std::vector<CutState>& s, size_t from, int machines, double bandwidth, double worst) {
  if (from == s.size()) return machines == 0 ? worst : INFINITY;
  double best = INFINITY;
  for (size_t last = from; last < s.size(); ++last)
    for (int m = 1; m <= machines; ++m) {
      const double before = from == 0 ? 0 : s[from - 1].seconds, weights = from == 0 ? 0 : s[from - 1].parameters;
      double here = (s[last].seconds - before + 4 * (m - 1) * (s[last].parameters - weights) / (bandwidth * m)) / m;
      // A cut is crossed by all lanes of the stage that ends or begins there; a whole network has none.
      if (from > 0) here = std::max(here, 2 * s[from - 1].crossing / (bandwidth * m));
      if (last + 1 < s.size() && from > 0) here = std::max(here, 2 * s[last].crossing / (bandwidth * m));
      best = std::min(best, try_all(s, last + 1, machines - m, bandwidth, std::max(worst, here)));
    }
  return best;
}

TEST(GraphPartition, IsTheBestOfAllOnRandomChains) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> draw(0.1, 10);
  for (int turn = 0; turn < 30; ++turn) {
    std::vector<double> forward(6), backward(6), activations(6), parameters(6);
    for (size_t i = 0; i < 6; ++i) {
      forward[i] = draw(random);
      backward[i] = 2 * draw(random);
      activations[i] = 1e6 * draw(random);
      parameters[i] = 1e6 * draw(random);
    }
    const std::vector<CutState> states = cut_states(chain_of(forward, backward, activations, parameters));
    const double bandwidth = 1e9 * draw(random);
    EXPECT_DOUBLE_EQ(partition_graph(states, {.levels = {{4, bandwidth}}}).seconds, try_all(states, 0, 4, bandwidth, 0))
        << turn;
  }
}

TEST(GraphPartition, KeepsWithinTheMemory) {
  // Two machines. A stage before another keeps two micro-batches' activations and versions, the last one keeps one.
  const Profile p = chain_of({1, 1, 1, 1}, {1, 1, 1, 1}, {30, 10, 10, 10}, {10, 10, 10, 10});
  const std::vector<CutState> states = cut_states(p);
  PartitionOptions o{.levels = {{2, 1e12}}, .compression = 1.0, .memory = 140, .straight = true};
  EXPECT_EQ(text(partition_graph(states, o)), "(0,2) (2,4)");  // 2 x (40 + 20) before, 40 behind
  o.memory = 119;
  EXPECT_EQ(text(partition_graph(states, o)), "(0,1) (1,4)");  // 2 x (30 + 10), 60
  o.memory = 79;
  EXPECT_THROW(partition_graph(states, o), ScheduleError);
}

TEST(GraphPartition, MayLeaveMachinesWithoutWork) {
  const std::vector<CutState> states = cut_states(chain_of({1, 1}, {1, 1}, {1e9, 0}, {1, 1}));
  PartitionOptions o{.levels = {{3, 1e9}}, .straight = true};
  EXPECT_THROW(partition_graph(states, o), ScheduleError);  // three stages of two layers
  o.fewer_machines = true;
  EXPECT_EQ(text(partition_graph(states, o)), "(0,2)");  // a cut would take 2 s
  EXPECT_THROW(partition_graph(states, {.levels = {{0, 1e9}}}), ConfigError);
  EXPECT_THROW(partition_graph(states, {.levels = {{2, 0}}}), ConfigError);
  EXPECT_THROW(partition_graph(states, {.levels = {}}), ConfigError);
}

TEST(BlockPartition, LargestIsWithinOneElementOfTheSmallest) {
  EXPECT_EQ(partition_blocks({1, 2, 3, 4, 5, 6}, 2).placement, (Placement{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(partition_blocks({1, 1, 1, 1, 1, 1}, 3).placement, (Placement{0, 0, 1, 1, 2, 2}));
  std::mt19937 random(3);
  for (int turn = 0; turn < 200; ++turn) {
    const int workers = 1 + int(random() % 6);
    std::vector<double> costs(size_t(workers) + random() % 20);
    for (double& c : costs) c = double(1 + random() % 100);
    const Partition p = partition_blocks(costs, workers);
    ASSERT_EQ(p.placement.size(), costs.size());
    std::vector<double> loads(size_t(workers), 0.0);
    for (size_t i = 0; i < costs.size(); ++i) {
      EXPECT_TRUE(i == 0 || p.placement[i] == p.placement[i - 1] || p.placement[i] == p.placement[i - 1] + 1);
      loads[size_t(p.placement[i])] += costs[i];
    }
    const double largest = *std::max_element(loads.begin(), loads.end());
    EXPECT_EQ(p.largest_load, largest);
    EXPECT_LE(largest, *std::min_element(loads.begin(), loads.end()) + *std::max_element(costs.begin(), costs.end()));
  }
  EXPECT_THROW(partition_blocks({1}, 2), ScheduleError);
}

}  // namespace
}  // namespace sluice::graph_partition_test
