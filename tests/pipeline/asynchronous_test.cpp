// Asynchronous rules against closed forms: which weights every pass reads, what they are foretold to be, and what comes
// of it, recomputed in double from the definitions; the memory that it takes, and that every run is the same run.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>

#include "tests/pipeline/asynchronous_chain.h"
#include "tests/support/support.h"

namespace sluice::test::asynchronous_test {
namespace {

class Asynchronous : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Asynchronous, testing::ValuesIn(test_places()), place_label);

TEST_P(Asynchronous, EveryRuleGivesTheWeightsOfItsDefinition) {
  for (const Kind kind : {Kind::kSgd, Kind::kAdam, Kind::kAdamW})
    for (const std::string& rule : kRules)
      for (const int mbs : step_sizes(rule)) {
        SCOPED_TRACE(testing::Message() << rule << ", " << mbs << " micro-batches, optimizer " << int(kind));
        const Case setup{.rule = rule, .mbs = mbs, .kind = kind};
        Chain chain = make_chain(setup, GetParam());
        Reference reference(setup, weights_of(chain));
        execute(chain.pipeline, chain_run(12));
        const std::vector<Row> expected = reference.train(12), got = weights_of(chain);
        for (size_t s = 0; s < got.size(); ++s) expect_close(got[s], expected[s], kind == Kind::kSgd ? 2e-5 : 2e-4);
      }
}

/// The reference tells the rules apart by far more than the bound above.
TEST(AsynchronousReference, RulesDiffer) {
  std::map<std::string, Row> first;
  const Chain chain = make_chain({.rule = "naive"});
  for (const std::string& rule : kRules)
    first[rule] =
        Reference({.rule = rule, .mbs = rule == "2bw" ? 4 : 1, .kind = Kind::kAdamW}, weights_of(chain)).train(12)[0];
  for (const auto& a : first)
    for (const auto& b : first)
      if (a.first < b.first && !(a.first == "pipeoptim" && b.first == "pipeoptim_paper")) {  // differ in a refill alone
        EXPECT_GT(normalised_error(a.second, b.second), 1e-3) << a.first << " and " << b.first;
      }
}

TEST(AsynchronousVersions, EveryPassReadsWhatTheRuleSays) {
  for (const std::string& rule : kRules)
    for (const int mbs : step_sizes(rule)) {
      SCOPED_TRACE(testing::Message() << rule << ", " << mbs << " micro-batches");
      Chain chain = make_chain({.rule = rule, .mbs = mbs});
      RunOptions o = chain_run(9);
      std::mutex mutex;
      std::map<std::tuple<int, int64_t, int64_t>, std::set<uint64_t>> ids;  // by stage and what was read
      int64_t passes = 0;
      o.on_weights = [&](const Action& a, const WeightRead& read, const Weights& w) {
        const std::lock_guard lock(mutex);
        const Expected e = reads(rule, a.mb, a.stage, 4, mbs);
        const Reads& expected = a.what == Do::kForward ? e.forward : e.backward;
        EXPECT_EQ(read.version, expected.version) << to_text(a);
        EXPECT_EQ(read.ahead, expected.ahead) << to_text(a);
        ids[{a.stage, read.version, read.ahead}].insert(w.version);
        ++passes;
      };
      execute(chain.pipeline, o);
      EXPECT_EQ(passes, 2 * 4 * 9 * mbs);
      std::set<uint64_t> all;
      for (const auto& entry : ids) {
        EXPECT_LE(entry.second.size(), rule == "spectrain" || rule == "xpipe" ? 2u : 1u);  // a buffer for each pass
        all.insert(entry.second.begin(), entry.second.end());
      }
      size_t ids_in_all = 0;
      for (const auto& entry : ids) ids_in_all += entry.second.size();
      EXPECT_EQ(all.size(), ids_in_all);  // never one id for two contents
    }
}

TEST(AsynchronousVersions, TakeTheMemoryOfTheFormula) {
  struct Copies {
    const char* rule;
    int (*weights)(int s, int p);  // s: updates that a stage is behind
  };
  const Copies cases[] = {{"naive", [](int, int) { return 1; }},
                          {"pipedream", [](int s, int) { return s + 1; }},
                          {"pipedream_vertical", [](int, int p) { return p; }},
                          {"2bw", [](int, int) { return 2; }},
                          {"pipeoptim", [](int s, int) { return s == 0 ? 1 : 2; }},
                          {"pipeoptim_paper", [](int s, int) { return s == 0 ? 1 : 2; }},
                          {"pipeoptim_released", [](int, int) { return 2; }}};
  for (const Copies& c : cases) {
    Chain chain = make_chain({.rule = c.rule, .mbs = std::string(c.rule) == "2bw" ? 4 : 1});
    execute(chain.pipeline, chain_run(10));
    execute(chain.pipeline, chain_run(6, /*first_step=*/10));
    for (int r = 0; r < 4; ++r) {
      SCOPED_TRACE(testing::Message() << c.rule << ", stage " << r);
      const Stage& s = *chain.pipeline.stages[size_t(r)];
      const Pool& pool = s.stream.pool();
      const int64_t copy = pool.in_use(MemoryTag::kGrads), copies = c.weights(3 - r, 4);
      EXPECT_LE(s.arena.values().bytes(), copy);  // sanitizers have zones round each block
      EXPECT_EQ(
          chain.pipeline.report.versions_held[size_t(r)] + chain.pipeline.report.forecasts_held[size_t(r)].count(),
          copies);
      EXPECT_EQ(s.versions.copies(), copies);
      EXPECT_EQ(pool.in_use(MemoryTag::kStash), (copies - 1) * copy);
      EXPECT_EQ(pool.peak(MemoryTag::kStash), (copies - 1) * copy);
    }
    EXPECT_EQ(chain.pipeline.report.live_peak, (std::vector<int>{4, 3, 2, 1}));
  }
}

TEST_P(Asynchronous, OneStageIsThePlainOptimizer) {
  for (const Kind kind : {Kind::kSgd, Kind::kAdamW}) {
    Chain plain = make_chain({.rule = "backprop", .stages = 1, .kind = kind, .schedule = "one_device"}, GetParam());
    execute(plain.pipeline, chain_run(6));
    for (const char* rule :
         {"naive", "pipedream", "pipedream_vertical", "spectrain", "pipeoptim", "pipeoptim_paper", "pipeoptim_decay"}) {
      Chain chain = make_chain({.rule = rule, .stages = 1, .kind = kind}, GetParam());
      execute(chain.pipeline, chain_run(6));
      EXPECT_EQ(weights_of(chain), weights_of(plain)) << rule;
    }
  }
}

/// W(t+1) = W(t) - lr f'(W(t-1)) whatever the number of stages.
TEST(Asynchronous2bw, IsDelayedByOneStepOnEveryDepth) {
  for (const int stages : {1, 2, 3}) {
    const Case setup{.rule = "2bw", .stages = stages, .mbs = 3};
    Chain chain = make_chain(setup);
    Reference reference(setup, weights_of(chain));
    execute(chain.pipeline, chain_run(10));
    const std::vector<Row> expected = reference.train(10), got = weights_of(chain);
    for (size_t s = 0; s < got.size(); ++s) expect_close(got[s], expected[s], 2e-5);
  }
}

TEST(Asynchronous2bw, RefusesFewerMicroBatchesThanTheDelayNeeds) {
  try {
    make_chain({.rule = "2bw", .mbs = 1});
    FAIL() << "accepted";
  } catch (const ScheduleError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("it reads weights of"));
  }
}

TEST_P(Asynchronous, TheSerialOrderAndThreadsGiveTheSameWeights) {
  for (const std::string& rule : kRules) {
    const Case setup{.rule = rule, .mbs = rule == "2bw" ? 4 : 2, .kind = Kind::kAdam};
    Chain threads = make_chain(setup, GetParam()), serial = make_chain(setup, GetParam());
    execute(threads.pipeline, chain_run(7));
    execute_serial(serial.pipeline, chain_run(7));
    EXPECT_EQ(weights_of(threads), weights_of(serial)) << rule;
  }
}

/// The pipeline fills again with the moments of the first run: nothing is foretold further than it must be.
TEST(AsynchronousRuns, ARefilledPipelineForetellsByTheExactDistance) {
  Chain chain = make_chain({.rule = "pipeoptim"});
  execute(chain.pipeline, chain_run(5));
  RunOptions o = chain_run(5, /*first_step=*/5);
  std::mutex mutex;
  std::vector<int64_t> ahead(5);
  o.on_weights = [&](const Action& a, const WeightRead& read, const Weights&) {
    const std::lock_guard lock(mutex);
    if (a.stage == 0 && a.what == Do::kForward) ahead[size_t(a.mb)] = read.ahead;
  };
  execute(chain.pipeline, o);
  EXPECT_EQ(ahead, (std::vector<int64_t>{0, 1, 2, 3, 3}));
}

TEST(AsynchronousRuns, AreShorterThanThePipelineToo) {
  for (const int64_t steps : {1, 2, 3})
    for (const char* rule : {"pipeoptim", "pipedream"}) {
      const Case setup{.rule = rule};
      Chain chain = make_chain(setup);
      Reference reference(setup, weights_of(chain));
      execute(chain.pipeline, chain_run(steps));
      const std::vector<Row> expected = reference.train(steps), got = weights_of(chain);
      for (size_t s = 0; s < got.size(); ++s) expect_close(got[s], expected[s], 2e-5);
    }
}

TEST(AsynchronousRuns, ASynchronousRuleRefusesTheSchedule) {
  EXPECT_THROW(make_chain({.rule = "backprop"}), ScheduleError);
}

}  // namespace
}  // namespace sluice::test::asynchronous_test
