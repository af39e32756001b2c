// Pipelines over two devices; random images that stay the same.
#include "bench/pipeline_row.h"

#include <algorithm>
#include <map>

#include "apps/median.h"
#include "apps/unit_costs.h"
#include "engine/error.h"
#include "engine/rng.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "pipeline/schedules.h"

namespace sluice::bench {
namespace {

/// The values of every port, made once for each stage: a stage reads them on one stream.
Feed fixed_feed(const Subject& s, size_t stages) {
  const auto kept = std::make_shared<std::vector<std::map<std::string, Tensor>>>(stages);
  return [kept, s](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& port : r.ports) {
      Tensor& t = (*kept)[size_t(r.stage)][port.name];
      if (!t.defined() && port.name == "labels") {
        std::vector<int32_t> labels;
        for (int64_t i = 0; i < s.samples; ++i) labels.push_back(int32_t(i % s.classes));
        t = Tensor::from<int32_t>(r.stream, labels, {s.samples}, MemoryTag::kIo);
      } else if (!t.defined()) {
        std::vector<float> pixels(size_t(s.samples * s.side * s.side * 3));
        for (size_t i = 0; i < pixels.size(); ++i)
          pixels[i] = float(philox({3, 3}, i / 4, 0).v[i % 4]) * 0x1p-31f - 1.0f;
        t = Tensor::from<float>(r.stream, pixels, {s.samples, s.side, s.side, 3}, MemoryTag::kIo);
      }
      parcel.values.push_back(t);
    }
    return parcel;
  };
}

OptimizerPtr make_optimizer(const Subject& s) {
  if (s.adam) return std::make_unique<Adam>(AdamOptions{.decoupled = true});
  return std::make_unique<Sgd>(SgdOptions{.remember = Lookahead::kReleased});
}

}  // namespace

PipelineRow::PipelineRow(const Subject& subject, RowPlan plan, size_t first)
    : plan_(std::move(plan)), samples_(subject.samples) {
  const std::vector<CpuShare> shares = share_cores(subject.devices, 1);
  for (size_t w = first; w < first + size_t(count_workers(plan_.placement)); ++w)
    streams_.emplace_back(subject.devices.at(w), shares.at(w));
  const PlanSchedule& schedule = find_schedule(plan_.schedule);
  const InstancePlacement lie = schedule.placed(plan_.placement);
  feed_ = fixed_feed(subject, lie.placement.size());
  std::vector<StagePtr> stages;
  for (size_t i = 0; i < lie.placement.size(); ++i) {
    std::vector<StageNet> nets = cut(subject.net, subject.cuts);  // an instance has layers of its own
    stages.push_back(std::make_unique<Stage>(
        std::move(nets[i % nets.size()]), streams_[size_t(lie.placement[i])], /*seed=*/1, make_optimizer(subject),
        [](int64_t) { return std::vector<GroupSettings>(kMaxGroups, {.lr = 1e-4f}); }));
  }
  pipeline_ = make_pipeline(std::move(stages), find_rule(plan_.rule), schedule.make(lie.placement, plan_.mbs),
                            {.stage_of = lie.stage_of});
}

double PipelineRow::run(int64_t steps, Trace* trace) {
  RunOptions o;
  o.steps = steps;
  o.first_step = step_;
  o.samples_per_mb = samples_;
  o.feed = feed_;
  o.trace = trace;
  last_ = execute(pipeline_, o);
  step_ += last_.steps;
  double busy = 0;
  for (const double b : last_.busy_s) busy += b;
  idle_.push_back(1 - busy / (last_.wall_s * double(last_.busy_s.size())));
  seconds_.push_back(last_.wall_s / double(steps));
  return seconds_.back();
}

double PipelineRow::idle_share() const { return median(idle_); }

std::vector<double> PipelineRow::weight_copies() const {
  std::vector<double> copies;
  for (const Stream& stream : streams_) {
    int64_t held = 0, once = 0;
    for (size_t i = 0; i < pipeline_.stages.size(); ++i) {
      const Stage& s = *pipeline_.stages[i];
      if (s.stream != stream) continue;
      once += i < plan_.placement.size() ? s.arena.values().bytes() : 0;  // the first instance of each stage
      held += s.arena.values().bytes() * s.versions.copies();
    }
    copies.push_back(double(held) / double(once));
  }
  return copies;
}

std::vector<int64_t> PipelineRow::activation_bytes() const {
  std::vector<int64_t> bytes(streams_.size(), 0);
  for (size_t w = 0; w < streams_.size(); ++w)
    for (const StagePtr& s : pipeline_.stages)
      if (s->stream == streams_[w]) bytes[w] += s->ledger.peak();
  return bytes;
}

CostModel costs_of(const Trace& trace, int stages, const std::vector<Sent>& sent) {
  CostModel costs = median_costs(trace, stages);
  double sending = 0;
  for (const Trace::Span& s : trace.spans())
    if (s.action.what == Do::kSend) sending += s.end.time() - s.begin.time();
  int64_t bytes = 0;
  for (const Sent& s : sent) {
    bytes += s.bytes;
    const int64_t each = s.bytes / s.parcels;
    if (s.from < s.to) costs.edges.push_back({.from = s.from, .to = s.to, .activations = each});
  }
  for (const Sent& s : sent)
    for (EdgeBytes& e : costs.edges)
      if (e.from == s.to && e.to == s.from) e.gradients = s.bytes / s.parcels;
  if (sending > 0) costs.link = {.bandwidth = double(bytes) / sending, .holds_sender = true};
  return costs;
}

double bubble_formula(const std::string& schedule, int p, int64_t m, const Halves& t) {
  const double all = t.f + t.b + t.w, work = double(m) * all, others = p - 1;
  double bubble = 0;
  if (schedule == "naive_split") bubble = others * work;
  if (schedule == "gpipe" || schedule == "one_f_one_b" || schedule == "async_1f1b") bubble = others * all;
  if (schedule == "interleaved") bubble = others * all / 2;  // two stages a worker
  if (schedule == "zb_h1") bubble = std::max(0.0, others * (t.f + t.b - t.w));
  if (schedule == "zb_h2") bubble = std::max(0.0, others * (t.f + t.b - 2 * t.w));
  if (schedule == "chimera") bubble = (others - 1) * (t.b + t.w);
  if (schedule == "dual_pipe") bubble = (p / 2 - 1) * (t.f + 2 * (t.b + t.w) - 3 * t.w);
  if (schedule == "v_half") bubble = others * all / 2;
  if (schedule == "v_min") bubble = others * all * 2 / 3;
  return bubble / (work + bubble);
}

}  // namespace sluice::bench
