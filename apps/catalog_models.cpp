// The table behind --model with --rule.
#include "apps/catalog.h"
#include "apps/config_parts.h"
#include "apps/cutting.h"
#include "data/parallel.h"
#include "data/text.h"
#include "models/auxiliary_resnet.h"
#include "models/gnmt.h"
#include "models/image_networks.h"
#include "models/residual_lstm.h"
#include "models/resnet.h"
#include "models/text.h"
#include "models/translation.h"
#include "models/vgg.h"
#include "models/vision.h"

namespace sluice {
namespace {

const TextDataset& texts_of(const RunConfig& c, const SampleSource& samples) {
  if (const auto* texts = dynamic_cast<const TextDataset*>(&samples)) return *texts;
  throw ConfigError(str("model='", c.model, "' takes text, and data='", c.data, "' holds none"));
}

Act act_named(const std::string& name) {
  static const std::vector<std::pair<const char*, Act>> acts{
      {"relu", Act::kRelu}, {"sigmoid", Act::kSigmoid}, {"tanh", Act::kTanh}, {"leaky_relu", Act::kLeakyRelu}};
  using Entry = std::pair<const char*, Act>;
  return find_entry(
             acts, str("act='", name, "'"), [&](const Entry& e) { return name == e.first; },
             [](const Entry& e) { return std::string(e.first); })
      .second;
}

/// One name is f's; f=...,b=...,g=...,h=... sets those that it names.
ImageActs image_acts(const RunConfig& c) {
  ImageActs acts;
  for (const std::string& part : list_items(c.act)) {
    const size_t equals = part.find('=');
    const std::string module = equals == std::string::npos ? "f" : part.substr(0, equals);
    if (module.size() != 1 || std::string("fbgh").find(module) == std::string::npos)
      throw ConfigError(str("act='", c.act, "': expected a name, or f=, b=, g= and h= with names"));
    (module == "f"   ? acts.f
     : module == "b" ? acts.b
     : module == "g" ? acts.g
                     : acts.h) = act_named(part.substr(equals + 1));
  }
  return acts;
}

DType dtype_of(const RunConfig& c) { return c.dtype == "bf16" ? DType::kBF16 : DType::kF32; }

/// The images, if they have the channels that are asked for.
const ImageDataset& expected_images(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = images_of(c, train);
  if (c.in_channels != 0 && c.in_channels != data.image[2])
    throw ConfigError(str("in_channels=", c.in_channels, ": the images of ", c.data, " have ", data.image[2]));
  return data;
}

/// VggConfig and ResnetConfig say the same.
template <class Config>
Config image_config(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = expected_images(c, train);
  return {.in_channels = data.image[2],
          .image = data.image[0],
          .classes = data.classes(),
          .width = c.width,
          .bridge = c.enc_dim,
          .code = c.ae_dim,
          .acts = image_acts(c),
          .dtype = dtype_of(c),
          .faithful = c.faithful};
}

ContrastiveOptions contrastive(const RunConfig& c) {
  return {.projector = c.projector == "i"   ? Projector::kIdentity
                       : c.projector == "l" ? Projector::kLinear
                                            : Projector::kMlp,
          .temperature = float(c.temperature)};
}

AuxiliaryCoverage auxiliary(const RunConfig& c) {
  if (c.auxiliary == "none") return {};
  return {.from = c.auxiliary.starts_with("asa") ? Auxiliary::kSign : Auxiliary::kBias,
          .level = c.auxiliary.back() - '0',
          .scale = float(c.lr_expansion),
          .epsilon = float(c.epsilon),
          .faithful = c.faithful};
}

/// Those of networks whose layers have activations of their own.
ImageActs own_acts(const RunConfig& c) {
  const ImageActs acts = image_acts(c);
  if (acts.f != Act::kRelu) throw ConfigError(str("act='", c.act, "': the layers of model=", c.model, " take relu"));
  return acts;
}

ResnetRule resnet_rule(const RunConfig& c) {
  return c.auxiliary == "ara"   ? ResnetRule::kResidual
         : c.auxiliary == "aba" ? ResnetRule::kBias
         : c.auxiliary == "asa" ? ResnetRule::kSign
                                : ResnetRule::kBackprop;
}

AuxiliaryResnetConfig deep_resnet_config(const RunConfig& c, const SampleSource& train, int depth) {
  const ImageDataset& data = expected_images(c, train);
  const int64_t side = data.image[0];
  return {.depth = depth,
          .stem = side < 64    ? ResnetStem::k3x3
                  : side < 128 ? ResnetStem::k3x3Stride2
                               : ResnetStem::k7x7Pooled,
          .in_channels = data.image[2],
          .image = side,
          .classes = data.classes(),
          .width = c.width,
          .rule = resnet_rule(c),
          .stride = ara_strides(c),
          .scale = float(c.lr_expansion),
          .epsilon = float(c.epsilon),
          .recompute = c.gcp,
          .dtype = dtype_of(c),
          .start = c.conv_start == "fan_out" ? ConvStart::kFanOut : ConvStart::kFanIn,
          .faithful = c.faithful};
}
ImageCodes codes_of(const RunConfig& c, const SampleSource& train) {
  return {.classes = images_of(c, train).classes(),
          .code = scaled(c.ae_dim, c.width),
          .hidden = scaled(c.enc_dim, c.width),
          .acts = image_acts(c),
          .faithful = c.faithful};
}

VisionTransformerConfig vit_config(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = expected_images(c, train);
  return {.in_channels = data.image[2],
          .image = data.image[0],
          .classes = data.classes(),
          .patches = c.patch,
          .hidden = scaled(c.hidden, c.width),
          .mlp_hidden = scaled(c.mlp_hidden, c.width),
          .heads = int(c.n_heads),
          .layers = int(c.n_layers),
          .stage_layers = int(c.stage_layers),
          .dropout = float(c.dropout),
          .class_token = !c.off_cls_token,
          .bridge = scaled(c.enc_dim, c.width),
          .code = scaled(c.ae_dim, c.width),
          .acts = own_acts(c),
          .dtype = dtype_of(c),
          .recompute = c.gcp,
          .auxiliary = auxiliary(c),
          .faithful = c.faithful};
}

MixerConfig mixer_config(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = expected_images(c, train);
  return {.in_channels = data.image[2],
          .image = data.image[0],
          .classes = data.classes(),
          .patch = c.patch_size,
          .hidden = scaled(c.hidden_size, c.width),
          .hidden_c = scaled(c.hidden_c, c.width),
          .hidden_s = scaled(c.hidden_s, c.width),
          .layers = int(c.n_layers),
          .stage_layers = int(c.stage_layers),
          .dropout = float(c.dropout),
          .bridge = scaled(c.enc_dim, c.width),
          .code = scaled(c.ae_dim, c.width),
          .acts = own_acts(c),
          .dtype = dtype_of(c),
          .auxiliary = auxiliary(c),
          .faithful = c.faithful};
}

TextConfig text_config(const RunConfig& c, const SampleSource& train) {
  const TextDataset& data = texts_of(c, train);
  return {.vocabulary = data.vocabulary_size,
          .classes = data.classes(),
          .embedding = c.embedding_dim,
          .hidden = scaled(c.x_hid, c.width),
          .code = scaled(c.y_hid, c.width),
          .encoders = int(c.encoders),
          .layers = int(c.n_layers),
          .heads = int(c.n_heads),
          .dropout = float(c.dropout),
          .act = c.act.empty() ? Act::kTanh : act_named(c.act),
          .dtype = dtype_of(c),
          .recompute = c.gcp,
          .auxiliary = auxiliary(c),
          .faithful = c.faithful};
}

UnitNet residual_lstm_of(const RunConfig& c, const SampleSource& train) {
  const TextDataset& data = texts_of(c, train);
  return residual_lstm({.vocabulary = data.vocabulary_size,
                        .classes = data.classes(),
                        .width = scaled(128, c.width),
                        .dtype = dtype_of(c),
                        .faithful = c.faithful});
}

const ParallelDataset& pairs_of(const RunConfig& c, const SampleSource& train) {
  if (const auto* pairs = dynamic_cast<const ParallelDataset*>(&train)) return *pairs;
  throw ConfigError(str("model='", c.model, "' takes pairs of sentences, and data='", c.data, "' holds none"));
}

template <int Layers>
UnitNet recurrent_translator(const RunConfig& c, const SampleSource& train) {
  const ParallelDataset& pairs = pairs_of(c, train);
  return gnmt({.source_vocabulary = pairs.source_vocabulary,
               .target_vocabulary = pairs.target_vocabulary,
               .hidden = translator_width(c),
               .layers = Layers,
               .dropout = float(c.dropout),
               .dtype = dtype_of(c)});
}

std::vector<StageNet> translator(const RunConfig& c, const SampleSource& train) {
  const ParallelDataset& pairs = pairs_of(c, train);
  const int64_t width = translator_width(c);
  return translation_backprop({.source_vocabulary = pairs.source_vocabulary,
                               .target_vocabulary = pairs.target_vocabulary,
                               .width = width,
                               .inner = 4 * width,
                               .heads = int(c.n_heads),
                               .layers = int(c.n_layers),
                               .stage_layers = int(c.stage_layers),
                               .dropout = float(c.dropout),
                               .dtype = dtype_of(c),
                               .recompute = c.gcp,
                               .auxiliary = auxiliary(c)});
}

template <class Config, auto Make>
std::vector<StageNet> image(const RunConfig& c, const SampleSource& train) {
  return Make(image_config<Config>(c, train));
}
template <class Config, auto Make>
std::vector<StageNet> image_contrastive(const RunConfig& c, const SampleSource& train) {
  return Make(image_config<Config>(c, train), contrastive(c));
}
template <class Config, auto Make>
UnitNet image_units(const RunConfig& c, const SampleSource& train) {
  return Make(image_config<Config>(c, train));
}
/// Networks with an activation of their own.
template <auto Make>
UnitNet image_network(const RunConfig& c, const SampleSource& train) {
  const ImageDataset& data = expected_images(c, train);
  own_acts(c);
  return Make({.in_channels = data.image[2],
               .image = data.image[0],
               .classes = data.classes(),
               .width = c.width,
               .dropout = float(c.dropout),
               .dtype = dtype_of(c),
               .recompute = c.gcp});
}
template <int Depth>
UnitNet deep_resnet(const RunConfig& c, const SampleSource& train) {
  return auxiliary_resnet_units(deep_resnet_config(c, train, Depth));
}
template <int Depth>
std::vector<StageNet> deep_resnet_associated(const RunConfig& c, const SampleSource& train) {
  return auxiliary_resnet_associated(deep_resnet_config(c, train, Depth), codes_of(c, train));
}
/// Without auxiliary activations the one of the associated-learning papers.
UnitNet resnet18(const RunConfig& c, const SampleSource& train) {
  if (c.auxiliary != "none" || c.gcp) return deep_resnet<18>(c, train);
  return resnet18_units(image_config<ResnetConfig>(c, train));
}
std::vector<StageNet> resnet18_al(const RunConfig& c, const SampleSource& train) {
  if (c.auxiliary != "none" || c.gcp) return deep_resnet_associated<18>(c, train);
  return resnet18_associated(image_config<ResnetConfig>(c, train));
}

template <auto Configure, auto Make>
UnitNet patched_units(const RunConfig& c, const SampleSource& train) {
  return Make(Configure(c, train));
}
template <auto Configure, auto Make>
std::vector<StageNet> patched(const RunConfig& c, const SampleSource& train) {
  return Make(Configure(c, train));
}
template <auto Make>
std::vector<StageNet> text(const RunConfig& c, const SampleSource& train) {
  return Make(text_config(c, train));
}
template <auto Make>
std::vector<StageNet> text_contrastive(const RunConfig& c, const SampleSource& train) {
  return Make(text_config(c, train), contrastive(c));
}

}  // namespace

const ImageDataset& images_of(const RunConfig& c, const SampleSource& samples) {
  if (const auto* images = dynamic_cast<const ImageDataset*>(&samples)) return *images;
  throw ConfigError(str("model='", c.model, "' takes images, and data='", c.data, "' holds none"));
}

const std::vector<ModelEntry>& models() {
  static const std::vector<ModelEntry> table{
      {"vgg", "bp", "backprop", nullptr, image_units<VggConfig, vgg_units>},
      {"vgg", "al", "associated", image<VggConfig, vgg_associated>},
      {"vgg", "scpl", "associated", image_contrastive<VggConfig, vgg_contrastive>},
      {"resnet18", "bp", "backprop", nullptr, resnet18},
      {"resnet18", "al", "associated", resnet18_al},
      {"resnet18", "scpl", "associated", image_contrastive<ResnetConfig, resnet18_contrastive>},
      {"resnet34", "bp", "backprop", nullptr, deep_resnet<34>},
      {"resnet34", "al", "associated", deep_resnet_associated<34>},
      {"resnet50", "bp", "backprop", nullptr, deep_resnet<50>},
      {"resnet50", "al", "associated", deep_resnet_associated<50>},
      {"resnet101", "bp", "backprop", nullptr, deep_resnet<101>},
      {"resnet101", "al", "associated", deep_resnet_associated<101>},
      {"resnet152", "bp", "backprop", nullptr, deep_resnet<152>},
      {"resnet152", "al", "associated", deep_resnet_associated<152>},
      {"vit", "bp", "backprop", nullptr, patched_units<vit_config, vit_units>},
      {"vit", "al", "associated", patched<vit_config, vit_associated>},
      {"mlp_mixer", "bp", "backprop", nullptr, patched_units<mixer_config, mixer_units>},
      {"mlp_mixer", "al", "associated", patched<mixer_config, mixer_associated>},
      {"alexnet", "bp", "backprop", nullptr, image_network<alexnet>},
      {"vgg16", "bp", "backprop", nullptr, image_network<vgg16>},
      {"googlenet", "bp", "backprop", nullptr, image_network<googlenet>},
      {"inception_v3", "bp", "backprop", nullptr, image_network<inception_v3>},
      {"densenet121", "bp", "backprop", nullptr, image_network<densenet121>},
      {"lstm", "bp", "backprop", text<lstm_backprop>},
      {"bag_of_embeddings", "bp", "backprop", text<bag_of_embeddings_backprop>},
      {"lstm", "al", "associated", text<lstm_associated>},
      {"lstm", "scpl", "associated", text_contrastive<lstm_contrastive>},
      {"transformer", "bp", "backprop", text<transformer_backprop>},
      {"transformer", "al", "associated", text<transformer_associated>},
      {"transformer", "scpl", "associated", text_contrastive<transformer_contrastive>},
      {"transformer_base", "bp", "backprop", translator},
      {"transformer_big", "bp", "backprop", translator},
      {"residual_lstm", "bp", "backprop", nullptr, residual_lstm_of},
      {"gnmt8", "bp", "backprop", nullptr, recurrent_translator<4>},
      {"gnmt16", "bp", "backprop", nullptr, recurrent_translator<8>},
  };
  return table;
}

std::vector<StageNet> make_stage_nets(const ModelEntry& model, const RunConfig& c, const SampleSource& train) {
  if (model.units != nullptr) {
    const UnitNet net = model.units(c, train);
    return cut(net, cuts_of(c, net));
  }
  if (!c.cuts.empty())
    throw ConfigError(str("cuts=", c.cuts, ": model=", c.model, " with rule=", c.rule, " has stages of its own"));
  return model.make(c, train);
}

const ModelEntry& find_model(const RunConfig& c) {
  return find_entry(
      models(), str("model='", c.model, "' with rule='", c.rule, "'"),
      [&](const ModelEntry& e) { return c.model == e.name && c.rule == e.rule; },
      [](const ModelEntry& e) { return str(e.name, " with ", e.rule); });
}

}  // namespace sluice
