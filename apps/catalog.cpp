// The tables behind --data, --model with --rule, and --optimizer.
#include "apps/catalog.h"

#include "data/text_files.h"
#include "models/vgg.h"
#include "optim/adam.h"
#include "optim/sgd.h"

namespace sluice {
namespace {

VggConfig vgg_config(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = images_of(c, train);
  return {.in_channels = data.image[2],
          .image = data.image[0],
          .classes = data.classes(),
          .width = c.width,
          .faithful = c.faithful};
}

TrainingData shared(ImageSplit split) {
  return {std::make_shared<const ImageDataset>(std::move(split.train)),
          std::make_shared<const ImageDataset>(std::move(split.test))};
}

TrainingData shared(TextSplit split) {
  return {std::make_shared<const TextDataset>(std::move(split.train)),
          std::make_shared<const TextDataset>(std::move(split.test)),
          std::make_shared<const Vocabulary>(std::move(split.vocabulary))};
}
/// `max_len`: the published runs' length for the data set. What is tokenised stays beside the texts.
TextOptions text_options(const RunConfig& c, int64_t max_len) {
  std::error_code none;
  const std::filesystem::path dir = c.data_dir;
  return {.max_len = max_len,
          .seed = uint64_t(c.seed),
          .faithful = c.faithful,
          .cache = std::filesystem::is_directory(dir, none) ? dir : dir.parent_path()};
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
      {"cifar100", [](const RunConfig& c) { return shared(load_cifar100(c.data_dir)); }},
      {"ag-news", [](const RunConfig& c) { return shared(load_ag_news(c.data_dir, text_options(c, 128))); }},
      {"dbpedia", [](const RunConfig& c) { return shared(load_dbpedia(c.data_dir, text_options(c, 128))); }},
      {"imdb", [](const RunConfig& c) { return shared(load_imdb_csv(c.data_dir, text_options(c, 256))); }},
      {"aclimdb", [](const RunConfig& c) { return shared(load_aclimdb(c.data_dir, text_options(c, 256))); }},
      {"debian-topics",
       [](const RunConfig& c) { return shared(load_debian_topics(c.data_dir, text_options(c, 128))); }}};
  return table;
}

const std::vector<ModelEntry>& models() {
  static const std::vector<ModelEntry> table{
      {"vgg", "bp", "backprop",
       [](const RunConfig& c, const SampleSource& d) { return vgg_backprop(vgg_config(c, d)); }},
      {"vgg", "al", "associated",
       [](const RunConfig& c, const SampleSource& d) { return vgg_associated(vgg_config(c, d)); }},
  };
  return table;
}

const std::vector<OptimizerEntry>& optimizers() {
  static const std::vector<OptimizerEntry> table{{"adam", make_adam}, {"adamw", make_adamw}, {"sgd", make_sgd}};
  return table;
}

const ImageDataset& images_of(const RunConfig& c, const SampleSource& samples) {
  if (const auto* images = dynamic_cast<const ImageDataset*>(&samples)) return *images;
  throw ConfigError(str("model='", c.model, "' takes images, and data='", c.data, "' holds none"));
}

const TextDataset& texts_of(const RunConfig& c, const SampleSource& samples) {
  if (const auto* texts = dynamic_cast<const TextDataset*>(&samples)) return *texts;
  throw ConfigError(str("model='", c.model, "' takes texts, and data='", c.data, "' holds none"));
}

TrainingData load_data(const RunConfig& c) {
  return find(
             data_sets(), str("data='", c.data, "'"), [&](const DataEntry& e) { return c.data == e.name; },
             [](const DataEntry& e) { return std::string(e.name); })
      .load(c);
}

const ModelEntry& find_model(const RunConfig& c) {
  return find(
      models(), str("model='", c.model, "' with rule='", c.rule, "'"),
      [&](const ModelEntry& e) { return c.model == e.name && c.rule == e.rule; },
      [](const ModelEntry& e) { return str(e.name, " with ", e.rule); });
}

OptimizerPtr make_optimizer(const RunConfig& c) {
  return find(
             optimizers(), str("optimizer='", c.optimizer, "'"),
             [&](const OptimizerEntry& e) { return c.optimizer == e.name; },
             [](const OptimizerEntry& e) { return std::string(e.name); })
      .make(c);
}

}  // namespace sluice
