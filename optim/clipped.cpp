// One pass over all gradients for the norm, one to shorten them.
#include "optim/clipped.h"

#include "engine/launch.h"
#include "kernels/gradient_norm.h"
#include "kernels/scale.h"

namespace sluice {

GradientClip::GradientClip(float most) : most_(most) {
  if (!(most > 0.0f)) throw ConfigError(str("clipping gradients at a norm of ", most, ", expected a positive number"));
}

ConstRef GradientClip::factor(const Stream& stream, int64_t step) {
  if (arenas_.empty()) throw Error("clipping gradients: no arena was added");
  const auto count = int64_t(arenas_.size());
  if (!factor_.defined()) {
    squares_ = Tensor::empty(stream, {count}, DType::kF32, MemoryTag::kOptimizer);
    factor_ = Tensor::empty(stream, {1}, DType::kF32, MemoryTag::kOptimizer);
  }
  if (step_ == step) return factor_.cref();
  step_ = step;
  for (int64_t i = 0; i < count; ++i) {
    arenas_[size_t(i)]->finish_grads(stream);
    launch(kernels::SumSquares{.x = arenas_[size_t(i)]->grads().cref(), .sum = squares_.flat_view(i, {1}).ref()},
           stream);
  }
  launch(kernels::ClipFactor{.squares = squares_.cref(), .factor = factor_.ref(), .most = most_}, stream);
  return factor_.cref();
}

std::vector<Weights> ClippedOptimizer::step(Arena& arena, const Stream& stream, const Update& update) {
  const Tensor grads = arena.grads();
  launch(kernels::Scale{.x = grads.cref(), .factor = clip_->factor(stream, update.step), .y = grads.ref()}, stream);
  return inner_->step(arena, stream, update);
}

}  // namespace sluice
