// CPU halves of additive attention. Forward: a task per query. Backward: a task per query for the scores' gradients,
// then one per sample and strip of columns that computes each tanh once for dq, dk and the sums, then one per key.
#include "kernels/bahdanau.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kStrip = 64;  // columns whose sums stay in the first-level cache

float inverse_length(const ConstRef& v) {
  const float* at = v.as<float>();
  return 1.0f / std::sqrt(lane_sum(0, v.numel(), [=](int64_t j) { return at[j] * at[j]; }));
}

/// Which keys of a sample count: those of the mask or, where it leaves none, all with scores of 0.
struct OpenKeys {
  const uint8_t* mask = nullptr;  // of the sample; null: all
  int64_t step = 0;
  bool scored = true;

  OpenKeys(const ConstRef& of, const BahdanauLayout& at, int64_t sample) : step(at.samples) {
    if (!of.defined()) return;
    mask = of.as<uint8_t>() + sample;
    for (int64_t s = 0; s < at.keys; ++s)
      if (mask[s * step] != 0) return;
    mask = nullptr;
    scored = false;
  }
  bool operator()(int64_t s) const { return mask == nullptr || mask[s * step] != 0; }
};

/// to[j] += factor from[j], a strip.
template <class T>
void add_scaled(float* to, const T* from, float factor, int64_t count) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) to[j] += factor * float(from[j]);
}
template <class T>
void store_strip(T* to, const float* from, int64_t count) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) store(to[j], from[j]);
}

/// Scores to weights, in place.
void softmax(float* w, const OpenKeys& open, int64_t keys) {
  const float top = lane_max(keys, [=](int64_t s) { return w[s]; });
#pragma omp simd
  for (int64_t s = 0; s < keys; ++s) w[s] = math::exp(w[s] - top);
  for (int64_t s = 0; s < keys; ++s) w[s] = open(s) ? w[s] : 0.0f;
  const float inverse = 1.0f / lane_sum(0, keys, [=](int64_t s) { return w[s]; });
#pragma omp simd
  for (int64_t s = 0; s < keys; ++s) w[s] *= inverse;
}

template <class T>
void attend(const Bahdanau& call, const BahdanauLayout& at, float factor, int64_t row) {
  const int64_t sample = row % at.samples;
  const OpenKeys open(call.mask, at, sample);
  const T* q = call.q.as<T>() + row * at.hidden;
  const float *v = call.v.as<float>(), *b = call.b.as<float>();
  float* w = call.weights.as<float>() + row * at.keys;
  for (int64_t s = 0; s < at.keys; ++s) {
    const T* k = call.k.as<T>() + at.row(s, sample) * at.hidden;
    w[s] = !open.scored ? 0.0f
           : !open(s)   ? -std::numeric_limits<float>::infinity()
                        : factor * lane_sum(0, at.hidden, [=](int64_t j) {
                          return v[j] * bahdanau_tanh(float(q[j]), float(k[j]), b[j]);
                        });
  }
  softmax(w, open, at.keys);
  for (int64_t first = 0; first < at.width; first += kStrip) {
    const int64_t count = std::min(kStrip, at.width - first);
    float sum[kStrip] = {};
    for (int64_t s = 0; s < at.keys; ++s)
      if (open(s)) add_scaled(sum, call.memory.as<T>() + at.row(s, sample) * at.width + first, w[s], count);
    store_strip(call.y.as<T>() + row * at.width + first, sum, count);
  }
}

/// dscores of a query: [S].
template <class T>
void score_grads(const BahdanauGrad& call, const BahdanauLayout& at, float* dscore, int64_t row) {
  const int64_t sample = row % at.samples;
  const OpenKeys open(call.mask, at, sample);
  const T* dy = call.dy.as<T>() + row * at.width;
  const float* w = call.weights.as<float>() + row * at.keys;
  for (int64_t s = 0; s < at.keys; ++s) {
    const T* m = call.memory.as<T>() + at.row(s, sample) * at.width;
    dscore[s] =
        open.scored && open(s) ? lane_sum(0, at.width, [=](int64_t j) { return float(dy[j]) * float(m[j]); }) : 0.0f;
  }
  const float dot = lane_sum(0, at.keys, [=](int64_t s) { return w[s] * dscore[s]; });
  for (int64_t s = 0; s < at.keys; ++s) dscore[s] = open.scored && open(s) ? w[s] * (dscore[s] - dot) : 0.0f;
}

/// Scratch of the gradient: dscores [Q, B, S], sums of each sample [B, 2, H], dk of each strip [B, strips, S, kStrip].
struct GradScratch {
  float *dscores, *sums, *dk;
  int64_t strips;

  GradScratch(CpuContext& c, const BahdanauLayout& at) : strips((at.hidden + kStrip - 1) / kStrip) {
    const int64_t of_sums = at.samples * 2 * at.hidden, of_dk = at.samples * strips * at.keys * kStrip;
    dscores = static_cast<float*>(c.workspace(size_t(at.scores() + of_sums + of_dk) * sizeof(float)));
    sums = dscores + at.scores();
    dk = sums + of_sums;
  }
};

/// Columns [first, first + count) of dq, dk and the sums of one sample.
template <class T>
void grad_strip(const BahdanauGrad& call, const BahdanauLayout& at, const GradScratch& scratch, float factor,
                int64_t task) {
  const int64_t sample = task / scratch.strips, first = task % scratch.strips * kStrip;
  const int64_t count = std::min(kStrip, at.hidden - first);
  const OpenKeys open(call.mask, at, sample);
  const float *v = call.v.as<float>() + first, *b = call.b.as<float>() + first;
  float *dk = scratch.dk + task * at.keys * kStrip, *sums = scratch.sums + sample * 2 * at.hidden + first;
  std::fill_n(dk, at.keys * kStrip, 0.0f);
  std::fill_n(sums, count, 0.0f);
  std::fill_n(sums + at.hidden, count, 0.0f);
  for (int64_t t = 0; t < at.queries; ++t) {
    const int64_t row = at.row(t, sample);
    const float* dscore = scratch.dscores + row * at.keys;
    const T* q = call.q.as<T>() + row * at.hidden + first;
    float slopes[kStrip] = {};  // dq but for v'
    for (int64_t s = 0; open.scored && s < at.keys; ++s) {
      if (!open(s)) continue;
      const T* k = call.k.as<T>() + at.row(s, sample) * at.hidden + first;
      const float d = dscore[s];
      float* to = dk + s * kStrip;
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const float th = bahdanau_tanh(float(q[j]), float(k[j]), b[j]), slope = bahdanau_slope(d, th);
        slopes[j] += slope;
        to[j] += slope;
        sums[j] += d * th;
      }
    }
    T* dq = call.dq.as<T>() + row * at.hidden + first;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const float d = factor * v[j] * slopes[j];
      store(dq[j], d);
      sums[at.hidden + j] += d;
    }
  }
  for (int64_t s = 0; s < at.keys; ++s) {
    T* to = call.dk.as<T>() + at.row(s, sample) * at.hidden + first;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) store(to[j], factor * v[j] * dk[s * kStrip + j]);
  }
}

/// dmemory of one key of one sample.
template <class T>
void grad_memory(const BahdanauGrad& call, const BahdanauLayout& at, int64_t row) {
  const int64_t s = row / at.samples, sample = row % at.samples;
  const float* w = call.weights.as<float>();
  for (int64_t first = 0; first < at.width; first += kStrip) {
    const int64_t count = std::min(kStrip, at.width - first);
    float sum[kStrip] = {};
    for (int64_t t = 0; t < at.queries; ++t) {
      const int64_t query = at.row(t, sample);
      add_scaled(sum, call.dy.as<T>() + query * at.width + first, w[query * at.keys + s], count);
    }
    store_strip(call.dmemory.as<T>() + row * at.width + first, sum, count);
  }
}

}  // namespace

template <>
void Bahdanau::cpu<kIsa>(CpuContext& c) const {
  const BahdanauLayout at(q, memory);
  const float factor = scale.as<float>()[0] * inverse_length(v);
  visit_float(q.dtype, [&]<class T>() {
    parallel_for(c, at.queries * at.samples, [&](int64_t row) { attend<T>(*this, at, factor, row); });
  });
}

template <>
void BahdanauGrad::cpu<kIsa>(CpuContext& c) const {
  const BahdanauLayout at(q, memory);
  const GradScratch scratch(c, at);
  const float factor = scale.as<float>()[0] * inverse_length(v);
  visit_float(q.dtype, [&]<class T>() {
    parallel_for(c, at.queries * at.samples,
                 [&](int64_t row) { score_grads<T>(*this, at, scratch.dscores + row * at.keys, row); });
    parallel_for(c, at.samples * scratch.strips,
                 [&](int64_t task) { grad_strip<T>(*this, at, scratch, factor, task); });
    parallel_for(c, at.keys * at.samples, [&](int64_t row) { grad_memory<T>(*this, at, row); });
  });
  parallel_blocks(c, 2 * at.hidden, 256, [&](int64_t begin, int64_t end) {
    float* out = sums.as<float>();
    std::fill(out + begin, out + end, 0.0f);
    for (int64_t sample = 0; sample < at.samples; ++sample)
      add_scaled(out + begin, scratch.sums + sample * 2 * at.hidden + begin, 1.0f, end - begin);
  });
}

template <>
void BahdanauGradParams::cpu<kIsa>(CpuContext&) const {
  const int64_t n = v.numel();
  const float *dv_scaled = sums.as<float>(), *at = v.as<float>();
  const float inverse = inverse_length(v), dot = lane_sum(0, n, [=](int64_t j) { return dv_scaled[j] * at[j]; });
  float *to_v = dv.as<float>(), *to_scale = dscale.as<float>(), *to_b = db.as<float>();
  for (int64_t j = 0; j < n; ++j) {
    to_v[j] = (accumulate_v ? to_v[j] : 0.0f) + bahdanau_dv(dv_scaled[j], at[j], dot, inverse, scale.as<float>()[0]);
    to_b[j] = (accumulate_b ? to_b[j] : 0.0f) + dv_scaled[n + j];
  }
  to_scale[0] = (accumulate_scale ? to_scale[0] : 0.0f) + dot * inverse;
}

}  // namespace sluice::kernels
