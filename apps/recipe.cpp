// Augmentation, loss and learning rates by their names.
#include "apps/recipe.h"

#include "optim/schedules.h"

namespace sluice {
namespace {

constexpr float kMixupProbability = 0.8f;

MixingOptions mixing_of(const RunConfig& c) {
  if (c.mixup) return {.how = Mixing::kMixUp, .probability = kMixupProbability};
  if (!c.cutmix && c.cutmix_prob == 0) return {};
  return {.how = Mixing::kCutMix,
          .probability = c.cutmix_prob > 0 ? float(c.cutmix_prob) : 1.0f,
          .beta = float(c.cutmix_beta)};
}

Augmentation windows_of(const std::string& name) {
  if (name == "none") return {};
  if (name == "basic") return {.crop_padding = 4, .flip = true};
  if (name == "crop") return {.crop_padding = 4};
  if (name == "crop_twice") return {.crop_padding = 4, .crops = 2};
  if (name == "area") return {.any_area = true, .flip = true};
  return strong_augmentation(name == "two_views" ? 2 : 1);
}

/// By epochs where the schedule goes by them, else by steps.
Schedule rate_of(const RunConfig& c, double base, double end, int64_t steps_per_epoch) {
  const auto lr = float(base), factor = float(c.gamma);
  if (c.lr_schedule == "cosine_step") return cosine_rate(lr, float(end), steps_per_epoch * c.epochs);
  if (c.lr_schedule == "noam")
    return noam_rate(is_translator(c) ? translator_width(c) : c.embedding_dim, c.warmup_steps);
  return warmed_up(c.lr_schedule == "step"        ? step_decay(lr, factor, c.step_every)
                   : c.lr_schedule == "multistep" ? multistep_decay(lr, factor, {c.epochs / 2, c.epochs * 3 / 4})
                   : c.lr_schedule == "constant"  ? constant_rate(lr)
                                                  : cosine_rate(lr, float(end), c.epochs),
                   c.warmup_epoch);
}

}  // namespace

std::string augmentation_name(const RunConfig& c) {
  if (c.augmentation != "auto") return c.augmentation;
  return c.data == "svhn" ? "none" : c.data == "imagenet" ? "area" : "basic";
}

Augmentation augmentation_of(const RunConfig& c, const SampleSource& samples) {
  const MixingOptions mixing = mixing_of(c);
  if (dynamic_cast<const ImageDataset*>(&samples) == nullptr) {
    if (mixing.how != Mixing::kNone) throw ConfigError(str("cutmix and mixup: data=", c.data, " holds no images"));
    return {};
  }
  Augmentation a = windows_of(augmentation_name(c));
  if (c.autoaugment) a.policy = c.data == "svhn" ? AutoAugment::kSvhn : AutoAugment::kCifar;
  a.rotate_both_ways = !c.faithful;  // the original ViT's rotations go one way
  a.paste = c.rcpaste;
  a.mixing = mixing;
  return a;
}

ClassLoss class_loss_of(const RunConfig& c) {
  return {.smoothing = float(c.label_smoothing), .uniform = is_gnmt(c), .mixed = mixing_of(c).how != Mixing::kNone};
}

SettingsAt settings_of(const RunConfig& c, int64_t steps_per_epoch) {
  const int64_t each = c.lr_schedule == "cosine_step" || c.lr_schedule == "noam" ? 1 : steps_per_epoch;
  const Schedule rate = rate_of(c, c.lr, c.end_lr, steps_per_epoch);
  const Schedule label_rate = rate_of(c, c.label_lr, c.label_end_lr, steps_per_epoch);
  return [rate, label_rate, each, decay = float(c.weight_decay)](int64_t step) {
    return std::vector<GroupSettings>{{.lr = rate(step / each), .weight_decay = decay},
                                      {.lr = label_rate(step / each)}};
  };
}

}  // namespace sluice
