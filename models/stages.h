// The kinds of stage that networks are cut into: a slice of an end-to-end network, and an associated-learning stage
// with its own losses.
#pragma once

#include <functional>

#include "layers/module.h"

namespace sluice {

/// A channel count or width under a network's width multiplier: rounded, at least 1.
int64_t scaled(int64_t full, double width);

/// "labels" [B] or [B, T] i32 and "weights" [B, T] f32, which the feed gives.
Port labels_port();
Port weights_port();
/// The same values as constants: no gradient goes back through them.
std::vector<Port> detached(std::vector<Port> ports);

/// Where a stage stands in its network.
struct StagePosition {
  bool first = true, last = true;
};

/// What the logits of a network that is trained end to end are compared with, beside the labels.
struct ClassLoss {
  float smoothing = 0;   // what a label gives up to all other classes
  bool uniform = false;  // to all classes alike, itself and padding too, as in GNMT
  bool mixed = false;    // samples are mixed: the feed has "labels2" [B] i32 and "share" [B] f32, that of "labels"
};

/// What the logits of a network that is trained end to end are of.
enum class TargetKind {
  kClasses,  // samples: [B, classes], "labels" [B]
  kTokens    // tokens of sequences: [B T, words], "labels" [B, T], padded with 0, and their "weights" [B, T] f32 in the
             // loss, 0 of padding; smoothing gives padding nothing unless it is uniform
};

/// A slice f of a network trained end to end. The first takes f's values from the feed; the last reads "labels" and
/// what its loss needs more, and its f gives logits that end in softmax cross-entropy.
class BackpropStage final : public StageBody {
 public:
  BackpropStage(BlockPtr f, StagePosition position, TargetKind targets = TargetKind::kClasses)
      : f_(std::move(f)), at_(position), targets_(targets) {}
  std::vector<Port> feed_ports() const override;
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override;
  Bundle infer(Ctx& c, const Bundle& in) const override { return f_->forward(c, in); }
  Var head(Ctx& c, const Bundle& s) const override { return convert(c, s[0], DType::kF32); }
  Var decode(Ctx&, const Var& z) const override { return z; }
  /// Before the stage is used. Throws ConfigError for mixed samples of sequences.
  void train_on(const ClassLoss& loss);

 private:
  Var token_loss(Ctx& c, const Var& logits, const Bundle& feed, float loss_weight) const;
  /// With what `classes` of them get of it.
  ClassTargets smoothed(const Tensor& labels, int64_t classes) const;

  BlockPtr f_;
  StagePosition at_;
  TargetKind targets_;
  ClassLoss loss_;
};

/// Sets the loss of the last stage. Throws ConfigError where that is not a BackpropStage and the loss is not the
/// default: stages with losses of their own compare codes or features of one class a sample.
void train_on(const std::vector<StageNet>& net, const ClassLoss& loss);

/// The label codes that a stage's autoencoder is trained on.
struct LabelCodes {
  Tensor codes;    // t_{i-1}, [rows, width]
  Tensor labels;   // each row's class, i32 [rows]; known to the first stage only
  Tensor weights;  // each row's share of the batch, f32 [rows]; undefined: 1 / rows each
};

/// How h(g(t_{i-1})) is compared with t_{i-1}: a scalar times `weight`.
using LabelLoss = std::function<Var(Ctx& c, const Var& decoded, const LabelCodes& target, float weight)>;
/// Mean squared error, over a row's width and then over rows by their weights.
Var mean_squared_labels(Ctx& c, const Var& decoded, const LabelCodes& target, float weight);
/// Softmax cross-entropy of linear logits. The first stage only: later ones have no labels to decode.
Var cross_entropy_labels(Ctx& c, const Var& decoded, const LabelCodes& target, float weight);

/// How the bridge's output u [B, width] is compared with the samples' codes: a scalar times `weight`.
using CodeLoss = std::function<Var(Ctx& c, const Var& u, const Tensor& codes, float weight)>;
/// A stage's output as the bridge takes it, [B, ...].
using Reduce = std::function<Var(Ctx& c, const Bundle& s)>;

/// What label codes are computed for. Both give the same gradients up to the order of sums: labels are all that an
/// autoencoder sees, so the codes of a batch are rows of one table (the autoencoders have no dropout).
enum class LabelPath {
  kClassTable,  // each class once, [classes, width]; stages exchange the table and integer labels
  kBatch        // each sample, [B, width], as in the paper
};

/// The modules and losses of an associated-learning stage (Wu, Lin, Chen and Chen, ICLR 2022). One's own stage is any
/// f, b, g and h whose widths fit.
struct AssociatedModules {
  BlockPtr f;   // s_{i-1} -> s_i, a slice of the network
  ModulePtr b;  // bridge: reduce(s_i) -> label code
  ModulePtr g;  // label encoder: t_{i-1} -> t_i
  ModulePtr h;  // label decoder: t_i -> t_{i-1}
  Reduce reduce = [](Ctx&, const Bundle& s) { return s[0]; };
  LabelLoss label_loss = mean_squared_labels;
  CodeLoss code_loss = [](Ctx& c, const Var& u, const Tensor& codes, float weight) { return mse(c, u, codes, weight); };
};

/// One associated-learning stage. Two losses: ae = label_loss(h(g(t_{i-1})), t_{i-1}) trains g and h; as =
/// code_loss(b(reduce(s_i)), sg(t_i)) trains f and b. Activations and codes go to the next stage without gradient.
/// The first stage takes f's values and "labels" from the feed (t_0 is the one-hot label).
class AssociatedStage final : public StageBody {
 public:
  AssociatedStage(AssociatedModules modules, StagePosition position, int64_t classes,
                  LabelPath path = LabelPath::kClassTable);
  std::vector<Port> feed_ports() const override;
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  /// losses = {ae, as}.
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override;
  Bundle infer(Ctx& c, const Bundle& in) const override { return m_.f->forward(c, in); }
  Var head(Ctx& c, const Bundle& s) const override {
    return convert(c, m_.b->forward(c, m_.reduce(c, s)), DType::kF32);
  }
  Var decode(Ctx& c, const Var& z) const override { return m_.h->forward(c, z); }
  Var encode(Ctx& c, const Var& t) const override { return m_.g->forward(c, t); }

 private:
  LabelCodes codes(Ctx& c, const Tensor& labels, const Tensor& t) const;

  AssociatedModules m_;
  StagePosition at_;
  int64_t classes_;
  LabelPath path_;
};

/// Parameter groups of associated stages: f and b; g and h. Each has its own Adam settings.
inline constexpr int kEncoderGroup = 0, kAutoencoderGroup = 1;

}  // namespace sluice
