// Forward passes of contrastive stages.
#include "models/contrastive.h"

#include "layers/dense.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

constexpr int64_t kProjectorHidden = 512, kProjectorWidth = 1024;

std::vector<Port> with_labels(std::vector<Port> ports) {
  ports = detached(std::move(ports));
  ports.push_back(labels_port());
  return ports;
}

}  // namespace

ModulePtr make_projector(const Init& init, Projector kind, int64_t width) {
  if (kind == Projector::kIdentity) return nullptr;
  if (kind == Projector::kLinear) return std::make_unique<Dense>(init.scope("fc1"), width, width);
  auto net = std::make_unique<Sequential>();
  net->add<Dense>(init.scope("fc1"), width, kProjectorHidden, Act::kRelu);
  net->add<Dense>(init.scope("fc2"), kProjectorHidden, kProjectorWidth);
  return net;
}

ContrastiveStage::ContrastiveStage(ContrastiveModules modules, StagePosition position)
    : m_(std::move(modules)), at_(position) {
  if ((m_.head != nullptr) != at_.last) throw ConfigError("contrastive stages: exactly the last one has a head");
}

std::vector<Port> ContrastiveStage::feed_ports() const {
  if (!at_.first) return {};
  return with_labels(m_.f->in_ports());
}
std::vector<Port> ContrastiveStage::in_ports() const {
  if (at_.first) return {};
  return with_labels(m_.f->in_ports());
}
std::vector<Port> ContrastiveStage::out_ports() const {
  if (at_.last) return {};
  return with_labels(m_.f->out_ports());
}

StageOutput ContrastiveStage::forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const {
  const Bundle& given = at_.first ? feed : in;
  const Var labels = given[m_.f->in_ports().size()];
  Bundle s = m_.f->forward(c, given);
  const Var x = flatten(c, feature(c, s));
  const Var z = row_normalise(c, convert(c, m_.projector ? m_.projector->forward(c, x) : x, DType::kF32));
  StageOutput out{.out = {}, .losses = {supervised_contrastive(c, z, labels.value, m_.temperature, loss_weight)}};
  for (Var& v : s) v = detach(v);
  if (at_.last) {
    out.losses.push_back(softmax_cross_entropy(c, head(c, s), labels.value, loss_weight));
    return out;
  }
  s.push_back(labels);
  out.out = std::move(s);
  return out;
}

Var ContrastiveStage::head(Ctx& c, const Bundle& s) const {
  if (!m_.head) throw ConfigError("contrastive stages classify behind the last one only");
  return convert(c, m_.head->forward(c, feature(c, s)), DType::kF32);
}

}  // namespace sluice
