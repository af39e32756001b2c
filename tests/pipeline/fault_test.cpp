// A fault at each action of each worker ends the run in one exception that names the cause: no hang, nothing leaked.
#include <atomic>
#include <set>

#include "engine/error.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::fault_test {
namespace {

struct Case {
  const char* schedule;
  bool local_losses;
  Placement placement;
  const char* rule = "backprop";
};
const std::vector<Case> kCases = {{"one_f_one_b", false, {0, 1, 2}},
                                  {"zb_h1", false, {0, 1, 2}},
                                  {"gpipe", false, {0, 0, 1}},
                                  {"chimera", false, {0, 0, 1}},
                                  {"associated_streaming", true, {0, 1, 0}},
                                  {"associated_m", true, {0, 1, 0}},
                                  {"async_1f1b", false, {0, 1, 2}, "pipeoptim"},
                                  {"async_1f1b", false, {0, 1, 2}, "pipedream"}};
constexpr int kMbs = 2, kSteps = 2;

Trained make(const Case& c, Where where = Where::kCpu) {
  return make_trained({.local_losses = c.local_losses, .where = where, .rule = c.rule}, c.schedule, c.placement, kMbs);
}

/// What stays allocated when the pipeline is gone: the streams' own scratch only.
void expect_nothing_left(Trained t) {
  t.pipeline = {};
  for (const Stream& s : t.streams) EXPECT_EQ(s.pool().in_use(), s.pool().in_use(MemoryTag::kWorkspace));
}

/// Runs `fault` before action `position` of `worker`; gives the error's text, or "none".
std::string run_with(Trained& t, int worker, int position, const std::function<void(Stage&)>& fault) {
  RunOptions o = run_options(kSteps, t.options.rows);
  std::vector<int> at(t.streams.size(), 0);  // one element per worker's thread
  o.on_action = [&](int w, const Action&, Stage& s) {
    if (at[size_t(w)]++ == position && w == worker) fault(s);
  };
  try {
    execute(t.pipeline, o);
  } catch (const Aborted& e) {
    return std::string("the effect, not the cause: ") + e.what();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "none";
}

/// Calls f(case, worker, position) for every action of a run.
template <class F>
void at_each_action(F&& f) {
  for (const Case& c : kCases) {
    const Trained t = make(c);
    for (int w = 0; w < int(t.pipeline.plan.size()); ++w) {
      const std::vector<Action> actions = unroll(t.pipeline.plan[size_t(w)], kSteps * kMbs);
      for (int i = 0; i < int(actions.size()); ++i) {
        SCOPED_TRACE(testing::Message() << c.schedule << ", worker " << w << ", " << to_text(actions[size_t(i)]));
        f(c, w, i);
      }
    }
  }
}

class Faults : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Faults, testing::ValuesIn(test_places()), place_label);

TEST_P(Faults, WhileQueueing) {
  at_each_action([](const Case& c, int w, int i) {
    Trained t = make(c, GetParam());
    EXPECT_EQ(run_with(t, w, i, [](Stage&) { throw DataError("planted"); }), "planted");
    expect_nothing_left(std::move(t));
  });
}

TEST_P(Faults, OnTheDevice) {
  if (GetParam() != Where::kCpu) GTEST_SKIP() << "only a CPU's work can be made to throw";
  at_each_action([](const Case& c, int w, int i) {
    Trained t = make(c);
    EXPECT_EQ(run_with(t, w, i, [](Stage& s) { s.stream.enqueue([](CpuContext&) { throw DeviceError("planted"); }); }),
              "planted");
    expect_nothing_left(std::move(t));
  });
}

TEST_P(Faults, OutOfMemory) {
  // Tensors too large for a slab, so that each allocation of the first step that nothing freed serves fails.
  const int64_t rows = 1 << 14;
  std::set<std::string> kinds;
  at_each_action([&](const Case& c, int w, int i) {
    if (i >= 8) return;  // most of the first step: later ones live on what it freed
    if (GetParam() != Where::kCpu && (i % 3 != 0 || c.placement != kCases[0].placement)) return;  // may be emulated
    Trained t = make_trained(net({.local_losses = c.local_losses, .rows = rows, .rule = c.rule}), c.schedule,
                             c.placement, kMbs);
    const std::string why = run_with(t, w, i, [](Stage& s) { s.stream.pool().set_limit(1); });
    if (why != "none") {
      EXPECT_THAT(why, testing::HasSubstr(t.streams[size_t(w)].device().text() + ": no "));
      kinds.insert(why.substr(why.find(" for "), 10));
    }
    expect_nothing_left(std::move(t));
  });
  EXPECT_GE(kinds.size(), 2u);  // not only one place can fail
}

TEST_P(Faults, ARunAfterAFaultStartsItsStepAnew) {
  Trained t = make(kCases[0], GetParam()), sound = make(kCases[0], GetParam());
  const int half_a_step = 5;  // the last stage has added one of two gradients
  EXPECT_EQ(run_with(t, 2, half_a_step, [](Stage&) { throw DataError("planted"); }), "planted");
  execute(t.pipeline, run_options(kSteps));
  execute(sound.pipeline, run_options(kSteps));
  for (size_t s = 0; s < t.pipeline.stages.size(); ++s)
    EXPECT_EQ(t.pipeline.stages[s]->arena.values().to_vector<float>(t.streams[s]),
              sound.pipeline.stages[s]->arena.values().to_vector<float>(sound.streams[s]));
}

TEST_P(Faults, OneFaultOfManyIsReported) {
  Trained t = make(kCases[0], GetParam());
  RunOptions o = run_options(kSteps);
  std::atomic<int> planted{0};
  o.on_action = [&](int w, const Action& a, Stage&) {
    if (a.what == Do::kUpdate) {
      ++planted;
      throw DataError(str("planted ", w));
    }
  };
  EXPECT_THROW(execute(t.pipeline, o), DataError);
  EXPECT_GE(planted, 1);
}

}  // namespace
}  // namespace sluice::test::fault_test
