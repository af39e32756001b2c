// What a configuration may hold.
#include "apps/config_parts.h"

namespace sluice {
namespace {

/// One of a field's names, which are given with commas between.
void expect_name(const char* key, const std::string& value, const std::string& names) {
  for (const std::string& name : list_items(names))
    if (value == name) return;
  std::string list;
  const std::vector<std::string> all = list_items(names);
  for (size_t i = 0; i < all.size(); ++i) list += str(i == 0 ? "" : i + 1 == all.size() ? " or " : ", ", all[i]);
  throw ConfigError(str(key, "='", value, "': expected ", list));
}

void check_update(const RunConfig& c) {
  expect_name("lr_schedule", c.lr_schedule, "cosine_step,cosine_epoch,step,multistep,noam,constant");
  expect_range("lr", c.lr, 0.0, 100.0);
  expect_range("end_lr", c.end_lr, 0.0, 100.0);
  expect_range("label_lr", c.label_lr, 0.0, 100.0);
  expect_range("label_end_lr", c.label_end_lr, 0.0, 100.0);
  expect_range<int64_t>("step_every", c.step_every, 1, 1'000'000);
  expect_range("gamma", c.gamma, 0.0, 1.0);
  expect_range<int64_t>("warmup_epoch", c.warmup_epoch, 0, 1'000'000);
  expect_range<int64_t>("warmup_steps", c.warmup_steps, 1, int64_t{1} << 40);
  if (c.warmup_epoch > 0 && (c.lr_schedule == "cosine_step" || c.lr_schedule == "noam"))
    throw ConfigError(str("warmup_epoch=", c.warmup_epoch, ": lr_schedule=", c.lr_schedule,
                          " goes by steps, expected one by epochs, such as cosine_epoch"));
  expect_range("beta1", c.beta1, 0.0, 0.999999);
  expect_range("beta2", c.beta2, 0.0, 0.999999);
  expect_range("adam_eps", c.adam_eps, 1e-30, 1.0);
  expect_range("momentum", c.momentum, 0.0, 0.9999);
  expect_range("dampening", c.dampening, 0.0, 0.9999);
  expect_range("rms_alpha", c.rms_alpha, 0.0, 0.999999);
  expect_range("weight_decay", c.weight_decay, 0.0, 1.0);
  expect_range("clip_grad", c.clip_grad, 0.0, 1e9);
  expect_range("label_smoothing", c.label_smoothing, 0.0, 1.0);
}

void check_images(const RunConfig& c) {
  expect_name("augmentation", c.augmentation, "auto,none,basic,crop,crop_twice,strong,two_views,area");
  expect_range<int64_t>("image_size", c.image_size, 0, 4096);
  if (c.image_size != 0 && c.image_size != 32 && (c.data.starts_with("cifar") || c.data == "svhn"))
    throw ConfigError(str("image_size=", c.image_size, ": data=", c.data, " has images of 32"));
  expect_range("cutmix_prob", c.cutmix_prob, 0.0, 1.0);
  expect_range("cutmix_beta", c.cutmix_beta, 1e-3, 100.0);
  if (c.mixup && (c.cutmix || c.cutmix_prob > 0)) throw ConfigError("cutmix and mixup are both on: expected one");
}

}  // namespace

void check_config(const RunConfig& given) {
  const RunConfig c = with_network_defaults(given);
  if (c.data_dir.empty()) throw ConfigError("data_dir is not set: name the folder of the data set, --data-dir DIR");
  expect_range<int64_t>("batch", c.batch, 1, 1 << 20);
  expect_range<int64_t>("micro_batches", c.micro_batches, 1, c.batch_tokens > 0 ? c.batch_tokens : c.batch);
  if (c.batch_tokens == 0 && c.batch % c.micro_batches != 0)
    throw ConfigError(str("batch=", c.batch, " does not split into micro_batches=", c.micro_batches, " equal parts"));
  expect_range<int64_t>("epochs", c.epochs, 1, 1'000'000);
  expect_range<int64_t>("test_batch_size", c.test_batch_size, 1, 1 << 20);
  expect_range<int64_t>("enc_dim", c.enc_dim, 1, 1 << 16);
  expect_range<int64_t>("ae_dim", c.ae_dim, 1, 1 << 16);
  expect_range<int64_t>("repeat", c.repeat, 1, 1000);
  expect_range<int64_t>("max_steps", c.max_steps, 0, int64_t{1} << 40);
  expect_range<int64_t>("cores_per_device", c.cores_per_device, 0, 4096);
  expect_range<int64_t>("checkpoint_every", c.checkpoint_every, 0, int64_t{1} << 40);
  expect_range("validation", c.validation, 0.0, 0.9);
  expect_range("width", c.width, 1.0 / 128, 16.0);
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
  expect_range("dropout", c.dropout, 0.0, 0.99);
  expect_range("temperature", c.temperature, 1e-3, 100.0);
  check_pairs(c);
  check_auxiliary(c);
  check_pipeline(c);
  check_vision(c);
  expect_name("accumulate", c.accumulate, "none,prefix,fixed");
  if (c.accumulate != "none" && c.rule != "al")
    throw ConfigError(str("accumulate=", c.accumulate, ": rule=", c.rule, " has no shorter networks, only al has"));
  expect_name("dtype", c.dtype, "f32,bf16");
  expect_name("projector", c.projector, "i,l,m");
  check_update(c);
  check_images(c);
}

}  // namespace sluice
