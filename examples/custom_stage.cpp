// A user's own data, loss and stages, trained over two devices: nothing of this is known to the library.
// The data are points on a noisy sine; the loss is Huber's; two stages are trained end to end by 1F1B.
#include <cmath>
#include <cstdio>
#include <numeric>

#include "layers/dense.h"
#include "optim/adam.h"
#include "pipeline/executor.h"
#include "pipeline/schedules.h"

namespace {

using namespace sluice;

// ---- a loss of one's own: Huber's, with its gradient computed in the same pass ----

constexpr float kDelta = 0.5f;

struct HuberFn final : Function {
  GradList backward_input(Tensor, BackwardCtx&) override { return {std::move(dx)}; }
  Tensor dx;
};

/// Mean over all elements of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2); d = x - target. CPU only.
Var huber(Ctx& c, const Var& x, const Tensor& target, float weight) {
  Tensor loss = c.empty({1}), dx = c.empty(x.shape());
  const float scale = weight / float(x.value.numel());
  c.stream.enqueue([x = x.value.cref(), t = target.cref(), l = loss.ref(), g = dx.ref(), scale](CpuContext&) {
    float sum = 0;
    for (int64_t i = 0; i < x.numel(); ++i) {
      const float d = x.as<float>()[i] - t.as<float>()[i], a = std::abs(d);
      sum += a <= kDelta ? 0.5f * d * d : kDelta * (a - 0.5f * kDelta);
      g.as<float>()[i] = scale * (a <= kDelta ? d : std::copysign(kDelta, d));
    }
    *l.as<float>() = scale * sum;
  });
  auto f = std::make_unique<HuberFn>();
  f->dx = dx;
  return c.tape->record(std::move(f), loss, {x}, false);
}

// ---- stages of one's own ----

/// x -> tanh(dense(x)), then in the last stage a linear read-out and the loss.
class CurveStage final : public StageBody {
 public:
  CurveStage(Init init, bool last) : last_(last), hidden_(init.scope("hidden"), last ? 32 : 1, 32, Act::kTanh) {
    if (last) read_out_ = std::make_unique<Dense>(init.scope("read_out"), 32, 1);
  }
  std::vector<Port> feed_ports() const override {
    return {{.name = last_ ? "y" : "x", .dtype = DType::kF32, .differentiable = false}};
  }
  std::vector<Port> in_ports() const override { return last_ ? std::vector<Port>{{.name = "h"}} : std::vector<Port>{}; }
  std::vector<Port> out_ports() const override {
    return last_ ? std::vector<Port>{} : std::vector<Port>{{.name = "h"}};
  }
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float weight) const override {
    if (!last_) return {.out = infer(c, feed), .losses = {}};
    return {.out = {}, .losses = {huber(c, infer(c, in)[0], feed[0].value, weight)}};
  }
  Bundle infer(Ctx& c, const Bundle& in) const override {
    const Var h = hidden_.forward(c, in[0]);
    return {last_ ? read_out_->forward(c, h) : h};
  }
  Var head(Ctx&, const Bundle& s) const override { return s[0]; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  bool last_;
  Dense hidden_;
  std::unique_ptr<Dense> read_out_;
};

// ---- data of one's own ----

constexpr int64_t kPoints = 64;

/// Micro-batch mb: the same points for both stages, since they depend on mb alone.
Parcel points(const FeedRequest& r) {
  std::vector<float> values;
  for (int64_t i = 0; i < kPoints; ++i) {
    const float x = 2.0f * uniform(philox({1, 2}, uint64_t(r.mb), uint64_t(i)).v[0]) - 1.0f;
    const float noise = 0.1f * (uniform(philox({3, 4}, uint64_t(r.mb), uint64_t(i)).v[0]) - 0.5f);
    values.push_back(r.ports[0].name == "x" ? x : std::sin(3.0f * x) + noise);
  }
  return {{Tensor::from<float>(r.stream, values, {kPoints, 1})}};
}

}  // namespace

int main() {
  std::vector<StagePtr> stages;
  for (int i = 0; i < 2; ++i) {
    StageNet net{.name = "stage" + std::to_string(i), .init = {}, .body = nullptr};
    net.body = std::make_unique<CurveStage>(net.init.scope(net.name), i == 1);
    const Stream stream(Device{DeviceKind::kCpu, i});
    stages.push_back(std::make_unique<Stage>(std::move(net), stream, /*seed=*/1, std::make_unique<Adam>(),
                                             [](int64_t) { return std::vector<GroupSettings>{{.lr = 5e-3f}}; }));
  }
  constexpr int kMicroBatches = 4;
  Pipeline pipeline = make_pipeline(std::move(stages), find_rule("backprop"), one_f_one_b({0, 1}, kMicroBatches));

  double first = 0, last = 0;
  RunOptions options;
  options.steps = 300;
  options.samples_per_mb = kPoints;
  options.feed = points;
  options.on_losses = [&](const StepLosses& l) {
    if (l.values.empty()) return;  // the first stage has no loss of its own
    const double loss = double(std::accumulate(l.values.begin(), l.values.end(), 0.0f));
    if (l.step == 0) first = loss;
    last = loss;
    if (l.step % 100 == 0) std::printf("step %3d  loss %.5f\n", int(l.step), loss);
  };
  const RunResult result = execute(pipeline, options);
  std::printf("%d steps, loss %.5f to %.5f\n", int(result.steps), first, last);
  return last < 0.02 * first ? 0 : 1;
}
