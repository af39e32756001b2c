// One pass over all gradients for the norm, one to shorten them.
#include "optim/clipped.h"

#include "engine/launch.h"
#include "kernels/gradient_norm.h"
#include "kernels/scale.h"

namespace sluice {

GradientClip::GradientClip(float most) : most_(most) {
  if (!(most > 0.0f)) throw ConfigError(str("clipping gradients at a norm of ", most, ", expected a positive number"));
}

Tensor GradientClip::squares(const Stream& stream) {
  if (arenas_.empty()) throw Error("clipping gradients: no arena was added");
  const auto count = int64_t(arenas_.size());
  if (!squares_.defined()) squares_ = Tensor::empty(stream, {count}, DType::kF32, MemoryTag::kOptimizer);
  for (int64_t i = 0; i < count; ++i) {
    arenas_[size_t(i)]->finish_grads(stream);
    launch(kernels::SumSquares{.x = arenas_[size_t(i)]->grads().cref(), .sum = squares_.flat_view(i, {1}).ref()},
           stream);
  }
  return squares_;
}

void GradientClip::take(const Stream& stream, int64_t step, const std::vector<float>& all) {
  if (!all_squares_.defined())
    all_squares_ = Tensor::empty(stream, {int64_t(all.size())}, DType::kF32, MemoryTag::kOptimizer);
  all_squares_.assign<float>(stream, all);
  make_factor(stream, step, all_squares_);
}

ConstRef GradientClip::factor(const Stream& stream, int64_t step) {
  if (step_ != step) make_factor(stream, step, squares(stream));
  return factor_.cref();
}

void GradientClip::make_factor(const Stream& stream, int64_t step, const Tensor& squares) {
  if (!factor_.defined()) factor_ = Tensor::empty(stream, {1}, DType::kF32, MemoryTag::kOptimizer);
  launch(kernels::ClipFactor{.squares = squares.cref(), .factor = factor_.ref(), .most = most_}, stream);
  step_ = step;
}

std::vector<Weights> ClippedOptimizer::step(Arena& arena, const Stream& stream, const Update& update) {
  const Tensor grads = arena.grads();
  launch(kernels::Scale{.x = grads.cref(), .factor = clip_->factor(stream, update.step), .y = grads.ref()}, stream);
  return inner_->step(arena, stream, update);
}

}  // namespace sluice
