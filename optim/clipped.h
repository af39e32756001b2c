// Gradients clipped by their global norm before another optimiser's step (Pascanu et al., ICML 2013).
#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace sluice {

/// The arenas whose gradients are shortened together, by one factor a step. All are updated on one stream, and the
/// gradients of all are complete before the first of them is updated. With arenas on other streams they have a common
/// factor where each stream has an object of its own that takes the squares of all: the same bits as on one stream.
class GradientClip {
 public:
  /// Throws ConfigError unless the norm is positive.
  explicit GradientClip(float most);
  /// Before the first step. The arena must outlive this object's steps.
  void add(Arena& arena) { arenas_.push_back(&arena); }
  /// Queues the sums of squares of the arenas' gradients: [arenas] f32, in the order in which they were added. Throws
  /// Error where there is none.
  Tensor squares(const Stream& stream);
  /// Before factor() of this step: the squares of all arenas there are, in an order that is the same everywhere.
  void take(const Stream& stream, int64_t step, const std::vector<float>& all);
  /// The factor of a step, [1] f32 on the device; queued once a step, from the own squares if none were taken.
  ConstRef factor(const Stream& stream, int64_t step);

 private:
  void make_factor(const Stream& stream, int64_t step, const Tensor& squares);

  float most_;
  std::vector<Arena*> arenas_;
  Tensor squares_, all_squares_, factor_;
  int64_t step_ = -1;
};

/// Shortens the gradients in place, then steps.
class ClippedOptimizer final : public Optimizer {
 public:
  ClippedOptimizer(OptimizerPtr inner, std::shared_ptr<GradientClip> clip)
      : inner_(std::move(inner)), clip_(std::move(clip)) {}
  /// Throws as Optimizer::step(), and Error where no arena was added to the clip.
  std::vector<Weights> step(Arena& arena, const Stream& stream, const Update& update) override;
  Weights forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast) override {
    return inner_->forecast(arena, stream, updates, groups, forecast);
  }
  std::vector<std::string> state_names() const override { return inner_->state_names(); }

 private:
  OptimizerPtr inner_;
  std::shared_ptr<GradientClip> clip_;
};

}  // namespace sluice
