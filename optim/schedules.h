// Learning rates as functions of the epoch or the step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace sluice {

/// The rate of epoch e, counted from 0; or of a step, for schedules that are told so.
using Schedule = std::function<float(int64_t epoch)>;

Schedule constant_rate(float base);
/// end + (base - end) (1 + cos(pi e / epochs)) / 2 (Loshchilov, Hutter, ICLR 2017, without restarts); `end` from epoch
/// `epochs` on. Throws ConfigError unless epochs > 0.
Schedule cosine_rate(float base, float end, int64_t epochs);
/// base factor^(e / every), rounded down. Throws ConfigError unless every > 0.
Schedule step_decay(float base, float factor, int64_t every);
/// base times factor once for every milestone that is not above e. Throws ConfigError unless milestones rise.
Schedule multistep_decay(float base, float factor, std::vector<int64_t> milestones);
/// Linear from 0: after.rate(0) e / epochs up to epoch `epochs`, then the schedule itself from its epoch 0 on. So the
/// first rate is 0, and the full one comes twice, as published codes with a gradual warm-up have it
/// (ildoonet/pytorch-gradual-warmup-lr). 0 epochs: the schedule as it is. Throws ConfigError for fewer.
Schedule warmed_up(Schedule after, int64_t epochs);
/// Of steps s, counted from 0 and taken from 1: width^-1/2 min(s^-1/2, s warmup^-3/2) (Vaswani et al. 2017). Throws
/// ConfigError unless both are positive.
Schedule noam_rate(int64_t width, int64_t warmup);

}  // namespace sluice
