// What the sources of the configuration share: checks of single fields, and the fields that have a source of their own.
#pragma once

#include <array>

#include "apps/config.h"
#include "kernels/common/error.h"

namespace sluice {

template <class T>
void expect_range(const char* key, T value, T low, T high) {
  if (!(value >= low && value <= high)) throw ConfigError(str(key, "=", value, ": expected ", low, " to ", high));
}

/// Sizes of networks over patches, vit and mlp_mixer: their fields, named as in the authors' code; and ConfigError
/// where they do not fit each other. Needs with_network_defaults().
std::vector<ConfigField> vision_fields();
void check_vision(const RunConfig& c);

/// Auxiliary activations: their fields, and ConfigError where the network does not take them. rule=ara and the like are
/// short for rule=bp with that auxiliary.
std::vector<ConfigField> auxiliary_fields();
RunConfig with_auxiliary_rule(RunConfig c);
void check_auxiliary(const RunConfig& c);
/// ara_stride. Throws ConfigError unless it is four positive numbers.
std::array<int, 4> ara_strides(const RunConfig& c);

/// Schedules, placements and weight versions: their fields, and ConfigError where they do not fit the rule.
/// rule=pipeoptim and the like are short for rule=bp with those weights.
std::vector<ConfigField> pipeline_fields();
RunConfig with_weights_rule(RunConfig c);
void check_pipeline(const RunConfig& c);
/// replicas, by stage. Throws ConfigError unless it is empty or a list of positive numbers.
std::vector<int> workers_of_stages(const RunConfig& c);

/// Pairs of sentences: their fields, and ConfigError where they do not fit the data. Needs with_network_defaults().
std::vector<ConfigField> pair_fields();
void check_pairs(const RunConfig& c);

}  // namespace sluice
