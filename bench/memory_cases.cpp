// Rows of the kernels that memory bounds: passes over activations.
#include "bench/case.h"
#include "kernels/activation.h"
#include "kernels/avg_pool.h"
#include "kernels/batch_norm.h"
#include "kernels/concat.h"
#include "kernels/max_pool.h"

namespace sluice::bench {
namespace {

// Activations of a VGG's first layer at width 1/8 and batch 128: they stay in the last-level cache from layer to layer.
constexpr Shape kImages{128, 32, 32, 32};

Case activation(const Stream& s, Act act) {
  const Tensor x = filled(s, kImages), y = Tensor::empty(s, kImages);
  return of(kernels::Activation{.x = x.cref(), .y = y.ref(), .act = act}, {x, y});
}

Case activation_grad(const Stream& s, Act act) {
  const Tensor kept = filled(s, kImages), dy = filled(s, kImages), dx = Tensor::empty(s, kImages);
  return of(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = dx.ref(), .act = act}, {kept, dy, dx});
}

/// What a batch norm of `kImages` works on; statistics of plausible size.
struct Norm {
  Tensor x, y, channels, stats, sums;
};
Norm norm(const Stream& s) {
  const int64_t c = kImages.cols();
  const std::vector<float> ones(size_t(4 * c), 1.0f);
  return {filled(s, kImages), filled(s, kImages), filled(s, {c}), Tensor::from<float>(s, ones, {4, c}),
          filled(s, {2, c})};
}

Case batch_norm_statistics(const Stream& s) {
  const Norm n = norm(s);
  const Tensor mean = filled(s, n.channels.shape()), variance = filled(s, n.channels.shape());
  return of(kernels::BatchNormStatistics{.x = n.x.cref(),
                                         .gamma = n.channels.cref(),
                                         .beta = n.channels.cref(),
                                         .stats = n.stats.ref(),
                                         .running_mean = mean.ref(),
                                         .running_var = variance.ref()},
            {n.x, n.channels, n.stats, mean, variance});
}

Case batch_norm_apply(const Stream& s) {
  const Norm n = norm(s);
  return of(
      kernels::BatchNormApply{.x = n.x.cref(), .stats = n.stats.cref(), .residual = {}, .y = n.y.ref(), .relu = true},
      {n.x, n.y, n.stats});
}

Case batch_norm_grad_sums(const Stream& s) {
  const Norm n = norm(s);
  return of(kernels::BatchNormGradSums{.x = n.x.cref(),
                                       .dy = n.y.cref(),
                                       .stats = n.stats.cref(),
                                       .sums = n.sums.ref(),
                                       .dresidual = {},
                                       .mask = kernels::BatchNormMask::kFromInput},
            {n.x, n.y, n.stats, n.sums});
}

Case batch_norm_grad_input(const Stream& s) {
  const Norm n = norm(s);
  const Tensor dx = Tensor::empty(s, kImages);
  return of(kernels::BatchNormGradInput{.x = n.x.cref(),
                                        .dy = n.y.cref(),
                                        .stats = n.stats.cref(),
                                        .gamma = n.channels.cref(),
                                        .sums = n.sums.cref(),
                                        .dx = dx.ref(),
                                        .mask = kernels::BatchNormMask::kFromInput},
            {n.x, n.y, n.stats, n.channels, n.sums, dx});
}

struct Pooled {
  Tensor x, y, index;
};
Pooled pooled(const Stream& s) {
  const Shape out = kernels::Pool2d{}.output("bench", kImages);
  const std::vector<uint8_t> winners(size_t(out.numel()), 1);
  return {filled(s, kImages), filled(s, out), Tensor::from<uint8_t>(s, winners, out)};
}

Case max_pool(const Stream& s) {
  const Pooled p = pooled(s);
  return of(kernels::MaxPool{.x = p.x.cref(), .y = p.y.ref(), .index = p.index.ref(), .pool = {}}, {p.x, p.y, p.index});
}

Case max_pool_grad(const Stream& s) {
  const Pooled p = pooled(s);
  return of(kernels::MaxPoolGrad{.index = p.index.cref(), .dy = p.y.cref(), .dx = p.x.ref(), .pool = {}},
            {p.x, p.y, p.index});
}

Case avg_pool(const Stream& s) {
  const Pooled p = pooled(s);
  return of(kernels::AvgPool{.x = p.x.cref(), .y = p.y.ref(), .pool = {}}, {p.x, p.y});
}

/// What a unit of DenseNet-121's second block adds to its input, batch 32.
struct Columns {
  Tensor wide, added, y;
};
Columns columns(const Stream& s) {
  return {filled(s, {32, 28, 28, 320}), filled(s, {32, 28, 28, 32}), filled(s, {32, 28, 28, 352})};
}
Case concat(const Stream& s) {
  const Columns c = columns(s);
  kernels::Concat call{.parts = {}, .y = c.y.ref()};
  for (const Tensor& part : {c.wide, c.added}) call.parts.push_back(part.cref());
  return of(call, {c.wide, c.added, c.y});
}
Case concat_grad(const Stream& s) {
  const Columns c = columns(s);
  kernels::ConcatGrad call{.dy = c.y.cref(), .dparts = {}};
  for (const Tensor& part : {c.wide, c.added}) call.dparts.push_back(part.ref());
  return of(call, {c.wide, c.added, c.y});
}

}  // namespace

std::vector<Row> memory_rows() {
  return {{"activation/relu", [](const Stream& s) { return activation(s, Act::kRelu); }},
          {"activation/sigmoid", [](const Stream& s) { return activation(s, Act::kSigmoid); }},
          {"activation/gelu", [](const Stream& s) { return activation(s, Act::kGelu); }},
          {"activation_grad/relu", [](const Stream& s) { return activation_grad(s, Act::kRelu); }},
          {"activation_grad/gelu", [](const Stream& s) { return activation_grad(s, Act::kGelu); }},
          {"batch_norm/statistics", batch_norm_statistics},
          {"batch_norm/apply_relu", batch_norm_apply},
          {"batch_norm/grad_sums", batch_norm_grad_sums},
          {"batch_norm/grad_input", batch_norm_grad_input},
          {"max_pool/forward", max_pool},
          {"max_pool/grad", max_pool_grad},
          {"avg_pool/forward", avg_pool},
          {"concat/320+32", concat},
          {"concat/320+32_grad", concat_grad}};
}

}  // namespace sluice::bench
