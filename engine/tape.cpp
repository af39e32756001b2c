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

int Tape::append(std::unique_ptr<Function> f, const Var* inputs, size_t input_count, int outputs, bool has_weights) {
  assert(input_count <= kMostInputs);
  bool reaches = has_weights;
  for (size_t i = 0; i < input_count; ++i) {
    f->inputs_[i] = inputs[i].node;
    reaches = reaches || inputs[i].node >= 0;
  }
  if (!reaches) return -1;
  const auto first = int(nodes_.size());
  nodes_.resize(nodes_.size() + size_t(outputs));
  Node& node = nodes_[size_t(first)];
  node.function = std::move(f);
  node.has_weights = has_weights;
  for (int k = 0; k < outputs; ++k) nodes_[size_t(first + k)].outputs = outputs;
  return first;
}

Var Tape::record(std::unique_ptr<Function> f, Tensor out, std::initializer_list<Var> inputs, bool has_weights) {
  return {std::move(out), append(std::move(f), inputs.begin(), inputs.size(), 1, has_weights)};
}

Var Tape::record(std::unique_ptr<Function> f, Tensor out, const std::vector<Var>& inputs, bool has_weights) {
  return {std::move(out), append(std::move(f), inputs.data(), inputs.size(), 1, has_weights)};
}

std::vector<Var> Tape::record_outputs(std::unique_ptr<Function> f, std::vector<Tensor> outs,
                                      const std::vector<Var>& inputs, bool has_weights) {
  assert(outs.size() > 1);
  const int first = append(std::move(f), inputs.data(), inputs.size(), int(outs.size()), has_weights);
  std::vector<Var> vars;
  for (Tensor& out : outs) vars.push_back({std::move(out), first < 0 ? -1 : first + int(vars.size())});
  return vars;
}

void Tape::backward(const std::vector<Root>& roots, BackwardCtx& c) { walk(roots, c, true); }
void Tape::backward_input(const std::vector<Root>& roots, BackwardCtx& c) { walk(roots, c, false); }

void Tape::start(const std::vector<Root>& roots, BackwardCtx& c) {
  for (const Root& r : roots) {
    if (r.var.node < 0 || r.var.node >= int(nodes_.size()))
      throw Error("backward from a value that nothing was recorded for");
    Node& node = nodes_[size_t(r.var.node)];
    if (r.grad.defined())
      add_grad(r.var.node, r.grad, c);
    else if (node.outputs > 1)
      throw Error("backward from one of several outputs without a gradient");
    else
      node.reached = true;
  }
}

bool Tape::gather(size_t i) {
  Node& node = nodes_[i];
  if (node.outputs == 1) return node.reached;
  for (size_t k = 1; k < size_t(node.outputs); ++k) node.reached = node.reached || nodes_[i + k].reached;
  if (!node.reached) return false;
  for (size_t k = 0; k < size_t(node.outputs); ++k) node.function->dy_.push_back(std::move(nodes_[i + k].grad));
  return true;
}

void Tape::walk(const std::vector<Root>& roots, BackwardCtx& c, bool with_weights) {
  start(roots, c);
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (!node.function || !gather(i)) continue;
    GradList grads = node.function->backward_input(std::move(node.grad), c);
    node.function->dy_.clear();
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
