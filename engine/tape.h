// The tape: what forward recorded, in order; backward walks it newest first. One tape per (stage, micro-batch).
#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "engine/ledger.h"
#include "engine/param.h"
#include "engine/rng.h"

namespace sluice {

/// A value in a forward pass: a tensor and, where a gradient can flow to it, its place on the tape.
struct Var {
  Tensor value;
  int node = -1;      // -1: a constant of this tape
  Tensor positive{};  // where a ReLU made the value and keeps them: the bits of value > 0 (kernels/common/bits.h)
  const Shape& shape() const { return value.shape(); }
};

/// The same tensor, cut off from the tape: no gradient flows through.
inline Var detach(const Var& v) { return {v.value, -1}; }

/// What a backward half is given.
struct BackwardCtx {
  Stream stream;
  Weights weights;  // the version that the learning rule chose for backward
  Arena& arena;     // grad(param) gives where to write
  Ledger& ledger;

  Tensor empty(Shape shape, DType dtype = DType::kF32, MemoryTag tag = MemoryTag::kActivations) const {
    return Tensor::empty(stream, shape, dtype, tag);
  }
};

/// Inputs of a function, at most: branches that end in one image (Inception has six).
inline constexpr size_t kMostInputs = 6;

/// Gradients of a function's inputs, in the order of record(); undefined where none is needed.
using GradList = std::array<Tensor, kMostInputs>;

/// A recorded op. The weight half is separate so that a schedule may run it later.
class Function {
 public:
  virtual ~Function() = default;
  /// dy: gradient of the output, or undefined for a loss (then it counts as 1). May overwrite dy only if dy.unique().
  /// With several outputs dy is undefined, and take_dy() gives the gradient of each.
  /// Returns the inputs' gradients; only those with needs(i) are used. Keeps what backward_weight still needs with
  /// SaveKind::kDeferred and drops the rest.
  virtual GradList backward_input(Tensor dy, BackwardCtx& c) = 0;
  /// Writes or accumulates weight gradients, and drops what is left.
  virtual void backward_weight(BackwardCtx&) {}
  bool needs(int input) const { return inputs_[size_t(input)] >= 0; }

 protected:
  /// In the backward_input() of a function of record_outputs(): moves out the gradient of an output, complete;
  /// undefined where none reached it, which counts as 0.
  Tensor take_dy(int output) { return std::move(dy_[size_t(output)]); }

 private:
  friend class Tape;
  std::array<int, kMostInputs> inputs_{-1, -1, -1, -1, -1, -1};
  std::vector<Tensor> dy_;  // of several outputs, while backward_input() runs
};

/// A gradient to start from: undefined counts as 1 (losses; never one of several outputs).
struct Root {
  Var var;
  Tensor grad;
};

class Tape {
 public:
  /// A leaf whose gradient backward returns.
  Var leaf(Tensor t);
  /// Appends a function of `inputs`; its output is returned as a Var. A function with no input on the tape and no
  /// weights is still recorded only if `has_weights` (its weight half must run); else the output is a constant.
  Var record(std::unique_ptr<Function> f, Tensor out, std::initializer_list<Var> inputs, bool has_weights);
  Var record(std::unique_ptr<Function> f, Tensor out, const std::vector<Var>& inputs, bool has_weights);
  /// The same for a function of several outputs, in the order of `outs`. Backward runs it once, as soon as every
  /// reader of every output has run, if a gradient reached any of them.
  std::vector<Var> record_outputs(std::unique_ptr<Function> f, std::vector<Tensor> outs, const std::vector<Var>& inputs,
                                  bool has_weights);

  /// Both halves, node by node, newest first. Drops each node when it is done.
  void backward(const std::vector<Root>& roots, BackwardCtx& c);
  /// The input half only; backward_weight() must follow.
  void backward_input(const std::vector<Root>& roots, BackwardCtx& c);
  void backward_weight(BackwardCtx& c);
  /// The gradient that reached a leaf (undefined when none did). Moves it out.
  Tensor take_grad(const Var& leaf);
  size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    std::unique_ptr<Function> function;  // null for leaves
    Tensor grad;
    bool reached = false;
    bool has_weights = false;
    int outputs = 1;  // of the function, whose other outputs are the nodes behind this one
  };
  /// Appends `outputs` nodes and returns the first, or -1 where no gradient can reach.
  int append(std::unique_ptr<Function> f, const Var* inputs, size_t input_count, int outputs, bool has_weights);
  void start(const std::vector<Root>& roots, BackwardCtx& c);
  /// Whether a gradient reached any output of the function at node i; hands the gradients of several outputs to it.
  bool gather(size_t i);
  void walk(const std::vector<Root>& roots, BackwardCtx& c, bool with_weights);
  void add_grad(int node, Tensor g, BackwardCtx& c);
  std::vector<Node> nodes_;
};

/// What a part of a network that runs twice (engine/recompute.h) makes in its first run only: the statistics of its
/// batch norms, in order.
struct Replay {
  std::vector<Saved> kept;
  bool again = false;  // the second run
  size_t next = 0;     // of kept, in the second run
};

/// What a forward pass is given. `tape` null: evaluation, nothing is recorded or kept.
struct Ctx {
  Stream stream;
  Weights weights;  // the version that the learning rule chose for forward
  Arena& arena;     // buffers
  Ledger& ledger;
  Tape* tape = nullptr;
  Rng rng{};
  bool training = false;
  Replay* replay = nullptr;                   // while a part runs that will run again
  std::vector<Tensor>* indicators = nullptr;  // layers with a weight rule append their learning indicators, f32 [rows]
  std::vector<Tensor>* attention = nullptr;   // additive attention appends its weights, f32 [Q, B, S]

  Tensor empty(Shape shape, DType dtype = DType::kF32, MemoryTag tag = MemoryTag::kActivations) const {
    return Tensor::empty(stream, shape, dtype, tag);
  }
  Weight weight(const Param& p) const { return weights.at(p); }
  Saved save(SaveKind k, const Tensor& t) const { return Saved(t, k, &ledger); }
  /// Whether an op over `inputs` has to keep anything.
  bool recording(std::initializer_list<Var> inputs, bool has_weights) const;
};

}  // namespace sluice
