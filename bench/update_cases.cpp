// Rows of the whole-arena updates: plain, and with a forecast of later weights in the same pass, against the forecast
// in a pass of its own and against what PipeOptim's released code does: weights are foretold in place from temporaries
// and come back from a copy, and every operation of the optimiser is a pass.
#include <algorithm>
#include <cmath>

#include "bench/case.h"
#include "kernels/adam.h"
#include "kernels/common/parallel.h"
#include "kernels/forecast.h"
#include "kernels/rmsprop.h"
#include "kernels/sgd.h"

namespace sluice::bench {
namespace {

// An arena larger than the caches, as one segment of one group.
constexpr int64_t kArena = int64_t(48) << 20;
constexpr float kMomentum = 0.9f, kBeta1 = 0.9f, kBeta2 = 0.999f, kEps = 1e-8f, kRate = 1e-6f, kDecay = 1e-4f;
constexpr float kAhead = 3.0f;

enum class Rule { kSgd, kRmsprop, kAdam, kAdamw };

/// What an update reads and writes. Moments start at 1: no denormals, no zero divisors.
struct Arrays {
  explicit Arrays(const Stream& s)
      : w(filled(s, {kArena})),
        g(filled(s, {kArena})),
        m(ones(s)),
        v(ones(s)),
        segments(Tensor::from<int64_t>(s, std::vector<int64_t>{0, kArena, 0}, {1, 3})) {
    StepScalars step;
    step.lr[0] = kRate;
    step.weight_decay[0] = kDecay;
    step.forecasts[0].keep[0] = 1.0f;
    step.forecasts[0].reach[0] = kRate * kAhead;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&step);
    scalars = Tensor::from<uint8_t>(s, {bytes, sizeof(step)}, kStepScalarsShape);
  }
  static Tensor ones(const Stream& s) {
    return Tensor::from<float>(s, std::vector<float>(size_t(kArena), 1.0f), {kArena});
  }
  std::vector<Tensor> all() const { return {w, g, m, v, segments, scalars}; }

  Tensor w, g, m, v, segments, scalars;
};

kernels::Sgd sgd(const Arrays& a) {
  return kernels::Sgd{.w = a.w.ref(),
                      .g = a.g.cref(),
                      .buffer = a.m.ref(),
                      .view = {},
                      .segments = a.segments.cref(),
                      .scalars = a.scalars.cref(),
                      .finite = {},
                      .momentum = kMomentum};
}
kernels::Rmsprop rmsprop(const Arrays& a) {
  return kernels::Rmsprop{.w = a.w.ref(),
                          .g = a.g.cref(),
                          .v = a.v.ref(),
                          .view = {},
                          .segments = a.segments.cref(),
                          .scalars = a.scalars.cref(),
                          .finite = {}};
}
kernels::Adam adam(const Arrays& a, bool decoupled) {
  return kernels::Adam{.w = a.w.ref(),
                       .g = a.g.cref(),
                       .m = a.m.ref(),
                       .v = a.v.ref(),
                       .view = {},
                       .segments = a.segments.cref(),
                       .scalars = a.scalars.cref(),
                       .finite = {},
                       .decoupled = decoupled};
}

Case plain(const Stream& s, Rule rule) {
  const Arrays a(s);
  if (rule == Rule::kSgd) return of(sgd(a), a.all());
  if (rule == Rule::kRmsprop) return of(rmsprop(a), a.all());
  return of(adam(a, rule == Rule::kAdamw), a.all());
}

template <class Update>
Case with_forecast(Update call, Ref to, Direction kind, std::vector<Tensor> keep) {
  call.forecasts[0] = {to, {.kind = kind}};
  return of(call, std::move(keep));
}
/// Keeps the twin's tensors, too.
Case fused(const Arrays& a, const Tensor& to, Rule rule, const Tensor& other = {}) {
  std::vector<Tensor> keep = a.all();
  keep.insert(keep.end(), {to, other});
  if (rule == Rule::kSgd) return with_forecast(sgd(a), to.ref(), Direction::kMomentum, keep);
  return with_forecast(adam(a, false), to.ref(), Direction::kAdaptive, keep);
}

/// The update, then the forecast.
Case beside_two_passes(const Stream& s, Rule rule) {
  const Arrays a(s);
  const Tensor to = filled(s, {kArena});
  Case c = fused(a, to, rule);
  const bool momentum = rule == Rule::kSgd;
  const kernels::Forecast forecast{.w = a.w.cref(),
                                   .m = a.m.cref(),
                                   .v = a.v.cref(),
                                   .to = to.ref(),
                                   .segments = a.segments.cref(),
                                   .scalars = a.scalars.cref(),
                                   .direction = {.kind = momentum ? Direction::kMomentum : Direction::kAdaptive}};
  const Case update = momentum ? of(sgd(a), a.all()) : of(adam(a, false), a.all());
  c.rivals = [=] {
    return std::vector<Rival>{{"two passes",
                               [=](CpuContext& context) {
                                 update.run(context);
                                 run_cpu(forecast, context);
                               },
                               update.cost.bytes() + forecast.cost().bytes()}};
  };
  c.ratio = "vs_passes";
  return c;
}

/// Passes over whole arrays, counted; without a context, only that.
class Passes {
 public:
  explicit Passes(const CpuContext* context) : context_(context) {}
  /// f(i) for every element; `arrays`: how many it reads and writes.
  template <class F>
  void operator()(int arrays, F f) {
    bytes_ += arrays * kArena * 4;
    if (context_ == nullptr) return;
    parallel_blocks(*context_, kArena, 16384, [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) f(i);
    });
  }

  int64_t bytes() const { return bytes_; }

 private:
  const CpuContext* context_;
  int64_t bytes_ = 0;
};

struct Pointers {
  float *w, *g, *m, *v, *stash, *t;
  float one;  // a factor that no compiler knows
};

void foretell_in_place(Passes& pass, const Pointers& p, Rule rule) {
  if (rule == Rule::kSgd) {
    pass(2, [t = p.t, m = p.m](int64_t i) { t[i] = kMomentum * m[i]; });
    pass(3, [t = p.t, g = p.g](int64_t i) { t[i] += g[i]; });
    pass(2, [t = p.t](int64_t i) { t[i] *= kRate * kAhead; });
    pass(3, [w = p.w, t = p.t](int64_t i) { w[i] -= t[i]; });
    return;
  }
  pass(2, [t = p.t, v = p.v](int64_t i) { t[i] = std::sqrt(v[i]); });
  pass(2, [t = p.t, one = p.one](int64_t i) { t[i] *= one; });  // by the bias correction's root
  pass(2, [t = p.t](int64_t i) { t[i] += kEps; });
  pass(4, [w = p.w, m = p.m, t = p.t](int64_t i) { w[i] -= kRate * kAhead * (m[i] / t[i]); });
}

void update_in_passes(Passes& pass, const Pointers& p, Rule rule) {
  pass(3, [g = p.g, w = p.w](int64_t i) { g[i] += kDecay * w[i]; });
  if (rule == Rule::kSgd) {
    pass(2, [m = p.m](int64_t i) { m[i] *= kMomentum; });
    pass(3, [m = p.m, g = p.g](int64_t i) { m[i] += g[i]; });
    pass(3, [w = p.w, m = p.m](int64_t i) { w[i] -= kRate * m[i]; });
    return;
  }
  pass(2, [m = p.m](int64_t i) { m[i] *= kBeta1; });
  pass(3, [m = p.m, g = p.g](int64_t i) { m[i] += (1 - kBeta1) * g[i]; });
  pass(2, [v = p.v](int64_t i) { v[i] *= kBeta2; });
  pass(3, [v = p.v, g = p.g](int64_t i) { v[i] += (1 - kBeta2) * g[i] * g[i]; });
  pass(2, [t = p.t, v = p.v](int64_t i) { t[i] = std::sqrt(v[i]); });
  pass(2, [t = p.t, one = p.one](int64_t i) { t[i] *= one; });
  pass(2, [t = p.t](int64_t i) { t[i] += kEps; });
  pass(4, [w = p.w, m = p.m, t = p.t](int64_t i) { w[i] -= kRate * (m[i] / t[i]); });
}

/// One micro-batch of the released code: 112 bytes a weight for SGD with momentum, 160 for Adam. Its gradients were
/// written by backward; here they only stay away from 0.
void released_sequence(Passes& pass, const Pointers& p, Rule rule) {
  foretell_in_place(pass, p, rule);
  pass(2, [w = p.w, stash = p.stash](int64_t i) { w[i] = stash[i]; });
  pass(1, [g = p.g](int64_t i) { g[i] = 0.01f; });              // to zero
  pass(2, [g = p.g, one = p.one](int64_t i) { g[i] *= one; });  // by the micro-batches
  update_in_passes(pass, p, rule);
  pass(2, [w = p.w, stash = p.stash](int64_t i) { stash[i] = w[i]; });
}

Case beside_released(const Stream& s, Rule rule) {
  const Arrays a(s);
  const Tensor to = filled(s, {kArena}), stash = filled(s, {kArena});
  Case c = fused(a, to, rule, stash);
  const auto p = [](const Tensor& t) { return t.ref().as<float>(); };
  const Pointers all{p(a.w), p(a.g), p(a.m), p(a.v), p(stash), p(to), 1.0f};
  c.rivals = [=] {
    Passes count(nullptr);
    released_sequence(count, all, rule);
    return std::vector<Rival>{{"released sequence",
                               [=](CpuContext& context) {
                                 Passes pass(&context);
                                 released_sequence(pass, all, rule);
                               },
                               count.bytes()}};
  };
  c.ratio = "vs_released";
  return c;
}

}  // namespace

std::vector<Row> update_rows() {
  return {{"sgd/48Mi", [](const Stream& s) { return plain(s, Rule::kSgd); }},
          {"rmsprop/48Mi", [](const Stream& s) { return plain(s, Rule::kRmsprop); }},
          {"adam/48Mi", [](const Stream& s) { return plain(s, Rule::kAdam); }},
          {"adamw/48Mi", [](const Stream& s) { return plain(s, Rule::kAdamw); }},
          {"sgd/forecast/48Mi", [](const Stream& s) { return beside_two_passes(s, Rule::kSgd); }},
          {"adam/forecast/48Mi", [](const Stream& s) { return beside_two_passes(s, Rule::kAdam); }},
          {"sgd/forecast_released/48Mi", [](const Stream& s) { return beside_released(s, Rule::kSgd); }},
          {"adam/forecast_released/48Mi", [](const Stream& s) { return beside_released(s, Rule::kAdam); }}};
}

}  // namespace sluice::bench
