// What can be trained on what: data sets and networks by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/config.h"
#include "data/dataset.h"
#include "data/translation_files.h"
#include "data/vocabulary.h"
#include "models/units.h"
#include "optim/optimizer.h"

namespace sluice {

/// The halves of a data set, shared by all runs of a process.
struct TrainingData {
  std::shared_ptr<const SampleSource> train{}, test{};
  std::shared_ptr<const Vocabulary> vocabulary{};        // of text
  std::shared_ptr<const SampleSource> validation{};      // where the data set brings it along
  std::shared_ptr<const TranslationText> translation{};  // of pairs of sentences
};

struct DataEntry {
  const char* name;
  const char* files;  // what data_dir holds
  TrainingData (*load)(const RunConfig& config);
};
const std::vector<DataEntry>& data_sets();

struct ModelEntry {
  const char* name;
  const char* rule;       // as in --rule
  const char* rule_kind;  // as in pipeline/rule.h
  std::vector<StageNet> (*make)(const RunConfig& config, const SampleSource& train);
  UnitNet (*units)(const RunConfig& config, const SampleSource& train) = nullptr;  // in place of make: cut anywhere
};
const std::vector<ModelEntry>& models();
/// The network's stages, cut as configured. Throws ConfigError.
std::vector<StageNet> make_stage_nets(const ModelEntry& model, const RunConfig& config, const SampleSource& train);

struct OptimizerEntry {
  const char* name;
  OptimizerPtr (*make)(const RunConfig& config);
};
const std::vector<OptimizerEntry>& optimizers();

/// The entry that `fits`, or a ConfigError that says what was `wanted` and lists the labels that there are.
template <class Entry, class Fits, class Label>
const Entry& find_entry(const std::vector<Entry>& table, const std::string& wanted, Fits&& fits, Label&& label) {
  std::string list;
  for (const Entry& e : table) {
    if (fits(e)) return e;
    list += (list.empty() ? "" : ", ") + label(e);
  }
  throw ConfigError(str(wanted, ": expected one of ", list));
}

/// Lookups by the configuration's names. Throw ConfigError with the names that exist.
TrainingData load_data(const RunConfig& config);
const ModelEntry& find_model(const RunConfig& config);
/// The samples as images. Throws ConfigError where they are something else.
const ImageDataset& images_of(const RunConfig& config, const SampleSource& samples);
OptimizerPtr make_optimizer(const RunConfig& config);

}  // namespace sluice
