// What can be trained on what: data sets and networks by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/config.h"
#include "data/dataset.h"
#include "data/text.h"
#include "layers/module.h"
#include "optim/optimizer.h"

namespace sluice {

/// Both halves of a data set, shared by all runs of a process.
struct TrainingData {
  std::shared_ptr<const SampleSource> train, test;
  std::shared_ptr<const Vocabulary> vocabulary{};  // of texts
};

struct DataEntry {
  const char* name;
  TrainingData (*load)(const RunConfig& config);
};
const std::vector<DataEntry>& data_sets();

struct ModelEntry {
  const char* name;
  const char* rule;       // as in --rule
  const char* rule_kind;  // as in pipeline/rule.h
  std::vector<StageNet> (*make)(const RunConfig& config, const SampleSource& train);
};
const std::vector<ModelEntry>& models();

struct OptimizerEntry {
  const char* name;
  OptimizerPtr (*make)(const RunConfig& config);
};
const std::vector<OptimizerEntry>& optimizers();

/// Lookups by the configuration's names. Throw ConfigError with the names that exist.
TrainingData load_data(const RunConfig& config);
/// The samples as images or texts. Throw ConfigError where they are something else.
const ImageDataset& images_of(const RunConfig& config, const SampleSource& samples);
const TextDataset& texts_of(const RunConfig& config, const SampleSource& samples);
const ModelEntry& find_model(const RunConfig& config);
OptimizerPtr make_optimizer(const RunConfig& config);

}  // namespace sluice
