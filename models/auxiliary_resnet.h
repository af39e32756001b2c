// Deep residual networks (He et al. 2016), and the form in which auxiliary activation learning trains them (Woo and
// Jeon, ICLR 2023): resolution and channels change in the last unit of a stage, so that all units of a stage see
// activations of one shape and may share an auxiliary one.
#pragma once

#include <array>

#include "layers/conv2d.h"
#include "models/image_stages.h"

namespace sluice {

/// What the weight gradients of the units' first convolutions and projections come from.
enum class ResnetRule : uint8_t {
  kBackprop,  // the usual network, its inputs
  kResidual,  // the input of the first unit of a group (ARA)
  kBias,      // a learned vector in all units of a group but the first (ABA)
  kSign,      // signs in all units of a group but the first (ASA)
  kEightBits  // the inputs in 8 bits, in all units: compressed training, to compare with
};

/// The layers in front of the first stage, 64 channels: for images of 32, 64 and 224.
enum class ResnetStem : uint8_t { k3x3, k3x3Stride2, k7x7Pooled };

struct AuxiliaryResnetConfig {
  int depth = 50;  // 18, 34, 50, 101 or 152; from 50 on with bottlenecks
  ResnetStem stem = ResnetStem::k3x3;
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images
  int64_t classes = 10;
  double width = 1.0;  // multiplies every channel count
  ResnetRule rule = ResnetRule::kResidual;
  std::array<int, 4> stride{1, 1, 1, 1};  // units of a group, by stage
  float scale = 100.0f, epsilon = 0.01f;  // as WeightRule
  bool recompute = false;                 // gradient checkpointing of the stem and of the units
  DType dtype = DType::kF32;              // of activations
  ConvStart start = ConvStart::kFanIn;    // kFanIn as the auxiliary activations were measured; usual is kFanOut
  // Biases in the convolutions that the authors wrote themselves, running variances that start at 0 in the norms that
  // run again; kSign: the sign of 0 forward.
  bool faithful = false;
};

/// One unit, before it is made.
struct ResnetUnit {
  int64_t in, planes;
  int64_t side;  // of its input
  int stride = 1;
  int group = 0;                         // of its stage, from 0
  bool head = true;                      // the first of its group
  bool projects = false, alone = false;  // alone: the bottleneck in front of the first stage, a group of its own
};

/// The units of a stage, 0 to 3. Throws ConfigError for a depth that there is not, strides below 1 and so on.
std::vector<ResnetUnit> resnet_units(const AuxiliaryResnetConfig& config, int stage);
/// Channels behind a unit over its planes: 1, with bottlenecks 4.
int64_t resnet_expansion(const AuxiliaryResnetConfig& config);
/// The side of what the stem gives.
int64_t resnet_stem_side(const AuxiliaryResnetConfig& config);

/// Five: the stem and the stages. Groups never leave a stage.
std::vector<ImageSlice> auxiliary_resnet_slices(const AuxiliaryResnetConfig& config);
/// The stem, the residual units (kResidual: their groups, which share a tensor), then global average pool and Linear.
/// Cut into the five slices and the last; the usual network of depth 101 into the four stages of the experiments with
/// PipeOptim (Guan et al. 2025), of 3 units, 4 + 3, 10 and 10 + 3.
UnitNet auxiliary_resnet_units(const AuxiliaryResnetConfig& config);
inline std::vector<StageNet> auxiliary_resnet_backprop(const AuxiliaryResnetConfig& config) {
  return cut(auxiliary_resnet_units(config));
}
/// The slices with label codes of `codes`.
std::vector<StageNet> auxiliary_resnet_associated(const AuxiliaryResnetConfig& config, const ImageCodes& codes);

}  // namespace sluice
