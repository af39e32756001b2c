// Loss records by step.
#include "pipeline/step_log.h"

#include <cmath>

#include "engine/error.h"

namespace sluice {

void StepLog::add(const Stream& s, int64_t step, int64_t mb, const std::vector<Var>& losses) {
  Record& r = open_[step];
  r.step = step;
  if (r.values.empty()) r.values.resize(losses.size() * size_t(mbs_));  // once: queued copies point into it
  if (r.values.size() != losses.size() * size_t(mbs_))
    throw ScheduleError(str("stage ", stage_, ": ", losses.size(), " losses, expected ", r.values.size() / size_t(mbs_),
                            " for each micro-batch of step ", step));
  for (size_t i = 0; i < losses.size(); ++i)
    copy_to_host(s, losses[i].value, &r.values[size_t(mb) * losses.size() + i]);
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
  const Record& r = ended_.front();
  r.done.sync();
  const size_t losses = r.values.size() / size_t(mbs_);
  StepLosses out{stage_, r.step, std::vector<float>(losses, 0.0f)};
  for (size_t i = 0; i < r.values.size(); ++i) out.values[i % losses] += r.values[i];
  ended_.pop_front();
  for (const float v : out.values)
    if (!std::isfinite(v))
      throw NumericError(str("loss of stage ", stage_, " is ", std::isnan(v) ? "nan" : "inf", " at step ", out.step));
  if (report_) report_(out);
}

}  // namespace sluice
