// Learning rates as functions of the epoch.
#pragma once

#include <cstdint>
#include <functional>

namespace sluice {

/// The rate of epoch e, counted from 0.
using Schedule = std::function<float(int64_t epoch)>;

Schedule constant_rate(float base);
/// end + (base - end) (1 + cos(pi e / epochs)) / 2 (Loshchilov, Hutter, ICLR 2017, without restarts); `end` from epoch
/// `epochs` on. Throws ConfigError unless epochs > 0.
Schedule cosine_rate(float base, float end, int64_t epochs);
/// base factor^(e / every), rounded down. Throws ConfigError unless every > 0.
Schedule step_decay(float base, float factor, int64_t every);

}  // namespace sluice
