// A run over several processes, which are threads here: the weights of one process, one end for all, nothing left.
#include <gmock/gmock.h>

#include <atomic>
#include <limits>

#include "tests/pipeline/loop_courier.h"
#include "tests/pipeline/net.h"

namespace sluice::test::processes_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

struct Case {
  const char* schedule;
  Placement placement;
  bool local_losses = false;
  const char* rule = "backprop";
  int mbs = 4;
  float most = 0;                   // the norm of all gradients
  std::vector<int> side_by_side{};  // not empty: workers of each stage, in place of schedule and placement
};
const std::vector<Case> kCases = {{"naive_split", {0, 1, 2}},
                                  {"gpipe", {0, 0, 1}},
                                  {"one_f_one_b", {0, 1, 2}},
                                  {"zb_h1", {0, 1, 2}},
                                  {"interleaved", {0, 1, 0, 1}},
                                  {"zb_v", {0, 1, 1, 0}},
                                  {"associated_streaming", {0, 1, 0, 1}, true, "associated", 2},
                                  {"associated_m", {0, 1, 0}, true, "associated"},
                                  {"associated_p", {1, 0, 2}, true, "associated"},
                                  {"async_1f1b", {0, 1, 2}, false, "pipeoptim"},
                                  {"async_1f1b", {0, 1, 2}, false, "pipedream"},
                                  {"one_f_one_b", {0, 1, 2}, false, "backprop", 4, 0.05f},
                                  {"interleaved", {0, 1, 0, 1}, false, "backprop", 4, 0.05f},
                                  {"chimera", {0, 1, 2, 3}, false, "backprop", 8},
                                  {"chimera", {0, 1}, false, "backprop", 4, 0.05f},
                                  {"chimera", {0, 1}, true, "associated"},
                                  {"dual_pipe", {0, 0, 1, 1}},
                                  {"side by side", {}, false, "backprop", 4, 0, {2, 1, 1}},
                                  {"side by side", {}, false, "backprop", 4, 0.05f, {2, 1, 1}},
                                  {"side by side", {}, false, "backprop", 3, 0, {1, 2}},
                                  {"side by side", {}, false, "backprop", 5, 0, {3}},
                                  {"side by side", {}, true, "associated", 4, 0, {2, 1}}};

/// Where its stages or their instances lie.
InstancePlacement placed(const Case& c) {
  if (!c.side_by_side.empty()) return side_by_side(c.side_by_side);
  return find_schedule(c.schedule).placed(c.placement);
}
int ranks_of(const Case& c) { return count_workers(placed(c).placement); }

/// What one process has of it; of all processes with -1.
Trained part(const Case& c, int rank, const NetOptions& options = {}) {
  NetOptions o = options;
  o.stages = int(c.side_by_side.empty() ? c.placement.size() : c.side_by_side.size());
  o.local_losses = c.local_losses;
  const InstancePlacement all = placed(c);
  const auto make = [&] { return make_nets(o); };
  Trained t =
      make_trained(all.stage_of.empty() ? make() : make_instances(make, all.stage_of),
                   {.rule = c.rule,
                    .schedule = c.schedule,
                    .placement = all.placement,
                    .mbs = c.mbs,
                    .where = o.where,
                    .most = c.most,
                    .here = rank,
                    .stage_of = all.stage_of,
                    .compute = c.side_by_side.empty() ? Plan() : one_f_one_b_side_by_side(c.side_by_side, c.mbs)});
  t.options = o;
  return t;
}

/// Runs f(rank, its part, its options) in every process.
template <class F>
void in_processes(const Case& c, Company& company, int64_t steps, F&& f, const NetOptions& options = {}) {
  company.each([&](int r) {
    Trained t = part(c, r, options);
    RunOptions o = run_options(steps);
    o.peers = &company[r];
    f(r, t, o);
    t.pipeline = {};
    for (const Stream& s : t.streams) EXPECT_EQ(s.pool().in_use(), s.pool().in_use(MemoryTag::kWorkspace));
  });
}

using Losses = std::map<std::pair<int, int64_t>, std::vector<float>>;  // by stage and step

class ProcessesOfAPlace : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, ProcessesOfAPlace, testing::ValuesIn(mixed_places()), place_label);

TEST_P(ProcessesOfAPlace, GiveTheWeightsAndLossesOfOneProcess) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.schedule << ", " << c.rule << ", " << ranks_of(c) << " ranks");
    const int64_t steps = GetParam() == Where::kCpu ? 6 : 3;
    Losses expected_losses, losses;
    Trained one = part(c, -1, net());
    RunOptions all = run_options(steps);
    all.on_losses = [&](const StepLosses& l) { expected_losses[{l.stage, l.step}] = l.values; };
    execute(one.pipeline, all);
    const auto expected = one.weights();
    Company company(ranks_of(c));
    in_processes(
        c, company, steps,
        [&](int r, Trained& t, RunOptions& o) {
          o.on_losses = [&](const StepLosses& l) {
            EXPECT_EQ(r, 0);
            losses[{l.stage, l.step}] = l.values;
          };
          const RunResult result = execute(t.pipeline, o);
          EXPECT_EQ(result.steps, steps);
          for (const double busy : result.busy_s) EXPECT_TRUE(GetParam() != Where::kCpu || busy > 0);
          const auto mine = t.weights();
          for (size_t s = 0; s < mine.size(); ++s) {
            EXPECT_EQ(mine[s].empty(), placed(c).placement[s] != r);
            if (!mine[s].empty()) {
              EXPECT_EQ(mine[s], expected[s]);
            }
          }
        },
        net());
    EXPECT_EQ(losses, expected_losses);
  }
}

TEST(Processes, GoOnWithAnotherRun) {
  const Case& c = kCases[2];
  Trained one = part(c, -1);
  execute(one.pipeline, run_options(6));
  const auto expected = one.weights();
  Company company(3);
  in_processes(c, company, 2, [&](int r, Trained& t, RunOptions& o) {
    for (o.first_step = 0; o.first_step < 6; o.first_step += 2) execute(t.pipeline, o);
    EXPECT_EQ(t.weights()[size_t(r)], expected[size_t(r)]);
  });
}

TEST(Processes, AStopOfOneEndsAllAtTheSameStep) {
  for (const size_t which : {size_t{2}, size_t{6}, size_t{9}, size_t{13}, size_t{17}}) {
    const Case& c = kCases[which];
    SCOPED_TRACE(c.schedule);
    for (int who = 0; who < ranks_of(c); ++who) {
      Company company(ranks_of(c));
      std::atomic<bool> stop{false};
      std::vector<int64_t> steps(size_t(company.count()));
      std::vector<std::vector<float>> weights(placed(c).placement.size());
      in_processes(c, company, 4000, [&](int r, Trained& t, RunOptions& o) {
        if (r == who) {
          o.stop = &stop;
          o.on_action = [&, n = 0](int, const Action&, const Stage&) mutable {
            if (++n == 60) stop = true;
          };
        }
        steps[size_t(r)] = execute(t.pipeline, o).steps;
        const auto mine = t.weights();
        for (size_t s = 0; s < mine.size(); ++s)
          if (!mine[s].empty()) weights[s] = mine[s];
      });
      EXPECT_LT(steps[0], 4000);
      for (const int64_t s : steps) EXPECT_EQ(s, steps[0]);
      Trained one = part(c, -1);
      execute(one.pipeline, run_options(steps[0]));
      EXPECT_EQ(weights, one.weights());
    }
  }
}

std::string error_of(Trained& t, const RunOptions& o) {
  try {
    execute(t.pipeline, o);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "none";
}

TEST(Processes, AFaultInOneEndsAllWithItsCauseAndItsName) {
  for (const Case& c : kCases)
    for (int who = 0; who < ranks_of(c); ++who)
      for (int position = 0; position < 24; position += 5) {
        SCOPED_TRACE(testing::Message() << c.schedule << ", rank " << who << ", position " << position);
        Company company(ranks_of(c));
        in_processes(c, company, 4, [&](int r, Trained& t, RunOptions& o) {
          const bool on_device = position % 2 == 1;
          o.on_action = [&, at = 0](int, const Action&, const Stage& s) mutable {
            if (r != who || at++ != position) return;
            if (!on_device) throw DataError("planted");
            s.stream.enqueue([](CpuContext&) { throw DeviceError("planted"); });
          };
          EXPECT_THAT(error_of(t, o), HasSubstr("planted"));
          EXPECT_THAT(company[r].failure(), AllOf(StartsWith("rank " + std::to_string(who)), HasSubstr("planted")));
        });
      }
}

TEST(Processes, ALossThatIsNotFiniteEndsAllWhicheverReplicaHasIt) {
  for (const size_t which : {size_t{13}, size_t{17}})
    for (const int64_t mb : {0, 1}) {
      const Case& c = kCases[which];
      Company company(ranks_of(c));
      in_processes(c, company, 6, [&](int, Trained& t, RunOptions& o) {
        o.feed = make_feed(3 * c.mbs + mb, std::numeric_limits<float>::quiet_NaN());
        const int last = int(t.pipeline.ports.size()) - 1;
        EXPECT_THAT(error_of(t, o), HasSubstr("loss of stage " + std::to_string(last) + " is nan at step 3"));
      });
    }
}

TEST(Processes, OneThatFallsSilentEndsTheOthersWithItsName) {
  Company company(3, {.silence_s = 0.3, .farewell_s = 0.05});
  in_processes(kCases[2], company, 4000, [&](int r, Trained& t, RunOptions& o) {
    o.on_action = [&, at = 0](int, const Action&, const Stage&) mutable {
      if (r == 1 && ++at == 40) company.hub().cut_off(1);
    };
    const std::string why = error_of(t, o);
    EXPECT_THAT(why, HasSubstr("has not been heard of for 0.3 s"));
    if (r != 1) {
      EXPECT_THAT(why, StartsWith("rank 1 ("));
    }
  });
}

TEST(Processes, APlanForOtherProcessesIsRefused) {
  Company company(2);
  company.each([&](int r) {
    Trained three = part(kCases[2], r);
    RunOptions o = run_options(1);
    o.peers = &company[r];
    EXPECT_THROW(execute(three.pipeline, o), ScheduleError);
    Trained other = part(kCases[1], 1 - r);  // the stages of the wrong one
    EXPECT_THROW(execute(other.pipeline, o), ScheduleError);
    EXPECT_THROW(execute_serial(other.pipeline, o), ScheduleError);
  });
}

}  // namespace
}  // namespace sluice::test::processes_test
