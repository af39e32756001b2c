// The tables behind --data and --optimizer.
#include "apps/catalog.h"

#include <optional>

#include "apps/run_dir.h"
#include "data/image_folder.h"
#include "data/text_files.h"
#include "data/wmt16.h"
#include "engine/rng.h"
#include "optim/adam.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "pipeline/rule.h"

namespace sluice {
namespace {

template <class T>
std::shared_ptr<const T> share(T value) {
  return std::make_shared<const T>(std::move(value));
}

template <class Split>
TrainingData shared(Split split) {
  return {.train = share(std::move(split.train)), .test = share(std::move(split.test))};
}

int64_t side_of(const RunConfig& c, int64_t usual = 32) { return c.image_size > 0 ? c.image_size : usual; }

/// Pixels of -1 .. 1.
ImageSplit load_image_folder(const std::filesystem::path& dir, const std::filesystem::path& cache, int64_t side) {
  const auto part = [&](const char* name) {
    ImageReading reading{.side = side, .mean = {0.5f, 0.5f, 0.5f}, .stddev = {0.5f, 0.5f, 0.5f}};
    if (!cache.empty())
      reading.cache = cache / str("image-folder-", name, "-", side, "-", path_hash((dir / name).string()));
    return decode_images(list_class_folders(dir / name), reading);
  };
  ImageSplit split{part("train"), part("test")};
  if (split.train.class_names != split.test.class_names)
    throw DataError(str(dir.string(), ": train and test hold different classes"));
  return split;
}

template <class Load>
TrainingData numbered(const RunConfig& c, Load&& load) {
  TextSplit split = load(TextOptions{.max_len = with_network_defaults(c).max_len,
                                     .min_len = c.min_len,
                                     .vocabulary = c.vocab_size,
                                     .bucket = c.faithful ? 1 : 8,
                                     .seed = uint64_t(c.seed),
                                     .faithful = c.faithful,
                                     .cache = data_home()});
  return {.train = share(std::move(split.train)),
          .test = share(std::move(split.test)),
          .vocabulary = share(std::move(split.vocabulary))};
}

ParallelOptions pair_options(const RunConfig& c) {
  return {.to_english = c.language_direction == "G2E",
          .pieces = c.pieces,
          .max_len = with_network_defaults(c).max_len,
          .bucket = c.faithful ? 1 : 8,
          .token_weights = is_gnmt(c)   ? TokenWeights::kSentences
                           : c.faithful ? TokenWeights::kPositions
                                        : TokenWeights::kMean,
          .cache = data_home()};
}

TrainingData pairs(ParallelSplit split) {
  return {.train = share(std::move(split.train)),
          .test = share(std::move(split.test)),
          .validation = share(std::move(split.validation)),
          .translation = share(std::move(split.text))};
}

template <auto Load>
TrainingData text(const RunConfig& c) {
  return numbered(c, [&](const TextOptions& options) { return Load(c.data_dir, options); });
}

/// train.csv and, if it is there, test.csv.
TrainingData any_csv(const RunConfig& c) {
  const std::filesystem::path dir = c.data_dir;
  CsvTable table{.train = dir / "train.csv",
                 .test = {},
                 .label = c.label_column,
                 .text = list_items(c.text_columns),
                 .header = c.csv_header};
  if (std::filesystem::exists(dir / "test.csv")) table.test = dir / "test.csv";
  return numbered(c, [&](const TextOptions& options) { return load_csv(table, options); });
}

/// As one table or as folders, whichever is there.
TextSplit load_imdb(const std::filesystem::path& path, const TextOptions& options) {
  for (const std::filesystem::path& folder : {path, path / "aclImdb"})
    if (std::filesystem::is_directory(folder / "train/pos")) return load_aclimdb(path, options);
  return load_imdb_csv(path, options);
}

/// How the run's rule foretells weights; none: it does not.
std::optional<Lookahead> lookahead(const RunConfig& c) {
  return c.weights == "synchronous" ? std::nullopt : find_rule(c.weights).lookahead;
}
OptimizerPtr make_adam(const RunConfig& c) {
  return std::make_unique<Adam>(
      AdamOptions{.beta1 = c.beta1, .beta2 = c.beta2, .eps = float(c.adam_eps), .decoupled = c.optimizer == "adamw"});
}
OptimizerPtr make_sgd(const RunConfig& c) {
  SgdOptions options{
      .momentum = float(c.momentum), .nesterov = c.nesterov, .dampening = float(c.dampening), .remember = lookahead(c)};
  return std::make_unique<Sgd>(options);
}
OptimizerPtr make_rmsprop(const RunConfig& c) {
  return std::make_unique<Rmsprop>(
      RmspropOptions{.alpha = c.rms_alpha, .eps = float(c.adam_eps), .remember = lookahead(c).has_value()});
}

}  // namespace

const std::vector<DataEntry>& data_sets() {
  static const std::vector<DataEntry> table{
      {"fashion-mnist", "the four idx files",
       [](const RunConfig& c) { return shared(load_fashion_mnist(c.data_dir, side_of(c))); }},
      {"cifar10", "the binary version's .bin files",
       [](const RunConfig& c) { return shared(load_cifar10(c.data_dir)); }},
      {"cifar100", "the binary version's .bin files",
       [](const RunConfig& c) { return shared(load_cifar100(c.data_dir)); }},
      {"svhn", "train_32x32.mat and test_32x32.mat", [](const RunConfig& c) { return shared(load_svhn(c.data_dir)); }},
      {"tinyImageNet", "tiny-imagenet-200, val as published or in folders of the classes",
       [](const RunConfig& c) { return shared(load_tiny_imagenet(c.data_dir, data_home(), side_of(c))); }},
      {"imagenet", "train and val, each with a folder of JPEG files for every class; read as they are fed",
       [](const RunConfig& c) { return shared(load_imagenet(c.data_dir, side_of(c, 224))); }},
      {"image-folder", "train and test, each with a folder of PNG or JPEG files for every class",
       [](const RunConfig& c) { return shared(load_image_folder(c.data_dir, data_home(), side_of(c))); }},
      {"debian-topics", "what `sluice data fetch debian-topics` wrote", text<load_debian_topics>},
      {"ag_news", "train.csv and test.csv", text<load_ag_news>},
      {"dbpedia_14", "train.csv and test.csv", text<load_dbpedia>},
      {"csv", "train.csv and, unless one fifth of it is to be kept for tests, test.csv", any_csv},
      {"imdb", "\"IMDB Dataset.csv\" or the folders of aclImdb", text<load_imdb>},
      {"debian-pairs", "what `sluice data fetch debian-pairs` wrote: English and German sentences",
       [](const RunConfig& c) { return pairs(load_translation(c.data_dir, "debian", pair_options(c))); }},
      {"iwslt", "{de_en,en_de}_iwslt_{train,val,test}_cache.csv, lines of the two languages in turn",
       [](const RunConfig& c) { return pairs(load_translation(c.data_dir, "iwslt", pair_options(c))); }},
      {"wmt16",
       "vocab.bpe.32000, and train, newstest_dev and newstest2014 .tok[.clean].bpe.32000 and newstest2014, .en and .de",
       [](const RunConfig& c) { return pairs(load_wmt16(c.data_dir, pair_options(c))); }}};
  return table;
}

const std::vector<OptimizerEntry>& optimizers() {
  static const std::vector<OptimizerEntry> table{
      {"adam", make_adam}, {"adamw", make_adam}, {"rmsprop", make_rmsprop}, {"sgd", make_sgd}};
  return table;
}

TrainingData load_data(const RunConfig& c) {
  return find_entry(
             data_sets(), str("data='", c.data, "'"), [&](const DataEntry& e) { return c.data == e.name; },
             [](const DataEntry& e) { return std::string(e.name); })
      .load(c);
}

OptimizerPtr make_optimizer(const RunConfig& c) {
  return find_entry(
             optimizers(), str("optimizer='", c.optimizer, "'"),
             [&](const OptimizerEntry& e) { return c.optimizer == e.name; },
             [](const OptimizerEntry& e) { return std::string(e.name); })
      .make(c);
}

}  // namespace sluice
