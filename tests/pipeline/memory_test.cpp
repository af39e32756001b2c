// Memory three ways: in closed form, counted on paper, and measured on devices.
#include <gtest/gtest.h>

#include "engine/sanitizer.h"
#include "pipeline/byte_count.h"
#include "pipeline/memory_formula.h"
#include "pipeline/simulate.h"
#include "pipeline/transfers.h"
#include "tests/pipeline/net.h"

namespace sluice::test::memory_test {
namespace {

/// What a worker has of the network in a schedule: stage w, or stage w of every round, or both arms of a V.
Placement placement_for(const std::string& schedule, int workers, int each) {
  if (schedule == "one_device" || schedule == "associated") return all_on_one(each);
  const bool v = schedule == "zb_v" || schedule == "v_half" || schedule == "v_min";
  const bool in_turn = schedule == "interleaved" || schedule.starts_with("associated");
  Placement p;
  for (int s = 0; s < workers * each; ++s) {
    const int round = s / workers, at = s % workers;
    p.push_back(v && round == 1 ? workers - 1 - at : v || in_turn ? at : s / each);
  }
  return p;
}

TEST(MemoryFormula, IsThereForEverySchedule) {
  for (const PlanSchedule& s : schedules()) EXPECT_TRUE(activations_kept(s, {}, 0)) << s.name;
  for (const LearningRule& r : rules()) EXPECT_TRUE(weight_copies(r, {}, 0)) << r.name;
}

TEST(MemoryFormula, OfASchedulesActivationsIsWhatItsPlanKeeps) {
  for (const PlanSchedule& s : schedules())
    for (const int workers : {1, 2, 3, 4, 8})
      for (const int each : {1, 2})
        for (const int rounds : {1, 2, 4}) {
          const std::string name = s.name;
          if ((name == "zb_v" || name.starts_with("v_")) && each != 2) continue;
          const Placement placement = placement_for(name, workers, each);
          const int p = count_workers(placement), mbs = p * rounds;
          if (s.spread != nullptr && (p % 2 != 0 || rounds == 1)) continue;
          SCOPED_TRACE(testing::Message() << name << ", " << p << " workers of " << each << ", " << mbs);
          const InstancePlacement all = s.placed(placement);
          const Plan plan = s.make(all.placement, mbs);
          Wiring w;
          w.stages = int(all.placement.size());
          w.instances = share_out(all.stage_of, plan);
          w.edges = between(w.instances, chain(int(placement.size())));
          w.error_crosses = s.error_crosses;
          w.synchronous = s.synchronous;
          w.depth = mbs + 1;  // of stages in turn, a worker sends a whole step before it receives
          const StageBytes kept{.activations = 1200 / each, .deferred = 600 / each};
          const CostModel costs{{1}, {1}, {1}, {}, {}, {}, {kept}};
          const Timeline t = simulate(add_transfers(plan, w), w, costs);
          for (int worker = 0; worker < p; ++worker) {
            const double formula = *activations_kept(s, {p, each, mbs}, worker) * 1200;
            if (rounds == 4 && name != "v_min")  // its cap is rounded up
              EXPECT_EQ(double(t.bytes[size_t(worker)].activations), formula) << worker;
            else  // few micro-batches may leave some of it unused
              EXPECT_LE(double(t.bytes[size_t(worker)].activations), formula) << worker;
          }
        }
}

TEST(MemoryFormula, OfARulesWeightsIsWhatItsRunKeeps) {
  for (const LearningRule& r : rules())
    for (const int workers : {1, 2, 4, 5})
      for (const int mbs : {1, 2, 4, 6}) {
        if (!r.error_crosses || (std::string(r.name) == "2bw" && (mbs < workers || workers == 1))) continue;
        SCOPED_TRACE(testing::Message() << r.name << ", " << workers << " workers, " << mbs << " micro-batches");
        Wiring w;
        w.stages = workers;
        w.edges = chain(workers);
        w.synchronous = r.synchronous;
        w.forward = r.forward;
        w.backward = r.backward;
        const Placement placement = one_each(workers);
        const Plan plan = r.synchronous ? one_f_one_b(placement, mbs) : async_1f1b(placement, mbs);
        const Report report = validate(add_transfers(plan, w), w, 20 * mbs);
        for (int worker = 0; worker < workers; ++worker)
          EXPECT_EQ(report.versions_held[size_t(worker)] + report.forecasts_held[size_t(worker)].count(),
                    *weight_copies(r, {workers, 1, mbs}, worker))
              << worker;
      }
}

TEST(ByteCount, StagesInOneKeepWhatTheyShareOnce) {
  // The same two layers as one stage and as two, by the sum of what they keep.
  const ByteCount one = count_bytes(make_nets({.stages = 1}), make_feed(-1, 0, kRows), true, 2);
  const ByteCount two = count_bytes(make_nets({.stages = 2}), make_feed(-1, 0, kRows), true, 2);
  ASSERT_EQ(two.bytes.size(), 2u);
  EXPECT_EQ(one.edges.size(), 0u);
  ASSERT_EQ(two.edges.size(), 1u);
  EXPECT_EQ(one.bytes[0].shared, 0);
  EXPECT_EQ(two.edges[0].activations, 512);                          // 6 x 16 f32, in steps of 256
  EXPECT_EQ(two.edges[0].gradients, 512 + 256);                      // and the loss
  EXPECT_EQ(two.bytes[1].optimizer, 2 * two.bytes[1].weights);       // two moments
  EXPECT_EQ(two.bytes[1].buffers, one.bytes[0].buffers);             // of a batch norm
  EXPECT_LT(two.bytes[0].deferred, two.bytes[0].activations);        // masks and statistics are done with
  EXPECT_GE(two.bytes[1].working, kRows * kWidth * int64_t{4} * 2);  // a value and a gradient at least
}

class MemoryMeasured : public OnEachPlace {};

/// Bytes of a pool are in whole blocks, with zones round each where addresses are checked, and there may be `more`
/// beside what is counted.
void expect_blocks(int64_t measured, int64_t expected, const char* what, int64_t more = 4096) {
  EXPECT_GE(measured, expected) << what;
  EXPECT_LE(double(measured), (kAsan ? 2.5 : 1.4) * double(expected + more)) << what;
}

TEST_P(MemoryMeasured, IsWhatIsCountedOnPaper) {
  struct Case {
    const char *schedule, *rule;
  };
  constexpr int kWorkers = 3, kMbs = 6;
  const Case cases[] = {
      {"gpipe", "backprop"},         {"one_f_one_b", "backprop"}, {"zb_h1", "backprop"},
      {"zb_h2", "backprop"},         {"async_1f1b", "pipedream"}, {"async_1f1b", "pipeoptim"},
      {"async_1f1b", "spectrain"},   {"async_1f1b", "2bw"},       {"associated_streaming", "associated"},
      {"associated_m", "associated"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.schedule << " with " << c.rule);
    const NetOptions options =
        net({.stages = kWorkers, .local_losses = std::string(c.rule) == "associated", .rows = 64, .rule = c.rule});
    Trained t = make_trained(options, c.schedule, one_each(kWorkers), kMbs);
    execute_serial(t.pipeline, run_options(3, options.rows));
    const ByteCount count =
        count_bytes(make_nets(options), make_feed(-1, 0, options.rows), t.pipeline.rule->error_crosses, 2);
    const CostModel costs{{1}, {1}, {1}, {}, {}, count.edges, count.bytes};
    const Timeline paper = simulate(validate(t.pipeline.plan, t.pipeline.wiring, 3 * kMbs), costs);
    for (size_t w = 0; w < kWorkers; ++w) {
      SCOPED_TRACE(testing::Message() << "worker " << w);
      const WorkerBytes& b = paper.bytes[w];
      const Pool& pool = t.streams[w].pool();
      EXPECT_EQ(t.pipeline.stages[w]->ledger.peak(), b.activations);
      expect_blocks(pool.peak(MemoryTag::kWeights), b.weights, "weights");
      expect_blocks(pool.peak(MemoryTag::kGrads), b.gradients, "gradients");
      expect_blocks(pool.peak(MemoryTag::kOptimizer), b.optimizer, "optimizer", 16 << 10);  // its tables
      EXPECT_EQ(pool.peak(MemoryTag::kStash) > 0, b.stash > 0);
      if (w == 1) expect_blocks(pool.peak(MemoryTag::kIo), b.parcels, "parcels");  // the others hold feed, too
      if (b.stash > 0) expect_blocks(pool.peak(MemoryTag::kStash), b.stash, "stash");
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Places, MemoryMeasured, testing::ValuesIn(test_places()), place_label);

}  // namespace
}  // namespace sluice::test::memory_test
