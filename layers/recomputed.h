// A layer whose insides are not kept: it runs again in the backward pass (gradient checkpointing).
#pragma once

#include <utility>

#include "engine/recompute.h"
#include "layers/module.h"

namespace sluice {

class Recomputed final : public Module {
 public:
  explicit Recomputed(ModulePtr layer) : layer_(std::move(layer)) {}
  Var forward(Ctx& c, const Var& x) const override {
    return recompute(c, {x}, [this](Ctx& k, const std::vector<Var>& in) { return layer_->forward(k, in[0]); });
  }

 private:
  ModulePtr layer_;
};

}  // namespace sluice
