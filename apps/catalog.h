// What can be trained on what: data sets and networks by name.
#pragma once

#include <string>
#include <vector>

#include "apps/config.h"
#include "data/dataset.h"
#include "layers/module.h"
#include "optim/optimizer.h"

namespace sluice {

struct DataEntry {
  const char* name;
  ImageSplit (*load)(const std::filesystem::path& dir);
};
const std::vector<DataEntry>& data_sets();

struct ModelEntry {
  const char* name;
  const char* rule;       // as in --rule
  const char* rule_kind;  // as in pipeline/rule.h
  std::vector<StageNet> (*make)(const RunConfig& config, const ImageDataset& data);
};
const std::vector<ModelEntry>& models();

struct OptimizerEntry {
  const char* name;
  OptimizerPtr (*make)(const RunConfig& config);
};
const std::vector<OptimizerEntry>& optimizers();

/// Lookups by the configuration's names. Throw ConfigError with the names that exist.
ImageSplit load_data(const RunConfig& config);
const ModelEntry& find_model(const RunConfig& config);
OptimizerPtr make_optimizer(const RunConfig& config);

}  // namespace sluice
