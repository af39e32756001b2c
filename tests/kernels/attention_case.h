// What attention is tested with: sizes, masks, its operands, and the formula in double.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "tests/kernels/recorded.h"

namespace sluice::test::attention_case {

using Values = std::vector<double>;
inline constexpr PhiloxKey kKey{123, 456};
inline constexpr int64_t kBase = 40;  // global index of the first sample

struct Size {
  int64_t samples, length, heads, head_cols;
  int64_t memory = 0;  // positions of another sequence that is attended to; 0: none, one's own
  bool causal = false;
  int64_t keys() const { return memory > 0 ? memory : length; }
  int64_t width() const { return heads * head_cols; }
  Shape qkv() const { return {samples, length, (memory > 0 ? 1 : 3) * width()}; }
  Shape kv() const { return {samples, memory, 2 * width()}; }
  Shape y() const { return {samples, length, width()}; }
};
inline std::string text(const Size& z) {
  return str(z.samples, " x ", z.length, ", ", z.heads, " heads of ", z.head_cols, ", memory ", z.memory,
             z.causal ? ", causal" : "");
}
// 1, primes, the model's 50 columns, one past a panel and a tile, whole tiles, the widest head, no rows at all.
inline const std::vector<Size> kSizes{{1, 1, 1, 1},   {2, 3, 2, 5},   {1, 33, 1, 50}, {2, 17, 3, 7}, {1, 64, 1, 8},
                                      {1, 65, 1, 12}, {1, 7, 1, 128}, {1, 97, 1, 10}, {0, 4, 2, 3},  {2, 0, 2, 3}};

/// The draw of a probability: four keys share a counter, queries have neighbouring ones.
inline bool kept(int64_t sample, int64_t head, int64_t query, int64_t key, double p) {
  const uint64_t low = uint64_t(head) * (uint64_t(1) << 40) + uint64_t(key / 4) * (uint64_t(1) << 20) + uint64_t(query);
  return double(philox(kKey, low, uint64_t(kBase + sample)).v[key % 4] >> 8) / 16777216.0 >= p;
}

// Keys of another sequence: fewer, more, whole tiles, one query. And earlier positions alone: within a tile and a
// panel, beyond both.
inline const std::vector<Size> kOtherSizes{{2, 3, 2, 5, 4},         {1, 33, 1, 50, 7},      {2, 17, 3, 7, 64},
                                           {1, 1, 1, 9, 40},        {1, 40, 2, 8, 3},       {0, 4, 2, 3, 5},
                                           {2, 5, 2, 4, 0, true},   {1, 1, 1, 3, 0, true},  {1, 33, 2, 10, 0, true},
                                           {2, 70, 1, 12, 0, true}, {1, 97, 1, 64, 0, true}};

struct Given {
  Values qkv, dy;
  std::vector<uint8_t> mask{};
  double p = 0, scale = 0;
  Values kv{};
};

/// All of it from the formula, one sample and head at a time, with whole T x S matrices.
struct Reference {
  Values y, lse, dqkv, dkv;

  Reference(const Size& z, const Given& given)
      : y(given.dy.size()), lse(size_t(z.samples * z.heads * z.length)), dqkv(given.qkv.size()), dkv(given.kv.size()) {
    const Values &qkv = given.qkv, &dy = given.dy, &kv = given.kv;
    const std::vector<uint8_t>& mask = given.mask;
    const double p = given.p, scale = given.scale;
    const int64_t n = z.length, m = z.keys(), width = z.width();
    const bool other = z.memory > 0;
    const Values& pairs = other ? kv : qkv;
    Values& dpairs = other ? dkv : dqkv;
    const double root = scale > 0 ? 1 / scale : std::sqrt(double(z.head_cols));
    for (int64_t b = 0; b < z.samples; ++b)
      for (int64_t h = 0; h < z.heads; ++h) {
        const auto query = [&](int64_t t, int64_t j) {
          return size_t((b * n + t) * (other ? 1 : 3) * width + h * z.head_cols + j);
        };
        const auto pair = [&](int64_t t, int64_t part, int64_t j) {  // part 1: K, 2: V
          return other ? size_t((b * m + t) * 2 * width + (part - 1) * width + h * z.head_cols + j)
                       : size_t((b * n + t) * 3 * width + part * width + h * z.head_cols + j);
        };
        const auto closed = [&](int64_t q, int64_t k) {
          return (!mask.empty() && mask[size_t(b * m + k)] == 0) || (z.causal && k > q);
        };
        const auto out = [&](int64_t t, int64_t j) { return size_t((b * n + t) * width + h * z.head_cols + j); };
        for (int64_t q = 0; q < n; ++q) {
          Values score(size_t(m), 0.0), prob(size_t(m), 0.0), dprob(size_t(m), 0.0), keep(size_t(m), 1.0);
          for (int64_t k = 0; k < m; ++k) {
            for (int64_t j = 0; j < z.head_cols; ++j)
              score[size_t(k)] += qkv[query(q, j)] * pairs[pair(k, 1, j)] / root;
            if (closed(q, k)) score[size_t(k)] = -1e9;
            if (p > 0) keep[size_t(k)] = kept(b, h, q, k, p) ? 1 / (1 - p) : 0.0;
          }
          const double top = *std::max_element(score.begin(), score.end());
          double sum = 0, inner = 0;
          for (const double v : score) sum += std::exp(v - top);
          lse[size_t((b * z.heads + h) * n + q)] = top <= -1e9 ? std::log(sum) : top + std::log(sum);
          for (int64_t k = 0; k < m; ++k) {
            const auto at = size_t(k);
            prob[at] = std::exp(score[at] - top) / sum;
            for (int64_t j = 0; j < z.head_cols; ++j) {
              y[out(q, j)] += prob[at] * keep[at] * pairs[pair(k, 2, j)];
              dprob[at] += dy[out(q, j)] * pairs[pair(k, 2, j)] * keep[at];
              dpairs[pair(k, 2, j)] += prob[at] * keep[at] * dy[out(q, j)];
            }
            inner += prob[at] * dprob[at];
          }
          for (int64_t k = 0; k < m; ++k) {
            if (closed(q, k)) continue;  // the score is a constant
            const double dscore = prob[size_t(k)] * (dprob[size_t(k)] - inner) / root;
            for (int64_t j = 0; j < z.head_cols; ++j) {
              dqkv[query(q, j)] += dscore * pairs[pair(k, 1, j)];
              dpairs[pair(k, 1, j)] += dscore * qkv[query(q, j)];
            }
          }
        }
      }
  }
};

enum class Mask { kNone, kHoles, kPadding, kEmpty };

inline std::vector<uint8_t> mask_of(const Size& z, Mask kind) {
  if (kind == Mask::kNone) return {};
  std::vector<uint8_t> m(size_t(z.samples * z.keys()), 1);
  for (int64_t b = 0; b < z.samples; ++b)
    for (int64_t t = 0; t < z.keys(); ++t) {
      uint8_t& v = m[size_t(b * z.keys() + t)];
      if (kind == Mask::kHoles) v = (7 * t + b) % 3 == 0 ? 0 : 255;
      if (kind == Mask::kPadding) v = 2 * t <= z.keys() ? 1 : 0;
      if (kind == Mask::kEmpty) v = b == z.samples - 1 ? 0 : 1;  // the last sample has no key at all
    }
  return m;
}

/// The tensors of a call in both directions.
struct Case {
  Case(const Stream& s, const Size& z, DType t, const std::vector<uint8_t>& m)
      : qkv(random(s, z.qkv(), 1, -2, 2, t)),
        dy(random(s, z.y(), 2, -1, 1, t)),
        y(s, z.y(), t),
        lse(s, {z.samples, z.heads, z.length}),
        dqkv(s, z.qkv(), t),
        dkv(s, z.kv(), t),
        settings{.heads = int(z.heads), .key = kKey, .sample_base = kBase, .causal = z.causal} {
    if (!m.empty()) mask = Tensor::from<uint8_t>(s, m, {z.samples, z.keys()});
    if (z.memory > 0) kv = random(s, z.kv(), 3, -2, 2, t);
  }
  kernels::Attention forward() const {
    return {
        .qkv = qkv.cref(), .kv = kv.cref(), .mask = mask.cref(), .y = y.ref(), .lse = lse.ref(), .settings = settings};
  }
  kernels::AttentionGrad backward() const {
    return {.qkv = qkv.cref(),
            .kv = kv.cref(),
            .mask = mask.cref(),
            .y = y.ref(),
            .lse = lse.ref(),
            .dy = dy.cref(),
            .dqkv = dqkv.ref(),
            .dkv = kv.defined() ? dkv.ref() : Ref(),
            .settings = settings};
  }
  Tensor qkv, dy, kv, mask;
  Guarded y, lse, dqkv, dkv;
  kernels::AttentionSettings settings;
};

}  // namespace sluice::test::attention_case
