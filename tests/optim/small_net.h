// What the optimisers' tests share: an arena of two groups, and its gradients.
#pragma once

#include "kernels/fill.h"
#include "optim/optimizer.h"
#include "tests/support/support.h"

namespace sluice::test {

inline const std::vector<GroupSettings> kGroups{{.lr = 0.1f, .weight_decay = 0.2f},
                                                {.lr = 0.03f, .weight_decay = 0.0f}};

/// Two groups; the second one is exempt from weight decay and is declared between parameters of the first.
struct SmallNet {
  explicit SmallNet(const Stream& s) : init(declare(params)), arena(s, init, /*seed=*/5) {}

  /// Queues a random gradient of one parameter, through the slot that ops use.
  void write_grad(const Stream& s, const Param& p, uint64_t seed) {
    const GradSlot slot = arena.grad(p);
    EXPECT_FALSE(slot.accumulate) << "the previous step's gradient was not taken";
    launch(kernels::FillUniform{.y = slot.ref, .low = -1.0f, .high = 1.0f, .key = {uint32_t(seed), 7}}, s);
  }
  void write_grads(const Stream& s, uint64_t seed) {
    for (const Param& p : params) write_grad(s, p, seed + uint64_t(p.index));
  }
  std::vector<double> read(const Stream& s, const Tensor& flat, const Param& p) const {
    return to_double(s, flat.flat_view(arena.offset(p.index), p.shape));
  }
  std::vector<double> values(const Stream& s, const Param& p) const { return read(s, arena.values(), p); }
  std::vector<double> grads(const Stream& s, const Param& p) const { return read(s, arena.grads(), p); }

  std::vector<Param> params;
  Init init;
  Arena arena;

 private:
  static Init declare(std::vector<Param>& params) {
    const InitialValue initial = InitialValue::uniform(1.0f);
    Init init;
    params = {init.scope("a").param("weight", {5, 7}, initial), init.scope("a").group(1).param("bias", {5}, initial),
              init.scope("b").param("weight", {3, 5, 2}, initial)};
    return init;
  }
};

}  // namespace sluice::test
