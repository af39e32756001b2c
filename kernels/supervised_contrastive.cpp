// CPU half of the supervised contrastive loss: row by row what the gradient needs and the loss, then the gradient.
#include "kernels/supervised_contrastive.h"

#include <limits>

#include "kernels/common/lanes.h"
#include "kernels/common/math.h"
#include "kernels/common/parallel.h"

namespace sluice::kernels {
namespace {

struct Batch {
  const float* products;
  const int32_t* labels;
  int64_t rows;
  float scale;   // 1 / temperature
  float weight;  // of a row's loss: weight / rows
};

/// The loss of row a, not weighted.
float contrast(const Batch& in, int64_t a, ContrastiveRow& row) {
  const float* s = in.products + a * in.rows;
  const int32_t label = in.labels[a];
  const auto other = [=](int64_t k) { return k != a; };
  int64_t same = 0;
  for (int64_t k = 0; k < in.rows; ++k) same += in.labels[k] == label ? 1 : 0;
  const float top = lane_max(
      in.rows, [=](int64_t k) { return other(k) ? s[k] * in.scale : -std::numeric_limits<float>::infinity(); });
  const float log_sum =
      math::log(lane_sum(0, in.rows, [=](int64_t k) { return other(k) ? math::exp(s[k] * in.scale - top) : 0.0f; }));
  const float positives = lane_sum(0, in.rows, [=](int64_t k) {
    return other(k) && in.labels[k] == label ? (s[k] * in.scale - top) - log_sum : 0.0f;
  });
  row.log_sum = top + log_sum;
  row.pull = in.weight * in.scale / float(same);
  row.push = row.pull * float(same - 1);
  return same > 1 ? -positives / float(same) : 0.0f;
}

/// Row a of G + G^T. out may be the row of the products.
void push_and_pull(const Batch& in, int64_t a, const ContrastiveRow* rows, float* out) {
  const float* s = in.products + a * in.rows;
  const ContrastiveRow mine = rows[a];
  const int32_t label = in.labels[a];
#pragma omp simd
  for (int64_t k = 0; k < in.rows; ++k) {
    const float v = s[k] * in.scale;
    const float push = mine.push * math::exp(v - mine.log_sum) + rows[k].push * math::exp(v - rows[k].log_sum);
    const float pull = in.labels[k] == label ? mine.pull + rows[k].pull : 0.0f;
    out[k] = k == a ? 0.0f : push - pull;
  }
}

}  // namespace

template <>
void SupervisedContrastive::cpu<kIsa>(CpuContext& c) const {
  const int64_t n = products.dim(0);
  const float mean = weight / float(std::max<int64_t>(1, n));
  const Batch in{products.as<float>(), labels.as<int32_t>(), n, 1.0f / temperature, mean};
  auto* rows = static_cast<ContrastiveRow*>(c.workspace(size_t(n) * (sizeof(ContrastiveRow) + sizeof(float))));
  auto* losses = reinterpret_cast<float*>(rows + n);
  parallel_for(c, n, [&](int64_t a) { losses[a] = contrast(in, a, rows[a]); });
  if (dproducts.defined())
    parallel_for(c, n, [&](int64_t a) { push_and_pull(in, a, rows, dproducts.as<float>() + a * n); });
  double sum = 0;
  for (int64_t a = 0; a < n; ++a) sum += double(losses[a]);
  *loss.as<float>() = float(sum * double(mean));
}

}  // namespace sluice::kernels
