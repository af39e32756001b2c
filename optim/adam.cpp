// Adam and AdamW: one kernel call over the arena. Bias corrections are computed in double on the host.
#include "optim/adam.h"

#include <cmath>

#include "engine/launch.h"
#include "kernels/adam.h"

namespace sluice {

Adam::Adam(AdamOptions options) : options_(options) {
  const auto fraction = [](double x) { return x >= 0.0 && x < 1.0; };
  if (!fraction(options.beta1) || !fraction(options.beta2))
    throw ConfigError(
        str("adam: beta1, beta2 are ", options.beta1, ", ", options.beta2, ", expected numbers in [0, 1)"));
  if (!(options.eps > 0.0f)) throw ConfigError(str("adam: eps is ", options.eps, ", expected a positive number"));
}

void Adam::step(Arena& arena, const Stream& stream, int64_t step, const std::vector<GroupSettings>& groups,
                const Tensor& finite) {
  const double t = double(step + 1);
  StepScalars scalars;
  scalars.bias1 = float(1.0 - std::pow(options_.beta1, t));
  scalars.root_bias2 = float(std::sqrt(1.0 - std::pow(options_.beta2, t)));
  slots_.set(arena, stream, groups, scalars);
  arena.finish_grads(stream);
  launch(kernels::Adam{.w = arena.values().ref(),
                       .g = arena.grads().cref(),
                       .m = arena.state(stream, 0).ref(),
                       .v = arena.state(stream, 1).ref(),
                       .view = {},
                       .segments = slots_.segments(),
                       .scalars = slots_.scalars(),
                       .finite = finite.cref(),
                       .beta1 = options_.beta1,
                       .beta2 = options_.beta2,
                       .eps = options_.eps,
                       .decoupled = options_.decoupled},
         stream);
  arena.bump_version();
  arena.begin_step();
}

std::vector<std::string> Adam::state_names() const { return {"adam.m", "adam.v"}; }

}  // namespace sluice
