// The table of configuration fields and its readers.
#include "apps/config.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/config_parts.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

std::string type_name(const ConfigField& f) {
  constexpr const char* kNames[] = {"text", "a whole number", "a number", "true or false"};
  return kNames[f.member.index()];
}

[[noreturn]] void bad_value(const ConfigField& f, const std::string& value) {
  throw ConfigError(str(f.key, "='", value, "': expected ", type_name(f)));
}

template <class T>
T parse_number(const ConfigField& f, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) bad_value(f, text);
  return value;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

const ConfigField& find_field(std::string key, const std::string& where) {
  std::replace(key.begin(), key.end(), '-', '_');
  for (const ConfigAlias& a : config_aliases())
    if (key == a.name) key = a.key;
  const std::vector<ConfigField>& fields = config_fields();
  const auto it = std::find_if(fields.begin(), fields.end(), [&](const ConfigField& f) { return f.key == key; });
  if (it != fields.end()) return *it;
  const auto nearest = std::min_element(fields.begin(), fields.end(), [&](const ConfigField& a, const ConfigField& b) {
    return edit_distance(key, a.key) < edit_distance(key, b.key);
  });
  throw ConfigError(str(where, "unknown key '", key, "'; did you mean '", nearest->key, "'?"));
}

/// Calls f(value&) with the member's own type.
template <class Config, class F>
void visit_member(Config& c, const ConfigField& field, F&& f) {
  std::visit([&](auto member) { f(c.*member); }, field.member);
}

/// ["a", "b"] as "a,b" and {"f": "a", "g": "b"} as "f=a,g=b"; anything else as it is.
Json flat(const Json& value) {
  if (!value.is_array() && !value.is_object()) return value;
  std::string text;
  for (const auto& [key, item] : value.items()) {
    if (!item.is_string()) return value;
    text += str(text.empty() ? "" : ",", value.is_object() ? key + "=" : "", item.get<std::string>());
  }
  return text;
}

void set_from_json(RunConfig& c, const ConfigField& f, const Json& item, const std::string& where) {
  const Json value = flat(item);
  try {
    visit_member(c, f, [&](auto& slot) {
      using T = std::decay_t<decltype(slot)>;
      const bool fits = std::is_same_v<T, std::string> ? value.is_string()
                        : std::is_same_v<T, bool>      ? value.is_boolean()
                        : std::is_same_v<T, int64_t>   ? value.is_number_integer()
                                                       : value.is_number();
      if (!fits) bad_value(f, value.dump());
      slot = value.get<T>();
    });
  } catch (const ConfigError& e) {
    throw ConfigError(where + e.what());
  }
}

/// How weights are updated.
std::vector<ConfigField> update_fields() {
  using C = RunConfig;
  return {
      {"optimizer", "adam, adamw or sgd", &C::optimizer, true},
      {"lr", "learning rate at the start", &C::lr, true},
      {"end_lr", "learning rate that a cosine ends at", &C::end_lr, true},
      {"lr_schedule",
       "cosine_step: a cosine over all steps; cosine_epoch: the same over epochs, as the original; constant: lr "
       "throughout",
       &C::lr_schedule, true},
      {"label_lr", "al: learning rate of the label encoders and decoders at the start", &C::label_lr, true},
      {"label_end_lr", "al: and at the end", &C::label_end_lr, true},
      {"momentum", "sgd: momentum", &C::momentum, true},
      {"weight_decay", "L2 for adam and sgd, decoupled for adamw", &C::weight_decay, true},
  };
}

/// What only some networks and rules have.
std::vector<ConfigField> network_fields() {
  using C = RunConfig;
  return {
      {"act",
       "activation: relu, sigmoid or tanh of an image network's layers, tanh of a text network's codes; or one for "
       "each, such as f=relu,b=tanh,g=tanh,h=sigmoid; empty: the network's own",
       &C::act, true},
      {"in_channels", "images: channels that the data must have; 0: whatever it has", &C::in_channels, true},
      {"enc_dim", "images, al: hidden width of the bridges", &C::enc_dim, true},
      {"ae_dim", "images, al: width of the label codes", &C::ae_dim, true},
      {"text_columns", "data=csv: columns with the text, by name or, without a header, by number from 1",
       &C::text_columns, true},
      {"label_column", "data=csv: the column with the class", &C::label_column, true},
      {"csv_header", "data=csv: whether the first line names the columns", &C::csv_header, true},
      {"max_len", "text: tokens of a document that are kept", &C::max_len, true},
      {"min_len", "text: training documents with at most so many words are left out", &C::min_len, true},
      {"vocab_size", "text: words that are told apart, padding and unknown words included", &C::vocab_size, true},
      {"word_vec",
       "text: GloVe or fastText file that embeddings start from; glove or fasttext: that one of their usual files in "
       "data_dir; empty: N(0, 1)",
       &C::word_vec, true},
      {"embedding_dim", "text: width of the embedding, and of the transformer", &C::embedding_dim, true},
      {"x_hid", "text: LSTM units per direction; width of the transformer's feed-forward layer", &C::x_hid, true},
      {"y_hid", "text, al: width of the label codes", &C::y_hid, true},
      {"encoders", "text: encoder stages behind the embedding", &C::encoders, true},
      {"n_layers", "transformer: layers of a stage; vit, mlp_mixer: all layers; 0: 1, 7 or 8", &C::n_layers, true},
      {"n_heads", "transformer, vit: attention heads; 0: 6 or 12", &C::n_heads, true},
      {"dropout", "transformer, vit, mlp_mixer: share of values that dropout zeroes; below 0: 0.3, 0 or 0", &C::dropout,
       true},
      {"accumulate",
       "al: none: all stages train in all epochs; prefix: one stage more after each share of them; fixed: one stage "
       "after the other, those before it frozen",
       &C::accumulate, true},
      {"projector", "scpl: what a stage compares: i its feature, l a linear map of it, m two layers", &C::projector,
       true},
      {"temperature", "scpl: of the contrastive loss", &C::temperature, true},
  };
}

std::vector<ConfigField> joined(std::vector<ConfigField> fields, const std::vector<ConfigField>& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  using C = RunConfig;
  static const std::vector<ConfigField> fields = joined(
      {
          {"model",
           "network family: vgg, resnet18 to resnet152, vit or mlp_mixer for images, lstm, transformer or "
           "bag_of_embeddings for "
           "text",
           &C::model, true},
          {"rule",
           "bp: end-to-end backprop; al: associated learning, losses of each stage's own; scpl: contrastive ones; ara, "
           "aba, asa, aba1 to asa4: bp with that --auxiliary",
           &C::rule, true},
          {"data", "the data set: `sluice info` lists them", &C::data, true},
          {"data_dir", "folder with the data set's official files", &C::data_dir, false},
          {"devices", "comma-separated list such as cpu:0,cpu:1 or cuda:0; CPU devices share the cores evenly",
           &C::devices, false},
          {"cores_per_device", "cores of each CPU device; 0: an even share of all; part of the numerics",
           &C::cores_per_device, true},
          {"schedule",
           "auto, one_device, naive_split, gpipe, one_f_one_b, associated, associated_streaming, associated_m or "
           "associated_p (the original's threaded modes); auto streams al and scpl",
           &C::schedule, false},
          {"placement",
           "auto (by measured cost), round_robin, blocks, or the device index of every stage, such as 0,0,1,1",
           &C::placement, false},
          {"bp_gpu_list",
           "bp: a device for each stage, such as cuda:0,cuda:0,cuda:1; goes before devices and placement",
           &C::bp_gpu_list, false},
          {"al_gpu_list", "al, scpl: the same", &C::al_gpu_list, false},
          {"batch", "samples of one step", &C::batch, true},
          {"test_batch_size", "samples at a time in evaluation", &C::test_batch_size, false},
          {"micro_batches", "parts that a step's batch is cut into; batch norm statistics are per part",
           &C::micro_batches, true},
          {"epochs", "passes over the training set", &C::epochs, true},
          {"max_steps", "stop after so many steps; 0: no limit", &C::max_steps, false},
          {"validation",
           "share of the training samples that is held out; best.safetensors is the epoch that is best on them",
           &C::validation, true},
          {"width", "multiplies every channel count and hidden width; 0.125 trains in seconds on two cores", &C::width,
           true},
          {"dtype",
           "of activations and products: f32 or bf16 (a GPU, or a CPU with AVX-512); weights and losses are f32",
           &C::dtype, true},
          {"augmentation",
           "images: none; basic: random crop with 4 pixels of padding, and flip; strong: colours and grey too (RGB); "
           "two_views: a basic and a strong one, for scpl, which doubles the batch",
           &C::augmentation, true},
          {"faithful", "al: the original's flattened bridges and sigmoid label decoders", &C::faithful, true},
          {"seed", "seed of initial weights, shuffling, augmentation and dropout", &C::seed, true},
          {"out", "run directory: configuration, checkpoint, metrics.csv, trace.json; a killed run resumes from it",
           &C::out, false},
          {"checkpoint_every", "steps between checkpoints; 0: at the end of each epoch", &C::checkpoint_every, false},
          {"train_accuracy", "evaluate the training set too after each epoch, untimed", &C::train_accuracy, false},
          {"repeat", "train so often, with seeds seed, seed + 1, ...; runs go to turn-0, turn-1, ... of --out",
           &C::repeat, false},
          {"trace", "write trace.json (Chrome, Perfetto) of the first steps", &C::trace, false},
      },
      joined(joined(joined(update_fields(), network_fields()), vision_fields()), auxiliary_fields()));
  return fields;
}

const std::vector<ConfigAlias>& config_aliases() {
  static const std::vector<ConfigAlias> aliases{
      {"train_batch_size", "batch"},    {"batch_size", "batch"}, {"base_lr", "lr"},          {"outputpath", "out"},
      {"pretrained_model", "word_vec"}, {"head", "n_heads"},     {"num_layers", "n_layers"}, {"drop_p", "dropout"},
  };
  return aliases;
}

std::vector<std::string> list_items(const std::string& text) {
  std::vector<std::string> items;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) items.push_back(item);
  return items;
}

void set_field(RunConfig& c, const std::string& key, const std::string& value) {
  const ConfigField& f = find_field(key, "");
  visit_member(c, f, [&](auto& slot) {
    using T = std::decay_t<decltype(slot)>;
    if constexpr (std::is_same_v<T, std::string>) {
      slot = value;
    } else if constexpr (std::is_same_v<T, bool>) {
      if (value != "true" && value != "false") bad_value(f, value);
      slot = value == "true";
    } else {
      slot = parse_number<T>(f, value);
    }
  });
}

std::string field_text(const RunConfig& c, const ConfigField& f) {
  std::ostringstream out;
  visit_member(c, f, [&](const auto& slot) { out << std::boolalpha << slot; });
  return out.str();
}

void read_config_text(RunConfig& c, const std::string& text, const std::string& where) {
  const std::string prefix = where + ": ";
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw ConfigError(prefix + "not a JSON object such as {\"rule\": \"al\", \"epochs\": 2}");
  for (const auto& [key, value] : json.items()) set_from_json(c, find_field(key, prefix), value, prefix);
}

void read_config_file(RunConfig& c, const std::string& path) {
  std::ifstream in(path);
  if (!in) throw ConfigError(str(path, ": cannot be read; expected a JSON configuration file"));
  std::ostringstream text;
  text << in.rdbuf();
  read_config_text(c, text.str(), path);
}

std::string to_json(const RunConfig& c) {
  Json json;
  for (const ConfigField& f : config_fields()) visit_member(c, f, [&](const auto& slot) { json[f.key] = slot; });
  return json.dump(2);
}

RunConfig with_stage_devices(RunConfig c) {
  const std::vector<std::string> list = list_items(c.rule == "bp" ? c.bp_gpu_list : c.al_gpu_list);
  if (list.empty()) return c;
  std::vector<std::string> devices;
  c.placement.clear();
  for (const std::string& device : list) {
    const auto at = std::find(devices.begin(), devices.end(), device);
    c.placement += str(c.placement.empty() ? "" : ",", at - devices.begin());
    if (at == devices.end()) devices.push_back(device);
  }
  c.devices.clear();
  for (const std::string& d : devices) c.devices += str(c.devices.empty() ? "" : ",", d);
  c.bp_gpu_list.clear();
  c.al_gpu_list.clear();
  return c;
}

void check_config(const RunConfig& given) {
  const RunConfig c = with_network_defaults(given);
  if (c.data_dir.empty()) throw ConfigError("data_dir is not set: name the folder of the data set, --data-dir DIR");
  expect_range<int64_t>("batch", c.batch, 1, 1 << 20);
  expect_range<int64_t>("micro_batches", c.micro_batches, 1, c.batch);
  if (c.batch % c.micro_batches != 0)
    throw ConfigError(str("batch=", c.batch, " does not split into micro_batches=", c.micro_batches, " equal parts"));
  expect_range<int64_t>("epochs", c.epochs, 1, 1'000'000);
  expect_range<int64_t>("test_batch_size", c.test_batch_size, 1, 1 << 20);
  expect_range<int64_t>("enc_dim", c.enc_dim, 1, 1 << 16);
  expect_range<int64_t>("ae_dim", c.ae_dim, 1, 1 << 16);
  if (c.lr_schedule != "cosine_step" && c.lr_schedule != "cosine_epoch" && c.lr_schedule != "constant")
    throw ConfigError(str("lr_schedule='", c.lr_schedule, "': expected cosine_step, cosine_epoch or constant"));
  expect_range<int64_t>("repeat", c.repeat, 1, 1000);
  expect_range<int64_t>("max_steps", c.max_steps, 0, int64_t{1} << 40);
  expect_range<int64_t>("cores_per_device", c.cores_per_device, 0, 4096);
  expect_range<int64_t>("checkpoint_every", c.checkpoint_every, 0, int64_t{1} << 40);
  expect_range("validation", c.validation, 0.0, 0.9);
  expect_range("width", c.width, 1.0 / 128, 16.0);
  expect_range("lr", c.lr, 0.0, 100.0);
  expect_range("end_lr", c.end_lr, 0.0, 100.0);
  expect_range("label_lr", c.label_lr, 0.0, 100.0);
  expect_range("label_end_lr", c.label_end_lr, 0.0, 100.0);
  expect_range<int64_t>("max_len", c.max_len, 1, 4096);
  expect_range<int64_t>("min_len", c.min_len, 0, 4096);
  expect_range<int64_t>("vocab_size", c.vocab_size, 3, 10'000'000);
  expect_range<int64_t>("embedding_dim", c.embedding_dim, 1, 1 << 16);
  expect_range<int64_t>("x_hid", c.x_hid, 1, 1 << 16);
  expect_range<int64_t>("y_hid", c.y_hid, 1, 1 << 16);
  expect_range<int64_t>("encoders", c.encoders, 1, 1000);
  expect_range<int64_t>("n_layers", c.n_layers, 1, 1000);
  expect_range<int64_t>("n_heads", c.n_heads, 1, 1024);
  if (c.embedding_dim % c.n_heads != 0 && c.model == "transformer")
    throw ConfigError(str("embedding_dim=", c.embedding_dim, " does not split into n_heads=", c.n_heads, " heads"));
  if (c.augmentation != "none" && c.augmentation != "basic" && c.augmentation != "strong" &&
      c.augmentation != "two_views")
    throw ConfigError(str("augmentation='", c.augmentation, "': expected none, basic, strong or two_views"));
  expect_range("dropout", c.dropout, 0.0, 0.99);
  expect_range("temperature", c.temperature, 1e-3, 100.0);
  check_auxiliary(c);
  check_vision(c);
  if (c.accumulate != "none" && c.accumulate != "prefix" && c.accumulate != "fixed")
    throw ConfigError(str("accumulate='", c.accumulate, "': expected none, prefix or fixed"));
  if (c.accumulate != "none" && c.rule != "al")
    throw ConfigError(str("accumulate=", c.accumulate, ": rule=", c.rule, " has no shorter networks, only al has"));
  if (c.dtype != "f32" && c.dtype != "bf16") throw ConfigError(str("dtype='", c.dtype, "': expected f32 or bf16"));
  if (c.projector != "i" && c.projector != "l" && c.projector != "m")
    throw ConfigError(str("projector='", c.projector, "': expected i, l or m"));
  expect_range("momentum", c.momentum, 0.0, 0.9999);
  expect_range("weight_decay", c.weight_decay, 0.0, 1.0);
}

void expect_same_numerics(const RunConfig& saved, const RunConfig& now, const std::string& where) {
  for (const ConfigField& f : config_fields()) {
    const std::string was = field_text(saved, f), is = field_text(now, f);
    if (f.numerics && was != is)
      throw ConfigError(str(where, ": the saved run has ", f.key, "=", was, ", this one ", is,
                            "; resume with the same value or choose another --out"));
  }
}

}  // namespace sluice
