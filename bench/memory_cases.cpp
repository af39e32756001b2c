// Rows of the kernels that memory bounds: element-wise passes and whole-arena updates.
#include "bench/case.h"
#include "kernels/activation.h"
#include "kernels/adam.h"
#include "kernels/sgd.h"

namespace sluice::bench {
namespace {

// An arena larger than the caches, as one segment of one group.
constexpr int64_t kArena = int64_t(48) << 20;
// Activations of a VGG's first layer at width 1/8 and batch 128: they stay in the last-level cache from layer to layer.
constexpr Shape kImages{128, 32, 32, 32};

struct Update {
  Tensor w, g, segments, scalars;
};
Update update(const Stream& s) {
  const std::vector<int64_t> rows{0, kArena, 0};
  StepScalars step;
  step.lr[0] = 1e-6f;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&step);
  return {filled(s, {kArena}), filled(s, {kArena}), Tensor::from<int64_t>(s, rows, {1, 3}),
          Tensor::from<uint8_t>(s, {bytes, sizeof(step)}, kStepScalarsShape)};
}

Case sgd(const Stream& s) {
  const Update u = update(s);
  const Tensor buffer = filled(s, {kArena});
  return of(kernels::Sgd{.w = u.w.ref(),
                         .g = u.g.cref(),
                         .buffer = buffer.ref(),
                         .view = {},
                         .segments = u.segments.cref(),
                         .scalars = u.scalars.cref(),
                         .finite = {},
                         .momentum = 0.9f},
            {u.w, u.g, u.segments, u.scalars, buffer});
}

Case adam(const Stream& s, bool decoupled) {
  const Update u = update(s);
  const Tensor m = filled(s, {kArena});
  const std::vector<float> ones(size_t(kArena), 1.0f);
  const Tensor v = Tensor::from<float>(s, ones, {kArena});
  return of(kernels::Adam{.w = u.w.ref(),
                          .g = u.g.cref(),
                          .m = m.ref(),
                          .v = v.ref(),
                          .view = {},
                          .segments = u.segments.cref(),
                          .scalars = u.scalars.cref(),
                          .finite = {},
                          .decoupled = decoupled},
            {u.w, u.g, u.segments, u.scalars, m, v});
}

Case activation(const Stream& s, Act act) {
  const Tensor x = filled(s, kImages), y = Tensor::empty(s, kImages);
  return of(kernels::Activation{.x = x.cref(), .y = y.ref(), .act = act}, {x, y});
}

Case activation_grad(const Stream& s, Act act) {
  const Tensor kept = filled(s, kImages), dy = filled(s, kImages), dx = Tensor::empty(s, kImages);
  return of(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = dx.ref(), .act = act}, {kept, dy, dx});
}

}  // namespace

std::vector<Row> memory_rows() {
  return {{"activation/relu", [](const Stream& s) { return activation(s, Act::kRelu); }},
          {"activation/sigmoid", [](const Stream& s) { return activation(s, Act::kSigmoid); }},
          {"activation/gelu", [](const Stream& s) { return activation(s, Act::kGelu); }},
          {"activation_grad/relu", [](const Stream& s) { return activation_grad(s, Act::kRelu); }},
          {"activation_grad/gelu", [](const Stream& s) { return activation_grad(s, Act::kGelu); }},
          {"sgd/48Mi", sgd},
          {"adam/48Mi", [](const Stream& s) { return adam(s, false); }},
          {"adamw/48Mi", [](const Stream& s) { return adam(s, true); }}};
}

}  // namespace sluice::bench
