// A pass of a translator over two pairs of sentences, stage by stage, for tests of networks that translate.
#pragma once

#include <algorithm>
#include <map>

#include "models/stages.h"
#include "tests/support/support.h"

namespace sluice::test {

/// Two pairs: sources of 3 and 2 tokens, targets of 3 and 1 behind the mark.
struct Pairs {
  Tensor source, target, labels, weights;
};
inline Pairs pairs(const Stream& s, int64_t source_length, int64_t target_length) {
  const auto rows = [&](const std::vector<std::vector<int32_t>>& of, int64_t length) {
    std::vector<int32_t> ids(size_t(2 * length), 0);
    for (size_t i = 0; i < 2; ++i) std::copy(of[i].begin(), of[i].end(), ids.begin() + int64_t(i) * length);
    return Tensor::from<int32_t>(s, ids, {2, length});
  };
  std::vector<float> weights(size_t(2 * target_length), 0.0f);
  for (int64_t i = 0; i < 4; ++i) weights[size_t(i)] = 1.0f / 6;
  for (int64_t i = 0; i < 2; ++i) weights[size_t(target_length + i)] = 1.0f / 6;
  return {rows({{4, 9, 5}, {6, 7}}, source_length), rows({{2, 5, 8, 12}, {2, 9}}, target_length),
          rows({{5, 8, 12, 3}, {9, 3}}, target_length), Tensor::from<float>(s, weights, {2, target_length})};
}

/// The loss of a pass over all stages, and every stage's gradient; without dropout unless `training`.
struct Pass {
  double loss = 0;
  std::vector<double> gradient;
  int64_t kept = 0;                                    // bytes, between forward and backward
  std::map<std::string, std::vector<double>> by_path;  // the gradient of each parameter
  std::vector<Bundle> handed_on;                       // by each stage
};
inline Pass pass_over(const Stream& s, const std::vector<StageNet>& nets, const Pairs& p, const ClassLoss& loss = {},
                      bool training = false) {
  train_on(nets, loss);
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<Tape>> tapes;
  std::vector<Bundle> leaves, outs;
  Ledger ledger;
  Var last;
  for (size_t i = 0; i < nets.size(); ++i) {
    arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
    tapes.push_back(std::make_unique<Tape>());
    Ctx c{.stream = s,
          .weights = arenas[i]->weights(),
          .arena = *arenas[i],
          .ledger = ledger,
          .tape = tapes[i].get(),
          .training = training};
    leaves.emplace_back();
    const std::vector<Port> ports = nets[i].body->in_ports();
    for (size_t k = 0; k < ports.size(); ++k)
      leaves[i].push_back(ports[k].differentiable ? tapes[i]->leaf(outs[i - 1][k].value) : detach(outs[i - 1][k]));
    Bundle feed;
    if (i == 0) feed = {{p.source}, {p.target}};
    if (i + 1 == nets.size()) feed.insert(feed.end(), {{p.weights}, {p.labels}});
    StageOutput out = nets[i].body->forward(c, feed, leaves[i], 1.0f);
    outs.push_back(out.out);
    if (!out.losses.empty()) last = out.losses[0];
  }
  Pass result{to_double(s, last.value)[0], {}, ledger.bytes(), {}, outs};
  std::vector<Root> roots{{last, {}}};
  for (size_t i = nets.size(); i-- > 0;) {
    BackwardCtx c{.stream = s, .weights = arenas[i]->weights(), .arena = *arenas[i], .ledger = ledger};
    tapes[i]->backward(roots, c);
    roots.clear();
    for (size_t k = 0; k < leaves[i].size(); ++k)
      if (leaves[i][k].node >= 0) roots.push_back({outs[i - 1][k], tapes[i]->take_grad(leaves[i][k])});
    const std::vector<double> g = to_double(s, arenas[i]->grads());
    result.gradient.insert(result.gradient.end(), g.begin(), g.end());
    for (size_t k = 0; k < arenas[i]->specs().size(); ++k) {
      const ParamSpec& spec = arenas[i]->specs()[k];
      const auto first = g.begin() + arenas[i]->offset(int(k));
      result.by_path[spec.path].assign(first, first + spec.shape.numel());
    }
  }
  EXPECT_EQ(ledger.bytes(), 0);
  return result;
}

}  // namespace sluice::test
