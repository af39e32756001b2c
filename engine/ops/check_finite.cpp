// Clears a flag on the device where a loss is not a finite number.
#include "kernels/check_finite.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

void flag_non_finite(const Stream& s, const Tensor& losses, const Tensor& finite) {
  launch(kernels::FlagNonFinite{.losses = losses.cref(), .finite = finite.ref()}, s);
}

}  // namespace sluice
