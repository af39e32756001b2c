// Networks over the patches of an image: the vision transformer (ViT; Dosovitskiy et al. 2021) and the MLP-Mixer
// (Tolstikhin et al. 2021), in the sizes for 32x32 images that auxiliary activations were measured on (Woo and Jeon,
// ICLR 2023).
#pragma once

#include "layers/auxiliary.h"
#include "models/image_stages.h"

namespace sluice {

struct VisionTransformerConfig {
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images
  int64_t classes = 10;
  int64_t patches = 8;        // of each row and column of an image
  int64_t hidden = 384;       // width of a token
  int64_t mlp_hidden = 1536;  // of the two linear layers of a block
  int heads = 12;
  int layers = 7;        // blocks
  int stage_layers = 1;  // blocks of a stage; the last stage may have fewer
  float dropout = 0;
  bool class_token = true;            // logits from a learned token before the others; else from the mean of all
  int64_t bridge = 1000, code = 700;  // of associated stages: hidden width of the bridges, width of the label codes
  ImageActs acts{};                   // b, g and h
  DType dtype = DType::kF32;          // of activations; weights, label codes and losses are f32
  bool recompute = false;             // gradient checkpointing of attention
  AuxiliaryCoverage auxiliary{};      // of the blocks, as in VisionBlockConfig
  bool faithful = false;              // of associated stages: ImageCodes
};

struct MixerConfig {
  int64_t in_channels = 3;
  int64_t image = 32;
  int64_t classes = 10;
  int64_t patch = 4;       // side of a patch, in pixels
  int64_t hidden = 128;    // width of a token
  int64_t hidden_c = 512;  // of the layers over channels
  int64_t hidden_s = 64;   // of the layers over tokens
  int layers = 8;
  int stage_layers = 1;
  float dropout = 0;
  int64_t bridge = 1000, code = 700;
  ImageActs acts{};
  DType dtype = DType::kF32;
  AuxiliaryCoverage auxiliary{};  // as in MixerBlockConfig
  bool faithful = false;
};

// All read "images" [B, H, W, C] and "labels". The first stage embeds the patches, those behind it have `stage_layers`
// blocks each, and hand on tokens [B, T, D]. Each StageNet has an Init of its own. All throw ConfigError or ShapeError
// for sizes that do not fit.

/// Patches with class token and positions, blocks; then layer norm and Linear of the class token, or of the tokens'
/// mean.
UnitNet vit_units(const VisionTransformerConfig& config);
inline std::vector<StageNet> vit_backprop(const VisionTransformerConfig& config) { return cut(vit_units(config)); }
/// The same without the last, with label codes: bridges on the class token, or on the tokens' mean; that of the patches
/// always on the mean, since there the class token knows nothing of the image.
std::vector<StageNet> vit_associated(const VisionTransformerConfig& config);

/// Patches, blocks; then layer norm, the mean of the tokens, Linear.
UnitNet mixer_units(const MixerConfig& config);
inline std::vector<StageNet> mixer_backprop(const MixerConfig& config) { return cut(mixer_units(config)); }
/// The same without the last, with label codes and bridges on the tokens' mean.
std::vector<StageNet> mixer_associated(const MixerConfig& config);

}  // namespace sluice
