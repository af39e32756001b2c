// What a network is made of: modules (one value in, one out) and stage bodies (bundles in, bundles and losses out).
#pragma once

#include <memory>
#include <string>
#include <utility>
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
  int batch_axis = 0;  // the dimension that counts samples
};

/// Values in the order of the ports that name them.
using Bundle = std::vector<Var>;

/// A slice of a network: a bundle in, a bundle out. What a module is for one value, with the masks and states of
/// sequences beside it.
class Block {
 public:
  virtual ~Block() = default;
  virtual std::vector<Port> in_ports() const = 0;
  virtual std::vector<Port> out_ports() const = 0;
  virtual Bundle forward(Ctx& c, const Bundle& in) const = 0;
};
using BlockPtr = std::unique_ptr<Block>;

/// A module as a block: its value enters and leaves under these names, and is computed in the dtype of `out`.
class ModuleBlock final : public Block {
 public:
  explicit ModuleBlock(ModulePtr module, Port in = {.name = "s"}, Port out = {.name = "s"})
      : module_(std::move(module)), in_(std::move(in)), out_(std::move(out)) {}
  std::vector<Port> in_ports() const override { return {in_}; }
  std::vector<Port> out_ports() const override { return {out_}; }
  Bundle forward(Ctx& c, const Bundle& in) const override {
    return {module_->forward(c, convert(c, in[0], out_.dtype))};
  }

 private:
  ModulePtr module_;
  Port in_, out_;
};

/// What one stage's forward pass gives.
struct StageOutput {
  Bundle out;               // in the order of StageBody::out_ports()
  std::vector<Var> losses;  // scalars that this stage trains on itself; one device scalar [1] each
};

/// The body of a pipeline stage: what the executor runs. Training and inference are separate paths, since a stage may
/// have parts that only one of them needs.
class StageBody {
 public:
  virtual ~StageBody() = default;
  /// Values from the data feed ("images", "tokens", "labels"; the labels last), from the previous stage, and to the
  /// next one.
  virtual std::vector<Port> feed_ports() const = 0;
  virtual std::vector<Port> in_ports() const = 0;
  virtual std::vector<Port> out_ports() const = 0;
  /// `feed` and `in` in the order of their ports. `loss_weight` is 1 / micro-batches of a step.
  virtual StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const = 0;

  // ---- inference: head(infer(...)) of the last stage, then decode() from the last stage to the first ----
  /// From the feed without its labels (first stage), or from those of the values that infer() of the stage before gave
  /// which in_ports() names, in that order. Gives the first of the values that out_ports() names.
  virtual Bundle infer(Ctx& c, const Bundle& in) const = 0;
  virtual Var head(Ctx& c, const Bundle& s) const = 0;
  virtual Var decode(Ctx& c, const Var& z) const = 0;
  /// The label codes t_i of rows of codes t_{i-1}, one-hot in the first stage; stages without label codes have none.
  virtual Var encode(Ctx&, const Var&) const { throw ConfigError("this kind of stage has no label codes"); }
};
using StageBodyPtr = std::unique_ptr<StageBody>;

/// A stage before it is placed on a device: what it declared, and its body.
struct StageNet {
  std::string name;
  Init init;
  StageBodyPtr body;
};

}  // namespace sluice
