// Forward passes of the kinds of stage.
#include "models/stages.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

const Port kLabels2{.name = "labels2", .dtype = DType::kI32, .differentiable = false};
const Port kShare{.name = "share", .dtype = DType::kF32, .differentiable = false};
const Port kCodes{.name = "t", .dtype = DType::kF32, .differentiable = false};

}  // namespace

int64_t scaled(int64_t full, double width) { return std::max<int64_t>(1, std::llround(double(full) * width)); }

Port labels_port() { return {.name = "labels", .dtype = DType::kI32, .differentiable = false}; }

Port weights_port() { return {.name = "weights", .dtype = DType::kF32, .differentiable = false}; }

std::vector<Port> detached(std::vector<Port> ports) {
  for (Port& p : ports) p.differentiable = false;
  return ports;
}

std::vector<Port> BackpropStage::feed_ports() const {
  std::vector<Port> ports;
  if (at_.first) ports = detached(f_->in_ports());
  if (!at_.last) return ports;
  if (targets_ == TargetKind::kTokens) ports.push_back(weights_port());
  ports.push_back(labels_port());
  if (loss_.mixed) ports.insert(ports.end(), {kLabels2, kShare});
  return ports;
}
std::vector<Port> BackpropStage::in_ports() const {
  if (at_.first) return {};
  return f_->in_ports();
}
std::vector<Port> BackpropStage::out_ports() const {
  if (at_.last) return {};
  return f_->out_ports();
}

StageOutput BackpropStage::forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const {
  Bundle s = f_->forward(c, at_.first ? feed : in);
  if (!at_.last) return {.out = std::move(s), .losses = {}};
  if (targets_ == TargetKind::kTokens) return {.out = {}, .losses = {token_loss(c, head(c, s), feed, loss_weight)}};
  const size_t labels = feed.size() - (loss_.mixed ? 3 : 1);
  const Var logits = head(c, s);
  ClassTargets targets = smoothed(feed[labels].value, logits.shape().cols());
  if (loss_.mixed) {
    targets.labels2 = feed[labels + 1].value;
    targets.share = feed[labels + 2].value;
  }
  return {.out = {}, .losses = {softmax_cross_entropy(c, logits, targets, loss_weight)}};
}

/// 1 - s on the label and s / K on each of all K classes are 1 - t and t / (K - 1) on each other one, t = s (K - 1) /
/// K.
ClassTargets BackpropStage::smoothed(const Tensor& labels, int64_t classes) const {
  ClassTargets targets = labels;
  targets.smoothing = loss_.smoothing;
  if (loss_.uniform) targets.smoothing *= float(classes - 1) / float(classes);
  if (!loss_.uniform && targets_ == TargetKind::kTokens) targets.unsmoothed = 0;
  return targets;
}

Var BackpropStage::token_loss(Ctx& c, const Var& logits, const Bundle& feed, float loss_weight) const {
  const auto rows = [](const Var& v) { return v.value.reshape({v.value.numel()}); };
  const ClassTargets targets = smoothed(rows(feed.back()), logits.shape().cols());
  return softmax_cross_entropy(c, logits, targets, loss_weight, rows(feed[feed.size() - 2]));
}

void BackpropStage::train_on(const ClassLoss& loss) {
  if (loss.mixed && targets_ == TargetKind::kTokens)
    throw ConfigError("samples are mixed: sequences have one token at a place, expected images");
  loss_ = loss;
}

void train_on(const std::vector<StageNet>& net, const ClassLoss& loss) {
  if (net.empty()) return;
  if (auto* last = dynamic_cast<BackpropStage*>(net.back().body.get())) return last->train_on(loss);
  if (loss.mixed)
    throw ConfigError("samples are mixed: stages with losses of their own take one class a sample; expected rule bp");
  if (loss.smoothing != 0)
    throw ConfigError(
        str("label smoothing of ", loss.smoothing, ": stages with losses of their own have none; expected rule bp"));
}

Var mean_squared_labels(Ctx& c, const Var& decoded, const LabelCodes& target, float weight) {
  return mse(c, decoded, target.codes, weight, target.weights);
}
Var cross_entropy_labels(Ctx& c, const Var& decoded, const LabelCodes& target, float weight) {
  if (!target.labels.defined()) throw ConfigError("only the first associated stage decodes labels: no cross-entropy");
  return softmax_cross_entropy(c, decoded, target.labels, weight, target.weights);
}

AssociatedStage::AssociatedStage(AssociatedModules modules, StagePosition position, int64_t classes, LabelPath path)
    : m_(std::move(modules)), at_(position), classes_(classes), path_(path) {}

std::vector<Port> AssociatedStage::feed_ports() const {
  if (!at_.first) return {};
  std::vector<Port> ports = detached(m_.f->in_ports());
  ports.push_back(labels_port());
  return ports;
}
std::vector<Port> AssociatedStage::in_ports() const {
  if (at_.first) return {};
  std::vector<Port> ports = detached(m_.f->in_ports());
  if (path_ == LabelPath::kClassTable) ports.push_back(labels_port());
  ports.push_back(kCodes);
  return ports;
}
std::vector<Port> AssociatedStage::out_ports() const {
  if (at_.last) return {};
  std::vector<Port> ports = detached(m_.f->out_ports());
  if (path_ == LabelPath::kClassTable) ports.push_back(labels_port());
  ports.push_back(kCodes);
  return ports;
}

/// What g is given: t_{i-1} of the stage before, or the one-hot codes.
LabelCodes AssociatedStage::codes(Ctx& c, const Tensor& labels, const Tensor& t) const {
  const bool table = path_ == LabelPath::kClassTable;
  LabelCodes codes{.codes = t, .labels = {}, .weights = table ? class_weights(c, labels, classes_) : Tensor()};
  if (at_.first) {
    codes.labels = table ? iota(c, classes_) : labels;
    codes.codes = one_hot(c, codes.labels, classes_);
  }
  return codes;
}

StageOutput AssociatedStage::forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const {
  const bool table = path_ == LabelPath::kClassTable;
  const Bundle& given = at_.first ? feed : in;
  const size_t values = m_.f->in_ports().size();
  const Tensor labels = at_.first || table ? given[values].value : Tensor();

  const LabelCodes target = codes(c, labels, at_.first ? Tensor() : given.back().value);
  const Var t = m_.g->forward(c, {target.codes});
  const Var ae = m_.label_loss(c, m_.h->forward(c, t), target, loss_weight);

  Bundle s = m_.f->forward(c, Bundle(given.begin(), given.begin() + int64_t(values)));
  // The codes before this batch's update, and no gradient to them.
  const Tensor wanted = table ? gather_rows(c, t.value, labels) : t.value;
  const Var as = m_.code_loss(c, head(c, s), wanted, loss_weight);

  if (at_.last) return {.out = {}, .losses = {ae, as}};
  for (Var& v : s) v = detach(v);
  if (table) s.push_back({labels});
  s.push_back(detach(t));
  return {.out = std::move(s), .losses = {ae, as}};
}

}  // namespace sluice
