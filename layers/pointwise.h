// Layers without parameters that work element by element, and flatten.
#pragma once

#include "layers/module.h"

namespace sluice {

class Activate final : public Module {
 public:
  explicit Activate(Act act) : act_(act) {}
  Var forward(Ctx& c, const Var& x) const override { return activation(c, x, act_); }

 private:
  Act act_;
};

/// Zeroes each element with probability p in training, keyed by the layer's path and the global sample.
class Dropout final : public Module {
 public:
  Dropout(const Init& init, float p);
  Var forward(Ctx& c, const Var& x) const override { return dropout(c, x, p_, path_); }

 private:
  float p_;
  uint64_t path_;
};

/// [N, ...] -> [N, rest], in (h, w, c) order for images.
class Flatten final : public Module {
 public:
  Var forward(Ctx& c, const Var& x) const override { return flatten(c, x); }
};

}  // namespace sluice
