// Boxes as CutMix's authors draw them; images are changed in place.
#include "data/mixing.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace sluice {
namespace {

/// [begin, end) of a box's one axis.
struct Span {
  int64_t begin, end;
};
Span draw_span(int64_t size, double side, Draws& draws) {
  const int64_t half = int64_t(double(size) * side) / 2, middle = draws.below(int(size));
  return {std::clamp<int64_t>(middle - half, 0, size), std::clamp<int64_t>(middle + half, 0, size)};
}

}  // namespace

ImageBox draw_box(const Shape& image, double area, Draws& draws) {
  const double side = std::sqrt(area);
  const Span rows = draw_span(image[0], side, draws), columns = draw_span(image[1], side, draws);
  return {rows.begin, columns.begin, rows.end - rows.begin, columns.end - columns.begin};
}

MixDraw draw_mixing(const MixingOptions& o, const Shape& image, Draws draws) {
  if (o.how == Mixing::kNone || draws.unit() >= o.probability) return {};
  const double share = draws.beta(double(o.beta));
  if (o.how == Mixing::kMixUp) return {.box = {}, .share = float(share)};
  const ImageBox box = draw_box(image, 1 - share, draws);
  return {box, float(1 - double(box.height * box.width) / double(image[0] * image[1]))};
}

void mix(const MixingOptions& o, const Shape& image, const MixDraw& draw, const float* other, float* own) {
  if (draw.share == 1.0f) return;
  if (o.how == Mixing::kMixUp) {
    for (int64_t i = 0; i < image.numel(); ++i) own[i] = draw.share * own[i] + (1 - draw.share) * other[i];
    return;
  }
  const int64_t line = image[1] * image[2];
  for (int64_t y = draw.box.top; y < draw.box.top + draw.box.height; ++y)
    std::copy_n(other + y * line + draw.box.left * image[2], draw.box.width * image[2],
                own + y * line + draw.box.left * image[2]);
}

PasteDraw draw_paste(const Shape& image, Draws draws) {
  PasteDraw d;
  d.from = draw_box(image, 1 - draws.beta(1), draws);
  d.top = draws.below(int(image[0] - d.from.height + 1));
  d.left = draws.below(int(image[1] - d.from.width + 1));
  d.upside_down = draws.coin();
  d.mirror = draws.coin();
  d.weight = draws.unit();
  return d;
}

void paste(const Shape& image, const PasteDraw& d, float* own) {
  const int64_t line = image[1] * image[2], channels = image[2];
  const std::vector<float> before(own, own + image.numel());  // boxes may overlap
  for (int64_t y = 0; y < d.from.height; ++y)
    for (int64_t x = 0; x < d.from.width; ++x) {
      const int64_t from_y = d.from.top + (d.upside_down ? d.from.height - 1 - y : y);
      const int64_t from_x = d.from.left + (d.mirror ? d.from.width - 1 - x : x);
      for (int64_t c = 0; c < channels; ++c) {
        float& to = own[(d.top + y) * line + (d.left + x) * channels + c];
        to = d.weight * to + (1 - d.weight) * before[size_t(from_y * line + from_x * channels + c)];
      }
    }
}

}  // namespace sluice
