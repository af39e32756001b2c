// Count of right answers; no gradient.
#include "kernels/correct_count.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor correct_count(Ctx& c, const Tensor& logits, const Tensor& labels) {
  Tensor count = c.empty({1});
  launch(kernels::CorrectCount{.logits = logits.cref(), .labels = labels.cref(), .count = count.ref()}, c.stream);
  return count;
}

}  // namespace sluice
