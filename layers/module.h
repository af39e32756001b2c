// What a network is made of: modules (one value in, one out) and stage bodies (bundles in, bundles and losses out).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops.h"

namespace sluice {

/// A layer: parameters plus a sentence of ops. Holds handles only, so one module serves any version of the weights.
class Module {
 public:
  virtual ~Module() = default;
  virtual Var forward(Ctx& c, const Var& x) const = 0;
};
using ModulePtr = std::unique_ptr<Module>;

/// One value of a bundle that stages exchange. Integer ports and those marked so carry no gradient.
struct Port {
  std::string name;
  DType dtype = DType::kF32;
  bool differentiable = true;
};

/// What one stage's forward pass gives.
struct StageOutput {
  std::vector<Var> out;     // in the order of StageBody::out_ports()
  std::vector<Var> losses;  // scalars that this stage trains on itself; one device scalar [1] each
};

/// The body of a pipeline stage: what the executor runs. Training and inference are separate paths, since a stage may
/// have parts that only one of them needs.
class StageBody {
 public:
  virtual ~StageBody() = default;
  /// Values from the data feed ("images", "labels"), from the previous stage, and to the next one.
  virtual std::vector<Port> feed_ports() const = 0;
  virtual std::vector<Port> in_ports() const = 0;
  virtual std::vector<Port> out_ports() const = 0;
  /// `feed` and `in` in the order of their ports. `loss_weight` is 1 / micro-batches of a step.
  virtual StageOutput forward(Ctx& c, const std::vector<Var>& feed, const std::vector<Var>& in,
                              float loss_weight) const = 0;

  // ---- inference: head(infer(...)) of the last stage, then decode() from the last stage to the first ----
  virtual Var infer(Ctx& c, const Var& x) const = 0;
  virtual Var head(Ctx& c, const Var& x) const = 0;
  virtual Var decode(Ctx& c, const Var& z) const = 0;
};
using StageBodyPtr = std::unique_ptr<StageBody>;

/// A stage before it is placed on a device: what it declared, and its body.
struct StageNet {
  std::string name;
  Init init;
  StageBodyPtr body;
};

}  // namespace sluice
