// Inserts recomputations.
#include "pipeline/recompute_stages.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice {
namespace {

std::vector<Action> with_recompute(const std::vector<Action>& actions, const std::vector<int>& stages) {
  std::vector<Action> out;
  for (const Action& a : actions) {
    const bool named = std::count(stages.begin(), stages.end(), a.stage) > 0;
    if (named && a.what == Do::kRecompute)
      throw ScheduleError(str(to_text(a), ": the plan recomputes stage ", a.stage, " already"));
    if (named && (a.what == Do::kBackward || a.what == Do::kBackwardInput)) {
      Action again = a;
      again.what = Do::kRecompute;
      out.push_back(again);
    }
    out.push_back(a);
  }
  return out;
}

}  // namespace

Plan add_recompute(const Plan& plan, const std::vector<int>& stages) {
  const int count = int(placement_of(plan).size());
  for (const int s : stages)
    if (s < 0 || s >= count)
      throw ScheduleError(str("recompute: no stage ", s, ", the plan has ", count, ": 0 to ", count - 1));
  Plan out = plan;
  for (Program& p : out)
    for (std::vector<Action>* part : {&p.prologue, &p.period, &p.epilogue}) *part = with_recompute(*part, stages);
  return out;
}

}  // namespace sluice
