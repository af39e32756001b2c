// The network that the asynchronous rules' reference is of, in a pipeline: h <- tanh(h W), stage by stage, and the mean
// squared error at the end.
#pragma once

#include <memory>
#include <utility>

#include "optim/adam.h"
#include "optim/sgd.h"
#include "pipeline/executor.h"
#include "pipeline/recompute_stages.h"
#include "pipeline/schedules.h"
#include "tests/pipeline/asynchronous_reference.h"
#include "tests/pipeline/net.h"

namespace sluice::test::asynchronous_test {

class ChainStage final : public StageBody {
 public:
  ChainStage(Init init, int index, int stages)
      : index_(index),
        last_(index + 1 == stages),
        linear_{init.param("w", {kDim, kDim}, InitialValue::uniform(0.8f)), Param{}, Act::kNone} {}
  std::vector<Port> feed_ports() const override {
    std::vector<Port> ports;
    if (index_ == 0) ports.push_back({"x", DType::kF32, false});
    if (last_) ports.push_back({"target", DType::kF32, false});
    return ports;
  }
  std::vector<Port> in_ports() const override { return index_ == 0 ? std::vector<Port>{} : std::vector<Port>{{"h"}}; }
  std::vector<Port> out_ports() const override { return last_ ? std::vector<Port>{} : std::vector<Port>{{"h"}}; }
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override {
    const Var h = infer(c, index_ == 0 ? feed : in)[0];
    if (last_) return {.out = {}, .losses = {mse(c, h, feed.back().value, loss_weight)}};
    return {.out = {h}, .losses = {}};
  }
  Bundle infer(Ctx& c, const Bundle& in) const override {
    return {activation(c, matmul(c, in[0], linear_), Act::kTanh)};
  }
  Var head(Ctx&, const Bundle& s) const override { return s[0]; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  int index_;
  bool last_;
  Linear linear_;
};

inline Feed chain_feed() {
  return [](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& port : r.ports)
      parcel.values.push_back(
          Tensor::from<float>(r.stream, sample(r.mb, port.name == "target"), {kSamples, kDim}, MemoryTag::kIo));
    return parcel;
  };
}

inline OptimizerPtr make_optimizer(Kind kind) {
  if (kind == Kind::kSgd)
    return std::make_unique<Sgd>(SgdOptions{.momentum = float(kMomentum), .remember = Lookahead::kReleased});
  return std::make_unique<Adam>(AdamOptions{.decoupled = kind == Kind::kAdamW});
}

struct Chain {
  std::vector<Stream> streams;
  Pipeline pipeline;
};

inline Chain make_chain(const Case& setup, Where where = Where::kCpu) {
  Chain chain;
  std::vector<StagePtr> stages;
  for (int s = 0; s < setup.stages; ++s) {
    chain.streams.emplace_back(device_of(where, s));
    StageNet net{.name = "stage" + std::to_string(s), .init = {}, .body = nullptr};
    net.body = std::make_unique<ChainStage>(net.init.scope(net.name), s, setup.stages);
    stages.push_back(std::make_unique<Stage>(
        std::move(net), chain.streams.back(), /*seed=*/5, make_optimizer(setup.kind),
        [](int64_t) { return std::vector<GroupSettings>{{.lr = float(kLr), .weight_decay = float(kDecay)}}; }));
  }
  chain.pipeline = make_pipeline(
      std::move(stages), find_rule(setup.rule),
      add_recompute(find_schedule(setup.schedule).make(one_each(setup.stages), setup.mbs), setup.recomputed),
      {.recompute = setup.recompute});
  return chain;
}

inline RunOptions chain_run(int64_t steps, int64_t first_step = 0) {
  RunOptions o;
  o.steps = steps;
  o.first_step = first_step;
  o.samples_per_mb = kSamples;
  o.feed = chain_feed();
  return o;
}

inline std::vector<std::vector<double>> weights_of(const Chain& chain) {
  std::vector<std::vector<double>> all;
  for (const StagePtr& s : chain.pipeline.stages) all.push_back(to_double(s->stream, s->arena.values()));
  return all;
}

inline const std::vector<std::string> kRules{
    "naive",           "pipedream",          "pipedream_vertical", "2bw", "spectrain", "xpipe", "pipeoptim",
    "pipeoptim_paper", "pipeoptim_released", "pipeoptim_decay"};

/// 2BW delays by one step only where the first forwards of a step find the update of the step before last.
inline std::vector<int> step_sizes(const std::string& rule) {
  return rule == "2bw" ? std::vector<int>{4, 5} : std::vector<int>{1, 2, 3, 5};
}

}  // namespace sluice::test::asynchronous_test
