// Stages of supervised contrastive parallel learning (SCPL; Wang 2022, arXiv 2602.00062): each pulls samples of one
// class together in its own output, and a classifier learns from the last without reaching back.
#pragma once

#include "models/stages.h"

namespace sluice {

/// What comes between a stage's feature and the contrastive loss; dropped at inference.
enum class Projector {
  kIdentity,
  kLinear,  // Linear width -> width
  kMlp      // Linear -> 512, ReLU, Linear -> 1024
};
/// nullptr for kIdentity. `width`: of the flattened feature.
ModulePtr make_projector(const Init& init, Projector kind, int64_t width);

/// What contrastive networks are made with.
struct ContrastiveOptions {
  Projector projector = Projector::kMlp;
  float temperature = 0.1f;
};

struct ContrastiveModules {
  BlockPtr f;           // a slice of the network
  ModulePtr projector;  // reduce(s) [B, width] -> what is compared; none: the feature itself
  ModulePtr head;       // last stage: the feature, or s where there is no reduce, -> logits; trained by cross-entropy
  Reduce reduce;        // s -> [B, ...]; none: s
  float temperature = 0.1f;
};

/// losses = {contrastive} and, in the last stage, {contrastive, cross-entropy of the head on the detached feature}. The
/// first stage takes f's values and "labels" from the feed; labels travel on.
class ContrastiveStage final : public StageBody {
 public:
  /// Throws ConfigError unless exactly the last stage has a head.
  ContrastiveStage(ContrastiveModules modules, StagePosition position);
  std::vector<Port> feed_ports() const override;
  std::vector<Port> in_ports() const override;
  std::vector<Port> out_ports() const override;
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override;
  Bundle infer(Ctx& c, const Bundle& in) const override { return m_.f->forward(c, in); }
  /// Throws ConfigError in a stage without a head: there are no shortcuts.
  Var head(Ctx& c, const Bundle& s) const override;
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  Var feature(Ctx& c, const Bundle& s) const { return m_.reduce ? m_.reduce(c, s) : s[0]; }

  ContrastiveModules m_;
  StagePosition at_;
};

}  // namespace sluice
