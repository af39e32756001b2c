// Images mixed with parts of themselves or of each other: RandomCropPaste, CutMix and MixUp, on normalised floats.
#pragma once

#include "data/draws.h"
#include "engine/tensor.h"

namespace sluice {

/// How the samples of a micro-batch are mixed: each with the one behind it, the last with the first. Their order is
/// random already.
enum class Mixing : uint8_t {
  kNone,
  kCutMix,  // a box of the other image (Yun et al., ICCV 2019)
  kMixUp    // a weighted mean with the other image (Zhang et al., ICLR 2018)
};
struct MixingOptions {
  Mixing how = Mixing::kNone;
  float probability = 1;  // with which a sample is mixed
  float beta = 1;         // its share is drawn from Beta(beta, beta)
};

/// A box within an image.
struct ImageBox {
  int64_t top = 0, left = 0, height = 0, width = 0;
};
/// Its sides are sqrt(area) of the image's, rounded down to even numbers; its middle is anywhere, and what lies
/// outside is cut off.
ImageBox draw_box(const Shape& image, double area, Draws& draws);

/// How a sample is mixed with another.
struct MixDraw {
  ImageBox box{};   // CutMix: what comes from the other
  float share = 1;  // of the sample itself: of its area, or its weight
};
MixDraw draw_mixing(const MixingOptions& options, const Shape& image, Draws draws);
/// Images [H, W, C].
void mix(const MixingOptions& options, const Shape& image, const MixDraw& draw, const float* other, float* own);

/// A box of the image whose share of it is Beta(1, 1), mirrored in each direction or not, is put anywhere with a weight
/// of U[0, 1) for what is there.
struct PasteDraw {
  ImageBox from{};
  int64_t top = 0, left = 0;  // where it goes
  bool upside_down = false, mirror = false;
  float weight = 1;  // of what is there
};
PasteDraw draw_paste(const Shape& image, Draws draws);
void paste(const Shape& image, const PasteDraw& draw, float* own);

}  // namespace sluice
