// Lays the arena's segments out for the kernels and checks that every group has settings.
#include "optim/update_slots.h"

#include <algorithm>

#include "engine/launch.h"
#include "kernels/step_scalars.h"

namespace sluice {

void UpdateSlots::set(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups,
                      StepScalars scalars) {
  if (!segments_.defined()) {
    std::vector<int64_t> rows;
    for (const Segment& s : arena.segments()) {
      rows.insert(rows.end(), {s.offset, s.count, int64_t(s.group)});
      groups_ = std::max(groups_, s.group + 1);
    }
    const auto count = int64_t(arena.segments().size());
    segments_ = Tensor::from<int64_t>(stream, rows, {count, 3}, MemoryTag::kOptimizer);
    scalars_ = Tensor::empty(stream, kStepScalarsShape, DType::kU8, MemoryTag::kOptimizer);
    values_ = arena.values().storage();
  }
  if (arena.values().storage() != values_) throw Error("optimizer: one optimiser serves one arena, got a second one");
  if (groups_ > kMaxGroups || groups_ > int(groups.size()))
    throw ConfigError(str("optimizer: the arena has ", groups_,
                          " parameter groups, expected settings for each and at most ", kMaxGroups, ", got ",
                          groups.size()));
  for (size_t g = 0; g < size_t(groups_); ++g) {
    scalars.lr[g] = groups[g].lr;
    scalars.weight_decay[g] = groups[g].weight_decay;
  }
  launch(kernels::SetStepScalars{.slot = scalars_.ref(), .values = scalars}, stream);
}

}  // namespace sluice
