// What image networks share when they are cut into stages: bridges, label autoencoders, projectors.
#pragma once

#include "models/contrastive.h"
#include "models/units.h"

namespace sluice {

/// A slice of an image network before it is known how it is trained.
struct ImageSlice {
  MakeModule f;
  Shape map;                  // [H, W, C], or [T, D], of one sample of what f gives
  DType dtype = DType::kF32;  // of activations
  Reduce reduce{};            // the feature [B, C] that the bridge takes; none: the map
};

/// What ends each layer of f, the bridge b, the label encoder g and the decoder h.
struct ImageActs {
  Act f = Act::kRelu, b = Act::kSigmoid, g = Act::kSigmoid, h = Act::kSigmoid;
};

/// Label codes of image stages.
struct ImageCodes {
  int64_t classes = 10;
  int64_t code = 700;     // width of the label codes
  int64_t hidden = 1000;  // hidden width of the bridges
  ImageActs acts{};
  bool faithful = false;  // bridges on the whole flattened map, sigmoid decoders with MSE to the one-hot label, codes
                          // for each sample
};

/// The slices of a network over images [H, W, C], and `head` from the last map to logits, as units that are stages of
/// their own.
UnitNet backprop_units(const Shape& image, const std::vector<ImageSlice>& slices, const MakeModule& head);

/// Each slice with bridge b, label encoder g and decoder h (Linear and act each; the bridge twice). By default the
/// bridge averages the map to 4x4 first (the paper's flattened bridge holds 90 % of all parameters), the first decoder
/// is linear with cross-entropy, and label encoders start with spread codes: else the codes of all classes stay alike
/// for many epochs.
/// A slice with a feature of its own has the bridge on that.
std::vector<StageNet> associated_stages(const std::vector<ImageSlice>& slices, const ImageCodes& codes);

/// Each slice with a projector on its flattened map; the last has `head` too, and its projector sees what `reduce`
/// makes of its map (none: the map).
std::vector<StageNet> contrastive_stages(const std::vector<ImageSlice>& slices, const MakeModule& head,
                                         const Reduce& reduce, const ContrastiveOptions& codes);

}  // namespace sluice
