// The backward walk: newest first, gradients of a value with several readers added in walk order.
#include "engine/tape.h"

#include <cassert>

#include "engine/launch.h"
#include "kernels/add.h"

namespace sluice {

bool Ctx::recording(std::initializer_list<Var> inputs, bool has_weights) const {
  if (tape == nullptr) return false;
  if (has_weights) return true;
  for (const Var& v : inputs)
    if (v.node >= 0) return true;
  return false;
}

Var Tape::leaf(Tensor t) {
  nodes_.emplace_back();
  return {std::move(t), int(nodes_.size()) - 1};
}

Var Tape::record(std::unique_ptr<Function> f, Tensor out, std::initializer_list<Var> inputs, bool has_weights) {
  assert(inputs.size() <= f->inputs_.size());
  size_t i = 0;
  bool reaches = has_weights;
  for (const Var& v : inputs) {
    f->inputs_[i++] = v.node;
    reaches = reaches || v.node >= 0;
  }
  if (!reaches) return {std::move(out), -1};
  Node& node = nodes_.emplace_back();
  node.function = std::move(f);
  node.has_weights = has_weights;
  return {std::move(out), int(nodes_.size()) - 1};
}

void Tape::backward(const std::vector<Root>& roots, BackwardCtx& c) { walk(roots, c, true); }
void Tape::backward_input(const std::vector<Root>& roots, BackwardCtx& c) { walk(roots, c, false); }

void Tape::walk(const std::vector<Root>& roots, BackwardCtx& c, bool with_weights) {
  for (const Root& r : roots) {
    if (r.var.node < 0 || r.var.node >= int(nodes_.size()))
      throw Error("backward from a value that nothing was recorded for");
    if (r.grad.defined()) {
      add_grad(r.var.node, r.grad, c);
    } else {
      nodes_[size_t(r.var.node)].reached = true;
    }
  }
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (!node.reached || !node.function) continue;
    GradList grads = node.function->backward_input(std::move(node.grad), c);
    for (size_t j = 0; j < grads.size(); ++j)
      if (grads[j].defined() && node.function->inputs_[j] >= 0)
        add_grad(node.function->inputs_[j], std::move(grads[j]), c);
    if (node.has_weights && with_weights) node.function->backward_weight(c);
    if (with_weights || !node.has_weights) node.function.reset();
  }
}

void Tape::backward_weight(BackwardCtx& c) {
  for (size_t i = nodes_.size(); i-- > 0;) {
    if (!nodes_[i].function || !nodes_[i].reached) continue;
    nodes_[i].function->backward_weight(c);
    nodes_[i].function.reset();
  }
}

void Tape::add_grad(int index, Tensor g, BackwardCtx& c) {
  Node& node = nodes_[size_t(index)];
  node.reached = true;
  if (!node.grad.defined()) {
    node.grad = std::move(g);
    return;
  }
  Tensor sum = node.grad.unique() ? node.grad : c.empty(g.shape(), g.dtype());
  launch(kernels::Add{.a = node.grad.cref(), .b = g.cref(), .y = sum.ref()}, c.stream);
  node.grad = std::move(sum);
}

Tensor Tape::take_grad(const Var& leaf) { return leaf.node < 0 ? Tensor() : std::move(nodes_[size_t(leaf.node)].grad); }

}  // namespace sluice
