// Dense stages: batch norm, activation, dropout, and mean squared error against the target.
#include "tests/pipeline/net.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "optim/adam.h"
#include "optim/clipped.h"
#include "pipeline/recompute_stages.h"
#include "tests/support/support.h"

namespace sluice::test {
namespace {

class TestStage final : public StageBody {
 public:
  TestStage(Init init, const NetOptions& o, int index) : options_(o), index_(index), path_(path_hash(init.path())) {
    linear_ = {init.param("w", {kWidth, kWidth}, InitialValue::uniform(0.4f)),
               init.param("b", {kWidth}, InitialValue::uniform(0.1f)), Act::kNone};
    norm_ = {init.param("gamma", {kWidth}, InitialValue::constant(1)), init.param("beta", {kWidth}, {}),
             init.buffer("mean", {kWidth}, 0), init.buffer("var", {kWidth}, 1)};
    if (o.local_losses || last())
      head_ = {init.param("head", {kWidth, kWidth}, InitialValue::uniform(0.4f)), Param{}, Act::kNone};
  }

  std::vector<Port> feed_ports() const override {
    std::vector<Port> ports;
    if (index_ == 0) ports.push_back({"x", DType::kF32, false});
    if (options_.local_losses ? index_ == 0 : last()) ports.push_back({"target", DType::kF32, false});
    return ports;
  }
  std::vector<Port> in_ports() const override { return index_ == 0 ? std::vector<Port>{} : bundle(); }
  std::vector<Port> out_ports() const override { return last() ? std::vector<Port>{} : bundle(); }

  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override {
    if (index_ == options_.slow_stage)
      c.stream.enqueue([](CpuContext&) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
    const Var h = dropout(c, infer(c, index_ == 0 ? feed : in)[0], 0.2f, path_);
    StageOutput out;
    if (options_.local_losses) {
      const Var target = index_ == 0 ? feed[1] : in[1];
      out.losses = {mse(c, matmul(c, h, head_), target.value, loss_weight)};
      if (!last()) out.out = {detach(h), target};
    } else if (last()) {
      out.losses = {mse(c, matmul(c, h, head_), feed.back().value, loss_weight)};
    } else {
      out.out = {h};
    }
    return out;
  }
  Bundle infer(Ctx& c, const Bundle& in) const override {
    return {activation(c, batch_norm(c, matmul(c, in[0], linear_), norm_), Act::kTanh)};
  }
  Var head(Ctx& c, const Bundle& s) const override { return matmul(c, s[0], head_); }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  bool last() const { return index_ + 1 == options_.stages; }
  std::vector<Port> bundle() const {
    if (!options_.local_losses) return {{"h"}};
    return {{"h", DType::kF32, false}, {"target", DType::kF32, false}};
  }

  NetOptions options_;
  int index_;
  uint64_t path_;
  Linear linear_, head_;
  BatchNormParams norm_;
};

}  // namespace

Device device_of(Where where, int worker) {
  const bool gpu = where == Where::kCuda || (where == Where::kMixed && worker % 2 == 1);
  return gpu ? Device{DeviceKind::kCuda, worker % cuda_status().devices} : Device{DeviceKind::kCpu, worker};
}
std::vector<Where> test_places() {
  std::vector<Where> places{Where::kCpu};
  if (cuda_status().devices > 0) places.push_back(Where::kCuda);
  return places;
}
std::vector<Where> mixed_places() {
  std::vector<Where> places = test_places();
  if (places.size() > 1) places.push_back(Where::kMixed);
  return places;
}
std::string place_label(const testing::TestParamInfo<Where>& info) {
  return info.param == Where::kCpu ? "cpu" : info.param == Where::kCuda ? "cuda" : "mixed";
}

std::vector<StageNet> make_nets(const NetOptions& options) {
  std::vector<StageNet> nets;
  for (int s = 0; s < options.stages; ++s) {
    StageNet net{.name = "stage" + std::to_string(s), .init = {}, .body = nullptr};
    net.body = std::make_unique<TestStage>(net.init.scope(net.name), options, s);
    nets.push_back(std::move(net));
  }
  return nets;
}

Trained make_trained(std::vector<StageNet> nets, const PlanOptions& plan) {
  Trained t;
  for (int w = 0; w < count_workers(plan.placement); ++w) t.streams.emplace_back(device_of(plan.where, w));
  std::vector<StagePtr> stages(nets.size());
  std::vector<StagePorts> ports;
  std::vector<std::shared_ptr<GradientClip>> clips(t.streams.size());
  for (size_t s = 0; s < nets.size(); ++s) {
    ports.push_back({nets[s].body->in_ports(), nets[s].body->out_ports()});
    if (plan.here >= 0 && plan.placement[s] != plan.here) continue;
    OptimizerPtr optimizer = std::make_unique<Adam>();
    std::shared_ptr<GradientClip>& clip = clips[size_t(plan.placement[s])];
    if (plan.most > 0) {
      if (!clip) clip = std::make_shared<GradientClip>(plan.most);
      optimizer = std::make_unique<ClippedOptimizer>(std::move(optimizer), clip);
    }
    size_t groups = 1;
    for (const ParamSpec& param : nets[s].init.params()) groups = std::max(groups, size_t(param.group) + 1);
    stages[s] = std::make_unique<Stage>(
        std::move(nets[s]), t.streams[size_t(plan.placement[s])], /*seed=*/3, std::move(optimizer),
        [groups, lr = plan.lr](int64_t) { return std::vector<GroupSettings>(groups, {.lr = lr}); });
    if (clip) clip->add(stages[s]->arena);
  }
  Plan compute =
      add_recompute(plan.compute.empty() ? find_schedule(plan.schedule).make(plan.placement, plan.mbs) : plan.compute,
                    plan.recomputed);
  const bool meets = plan.most > 0 && (t.streams.size() > 1 || !plan.stage_of.empty());
  if (meets) compute = meet_before_updates(compute);
  t.pipeline = make_pipeline(std::move(stages), ports, find_rule(plan.rule), compute,
                             {.depth = plan.depth, .stage_of = plan.stage_of});
  for (const std::shared_ptr<GradientClip>& clip : clips) {
    if (!meets) break;
    NormExchange& own = t.pipeline.norms.emplace_back();
    if (!clip) continue;
    own.squares = [clip](const Stream& s) { return clip->squares(s); };
    own.take = [clip](const Stream& s, int64_t step, const std::vector<float>& all) { clip->take(s, step, all); };
  }
  return t;
}

std::vector<StageNet> make_instances(const std::function<std::vector<StageNet>()>& make,
                                     const std::vector<int>& stage_of) {
  std::vector<StageNet> nets;
  for (const int s : stage_of) nets.push_back(std::move(make()[size_t(s)]));
  return nets;
}

Plan one_worker(const Instances& instances) {
  Program p;
  const int n = int(instances.stage_of.size());
  p.mbs_per_period = int(instances.shares[0].size());
  for (int64_t mb = 0; mb < p.mbs_per_period; ++mb) {
    std::vector<int> mine;  // by stage
    for (int s = 0; s < n; ++s)
      for (int i = 0; i < n; ++i)
        if (instances.stage(i) == s && instances.computes(i, mb)) mine.push_back(i);
    add_forward(p.period, mine, mb);
    add_backward(p.period, mine, mb);
  }
  for (int i = 0; i < n; ++i)
    if (!instances.replicas(i).empty()) add_sum(p.period, {i}, 0);
  for (int i = 0; i < n; ++i) add_update(p.period, {i}, 0);
  return {p};
}

Trained make_trained(const NetOptions& options, const std::string& schedule, const Placement& placement, int mbs,
                     int depth) {
  const InstancePlacement all = find_schedule(schedule).placed(placement);
  const auto make = [&] { return make_nets(options); };
  Trained t = make_trained(all.stage_of.empty() ? make() : make_instances(make, all.stage_of),
                           {.rule = options.local_losses ? "associated" : options.rule,
                            .schedule = schedule,
                            .placement = all.placement,
                            .mbs = mbs,
                            .depth = depth,
                            .where = options.where,
                            .stage_of = all.stage_of});
  t.options = options;
  return t;
}

std::vector<std::vector<float>> Trained::weights() const {
  std::vector<std::vector<float>> all;
  for (const StagePtr& s : pipeline.stages) {
    if (!s) {
      all.emplace_back();
      continue;
    }
    all.push_back(s->arena.values().to_vector<float>(s->stream));
    const std::vector<float> buffers = s->arena.buffers().to_vector<float>(s->stream);
    all.back().insert(all.back().end(), buffers.begin(), buffers.end());
  }
  return all;
}

int64_t Trained::live_blocks() const {
  int64_t n = 0;
  for (const Stream& s : streams) n += s.pool().live_blocks();
  return n;
}

int64_t Trained::os_calls() const {
  int64_t n = 0;
  for (const Stream& s : streams) n += s.pool().os_calls();
  return n;
}

Feed make_feed(int64_t poisoned, float poison, int64_t rows) {
  return [=](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& port : r.ports) {
      const uint64_t seed = uint64_t(r.mb) * 2 + (port.name == "target" ? 1 : 0);
      std::vector<float> values = random_values(rows * kWidth, seed);
      if (r.mb == poisoned && port.name == "target") values[0] = poison;
      parcel.values.push_back(Tensor::from<float>(r.stream, values, {rows, kWidth}, MemoryTag::kIo));
    }
    return parcel;
  };
}

RunOptions run_options(int64_t steps, int64_t rows) {
  RunOptions o;
  o.steps = steps;
  o.samples_per_mb = rows;
  o.seed = 11;
  o.feed = make_feed(-1, 0, rows);
  return o;
}

}  // namespace sluice::test
