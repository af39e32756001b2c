// Rows of convolution and matrix product: the layers of the VGG, ResNet and label networks, three directions each.
#include "bench/rivals.h"

namespace sluice::bench {
namespace {

constexpr Direction kDirections[] = {Direction::kForward, Direction::kGradInput, Direction::kGradWeight};
const char* text(Direction d) {
  return d == Direction::kForward ? "forward" : d == Direction::kGradInput ? "grad_input" : "grad_weight";
}

struct Layer {
  int64_t n, size, c, k;
  int stride = 1;
  ByAxis window = 3;
};
// VGG at width 1/8 and batch 128, then at width 1 and batch 32; ResNet-18 at width 1 and batch 64;
// AlexNet, Inception-V3 and DenseNet-121 at batch 8.
constexpr Layer kLayers[] = {{128, 32, 1, 16},
                             {128, 32, 3, 16},
                             {128, 32, 16, 32},
                             {128, 16, 32, 32},
                             {128, 16, 32, 64},
                             {128, 8, 64, 64},
                             {128, 4, 64, 64},
                             {32, 32, 3, 128},
                             {32, 32, 128, 256},
                             {32, 16, 256, 256},
                             {32, 16, 256, 512},
                             {32, 8, 512, 512},
                             {32, 4, 512, 512},
                             {64, 32, 3, 64},
                             {64, 32, 64, 64},
                             {64, 32, 64, 128, 2},
                             {64, 16, 128, 128},
                             {64, 16, 128, 256, 2},
                             {64, 8, 256, 256},
                             {64, 8, 256, 512, 2},
                             {64, 4, 512, 512},
                             {8, 224, 3, 64, 4, 11},
                             {8, 27, 64, 192, 1, 5},
                             {8, 17, 128, 128, 1, {1, 7}},
                             {8, 17, 192, 192, 1, {7, 1}},
                             {8, 8, 384, 384, 1, {1, 3}},
                             {8, 28, 320, 128, 1, 1},
                             {8, 28, 128, 32}};

Case convolution(const Stream& s, const Layer& l, Direction d) {
  const kernels::Conv2dGeometry g{l.stride, {l.window.rows / 2, l.window.columns / 2}, 1};
  const Tensor x = filled(s, {l.n, l.size, l.size, l.c}), w = filled(s, {l.k, l.window.rows, l.window.columns, l.c});
  const Tensor y = filled(s, {l.n, g.rows(l.size, l.window.rows), g.columns(l.size, l.window.columns), l.k});
  Case c;
  // The weight's version is unknown, so it is packed at each run: a step changes it anyway.
  if (d == Direction::kForward)
    c = of(kernels::Conv2d{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = g}, {x, w, y});
  else if (d == Direction::kGradInput)
    c = of(kernels::Conv2dGradInput{.dy = y.cref(), .w = w.cref(), .dx = x.ref(), .geometry = g}, {x, w, y});
  else
    c = of(kernels::Conv2dGradWeight{.x = x.cref(), .dy = y.cref(), .dw = w.ref(), .db = {}, .geometry = g}, {x, w, y});
  c.rivals = [=, xs = x.shape(), ws = w.shape(), ys = y.shape()] { return bare_convolutions(d, xs, ws, ys, g); };
  return c;
}

struct Product {
  int64_t rows, in, out;
};
// Label encoders and decoders, bridges and heads of the VGG networks; one square.
constexpr Product kProducts[] = {{128, 10, 700},    {128, 700, 700}, {128, 700, 10},    {128, 256, 313},
                                 {128, 2048, 2500}, {128, 2500, 10}, {1024, 1024, 1024}};

Case product(const Stream& s, const Product& p, Direction d) {
  const Tensor x = filled(s, {p.rows, p.in}), w = filled(s, {p.out, p.in}), b = filled(s, {p.out});
  const Tensor y = filled(s, {p.rows, p.out});
  Case c;
  if (d == Direction::kForward)
    c = of(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = b.cref(), .y = y.ref()}, {x, w, b, y});
  else if (d == Direction::kGradInput)
    c = of(kernels::MatmulGradInput{.dz = y.cref(), .w = w.cref(), .dx = x.ref()}, {x, w, y});
  else
    c = of(kernels::MatmulGradWeight{.x = x.cref(), .dz = y.cref(), .dw = w.ref(), .db = b.ref()}, {x, w, b, y});
  c.rivals = [p, d] { return bare_products(d, p.rows, p.in, p.out); };
  return c;
}

}  // namespace

std::vector<Row> convolution_rows() {
  std::vector<Row> rows;
  for (const Layer& l : kLayers)
    for (const Direction d : kDirections)
      rows.push_back({str("conv2d/", l.n, "x", l.size, "x", l.size, "x", l.c, "_to_", l.k,
                          l.stride == 1 ? "" : str("_stride_", l.stride),
                          l.window == ByAxis(3) ? "" : str("_window_", text(l.window)), "/", text(d)),
                      [l, d](const Stream& s) { return convolution(s, l, d); }});
  return rows;
}

std::vector<Row> product_rows() {
  std::vector<Row> rows;
  for (const Product& p : kProducts)
    for (const Direction d : kDirections)
      rows.push_back({str("matmul/", p.rows, "x", p.in, "_to_", p.out, "/", text(d)),
                      [p, d](const Stream& s) { return product(s, p, d); }});
  return rows;
}

}  // namespace sluice::bench
