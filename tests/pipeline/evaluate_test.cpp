// Evaluation against a pass over the stages by hand, and the trace of a run.
#include "pipeline/evaluate.h"

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "engine/error.h"
#include "pipeline/trace.h"
#include "tests/pipeline/loop_courier.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::evaluate_test {
namespace {

constexpr int64_t kLast = 4;  // rows of the last batch, which is smaller

Feed labelled(int64_t batches) {
  return [=](const FeedRequest& r) {
    const int64_t rows = r.mb + 1 == batches ? kLast : kRows;
    Parcel parcel;  // "x", "target" of the stages' training, and "labels"
    for (const Port& p : r.ports)
      parcel.values.push_back(p.dtype == DType::kF32
                                  ? random(r.stream, {rows, kWidth}, uint64_t(r.mb))
                                  : random_ints(r.stream, {rows}, uint64_t(r.mb) + 100, 0, int32_t(kWidth)));
    return parcel;
  };
}

/// One batch at a time, waiting after each stage.
int64_t correct_by_hand(const Trained& t, int64_t batches) {
  int64_t correct = 0;
  for (int64_t b = 0; b < batches; ++b) {
    const std::vector<Port> ports{{.name = "x"}, {.name = "labels", .dtype = DType::kI32, .differentiable = false}};
    const Stream& first = t.pipeline.stages[0]->stream;
    const Parcel parcel = labelled(batches)({0, b, ports, first});
    std::vector<float> x = parcel.values[0].to_vector<float>(first);
    const Shape shape = parcel.values[0].shape();
    const auto through = [&](Stage& s, auto&& f) {
      Ctx c{.stream = s.stream, .weights = s.arena.weights(), .arena = s.arena, .ledger = s.ledger};
      x = f(c, Var{Tensor::from<float>(s.stream, x, shape)}).value.template to_vector<float>(s.stream);
    };
    const auto& stages = t.pipeline.stages;
    for (const StagePtr& s : stages) through(*s, [&](Ctx& c, const Var& v) { return s->body->infer(c, {v})[0]; });
    through(*stages.back(), [&](Ctx& c, const Var& v) { return stages.back()->body->head(c, {v}); });
    for (size_t s = stages.size(); s-- > 0;)
      through(*stages[s], [&](Ctx& c, const Var& v) { return stages[s]->body->decode(c, v); });
    const std::vector<int32_t> labels = parcel.values[1].to_vector<int32_t>(first);
    for (size_t row = 0; row < labels.size(); ++row) {
      const auto begin = x.begin() + int64_t(row) * kWidth;
      correct += std::max_element(begin, begin + kWidth) - begin == labels[row];
    }
  }
  return correct;
}

class Evaluate : public OnEachPlace {};
class Traces : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Evaluate, testing::ValuesIn(mixed_places()), place_label);
INSTANTIATE_TEST_SUITE_P(Places, Traces, testing::ValuesIn(test_places()), place_label);

TEST_P(Evaluate, CountsWhatAPassByHandCounts) {
  for (const Placement& placement : {Placement{0, 0, 0}, Placement{0, 1, 2}, Placement{1, 0, 1}}) {
    SCOPED_TRACE(testing::Message() << count_workers(placement) << " workers");
    const bool one = count_workers(placement) == 1;
    Trained t = make_trained(net({.local_losses = true}), one ? "associated" : "associated_streaming", placement, 1);
    execute(t.pipeline, run_options(5));
    const int64_t batches = 30;
    const Evaluation e = evaluate(t.pipeline.stages, labelled(batches), batches);
    EXPECT_EQ(e.samples, kRows * (batches - 1) + kLast);
    EXPECT_EQ(e.correct, correct_by_hand(t, batches));
    EXPECT_GT(e.correct, 0);
    EXPECT_DOUBLE_EQ(e.accuracy(), double(e.correct) / double(e.samples));
  }
}

TEST_P(Evaluate, LeavesNothingBehindAndChangesNothing) {
  Trained t = make_trained(net({.local_losses = true}), "associated_streaming", one_each(3), 1);
  evaluate(t.pipeline.stages, labelled(8), 8);
  const int64_t live = t.live_blocks(), os_calls = t.os_calls();
  const auto weights = t.weights();
  evaluate(t.pipeline.stages, labelled(40), 40);
  EXPECT_EQ(t.live_blocks(), live);
  EXPECT_EQ(t.os_calls(), os_calls);
  EXPECT_EQ(t.weights(), weights);
  EXPECT_EQ(evaluate(t.pipeline.stages, labelled(1), 0).samples, 0);
}

TEST_P(Evaluate, OverProcessesIsThatOfOne) {
  struct Case {
    Placement ranks;
    bool local_losses;
    size_t exit;
    int without = 0;  // processes that have no stage
  };
  for (const Case& c :
       {Case{{0, 1, 2}, true, 0}, Case{{0, 0, 0, 0, 1, 1, 1, 1}, false, 0}, Case{{0, 1, 1, 0}, true, 0},
        Case{{1, 0, 0, 1, 0, 1, 1, 1}, true, 0}, Case{{0, 0, 1, 1, 1, 2}, true, 5}, Case{{1, 0, 2}, true, 0, 2}}) {
    SCOPED_TRACE(testing::Message() << testing::PrintToString(c.ranks));
    const int64_t batches = 12;
    NetOptions options = net({.local_losses = c.local_losses});
    options.stages = int(c.ranks.size());
    PlanOptions plan{.rule = c.local_losses ? "associated" : "backprop",
                     .schedule = c.local_losses ? "associated_streaming" : "naive_split",
                     .placement = c.ranks,
                     .where = GetParam()};
    Trained one = make_trained(make_nets(options), plan);
    const Evaluation expected = evaluate(one.pipeline.stages, labelled(batches), batches, c.exit);
    Company company(count_workers(c.ranks) + c.without);
    company.each([&](int r) {
      PlanOptions own = plan;
      own.here = r;
      const Trained t = make_trained(make_nets(options), own);
      const Spread spread{company[r], c.ranks, t.pipeline.ports};
      const Evaluation e = evaluate(t.pipeline.stages, spread, labelled(batches), batches, c.exit);
      EXPECT_EQ(e.correct, expected.correct);
      EXPECT_EQ(e.samples, expected.samples);
    });
    EXPECT_GT(expected.correct, 0);
  }
}

TEST_P(Evaluate, AnErrorOnADeviceIsRethrown) {
  if (GetParam() != Where::kCpu) GTEST_SKIP() << "only a CPU's work can be made to throw";
  Trained t = make_trained(net({.local_losses = true}), "associated_streaming", one_each(3), 1);
  t.streams[1].enqueue([](CpuContext&) { throw DeviceError("planted"); });
  EXPECT_THROW(evaluate(t.pipeline.stages, labelled(8), 8), DeviceError);
}

TEST_P(Traces, HoldEveryActionOnItsLane) {
  Trained t = make_trained(net(), "one_f_one_b", {0, 0, 1}, 2);
  Trace trace;
  RunOptions o = run_options(3);
  o.trace = &trace;
  execute(t.pipeline, o);
  size_t actions = 0;
  for (const Program& p : t.pipeline.plan) actions += unroll(p, 6).size();
  EXPECT_EQ(trace.spans().size(), actions);

  std::ostringstream text;
  trace.write_json(text, {"cpu:0", "cpu:1"});
  const nlohmann::json json = nlohmann::json::parse(text.str());
  std::set<std::pair<int, int>> lanes;
  size_t spans = 0;
  for (const auto& e : json["traceEvents"]) {
    if (e["ph"] != "X") continue;
    ++spans;
    lanes.emplace(e["pid"].get<int>(), e["tid"].get<int>());
    EXPECT_GE(e["ts"].get<double>(), 0.0);
    EXPECT_GE(e["dur"].get<double>(), 0.0);
  }
  EXPECT_EQ(spans, actions);
  EXPECT_EQ(lanes, (std::set<std::pair<int, int>>{{0, 0}, {0, 1}, {1, 2}}));
  const std::vector<Trace::Load> loads = trace.loads();
  ASSERT_EQ(loads.size(), 2u);
  for (const Trace::Load& l : loads) {
    EXPECT_GT(l.busy_s, 0.0);
    EXPECT_LE(l.idle_share, 1.0);
  }
}

TEST_P(Traces, StopAtTheirCapacity) {
  Trained t = make_trained(net(), "gpipe", one_each(3), 2);
  Trace trace(10);
  RunOptions o = run_options(3);
  o.trace = &trace;
  execute(t.pipeline, o);
  EXPECT_EQ(trace.spans().size(), 10u);
}

TEST(TraceText, IsEmptyWithoutSpans) {
  std::ostringstream text;
  Trace().write_json(text, {"cpu:0"});
  EXPECT_EQ(nlohmann::json::parse(text.str())["traceEvents"].size(), 1u);
}

TEST(Results, BusyAndIdleSharesAddUp) {
  Trained t = make_trained({}, "naive_split", one_each(3), 2);
  const RunResult r = execute(t.pipeline, run_options(5));
  ASSERT_EQ(r.busy_s.size(), 3u);
  for (int w = 0; w < 3; ++w) {
    EXPECT_GT(r.busy_s[size_t(w)], 0.0);
    EXPECT_NEAR(r.idle_share(w), 1.0 - r.busy_s[size_t(w)] / r.wall_s, 1e-12);
  }
}

}  // namespace
}  // namespace sluice::test::evaluate_test
