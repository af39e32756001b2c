// Loss records by step.
#include "pipeline/step_log.h"

#include <cmath>

#include "engine/error.h"

namespace sluice {

void StepLog::add(const Stream& s, int64_t step, int64_t mb, const std::vector<Var>& losses) {
  if (losses.empty()) return;
  Record& r = open_[step];
  if (!r.memory) {  // once: queued copies point into it
    r.losses = losses.size();
    if (spare_.empty()) spare_.push_back(s.host_memory(losses.size() * size_t(mbs_) * sizeof(float)));
    r.memory = std::move(spare_.back());
    spare_.pop_back();
  }
  if (r.losses != losses.size())
    throw ScheduleError(str("stage ", stage_, ": ", losses.size(), " losses, expected ", r.losses,
                            " for each micro-batch of step ", step));
  for (size_t i = 0; i < losses.size(); ++i)
    copy_to_host(s, losses[i].value, r.values() + size_t(mb) * losses.size() + i);
}

void StepLog::end_step(const Stream& s, int64_t step) {
  Record r = std::move(open_[step]);
  open_.erase(step);
  r.step = step;
  r.done = s.record();
  ended_.push_back(std::move(r));
  while (int(ended_.size()) > run_ahead_) retire();
}

void StepLog::drain() {
  while (!ended_.empty()) retire();
}

void StepLog::retire() {
  ended_.front().done.sync();  // may throw: queued copies keep their memory until then
  const Record r = std::move(ended_.front());
  ended_.pop_front();
  StepLosses out{stage_, r.step, std::vector<float>(r.losses, 0.0f)};
  for (size_t i = 0; i < r.losses * size_t(mbs_); ++i) out.values[i % r.losses] += r.values()[i];
  if (r.memory) spare_.push_back(r.memory);
  for (const float v : out.values)
    if (!std::isfinite(v))
      throw NumericError(str("loss of stage ", stage_, " is ", std::isnan(v) ? "nan" : "inf", " at step ", out.step));
  if (report_) report_(out);
}

}  // namespace sluice
