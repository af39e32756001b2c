// CUDA halves of additive attention: a block takes 4 queries (or, for dk and dmemory, 4 keys) of one sample, so that
// what it goes over is loaded once for all of them. No atomics: dq and the sums, and dk and dmemory have kernels of
// their own, which compute the tanh again.
#include "kernels/bahdanau.h"
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

constexpr int kBahdanauRows = 4;  // queries or keys of a block

struct BahdanauVectors {
  const float *v, *scale, *b;
};
template <class T>
struct BahdanauReads {
  const T *q, *k, *memory, *dy;
  const uint8_t* mask;
  BahdanauVectors with;
  const float* weights;
};

/// scale / |v|. All threads must take part.
__device__ __forceinline__ float bahdanau_factor(const BahdanauVectors& with, int64_t hidden) {
  float squares = 0.0f;
  for (int64_t j = threadIdx.x; j < hidden; j += kThreads) squares += with.v[j] * with.v[j];
  return with.scale[0] / sqrtf(block_reduce<Sum>(squares));
}

/// Which keys of a sample count: those of the mask or, where it leaves none, all with scores of 0.
struct BahdanauKeys {
  const uint8_t* mask;  // of the sample; null: all
  int64_t step;
  bool scored;

  /// All threads must take part.
  __device__ BahdanauKeys(const uint8_t* masks, const BahdanauLayout& at, int64_t sample)
      : mask(masks), step(at.samples), scored(true) {
    if (masks == nullptr) return;
    mask = masks + sample;
    float some = 0.0f;
    for (int64_t s = threadIdx.x; s < at.keys; s += kThreads)
      if (mask[s * step] != 0) some = 1.0f;
    if (block_reduce<Max>(some) > 0.0f) return;
    mask = nullptr;
    scored = false;
  }
  __device__ bool open(int64_t s) const { return mask == nullptr || mask[s * step] != 0; }
};

/// Where a block works: rows first .. first + 3, as far as there are so many, of queries or keys of a sample.
struct BahdanauPlace {
  int64_t sample, first;
  int count;

  __device__ BahdanauPlace(int64_t rows) {
    const int64_t blocks = ceil_div(rows, kBahdanauRows);
    sample = int64_t(blockIdx.x) / blocks;
    first = (int64_t(blockIdx.x) - sample * blocks) * kBahdanauRows;
    count = rows - first < kBahdanauRows ? int(rows - first) : kBahdanauRows;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    bahdanau_kernel(T* y, float* weights, BahdanauReads<T> in, BahdanauLayout at) {
  const BahdanauPlace p(at.queries);
  const BahdanauKeys keys(in.mask, at, p.sample);
  const float factor = bahdanau_factor(in.with, at.hidden);
  for (int64_t s = warp(); s < at.keys; s += kThreads / 32) {  // a key's scores
    const bool scored = keys.scored && keys.open(s);
    const T* k = in.k + at.row(s, p.sample) * at.hidden;
    for (int r = 0; r < p.count; ++r) {
      const T* q = in.q + at.row(p.first + r, p.sample) * at.hidden;
      float score = 0.0f;
      for (int64_t j = lane(); scored && j < at.hidden; j += 32)
        score += in.with.v[j] * bahdanau_tanh(float(q[j]), float(k[j]), in.with.b[j]);
      score = warp_reduce<Sum>(score);
      if (lane() == 0) weights[at.row(p.first + r, p.sample) * at.keys + s] = factor * score;
    }
  }
  __syncthreads();
  if (warp() < p.count) {  // a query's softmax
    float* w = weights + at.row(p.first + warp(), p.sample) * at.keys;
    float top = Max::kNeutral, sum = 0.0f;
    for (int64_t s = lane(); s < at.keys; s += 32)
      if (keys.open(s)) top = Max::combine(w[s], top);
    top = warp_reduce<Max>(top);
    for (int64_t s = lane(); s < at.keys; s += 32) {
      w[s] = keys.open(s) ? math::exp(w[s] - top) : 0.0f;
      sum += w[s];
    }
    const float inverse = 1.0f / warp_reduce<Sum>(sum);
    for (int64_t s = lane(); s < at.keys; s += 32) w[s] *= inverse;
  }
  __syncthreads();
  for (int64_t j = threadIdx.x; j < at.width; j += kThreads) {  // a column of the means
    float sum[kBahdanauRows] = {};
    for (int64_t s = 0; s < at.keys; ++s) {
      if (!keys.open(s)) continue;
      const float m = float(in.memory[at.row(s, p.sample) * at.width + j]);
      for (int r = 0; r < kBahdanauRows; ++r)
        if (r < p.count) sum[r] += weights[at.row(p.first + r, p.sample) * at.keys + s] * m;
    }
    for (int r = 0; r < kBahdanauRows; ++r)
      if (r < p.count) y[at.row(p.first + r, p.sample) * at.width + j] = T(sum[r]);
  }
}

/// dscores [Q, B, S], 0 of keys that are not scored.
template <class T>
__global__ void __launch_bounds__(kThreads)
    bahdanau_grad_scores_kernel(float* dscores, BahdanauReads<T> in, BahdanauLayout at) {
  const BahdanauPlace p(at.queries);
  const BahdanauKeys keys(in.mask, at, p.sample);
  for (int64_t s = warp(); s < at.keys; s += kThreads / 32) {
    const bool scored = keys.scored && keys.open(s);
    const T* m = in.memory + at.row(s, p.sample) * at.width;
    for (int r = 0; r < p.count; ++r) {
      const T* dy = in.dy + at.row(p.first + r, p.sample) * at.width;
      float d = 0.0f;
      for (int64_t j = lane(); scored && j < at.width; j += 32) d += float(dy[j]) * float(m[j]);
      d = warp_reduce<Sum>(d);
      if (lane() == 0) dscores[at.row(p.first + r, p.sample) * at.keys + s] = d;
    }
  }
  __syncthreads();
  if (warp() >= p.count) return;
  const int64_t row = at.row(p.first + warp(), p.sample) * at.keys;
  const float* w = in.weights + row;
  float dot = 0.0f;
  for (int64_t s = lane(); s < at.keys; s += 32) dot += w[s] * dscores[row + s];
  dot = warp_reduce<Sum>(dot);
  for (int64_t s = lane(); s < at.keys; s += 32)
    dscores[row + s] = keys.scored && keys.open(s) ? w[s] * (dscores[row + s] - dot) : 0.0f;
}

/// partial: [blocks, 2, H], the block's part of the sums.
template <class T>
__global__ void __launch_bounds__(kThreads)
    bahdanau_grad_query_kernel(T* dq, float* partial, BahdanauReads<T> in, const float* dscores, BahdanauLayout at) {
  const BahdanauPlace p(at.queries);
  const BahdanauKeys keys(in.mask, at, p.sample);
  const float factor = bahdanau_factor(in.with, at.hidden);
  for (int64_t j = threadIdx.x; j < at.hidden; j += kThreads) {
    float q[kBahdanauRows] = {}, sum[kBahdanauRows] = {}, dv = 0.0f, db = 0.0f;
    for (int r = 0; r < kBahdanauRows; ++r)
      if (r < p.count) q[r] = float(in.q[at.row(p.first + r, p.sample) * at.hidden + j]);
    for (int64_t s = 0; keys.scored && s < at.keys; ++s) {
      if (!keys.open(s)) continue;
      const float k = float(in.k[at.row(s, p.sample) * at.hidden + j]);
      for (int r = 0; r < kBahdanauRows; ++r) {
        if (r >= p.count) continue;
        const float d = dscores[at.row(p.first + r, p.sample) * at.keys + s], t = bahdanau_tanh(q[r], k, in.with.b[j]);
        sum[r] += bahdanau_slope(d, t);
        dv += d * t;
      }
    }
    for (int r = 0; r < kBahdanauRows; ++r) {
      if (r >= p.count) continue;
      const float d = factor * in.with.v[j] * sum[r];
      dq[at.row(p.first + r, p.sample) * at.hidden + j] = T(d);
      db += d;
    }
    partial[2 * int64_t(blockIdx.x) * at.hidden + j] = dv;
    partial[(2 * int64_t(blockIdx.x) + 1) * at.hidden + j] = db;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    bahdanau_grad_key_kernel(T* dk, T* dmemory, BahdanauReads<T> in, const float* dscores, BahdanauLayout at) {
  const BahdanauPlace p(at.keys);
  const BahdanauKeys keys(in.mask, at, p.sample);
  const float factor = bahdanau_factor(in.with, at.hidden);
  for (int64_t j = threadIdx.x; j < at.hidden; j += kThreads) {
    float k[kBahdanauRows] = {}, sum[kBahdanauRows] = {};
    bool scored[kBahdanauRows];
    for (int r = 0; r < kBahdanauRows; ++r) {
      scored[r] = r < p.count && keys.scored && keys.open(p.first + r);
      if (scored[r]) k[r] = float(in.k[at.row(p.first + r, p.sample) * at.hidden + j]);
    }
    for (int64_t t = 0; t < at.queries; ++t) {
      const int64_t row = at.row(t, p.sample);
      const float q = float(in.q[row * at.hidden + j]);
      for (int r = 0; r < kBahdanauRows; ++r)
        if (scored[r])
          sum[r] += bahdanau_slope(dscores[row * at.keys + p.first + r], bahdanau_tanh(q, k[r], in.with.b[j]));
    }
    for (int r = 0; r < kBahdanauRows; ++r)
      if (r < p.count) dk[at.row(p.first + r, p.sample) * at.hidden + j] = T(factor * in.with.v[j] * sum[r]);
  }
  for (int64_t j = threadIdx.x; j < at.width; j += kThreads) {
    float sum[kBahdanauRows] = {};
    for (int64_t t = 0; t < at.queries; ++t) {
      const int64_t row = at.row(t, p.sample);
      const float dy = float(in.dy[row * at.width + j]);
      for (int r = 0; r < kBahdanauRows; ++r)
        if (r < p.count) sum[r] += in.weights[row * at.keys + p.first + r] * dy;
    }
    for (int r = 0; r < kBahdanauRows; ++r)
      if (r < p.count) dmemory[at.row(p.first + r, p.sample) * at.width + j] = T(sum[r]);
  }
}

/// Gradients that are added to rather than written.
struct BahdanauAdds {
  bool v, scale, b;
};
struct BahdanauParamGrads {
  float *v, *scale, *b;
};

__global__ void __launch_bounds__(kThreads)
    bahdanau_grad_params_kernel(BahdanauParamGrads to, const float* sums, BahdanauVectors with, int64_t hidden,
                                BahdanauAdds add) {
  float squares = 0.0f, product = 0.0f;
  for (int64_t j = threadIdx.x; j < hidden; j += kThreads) {
    squares += with.v[j] * with.v[j];
    product += sums[j] * with.v[j];
  }
  const float inverse = 1.0f / sqrtf(block_reduce<Sum>(squares)), dot = block_reduce<Sum>(product);
  for (int64_t j = threadIdx.x; j < hidden; j += kThreads) {
    to.v[j] = (add.v ? to.v[j] : 0.0f) + bahdanau_dv(sums[j], with.v[j], dot, inverse, with.scale[0]);
    to.b[j] = (add.b ? to.b[j] : 0.0f) + sums[hidden + j];
  }
  if (threadIdx.x == 0) to.scale[0] = (add.scale ? to.scale[0] : 0.0f) + dot * inverse;
}

namespace {

/// What both directions read; forward has no dy, and its weights are not read but written.
template <class T, class Call>
BahdanauReads<T> bahdanau_reads(const Call& c, const ConstRef& dy) {
  return {
      c.q.template as<T>(),          c.k.template as<T>(),
      c.memory.template as<T>(),     dy.as<T>(),
      c.mask.template as<uint8_t>(), {c.v.template as<float>(), c.scale.template as<float>(), c.b.template as<float>()},
      c.weights.template as<float>()};
}

}  // namespace

void Bahdanau::cuda(CudaContext& c) const {
  const BahdanauLayout at(q, memory);
  const int64_t blocks = at.samples * ceil_div(at.queries, kBahdanauRows);
  if (blocks == 0) return;
  visit_float(q.dtype, [&]<class T>() {
    launch_kernel(c, kName, bahdanau_kernel<T>, blocks, kThreads, 0, y.as<T>(), weights.as<float>(),
                  bahdanau_reads<T>(*this, {}), at);
  });
}

void BahdanauGrad::cuda(CudaContext& c) const {
  const BahdanauLayout at(q, memory);
  const int64_t of_queries = at.samples * ceil_div(at.queries, kBahdanauRows);
  const int64_t of_keys = at.samples * ceil_div(at.keys, kBahdanauRows);
  const size_t scores = passes::padded(size_t(at.scores()) * sizeof(float));
  const size_t parts = passes::padded(size_t(of_queries * 2 * at.hidden) * sizeof(float));
  const ConstRef shape_of_parts{{nullptr, {of_queries, 2 * at.hidden}, DType::kF32}};
  auto* dscores = static_cast<float*>(c.workspace(scores + parts + passes::column_sums_workspace(shape_of_parts)));
  float* partial = dscores + scores / sizeof(float);
  visit_float(q.dtype, [&]<class T>() {
    const BahdanauReads<T> in = bahdanau_reads<T>(*this, dy);
    if (of_queries > 0) {
      launch_kernel(c, kName, bahdanau_grad_scores_kernel<T>, of_queries, kThreads, 0, dscores, in, at);
      launch_kernel(c, kName, bahdanau_grad_query_kernel<T>, of_queries, kThreads, 0, dq.as<T>(), partial, in, dscores,
                    at);
    }
    if (of_keys > 0)
      launch_kernel(c, kName, bahdanau_grad_key_kernel<T>, of_keys, kThreads, 0, dk.as<T>(), dmemory.as<T>(), in,
                    dscores, at);
  });
  const ConstRef all{{partial, shape_of_parts.shape, DType::kF32}};
  passes::column_sums(c, kName, all, sums, false, partial + parts / sizeof(float));
}

void BahdanauGradParams::cuda(CudaContext& c) const {
  launch_kernel(c, kName, bahdanau_grad_params_kernel, 1, kThreads, 0,
                BahdanauParamGrads{dv.as<float>(), dscale.as<float>(), db.as<float>()}, sums.as<float>(),
                BahdanauVectors{v.as<float>(), scale.as<float>(), nullptr}, v.numel(),
                BahdanauAdds{accumulate_v, accumulate_scale, accumulate_b});
}

}  // namespace sluice::kernels
