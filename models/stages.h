// The two kinds of stage that networks are cut into: a slice of an end-to-end network, and an associated-learning
// stage with its own losses.
#pragma once

#include "layers/module.h"

namespace sluice {

/// Where a stage stands in its network.
struct StagePosition {
  bool first = true, last = true;
};

/// A slice f of a network trained end to end. The first reads "images"; the last reads "labels" and ends in softmax
/// cross-entropy; in between one differentiable value is handed on.
class BackpropStage final : public StageBody {
 public:
  BackpropStage(ModulePtr f, StagePosition position) : f_(std::move(f)), at_(position) {}
  std::vector<Port> feed_ports() const override;
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  StageOutput forward(Ctx& c, const std::vector<Var>& feed, const std::vector<Var>& in,
                      float loss_weight) const override;
  Var infer(Ctx& c, const Var& x) const override { return f_->forward(c, x); }
  Var head(Ctx&, const Var& x) const override { return x; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  ModulePtr f_;
  StagePosition at_;
};

/// How a label decoder is trained: cross-entropy on linear logits (first stage only), or mean squared error.
enum class LabelLoss { kCrossEntropy, kMeanSquared };

/// The four modules of an associated-learning stage (Wu et al., ICLR 2022).
struct AssociatedModules {
  ModulePtr f;  // s_{i-1} -> s_i, a slice of the network
  ModulePtr b;  // bridge: s_i -> label code
  ModulePtr g;  // label encoder: t_{i-1} -> t_i
  ModulePtr h;  // label decoder: t_i -> t_{i-1}
};

/// One associated-learning stage. Two losses: ae = l(h(t_i), t_{i-1}) trains g and h; as = MSE(b(s_i), sg(t_i)) trains
/// f and b. Activations and codes go to the next stage without gradient. The first stage reads "images" and "labels"
/// (t_0 is the one-hot label).
class AssociatedStage final : public StageBody {
 public:
  AssociatedStage(AssociatedModules modules, StagePosition position, LabelLoss loss, int64_t classes);
  std::vector<Port> feed_ports() const override;
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  /// losses = {ae, as}.
  StageOutput forward(Ctx& c, const std::vector<Var>& feed, const std::vector<Var>& in,
                      float loss_weight) const override;
  Var infer(Ctx& c, const Var& x) const override { return m_.f->forward(c, x); }
  Var head(Ctx& c, const Var& x) const override { return m_.b->forward(c, x); }
  Var decode(Ctx& c, const Var& z) const override { return m_.h->forward(c, z); }

 private:
  AssociatedModules m_;
  StagePosition at_;
  LabelLoss loss_;
  int64_t classes_;
};

/// Parameter groups of associated stages: f and b; g and h. Each has its own Adam settings.
inline constexpr int kEncoderGroup = 0, kAutoencoderGroup = 1;

}  // namespace sluice
