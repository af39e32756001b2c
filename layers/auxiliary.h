// Which linear layers of a network take their weight gradients from auxiliary activations (Woo and Jeon, ICLR 2023).
#pragma once

#include "engine/ops.h"

namespace sluice {

/// Layers are numbered by how soon a network converts them: those up to `level` follow the rule, the others backprop.
struct AuxiliaryCoverage {
  Auxiliary from = Auxiliary::kNone;
  int level = 0;
  float scale = 100.0f;   // of the weight gradients
  float epsilon = 0.01f;  // kSign
  bool faithful = false;  // as WeightRule

  /// The rule of a layer of `layer_level`; after_relu as in WeightRule.
  WeightRule rule(int layer_level, bool after_relu = false) const {
    WeightRule r;
    if (level < layer_level) return r;
    r.from = from;
    r.scale = scale;
    r.epsilon = epsilon;
    r.after_relu = after_relu;
    r.faithful = faithful;
    return r;
  }
};

/// The rule as a layer with `in` inputs or channels follows it. A rule of kBias declares its vector, "auxiliary_bias"
/// [in], from U(+-1/sqrt(in)); `groups` layers side by side in one weight have a vector each, [groups, in].
WeightRule declare_rule(Init init, WeightRule rule, int64_t in, int64_t groups = 1);

}  // namespace sluice
