// Reads off a plan which instance computes what.
#include "pipeline/instances.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "engine/error.h"
#include "pipeline/wiring.h"

namespace sluice {
namespace {

constexpr const char* kStageOf = "stage_of";

std::vector<int> parse_stages(std::istringstream& words, int line) {
  std::vector<int> stages;
  for (std::string word; words >> word;) {
    int stage = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), stage);
    if (error != std::errc() || end != word.data() + word.size() || stage < 0)
      throw ScheduleError(
          str("plan text, line ", line, ": '", word, "' is no stage, expected such as ", kStageOf, " 0 1 0 1"));
    stages.push_back(stage);
  }
  if (stages.empty()) throw ScheduleError(str("plan text, line ", line, ": ", kStageOf, " names no stage"));
  return stages;
}

void expect_stages(const std::vector<int>& stage_of) {
  const auto stages = std::count_if(stage_of.begin(), stage_of.end(), [&, i = 0](int s) mutable { return s == i++; });
  for (size_t i = 0; i < stage_of.size(); ++i)
    if (stage_of[i] < 0 || stage_of[i] >= stages || (int64_t(i) < stages && stage_of[i] != int(i)))
      throw ScheduleError(str("instance ", i, " computes stage ", stage_of[i], ", expected the first instances of all ",
                              stages, " stages, in order, and then replicas"));
}

}  // namespace

std::vector<int> Instances::replicas(int instance) const {
  std::vector<int> others;
  for (int i = 0; i < int(stage_of.size()); ++i)
    if (are_replicas(i, instance)) others.push_back(i);
  return others;
}

bool Instances::computes(int instance, int64_t mb) const {
  if (shares.empty()) return true;
  const std::vector<bool>& share = shares[size_t(instance)];
  return share[size_t(mb) % share.size()];
}

int Instances::count(int instance, int mbs_per_step) const {
  if (shares.empty()) return mbs_per_step;
  const std::vector<bool>& share = shares[size_t(instance)];
  return int(std::count(share.begin(), share.end(), true));
}

int Instances::place(int instance, int64_t mb) const {
  int before = 0;
  for (int64_t i = 0; i < mb; ++i) before += computes(instance, i);
  return before;
}

Instances share_out(std::vector<int> stage_of, const Plan& plan) {
  expect_stages(stage_of);
  Instances all{std::move(stage_of), {}};
  bool several = false;
  for (int i = 0; i < int(all.stage_of.size()); ++i) several |= !all.is_first(i);
  if (!several) return {};
  const size_t mbs = size_t(plan.at(0).mbs_per_period);
  all.shares.assign(all.stage_of.size(), std::vector<bool>(mbs, false));
  std::vector<std::vector<int>> taken(all.stage_of.size(), std::vector<int>(mbs, -1));  // by stage
  for (size_t w = 0; w < plan.size(); ++w) {
    if (!plan[w].prologue.empty() || !plan[w].epilogue.empty())
      throw ScheduleError(str("worker ", w, ": replicas in a plan with prologue or epilogue, expected periods alone"));
    for (size_t i = 0; i < plan[w].period.size(); ++i) {
      const Action& a = plan[w].period[i];
      if (a.what != Do::kForward) continue;
      if (size_t(a.stage) >= all.stage_of.size() || size_t(a.mb) >= mbs) continue;  // validate() names it
      int& by = taken[size_t(all.stage(a.stage))][size_t(a.mb)];
      if (by >= 0 && by != a.stage)
        throw ScheduleError(str("worker ", w, ", position ", i, ", ", to_text(a), ": instance ", by,
                                " of the same stage computes this micro-batch too"));
      by = a.stage;
      all.shares[size_t(a.stage)][size_t(a.mb)] = true;
    }
  }
  for (int i = 0; i < int(all.shares.size()); ++i)
    if (all.count(i, int(mbs)) == 0) throw ScheduleError(str("instance ", i, ": computes no micro-batch"));
  for (int s = 0; s < int(taken.size()); ++s)
    for (size_t mb = 0; mb < mbs; ++mb)
      if (all.is_first(s) && taken[size_t(s)][mb] < 0)
        throw ScheduleError(str(to_text(act(Do::kForward, s, int64_t(mb))), ": no instance of stage ", s,
                                " computes this micro-batch"));
  return all;
}

int InstancePlan::stages() const {
  return stage_of.empty() ? int(placement_of(plan).size()) : *std::max_element(stage_of.begin(), stage_of.end()) + 1;
}

void expect_stages(const InstancePlan& p) {
  if (p.stage_of.empty()) return;
  expect_stages(p.stage_of);
  int instances = 0;
  for (const Program& program : p.plan)
    for (const auto* part : {&program.prologue, &program.period, &program.epilogue})
      for (const Action& a : *part) instances = std::max(instances, a.stage + 1);
  if (instances != int(p.stage_of.size()))
    throw ScheduleError(
        str(kStageOf, " names the stages of ", p.stage_of.size(), " instances, the plan has ", instances));
}

std::string to_text(const InstancePlan& p) {
  if (p.stage_of.empty()) return to_text(p.plan);
  std::string text = kStageOf;
  for (const int s : p.stage_of) text += str(" ", s);
  return text + "\n" + to_text(p.plan);
}

InstancePlan parse_instances(const std::string& text) {
  InstancePlan p;
  std::string programs;  // as many lines as the text has
  std::istringstream lines(text);
  int number = 0;
  bool first = true;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string word;
    const bool names = words >> word && first && word == kStageOf;
    first = first && word.empty();
    if (names) p.stage_of = parse_stages(words, number);
    programs += (names ? "" : line) + "\n";
  }
  p.plan = parse(programs);
  expect_stages(p);
  return p;
}

std::string order_of_sums(const Plan& plan, const std::vector<int>& stage_of) {
  std::map<int, std::vector<int64_t>> added;  // by instance
  for (const Program& p : plan)
    for (const Action& a : unroll(p, p.mbs_per_period)) {
      if (a.what != Do::kBackward && a.what != Do::kBackwardWeight) continue;
      std::vector<int64_t>& mbs = added[a.stage];
      if (mbs.empty() || mbs.back() != a.mb) mbs.push_back(a.mb);  // else another view of it
    }
  std::map<int, std::string> of_stages;
  for (const auto& [instance, mbs] : added) {
    std::string& text = of_stages[stage_of.empty() ? instance : stage_of.at(size_t(instance))];
    const char* between = text.empty() ? "" : ", ";
    for (const int64_t mb : mbs) text += str(std::exchange(between, " "), mb);
  }
  std::set<std::string> differ;
  std::string all;
  for (const auto& entry : of_stages) {
    differ.insert(entry.second);
    all += (all.empty() ? "" : "; ") + entry.second;
  }
  return differ.size() == 1 ? *differ.begin() : all;
}

std::vector<Edge> between(const Instances& instances, const std::vector<Edge>& of_stages) {
  if (instances.shares.empty()) return of_stages;
  const int n = int(instances.shares.size());
  std::vector<Edge> edges;
  for (int to = 0; to < n; ++to)
    for (const Edge& e : of_stages)
      for (int from = 0; from < n; ++from) {
        if (instances.stage(from) != e.from || instances.stage(to) != e.to) continue;
        bool together = false;
        for (size_t mb = 0; mb < instances.shares[0].size(); ++mb)
          together |= instances.computes(from, int64_t(mb)) && instances.computes(to, int64_t(mb));
        if (together) edges.push_back({from, to, e.links});
      }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.to != b.to ? a.to < b.to : a.from < b.from; });
  return edges;
}

CostModel between(const Instances& instances, const CostModel& of_stages) {
  if (instances.stage_of.empty()) return of_stages;
  CostModel costs{.forward = {}, .backward_input = {}, .backward_weight = {}, .update = {}, .link = of_stages.link};
  const int n = int(instances.stage_of.size());
  for (int i = 0; i < n; ++i) {
    const int s = instances.stage(i);
    costs.forward.push_back(CostModel::of(of_stages.forward, s));
    costs.backward_input.push_back(CostModel::of(of_stages.backward_input, s));
    costs.backward_weight.push_back(CostModel::of(of_stages.backward_weight, s));
    costs.update.push_back(CostModel::of(of_stages.update, s));
    costs.bytes.push_back(CostModel::of(of_stages.bytes, s));
    for (int to = 0; to < n; ++to) {
      for (const EdgeBytes& e : of_stages.edges)
        if (e.from == s && e.to == instances.stage(to)) costs.edges.push_back({i, to, e.activations, e.gradients});
      const int64_t sum = CostModel::of(of_stages.bytes, s).gradients;
      if (i < to && instances.are_replicas(i, to)) costs.edges.push_back({i, to, sum, sum});
    }
  }
  return costs;
}

}  // namespace sluice
