// Random plans are refused with a line that names the action, or run and give the weights of one worker, bit for bit.
// A failure prints the seed of its plan. SLUICE_FUZZ_PLANS plans from SLUICE_FUZZ_SEED on; by default a few, the same.
#include <gmock/gmock.h>

#include <array>
#include <cstdlib>
#include <future>
#include <iostream>
#include <map>
#include <random>

#include "pipeline/transfers.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::fuzz_test {
namespace {

constexpr int64_t kSteps = 2;

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoll(text, nullptr, 10) : otherwise;
}
/// Calls f(seed) for every plan.
template <class F>
void for_each_seed(int64_t plans, F&& f) {
  const int64_t first = from_environment("SLUICE_FUZZ_SEED", 1);
  for (int64_t seed = first; seed < first + from_environment("SLUICE_FUZZ_PLANS", plans); ++seed) {
    SCOPED_TRACE(testing::Message() << "SLUICE_FUZZ_SEED=" << seed << " SLUICE_FUZZ_PLANS=1");
    f(uint64_t(seed));
    if (testing::Test::HasFailure()) return;
  }
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  /// 0 to n - 1.
  size_t below(size_t n) { return n == 0 ? 0 : size_t(engine_() % n); }
  bool chance(int percent) { return below(100) < size_t(percent); }
  template <class T>
  const T& of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

 private:
  std::mt19937_64 engine_;  // its sequence is part of the standard, that of distributions is not
};

/// A network, where its instances lie, and how many micro-batches a step has.
struct Shape {
  int stages = 3, mbs = 4, depth = 0;
  bool local_losses = false;
  InstancePlacement all{};
  NetOptions net() const { return {.stages = stages, .local_losses = local_losses}; }
};

Trained make(const Shape& s, const Plan& compute) {
  const std::vector<int> stage_of = s.all.stage_of.empty() ? one_each(s.stages) : s.all.stage_of;
  return make_trained(make_instances([&] { return make_nets(s.net()); }, stage_of),
                      {.rule = s.local_losses ? "associated" : "backprop",
                       .placement = s.all.placement,
                       .depth = s.depth,
                       .stage_of = s.all.stage_of,
                       .compute = compute});
}

/// The weights of one worker that adds in the same order; the same for all plans of a shape and its shares.
class Oracle {
 public:
  const std::vector<std::vector<float>>& weights(const Shape& s, const Instances& instances) {
    auto& known = known_[{s.stages, s.mbs, s.local_losses, instances.stage_of, instances.shares}];
    if (!known.empty()) return known;
    Shape alone = s;
    Instances all = instances;
    if (all.stage_of.empty()) {
      all.stage_of = one_each(s.stages);
      all.shares.assign(size_t(s.stages), std::vector<bool>(size_t(s.mbs), true));
    }
    alone.depth = 0;
    alone.all.placement = all_on_one(int(all.stage_of.size()));
    Trained t = make(alone, one_worker(all));
    execute(t.pipeline, run_options(kSteps));
    return known = t.weights();
  }

 private:
  std::map<std::tuple<int, int, bool, std::vector<int>, std::vector<std::vector<bool>>>,
           std::vector<std::vector<float>>>
      known_;
};

/// Runs in threads or in one; a run that does not end takes the program down with its plan.
void run(Trained& t, bool serial) {
  auto ended = std::async(std::launch::async, [&] {
    serial ? execute_serial(t.pipeline, run_options(kSteps)) : execute(t.pipeline, run_options(kSteps));
  });
  if (ended.wait_for(std::chrono::seconds(60)) == std::future_status::timeout) {
    std::cerr << "a sound plan hangs:\n" << to_text(t.pipeline.plan) << std::flush;
    std::abort();
  }
  ended.get();
}

struct Counts {
  int sound = 0, refused = 0;
};
/// Plans that are all sound, or all refused, would say nothing; of plans that somebody chose, that is no fault.
void report(const Counts& c) {
  std::cout << c.sound << " sound plans, " << c.refused << " refused\n";
  if (std::getenv("SLUICE_FUZZ_PLANS") != nullptr || std::getenv("SLUICE_FUZZ_SEED") != nullptr) return;
  EXPECT_GT(c.sound, 0);
  EXPECT_GT(c.refused, 0);
}

/// The property, of the pipeline that `build` gives or refuses.
void expect_refused_or_right(const Shape& shape, const std::function<Trained()>& build, Oracle& oracle, Dice& dice,
                             Counts& c) {
  Trained t;
  try {
    t = build();
  } catch (const ScheduleError& e) {
    ++c.refused;
    // An action, or what is missing as a whole: a stage, a worker's micro-batches.
    EXPECT_THAT(std::string(e.what()),
                testing::MatchesRegex("worker [0-9]+, position [0-9]+, [FBWDGUsraw][0-9].*: .*|plan: .*"));
    return;
  }
  ++c.sound;
  EXPECT_EQ(parse(to_text(t.pipeline.plan)), t.pipeline.plan);
  run(t, dice.chance(30));
  EXPECT_EQ(t.weights(), oracle.weights(shape, t.pipeline.wiring.instances));
}

// ---- mutations of generated plans ----

struct Base {
  Shape shape;
  Plan plan;
};
Base random_base(Dice& dice) {
  static const std::vector<std::pair<const char*, Placement>> known = {{"naive_split", {0, 1, 2}},
                                                                       {"gpipe", {0, 0, 1}},
                                                                       {"one_f_one_b", {0, 1, 2}},
                                                                       {"zb_h1", {0, 1, 1}},
                                                                       {"zb_h2", {0, 1, 2}},
                                                                       {"interleaved", {0, 1, 0, 1}},
                                                                       {"zb_v", {0, 1, 1, 0}},
                                                                       {"v_min", {0, 1, 1, 0}},
                                                                       {"chimera", {0, 1}},
                                                                       {"dual_pipe", {0, 0, 1}},
                                                                       {"associated_streaming", {0, 1, 0}},
                                                                       {"associated_m", {0, 1, 0}}};
  Base b;
  const auto& [name, placement] = dice.of(known);
  const PlanSchedule& schedule = find_schedule(name);
  b.shape.stages = int(placement.size());
  b.shape.local_losses = !schedule.error_crosses;
  b.shape.all = schedule.placed(placement);
  b.shape.mbs = schedule.spread != nullptr ? 4 : int(2 * (1 + dice.below(2)));
  b.shape.depth = b.shape.mbs + 1;  // where stages lie in turn, a worker sends a whole step before it receives
  b.plan = schedule.make(b.shape.all.placement, b.shape.mbs);
  return b;
}

std::vector<Action>& random_part(Plan& plan, Dice& dice) {
  Program& p = plan[dice.below(plan.size())];
  std::vector<Action>* parts[] = {&p.prologue, &p.period, &p.epilogue};
  std::vector<Action>* part = parts[dice.below(3)];
  return part->empty() ? p.period : *part;
}

void mutate(Plan& plan, Dice& dice) {
  std::vector<Action>& part = random_part(plan, dice);
  if (part.empty()) return;
  const size_t at = dice.below(part.size());
  const Action a = part[at];
  const auto begin = part.begin();
  switch (dice.below(9)) {
    case 0:
    case 1:  // neighbours swapped: the likeliest to stay sound
      if (at + 1 < part.size()) std::swap(part[at], part[at + 1]);
      return;
    case 2: {  // moved within the worker
      part.erase(begin + ptrdiff_t(at));
      part.insert(part.begin() + ptrdiff_t(dice.below(part.size() + 1)), a);
      return;
    }
    case 3:
      part.erase(begin + ptrdiff_t(at));
      return;
    case 4:
      part.insert(begin + ptrdiff_t(dice.below(part.size() + 1)), a);
      return;
    case 5: {  // moved to another part or worker
      part.erase(begin + ptrdiff_t(at));
      std::vector<Action>& other = random_part(plan, dice);
      other.insert(other.begin() + ptrdiff_t(dice.below(other.size() + 1)), a);
      return;
    }
    case 6:
      part[at].mb = std::max(0, part[at].mb + (dice.chance(50) ? 1 : -1));
      return;
    case 7:  // of another stage, which may be one that is not there
      part[at].stage = int16_t(part[at].stage + (dice.chance(50) ? 1 : -1));
      return;
    default:  // a whole backward in halves, the second somewhere behind
      if (a.what != Do::kBackward) return;
      part[at].what = Do::kBackwardInput;
      Action weight = a;
      weight.what = Do::kBackwardWeight;
      part.insert(begin + ptrdiff_t(at + 1 + dice.below(part.size() - at)), weight);
  }
}

TEST(Fuzz, MutatedPlansAreRefusedOrRight) {
  Oracle oracle;
  Counts c;
  for_each_seed(250, [&](uint64_t seed) {
    Dice dice(seed);
    const Base base = random_base(dice);
    Trained t = make(base.shape, base.plan);
    for (size_t n = dice.below(4); n > 0; --n) mutate(t.pipeline.plan, dice);
    t.pipeline.wiring.depth = dice.chance(50) ? 0 : int(1 + dice.below(size_t(base.shape.depth)));
    SCOPED_TRACE(to_text(t.pipeline.plan));
    const auto build = [&] {
      t.pipeline.report = validate(t.pipeline.plan, t.pipeline.wiring);
      validate(t.pipeline.plan, t.pipeline.wiring, kSteps * base.shape.mbs);  // as the run does
      return std::move(t);
    };
    expect_refused_or_right(base.shape, build, oracle, dice, c);
  });
  report(c);
}

// ---- random list schedules ----

/// Every worker takes any action that it could run, in an order that one host thread could run all in.
class RandomSchedule {
 public:
  RandomSchedule(const Shape& shape, const Wiring& wiring, Dice& dice) : shape_(shape), wiring_(wiring), dice_(dice) {
    plan_.resize(size_t(count_workers(shape.all.placement)));
    const size_t n = shape.all.placement.size();
    for (auto* list : {&forwards_, &inputs_, &weights_}) list->assign(n, 0);
  }
  Plan make() {
    for (std::vector<Action> ready = ready_actions(); !ready.empty(); ready = ready_actions()) {
      const Action a = dice_.of(ready);
      plan_[size_t(shape_.all.placement[size_t(a.stage)])].period.push_back(a);
      auto& count = a.what == Do::kForward ? forwards_ : a.what == Do::kBackwardWeight ? weights_ : inputs_;
      ++count[size_t(a.stage)];
      if (a.what == Do::kBackward) ++weights_[size_t(a.stage)];
    }
    for (size_t w = 0; w < plan_.size(); ++w) finish(int(w));
    return plan_;
  }

 private:
  int n() const { return int(shape_.all.placement.size()); }
  int mbs(int s) const { return wiring_.instances.count(s, shape_.mbs); }
  /// The k-th micro-batch of the instance.
  int64_t mb(int s, int k) const {
    int64_t at = 0;
    for (;; ++at)
      if (wiring_.instances.computes(s, at) && k-- == 0) return at;
  }
  bool passed(const std::vector<int>& counts, int s, int64_t at) const {
    return counts[size_t(s)] > wiring_.instances.place(s, at);
  }
  std::vector<Action> ready_actions() const {
    std::vector<Action> ready;
    for (int s = 0; s < n(); ++s) {
      const size_t i = size_t(s);
      if (weights_[i] < inputs_[i]) ready.push_back(act(Do::kBackwardWeight, s, mb(s, weights_[i])));
      if (forwards_[i] < mbs(s) && can_go_on(s, mb(s, forwards_[i])))
        ready.push_back(act(Do::kForward, s, mb(s, forwards_[i])));
      if (inputs_[i] == forwards_[i] || !can_go_back(s, mb(s, inputs_[i]))) continue;
      ready.push_back(act(Do::kBackwardInput, s, mb(s, inputs_[i])));
      if (inputs_[i] == weights_[i]) ready.push_back(act(Do::kBackward, s, mb(s, inputs_[i])));
    }
    return ready;
  }
  bool can_go_on(int s, int64_t at) const {
    for (const Edge& e : wiring_.edges)
      if (e.to == s && wiring_.carries(e, at) && !passed(forwards_, e.from, at)) return false;
    return true;
  }
  bool can_go_back(int s, int64_t at) const {
    for (const Edge& e : wiring_.edges)
      if (e.from == s && wiring_.carries(e, at) && wiring_.gradient_crosses(e) && !passed(inputs_, e.to, at))
        return false;
    return true;
  }
  void finish(int w) {
    Program& p = plan_[size_t(w)];
    std::vector<int> mine;
    for (int s = 0; s < n(); ++s)
      if (shape_.all.placement[size_t(s)] == w) mine.push_back(s);
    for (const int s : mine)
      if (!wiring_.instances.replicas(s).empty()) add_sum(p.period, {s}, 0);
    add_update(p.period, mine, 0);
    p.mbs_per_period = shape_.mbs;
  }

  const Shape& shape_;
  const Wiring& wiring_;
  Dice& dice_;
  Plan plan_;
  std::vector<int> forwards_, inputs_, weights_;  // by instance: how many
};

Shape random_shape(Dice& dice) {
  Shape s;
  s.stages = int(1 + dice.below(4));
  s.mbs = int(2 + dice.below(5));
  s.local_losses = dice.chance(25);
  s.depth = dice.chance(60) ? 0 : int(1 + dice.below(6));
  const size_t workers = 1 + dice.below(4);
  std::vector<int> renamed(workers, -1);  // so that no worker is left out
  int used = 0;
  const auto place = [&] {
    int& w = renamed[dice.below(workers)];
    if (w < 0) w = used++;
    s.all.placement.push_back(w);
  };
  for (int i = 0; i < s.stages; ++i) place();
  if (dice.chance(50)) return s;
  s.all.stage_of = one_each(s.stages);
  for (size_t more = 1 + dice.below(3); more > 0; --more) {
    place();
    s.all.stage_of.push_back(int(dice.below(size_t(s.stages))));
  }
  return s;
}

/// Micro-batches dealt out to the instances of each stage; the first ones get one each.
Instances random_shares(const Shape& s, Dice& dice) {
  Instances all{s.all.stage_of, {}};
  all.shares.assign(all.stage_of.size(), std::vector<bool>(size_t(s.mbs), false));
  for (int stage = 0; stage < s.stages; ++stage) {
    std::vector<int> mine = all.replicas(stage);
    mine.insert(mine.begin(), stage);
    for (size_t mb = 0; mb < size_t(s.mbs); ++mb)
      all.shares[size_t(mb < mine.size() ? mine[mb] : dice.of(mine))][mb] = true;
  }
  return all;
}

TEST(Fuzz, RandomSchedulesAreRefusedOrRight) {
  Oracle oracle;
  Counts c;
  for_each_seed(100, [&](uint64_t seed) {
    Dice dice(seed * 2 + 1);
    const Shape shape = random_shape(dice);
    if (int(shape.all.stage_of.size()) > shape.stages + shape.mbs - 1) return;  // an instance without a micro-batch
    Wiring w;
    w.stages = int(shape.all.placement.size());
    if (!shape.all.stage_of.empty()) w.instances = random_shares(shape, dice);
    w.edges = between(w.instances, chain(shape.stages));
    w.error_crosses = !shape.local_losses;
    const Plan compute = RandomSchedule(shape, w, dice).make();
    SCOPED_TRACE(to_text(compute));
    expect_refused_or_right(
        shape, [&] { return make(shape, compute); }, oracle, dice, c);
  });
  report(c);
}

}  // namespace
}  // namespace sluice::test::fuzz_test
