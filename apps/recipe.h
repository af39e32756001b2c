// What a configuration says about how a network is trained, beside the network itself.
#pragma once

#include "apps/config.h"
#include "data/augment.h"
#include "models/stages.h"
#include "pipeline/stage.h"

namespace sluice {

/// The name of the augmentation where the configuration leaves it to the data set.
std::string augmentation_name(const RunConfig& config);
/// Nothing for samples that are no images. Throws ConfigError where those are to be mixed.
Augmentation augmentation_of(const RunConfig& config, const SampleSource& samples);
ClassLoss class_loss_of(const RunConfig& config);
/// Rates and weight decay of the two groups of parameters at a step. An epoch has so many steps.
SettingsAt settings_of(const RunConfig& config, int64_t steps_per_epoch);

}  // namespace sluice
