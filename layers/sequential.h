// Layers one after another.
#pragma once

#include <utility>

#include "layers/module.h"

namespace sluice {

class Sequential final : public Module {
 public:
  Sequential() = default;
  /// Appends a layer made in place: `net.add<Dense>(init.scope("fc"), 10, 2)`.
  template <class Layer, class... Args>
  Sequential& add(Args&&... args) {
    layers_.push_back(std::make_unique<Layer>(std::forward<Args>(args)...));
    return *this;
  }
  Sequential& add(ModulePtr layer) {
    layers_.push_back(std::move(layer));
    return *this;
  }
  Var forward(Ctx& c, const Var& x) const override {
    Var v = x;
    for (const ModulePtr& layer : layers_) v = layer->forward(c, v);
    return v;
  }

 private:
  std::vector<ModulePtr> layers_;
};

}  // namespace sluice
