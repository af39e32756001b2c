// Stages that keep their inputs and run again: the same weights where they read forward's, the gradient of one version
// where they read backward's, and the memory that it takes.
#include "pipeline/recompute_stages.h"

#include <map>
#include <mutex>

#include "pipeline/byte_count.h"
#include "pipeline/simulate.h"
#include "pipeline/transfers.h"
#include "tests/pipeline/asynchronous_chain.h"

namespace sluice::test::recompute_stages_test {
namespace {

using namespace asynchronous_test;
using testing::HasSubstr;

std::string refusal(const std::string& plan, const std::vector<int>& stages) {
  try {
    Wiring w;
    const Plan again = add_recompute(parse(plan), stages);
    w.stages = int(placement_of(again).size());
    w.edges = chain(w.stages);
    validate(add_transfers(again, w), w);
  } catch (const ScheduleError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(AddRecompute, PutsThemBeforeTheBackwardsOfTheStages) {
  EXPECT_EQ(to_text(add_recompute(parse("| F0.0 F0.1 B0.0 W0.0 D0.1 U0 * 2 |\n| F1.0 D1.0 F1.1 D1.1 U1 * 2 |\n"), {0})),
            "| F0.0 F0.1 R0.0 B0.0 W0.0 R0.1 D0.1 U0 * 2 |\n| F1.0 D1.0 F1.1 D1.1 U1 * 2 |\n");
}

TEST(AddRecompute, RefusesWhatCannotBe) {
  const std::string plain = "| F0.0 D0.0 U0 * 1 |\n", recomputed = "| F0.0 R0.0 D0.0 U0 * 1 |\n";
  EXPECT_EQ(refusal(plain, {0}), "accepted");
  EXPECT_THAT(refusal(plain, {1}), HasSubstr("no stage 1, the plan has 1: 0 to 0"));
  EXPECT_THAT(refusal(recomputed, {0}), HasSubstr("R0.0: the plan recomputes stage 0 already"));
  EXPECT_THAT(refusal("| R0.0 F0.0 D0.0 U0 * 1 |\n", {}), HasSubstr("R0.0: can never run: its forward has not run"));
  EXPECT_THAT(refusal("| F0.0 D0.0 R0.0 U0 * 1 |\n", {}), HasSubstr("D0.0: can never run: it is not recomputed yet"));
  EXPECT_THAT(refusal("| F0.0 D0.0 F0.1 R0.1 D0.1 U0 * 2 |\n", {}), HasSubstr("R0.0: missing from the program"));
}

class RecomputedStages : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, RecomputedStages, testing::ValuesIn(test_places()), place_label);

/// Dropout draws the same numbers, and running statistics are updated once.
TEST_P(RecomputedStages, GiveTheWeightsOfThoseThatKeepAll) {
  struct Row {
    const char *schedule, *rule;
    Placement placement;
  };
  const Row rows[] = {{"one_device", "backprop", {0, 0, 0, 0}},    {"gpipe", "backprop", {0, 1, 2, 3}},
                      {"one_f_one_b", "backprop", {0, 1, 2, 3}},   {"interleaved", "backprop", {0, 1, 0, 1}},
                      {"zb_h1", "backprop", {0, 1, 2, 3}},         {"zb_v", "backprop", {0, 1, 1, 0}},
                      {"async_1f1b", "pipeoptim", {0, 1, 2, 3}},   {"async_1f1b", "pipedream", {0, 1, 2, 3}},
                      {"async_1f1b", "spectrain", {0, 1, 2, 3}},   {"async_1f1b", "xpipe", {0, 1, 2, 3}},
                      {"associated_m", "associated", {0, 1, 2, 3}}};
  for (const Row& r : rows) {
    SCOPED_TRACE(testing::Message() << r.schedule << " with " << r.rule);
    const auto trained = [&](const std::vector<int>& recomputed) {
      const NetOptions options =
          net({.stages = 4, .local_losses = std::string(r.rule) == "associated", .rule = r.rule});
      Trained t = make_trained(make_nets(options), {.rule = r.rule,
                                                    .schedule = r.schedule,
                                                    .placement = r.placement,
                                                    .mbs = 4,
                                                    .where = options.where,
                                                    .recomputed = recomputed});
      execute(t.pipeline, run_options(5));
      return t.weights();
    };
    const auto all_kept = trained({});
    EXPECT_EQ(trained({0, 1, 2, 3}), all_kept);
    EXPECT_EQ(trained({0, 2}), all_kept);
  }
}

/// GPipe: m times the inputs, less those of the micro-batch whose activations are there again.
TEST_P(RecomputedStages, KeepTheirInputsAlone) {
  constexpr int kMbs = 6;
  const NetOptions options = net({.stages = 3, .rows = 64});
  const ByteCount count = count_bytes(make_nets(options), make_feed(-1, 0, options.rows), true, 2);
  const CostModel costs{{1}, {1}, {1}, {}, {}, count.edges, count.bytes};
  Trained t = make_trained(
      make_nets(options),
      {.schedule = "gpipe", .placement = one_each(3), .mbs = kMbs, .where = options.where, .recomputed = {0, 1, 2}});
  RunOptions run = run_options(3, options.rows);
  execute_serial(t.pipeline, run);
  const Timeline paper = simulate(validate(t.pipeline.plan, t.pipeline.wiring, 3 * kMbs), costs);
  for (size_t s = 0; s < 3; ++s) {
    const StageBytes& b = count.bytes[s];
    EXPECT_LT(b.inputs, b.activations / 2);
    EXPECT_EQ(paper.bytes[s].activations, (kMbs - 1) * b.inputs + b.activations);
    EXPECT_EQ(t.pipeline.stages[s]->ledger.peak(), paper.bytes[s].activations);
    EXPECT_EQ(t.pipeline.stages[s]->ledger.bytes(), 0);
  }
}

TEST_P(RecomputedStages, OnBackwardsWeightsGiveTheGradientOfOneVersion) {
  for (const Kind kind : {Kind::kSgd, Kind::kAdamW})
    for (const std::string& rule : kRules)
      for (const std::vector<int>& stages : {std::vector<int>{0, 1, 2, 3}, std::vector<int>{1}}) {
        SCOPED_TRACE(testing::Message() << rule << ", optimizer " << int(kind) << ", " << stages.size() << " stages");
        const Case setup{.rule = rule,
                         .mbs = rule == "2bw" ? 4 : 1,
                         .kind = kind,
                         .recomputed = stages,
                         .recompute = Pass::kBackward};
        Chain chain = make_chain(setup, GetParam());
        Reference reference(setup, weights_of(chain));
        execute(chain.pipeline, chain_run(12));
        const std::vector<Row> expected = reference.train(12), got = weights_of(chain);
        for (size_t s = 0; s < got.size(); ++s) expect_close(got[s], expected[s], kind == Kind::kSgd ? 2e-5 : 2e-4);
      }
}

/// The reference tells the two apart, where forward and backward read different weights.
TEST(RecomputedReference, ThePassMatters) {
  const Case plain{.rule = "naive", .mbs = 1, .kind = Kind::kSgd};
  Case again = plain;
  again.recomputed = {0, 1, 2, 3};
  again.recompute = Pass::kBackward;
  const auto initial = weights_of(make_chain(plain));
  EXPECT_GT(normalised_error(Reference(plain, initial).train(12)[0], Reference(again, initial).train(12)[0]), 1e-3);
}

/// Forward's weights, which PipeOptim foretold, are kept: one more for every update in between.
TEST(RecomputedVersions, AreThoseOfThePassThatIsNamed) {
  for (const Pass pass : {Pass::kForward, Pass::kBackward})
    for (const std::string& rule : kRules) {
      SCOPED_TRACE(testing::Message() << rule << ", pass " << int(pass));
      Chain chain =
          make_chain({.rule = rule, .mbs = rule == "2bw" ? 4 : 1, .recomputed = {0, 1, 2, 3}, .recompute = pass});
      RunOptions o = chain_run(9);
      std::mutex mutex;
      std::map<std::pair<int, int64_t>, std::map<Do, uint64_t>> versions;  // by stage and micro-batch
      o.on_weights = [&](const Action& a, const WeightRead&, const Weights& w) {
        const std::lock_guard lock(mutex);
        versions[{a.stage, a.mb}][a.what] = w.version;
      };
      execute(chain.pipeline, o);
      for (auto& entry : versions)
        EXPECT_EQ(entry.second[Do::kRecompute], entry.second[pass == Pass::kForward ? Do::kForward : Do::kBackward]);
      for (int r = 0; r < 4; ++r) {
        const Report& report = chain.pipeline.report;
        EXPECT_EQ(chain.pipeline.stages[size_t(r)]->versions.copies(),
                  report.versions_held[size_t(r)] + report.forecasts_held[size_t(r)].count());
        if (rule != "pipeoptim") continue;
        const int behind = 3 - r, foretold = behind == 0 ? 0 : pass == Pass::kForward ? behind + 1 : 1;
        EXPECT_EQ(report.forecasts_held[size_t(r)], (Foretold{.forward = foretold}));
      }
    }
}

}  // namespace
}  // namespace sluice::test::recompute_stages_test
