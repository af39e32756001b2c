// Forward passes of the two kinds of stage.
#include "models/stages.h"

namespace sluice {
namespace {

const Port kImages{.name = "images", .dtype = DType::kF32, .differentiable = false};
const Port kLabels{.name = "labels", .dtype = DType::kI32, .differentiable = false};

}  // namespace

std::vector<Port> BackpropStage::feed_ports() const {
  std::vector<Port> ports;
  if (at_.first) ports.push_back(kImages);
  if (at_.last) ports.push_back(kLabels);
  return ports;
}
std::vector<Port> BackpropStage::in_ports() const {
  if (at_.first) return {};
  return {{.name = "s"}};
}
std::vector<Port> BackpropStage::out_ports() const {
  if (at_.last) return {};
  return {{.name = "s"}};
}

StageOutput BackpropStage::forward(Ctx& c, const std::vector<Var>& feed, const std::vector<Var>& in,
                                   float loss_weight) const {
  const Var y = f_->forward(c, at_.first ? feed.front() : in.front());
  if (!at_.last) return {.out = {y}, .losses = {}};
  return {.out = {}, .losses = {softmax_cross_entropy(c, y, feed.back().value, loss_weight)}};
}

AssociatedStage::AssociatedStage(AssociatedModules modules, StagePosition position, LabelLoss loss, int64_t classes)
    : m_(std::move(modules)), at_(position), loss_(loss), classes_(classes) {
  if (loss == LabelLoss::kCrossEntropy && !position.first)
    throw ConfigError("only the first associated stage decodes labels, so only it can use cross-entropy");
}

std::vector<Port> AssociatedStage::feed_ports() const {
  if (!at_.first) return {};
  return {kImages, kLabels};
}
std::vector<Port> AssociatedStage::in_ports() const {
  if (at_.first) return {};
  return {{.name = "s", .dtype = DType::kF32, .differentiable = false},
          {.name = "t", .dtype = DType::kF32, .differentiable = false}};
}
std::vector<Port> AssociatedStage::out_ports() const {
  if (at_.last) return {};
  return {{.name = "s", .dtype = DType::kF32, .differentiable = false},
          {.name = "t", .dtype = DType::kF32, .differentiable = false}};
}

StageOutput AssociatedStage::forward(Ctx& c, const std::vector<Var>& feed, const std::vector<Var>& in,
                                     float loss_weight) const {
  const Var x = at_.first ? feed[0] : in[0];
  const Tensor t_in = at_.first ? one_hot(c, feed[1].value, classes_) : in[1].value;

  const Var t = m_.g->forward(c, {t_in});
  const Var decoded = m_.h->forward(c, t);
  const Var ae = loss_ == LabelLoss::kCrossEntropy ? softmax_cross_entropy(c, decoded, feed[1].value, loss_weight)
                                                   : mse(c, decoded, t_in, loss_weight);
  const Var s = m_.f->forward(c, x);
  const Var as = mse(c, m_.b->forward(c, s), t.value, loss_weight);  // the code before this batch's update, no gradient

  if (at_.last) return {.out = {}, .losses = {ae, as}};
  return {.out = {detach(s), detach(t)}, .losses = {ae, as}};
}

}  // namespace sluice
