// The configuration of a run: one table of fields serves flags, JSON files, --set and the help.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace sluice {

/// Everything that a run depends on. Saved in the run directory and in checkpoints.
struct RunConfig {
  std::string model = "vgg";
  std::string rule = "al";
  std::string data = "fashion-mnist";
  std::string data_dir;
  std::string devices = "cpu:0";
  std::string schedule = "auto";
  std::string weights = "synchronous";
  std::string cuts;
  std::string recompute, recompute_weights = "forward";
  std::string placement = "auto";
  std::string replicas;
  std::string bp_gpu_list, al_gpu_list;
  std::string optimizer = "adam";
  std::string out;
  int64_t cores_per_device = 0;
  int64_t batch = 128;
  int64_t test_batch_size = 500;
  int64_t micro_batches = 1;
  int64_t epochs = 1;
  int64_t max_steps = 0;
  int64_t seed = 1;
  int64_t checkpoint_every = 0;
  double validation = 0.0;
  double width = 1.0;
  std::string dtype = "f32";
  double lr = 2e-3;
  double end_lr = 1e-4;
  double label_lr = 1e-2;
  double label_end_lr = 1e-4;
  std::string lr_schedule = "cosine_step";
  int64_t step_every = 30;
  double gamma = 0.1;
  int64_t warmup_epoch = 0;
  int64_t warmup_steps = 4000;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double adam_eps = 1e-8;
  bool nesterov = false;
  double clip_grad = 0.0;
  double label_smoothing = 0.0;
  std::string act;
  int64_t in_channels = 0;
  int64_t enc_dim = 1000;
  int64_t ae_dim = 700;
  std::string text_columns = "text";
  std::string label_column = "label";
  bool csv_header = true;
  int64_t max_len = 0;
  int64_t min_len = 1;
  int64_t vocab_size = 30'000;
  int64_t pieces = 8000;
  std::string language_direction = "E2G";
  int64_t batch_tokens = 0;
  std::string word_vec;
  int64_t embedding_dim = 300;
  int64_t x_hid = 256;
  int64_t y_hid = 128;
  int64_t encoders = 3;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  double dropout = -1;
  int64_t patch = 8, hidden = 384, mlp_hidden = 1536;
  bool off_cls_token = false;
  int64_t patch_size = 4, hidden_size = 128, hidden_c = 512, hidden_s = 64;
  int64_t stage_layers = 1;
  std::string conv_start = "fan_in";
  std::string auxiliary = "none";
  std::string ara_stride = "1,1,1,1";
  bool gcp = false;
  bool get_li = false;
  double lr_expansion = 100.0;
  double epsilon = 0.01;
  std::string accumulate = "none";
  std::string projector = "m";
  double temperature = 0.1;
  double momentum = 0.9;
  double dampening = 0.0;
  double rms_alpha = 0.99;
  double weight_decay = 0.0;
  std::string augmentation = "auto";
  int64_t image_size = 0;
  bool autoaugment = false;
  bool rcpaste = false;
  bool cutmix = false;
  bool mixup = false;
  double cutmix_prob = 0.0;
  double cutmix_beta = 1.0;
  bool faithful = false;
  bool trace = true;
  bool train_accuracy = false;
  int64_t repeat = 1;
};

/// One field: its key, what it is for, and where it lies.
struct ConfigField {
  using Member = std::variant<std::string RunConfig::*, int64_t RunConfig::*, double RunConfig::*, bool RunConfig::*>;
  const char* key;
  const char* help;
  Member member;
  bool numerics;  // a resumed run must have the same value
};
const std::vector<ConfigField>& config_fields();

/// Another name of a field: that of the original codes' configuration files.
struct ConfigAlias {
  const char *name, *key;
};
const std::vector<ConfigAlias>& config_aliases();

/// The items of a field that is a list, "a,b"; none of an empty text.
std::vector<std::string> list_items(const std::string& text);

/// Sets one field from text. Throws ConfigError for an unknown key (with the nearest known one) or a bad value.
void set_field(RunConfig& c, const std::string& key, const std::string& value);
std::string field_text(const RunConfig& c, const ConfigField& f);
/// Reads a flat JSON object {"key": value, ...}; a list is the text of its items with commas between, an object the
/// text "key=value,...". Throws ConfigError with the path and the key.
void read_config_file(RunConfig& c, const std::string& path);
std::string to_json(const RunConfig& c);
/// The inverse of to_json. Throws ConfigError; `where` names the source.
void read_config_text(RunConfig& c, const std::string& text, const std::string& where);
/// Devices and placement in place of the rule's list of a device for each stage, if that is set.
RunConfig with_stage_devices(RunConfig c);
/// The network's or the data's own number where a field leaves it to them: layers, heads, dropout, length of a text;
/// and rule=ara and the like spelled out.
RunConfig with_network_defaults(RunConfig c);
/// Whether the data set's samples are pairs of sentences, and whether the network translates.
bool has_pairs(const RunConfig& c);
bool is_translator(const RunConfig& c);
/// The recurrent ones of these.
bool is_gnmt(const RunConfig& c);
/// d of a transformer that translates, H of a recurrent network that does.
int64_t translator_width(const RunConfig& c);
/// Samples of a micro-batch or, with batch_tokens, tokens: never fewer than it has samples.
int64_t micro_batch_size(const RunConfig& c);
/// Throws ConfigError for values out of range or that exclude each other, before anything runs.
void check_config(const RunConfig& c);
/// Throws ConfigError naming the first field in which a resumed run would differ from the one that was saved.
void expect_same_numerics(const RunConfig& saved, const RunConfig& now, const std::string& where);

}  // namespace sluice
