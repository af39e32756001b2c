// The tables behind --data and --optimizer.
#include "apps/catalog.h"

#include "optim/adam.h"
#include "optim/sgd.h"

namespace sluice {
namespace {

TrainingData shared(ImageSplit split) {
  return {std::make_shared<const ImageDataset>(std::move(split.train)),
          std::make_shared<const ImageDataset>(std::move(split.test))};
}

OptimizerPtr make_adam(const RunConfig&) { return std::make_unique<Adam>(); }
OptimizerPtr make_adamw(const RunConfig&) { return std::make_unique<Adam>(AdamOptions{.decoupled = true}); }
OptimizerPtr make_sgd(const RunConfig& c) { return std::make_unique<Sgd>(SgdOptions{.momentum = float(c.momentum)}); }

/// The entry that `fits`, or a ConfigError that lists what there is.
template <class Entry, class Fits, class Label>
const Entry& find(const std::vector<Entry>& table, const std::string& wanted, Fits&& fits, Label&& label) {
  std::string list;
  for (const Entry& e : table) {
    if (fits(e)) return e;
    list += (list.empty() ? "" : ", ") + label(e);
  }
  throw ConfigError(str(wanted, ": expected one of ", list));
}

}  // namespace

const std::vector<DataEntry>& data_sets() {
  static const std::vector<DataEntry> table{
      {"fashion-mnist", [](const RunConfig& c) { return shared(load_fashion_mnist(c.data_dir)); }},
      {"cifar10", [](const RunConfig& c) { return shared(load_cifar10(c.data_dir)); }},
      {"cifar100", [](const RunConfig& c) { return shared(load_cifar100(c.data_dir)); }}};
  return table;
}

const std::vector<OptimizerEntry>& optimizers() {
  static const std::vector<OptimizerEntry> table{{"adam", make_adam}, {"adamw", make_adamw}, {"sgd", make_sgd}};
  return table;
}

TrainingData load_data(const RunConfig& c) {
  return find(
             data_sets(), str("data='", c.data, "'"), [&](const DataEntry& e) { return c.data == e.name; },
             [](const DataEntry& e) { return std::string(e.name); })
      .load(c);
}

OptimizerPtr make_optimizer(const RunConfig& c) {
  return find(
             optimizers(), str("optimizer='", c.optimizer, "'"),
             [&](const OptimizerEntry& e) { return c.optimizer == e.name; },
             [](const OptimizerEntry& e) { return std::string(e.name); })
      .make(c);
}

}  // namespace sluice
