// Profiles as text, and the cuts of their graphs.
#include "pipeline/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "pipeline/graph_states.h"

namespace sluice::profile_test {
namespace {

/// A node that takes 1 ms there and 2 ms back, gives `activations` bytes and has 10 bytes of parameters.
ProfileNode node(int number, double activations = 100, const std::string& description = "Layer") {
  return {.id = "node" + std::to_string(number),
          .description = description,
          .forward_ms = 1,
          .backward_ms = 2,
          .activation_bytes = {activations},
          .parameter_bytes = 10};
}
Profile graph(int nodes, std::vector<std::pair<size_t, size_t>> edges) {
  Profile p;
  for (int i = 0; i < nodes; ++i) p.nodes.push_back(node(i));
  p.edges = std::move(edges);
  return p;
}
std::vector<std::vector<int>> nodes_before(const std::vector<CutState>& states) {
  std::vector<std::vector<int>> all;
  for (const CutState& s : states) {
    all.emplace_back();
    for (size_t i = 0; i < s.before.size(); ++i)
      if (s.before[i]) all.back().push_back(int(i));
  }
  return all;
}
using Sets = std::vector<std::vector<int>>;

std::string refusal(const std::string& text) {
  try {
    parse_profile(text, "p.txt");
  } catch (const DataError& e) {
    return e.what();
  }
  return "accepted";
}
constexpr const char* kFields =
    " -- forward_compute_time=1.5, backward_compute_time=2.25, activation_size=4096.0, parameter_size=12.0";

TEST(Profile, IsReadAsThePublishedProfilerWritesIt) {
  const Profile p = parse_profile(
      "node1 -- Input0 -- forward_compute_time=0.000, backward_compute_time=0.000, activation_size=0.0, "
      "parameter_size=0.000\n"
      "node4 -- Conv2d(3, 64, kernel_size=(3, 3)) -- forward_compute_time=0.073, backward_compute_time=6.949, "
      "activation_size=1644167168.0, parameter_size=7168.000 -- stage_id=2\n"
      "node5 -- LSTM(1024, 1024) -- forward_compute_time=3.190, backward_compute_time=5.348, "
      "activation_size=[6553600.0; 131072.0], parameter_size=33587200.000\n"
      "\tnode1 -- node4\n"
      "\tnode4 -- node5\n",
      "p.txt");
  ASSERT_EQ(p.nodes.size(), 3u);
  EXPECT_TRUE(p.nodes[0].is_input());
  EXPECT_EQ(p.nodes[1].description, "Conv2d(3, 64, kernel_size=(3, 3))");
  EXPECT_EQ(p.nodes[1].backward_ms, 6.949);
  EXPECT_EQ(p.nodes[1].stage, 2);
  EXPECT_EQ(p.nodes[2].activation_bytes, (std::vector<double>{6553600, 131072}));
  EXPECT_EQ(p.nodes[2].activations(), 6684672);
  EXPECT_EQ(p.edges, (std::vector<std::pair<size_t, size_t>>{{0, 1}, {1, 2}}));
  EXPECT_EQ(parse_profile(to_text(p), "again"), p);
}

TEST(Profile, RefusesWithTheLineAndWhatWasExpected) {
  using testing::HasSubstr;
  const std::string a = str("node1 -- A", kFields, "\n");
  EXPECT_THAT(refusal(""), HasSubstr("p.txt: no node"));
  EXPECT_THAT(refusal(a + "node2 -- B\n"), HasSubstr("p.txt, line 2: expected 'nodeK -- description"));
  EXPECT_THAT(refusal(a + a), HasSubstr("line 2: 'node1' is named twice"));
  EXPECT_THAT(refusal(a + "\n\tnode1 -- node7\n"), HasSubstr("line 3: edge of 'node7', which no line before names"));
  EXPECT_THAT(refusal(a + "\tnode1\n"), HasSubstr("line 2: 'node1', expected an edge"));
  EXPECT_THAT(refusal("node1 -- A -- forward_compute_time=x, backward_compute_time=1, activation_size=1, "
                      "parameter_size=1\n"),
              HasSubstr("line 1: forward_compute_time='x', expected a number from 0 on"));
  EXPECT_THAT(refusal("node1 -- A -- forward_compute_time=1, activation_size=1, parameter_size=1\n"),
              HasSubstr("line 1: no backward_compute_time"));
  EXPECT_THAT(refusal("node1 -- A -- forward_compute_time=1, backward_compute_time=-1, activation_size=1, "
                      "parameter_size=1\n"),
              HasSubstr("backward_compute_time='-1'"));
  EXPECT_THAT(refusal("node1 -- A -- forward_compute_time=1, backward_compute_time=1, activation_size=[1; 2, "
                      "parameter_size=1\n"),
              HasSubstr("activation_size='[1; 2', expected a list"));
  EXPECT_THAT(refusal(str("node1 -- A", kFields, " -- stage=1\n")), HasSubstr("'stage=1', expected stage_id=K"));
}

TEST(CutStates, AChainIsCutBehindEveryNode) {
  const std::vector<CutState> states = cut_states(graph(3, {{0, 1}, {1, 2}}));
  EXPECT_EQ(nodes_before(states), (Sets{{0}, {0, 1}, {0, 1, 2}}));
  EXPECT_DOUBLE_EQ(states[1].seconds, 0.006);
  EXPECT_EQ(states[1].activations, 200);
  EXPECT_EQ(states[1].parameters, 20);
  EXPECT_EQ(states[1].crossing, 100);
  EXPECT_EQ(states[2].crossing, 0);
}

TEST(CutStates, BranchesAreCutInEveryCombination) {
  // 0 -> {1 -> 2, 3} -> 4, and a skip from 0 to 4.
  const std::vector<CutState> states = cut_states(graph(5, {{0, 1}, {1, 2}, {0, 3}, {2, 4}, {3, 4}, {0, 4}}));
  EXPECT_EQ(nodes_before(states), (Sets{{0}, {0, 1}, {0, 3}, {0, 1, 2}, {0, 1, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}}));
  EXPECT_EQ(states[1].crossing, 200);  // 1, and 0 for the skip and for 3
  EXPECT_EQ(states[5].crossing, 300);  // 2, 3 and the skip
  EXPECT_FALSE(states[2].contains(states[1]));
  EXPECT_TRUE(states[4].contains(states[1]));
}

TEST(CutStates, InputsAndItemsThatNobodyReadsAreLeftOut) {
  Profile p = graph(4, {{0, 1}, {1, 2}, {1, 3}});
  p.nodes[0].description = "Input0";
  p.nodes[2].description = "__getitem__(1)";
  std::vector<CutState> states = cut_states(p);
  EXPECT_EQ(nodes_before(states), (Sets{{1}, {1, 3}}));
  assign_stages(p, states);
  EXPECT_EQ(p.nodes[0].stage, 0);
  EXPECT_EQ(p.nodes[1].stage, 0);
  EXPECT_EQ(p.nodes[2].stage, 0);
  EXPECT_EQ(p.nodes[3].stage, 1);
}

TEST(CutStates, GrowNoFasterThanTheNetworkWhereBranchesAreMany) {
  // 40 blocks of 8 branches of 5 nodes, each between a fork and a join: 6^8 combinations a block.
  constexpr size_t kBlocks = 40, kBranches = 8, kLength = 5, kBlock = kBranches * kLength + 1;
  Profile p = graph(1 + int(kBlocks * kBlock), {});
  for (size_t b = 0; b < kBlocks; ++b) {
    const size_t fork = b * kBlock, join = fork + kBlock;
    for (size_t branch = 0; branch < kBranches; ++branch)
      for (size_t i = 0; i <= kLength; ++i) {
        const size_t first = fork + 1 + branch * kLength;
        p.edges.emplace_back(i == 0 ? fork : first + i - 1, i == kLength ? join : first + i);
      }
  }
  const std::vector<CutState> states = cut_states(p);
  ASSERT_EQ(states.size(), p.nodes.size());
  for (size_t i = 1; i < states.size(); ++i) EXPECT_TRUE(states[i].contains(states[i - 1]));
  EXPECT_EQ(states[kBlock].crossing, 100);  // behind the first join
  EXPECT_EQ(states[7].crossing, 300);       // fork, the end of the first branch, and two nodes of the second
}

TEST(CutStates, DenselyConnectedNetworksAreChains) {
  Profile p = graph(60, {});
  for (size_t to = 1; to < 60; ++to)
    for (size_t from = 0; from < to; ++from) p.edges.emplace_back(from, to);
  const std::vector<CutState> states = cut_states(p);
  ASSERT_EQ(states.size(), 60u);
  EXPECT_EQ(states[29].crossing, 3000);
}

TEST(CutStates, RefusesACycle) {
  EXPECT_THROW(cut_states(graph(3, {{0, 1}, {1, 2}, {2, 1}})), DataError);
  Profile p = graph(1, {});
  p.nodes[0].description = "Input";
  EXPECT_THROW(cut_states(p), DataError);
}

}  // namespace
}  // namespace sluice::profile_test
