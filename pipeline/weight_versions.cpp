// Versions by pointers: an update writes where the oldest version was.
#include "pipeline/weight_versions.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice {

void WeightVersions::begin(const VersionNeeds& needs) {
  needs_ = needs;
  updates_ = 0;
  for (const Weights& w : kept_)
    if (w.values.storage() != arena_.values().storage()) spare_.push_back(w.values);
  kept_ = {arena_.weights()};
  for (std::deque<Forecasted>& of_pass : forecasted_)
    for (Forecasted& f : of_pass) f.what = {};
}

Weights WeightVersions::read(Pass pass, const WeightRead& what, const Stream& stream) {
  const int64_t behind = updates_ - what.version;
  if (what.ahead == 0) {
    if (behind < 0 || behind >= int64_t(kept_.size()))
      throw Error(str("weights of ", what.version, " updates: the stage has made ", updates_, " and keeps ",
                      kept_.size(), " versions"));
    return kept_[kept_.size() - 1 - size_t(behind)];
  }
  for (const Forecasted& f : forecasted(pass))
    if (f.what == what) return f.weights;
  if (behind != 0)
    throw Error(str("weights foretold from those of ", what.version, " updates: the stage has made ", updates_));
  const int64_t made = needs_.first_step + updates_;
  const Forecast forecast = forecast_to(pass, what, stream);
  return forecasted(pass).back().weights = optimizer_.forecast(arena_, stream, made, settings_(made), forecast);
}

void WeightVersions::update(const Stream& stream, const Tensor& finite, const Next& next) {
  const int64_t step = needs_.first_step + updates_;
  const std::vector<GroupSettings> groups = settings_(step);
  Update update{.step = step, .groups = groups, .finite = finite};
  if (needs_.kept > 1) update.next = room(stream);
  std::vector<Forecasted*> targets;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const WeightRead& what = pass == Pass::kForward ? next.forward : next.backward;
    if (what.ahead == 0 || what.version != updates_ + 1) continue;
    update.forecasts.push_back(forecast_to(pass, what, stream));
    targets.push_back(&forecasted(pass).back());
  }
  const std::vector<Weights> foretold = optimizer_.step(arena_, stream, update);
  for (size_t k = 0; k < targets.size(); ++k) targets[k]->weights = foretold[k];
  ++updates_;
  if (needs_.kept == 1) kept_.clear();
  kept_.push_back(arena_.weights());
}

int WeightVersions::copies() const {
  int foretold = 0;
  for (const std::deque<Forecasted>& of_pass : forecasted_) foretold += int(of_pass.size());
  return std::max(1, int(kept_.size())) + int(spare_.size()) + foretold;
}

/// Memory for the next version: that of the oldest, where as many are kept as may be read.
Tensor WeightVersions::room(const Stream& stream) {
  if (int(kept_.size()) == needs_.kept) {
    Tensor oldest = kept_.front().values;
    kept_.pop_front();
    return oldest;
  }
  if (spare_.empty()) return Tensor::empty(stream, arena_.values().shape(), DType::kF32, MemoryTag::kStash);
  Tensor t = std::move(spare_.back());
  spare_.pop_back();
  return t;
}

Forecast WeightVersions::forecast_to(Pass pass, const WeightRead& what, const Stream& stream) {
  std::deque<Forecasted>& all = forecasted(pass);
  const int most = pass == Pass::kForward ? needs_.forecasts : 1;
  if (int(all.size()) < most) {
    all.emplace_back();
  } else {
    all.push_back(std::move(all.front()));
    all.pop_front();
  }
  Forecasted& f = all.back();
  const int64_t size = needs_.late ? arena_.values().numel() : arena_.dense_size();
  if (!f.weights.values.defined() || f.weights.values.numel() != size)
    f.weights.values = Tensor::empty(stream, {size}, DType::kF32, MemoryTag::kStash);
  f.what = what;
  return {.to = f.weights.values, .ahead = what.ahead, .how = needs_.lookahead};
}

}  // namespace sluice
