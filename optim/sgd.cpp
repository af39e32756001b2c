// SGD: one kernel call over the arena.
#include "optim/sgd.h"

#include "engine/launch.h"
#include "kernels/sgd.h"

namespace sluice {

Sgd::Sgd(SgdOptions options) : options_(options) {
  if (!(options.momentum >= 0.0f && options.momentum < 1.0f))
    throw ConfigError(str("sgd: momentum is ", options.momentum, ", expected a number in [0, 1)"));
  if (options.nesterov && options.momentum == 0.0f) throw ConfigError("sgd: Nesterov's step needs momentum > 0");
}

void Sgd::step(Arena& arena, const Stream& stream, int64_t, const std::vector<GroupSettings>& groups,
               const Tensor& finite) {
  slots_.set(arena, stream, groups, {});
  arena.finish_grads(stream);
  launch(kernels::Sgd{.w = arena.values().ref(),
                      .g = arena.grads().cref(),
                      .buffer = options_.momentum != 0.0f ? arena.state(stream, 0).ref() : Ref{},
                      .view = {},
                      .segments = slots_.segments(),
                      .scalars = slots_.scalars(),
                      .finite = finite.cref(),
                      .momentum = options_.momentum,
                      .nesterov = options_.nesterov},
         stream);
  arena.bump_version();
  arena.begin_step();
}

std::vector<std::string> Sgd::state_names() const {
  if (options_.momentum == 0.0f) return {};
  return {"sgd.momentum"};
}

}  // namespace sluice
