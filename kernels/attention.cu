// CUDA halves of attention: a block takes 32 queries (or, for dK and dV, 32 keys) of one head and goes over the other
// side in blocks of 32. A warp holds the scores of 4 queries, a lane those of one key. No atomics: dQ has a kernel of
// its own, and dK and dV another, each in fixed order.
#include "kernels/attention.h"
#include "kernels/common/math.h"
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"

// Before a loop: its body twice. Left to itself nvcc unrolls until all registers are full, and then spills.
#if defined(__CUDACC__)
#define SLUICE_UNROLL_TWICE _Pragma("unroll 2")
#else
#define SLUICE_UNROLL_TWICE
#endif

namespace sluice::kernels {

constexpr int kAttentionBlock = 32;                                // queries, keys, columns of a tile
constexpr int kAttentionRows = kAttentionBlock / (kThreads / 32);  // of a warp

constexpr int kAttentionBlocks = 3;  // a multiprocessor at least: 80 registers a thread

using AttentionTile = float[kAttentionBlock][kAttentionBlock + 1];
struct AttentionTiles {
  AttentionTile left, right, probabilities;
};

/// Everything but the operands.
struct AttentionShape {
  int64_t length, stride, width;  // T, 3 d, d
  int heads, head_cols;
  int64_t blocks;              // of a head
  AttentionSettings settings;  // with the scale that is meant
};

/// Rows of one head's columns.
template <class T>
struct AttentionMatrix {
  const T* at;
  int64_t row;   // distance
  int64_t rows;  // from `at` on
  __device__ AttentionMatrix from(int64_t first) const { return {at + first * row, row, rows - first}; }
};

/// Where a block works.
struct AttentionPlace {
  int64_t sample, head, first;

  __device__ explicit AttentionPlace(const AttentionShape& s) {
    const int64_t task = int64_t(blockIdx.x) / s.blocks;
    sample = task / s.heads;
    head = task - sample * s.heads;
    first = (int64_t(blockIdx.x) - task * s.blocks) * kAttentionBlock;
  }
  /// Q, K or V (part 0, 1, 2) of qkv, or of its gradient.
  template <class T>
  __device__ T* part(T* qkv, const AttentionShape& s, int which) const {
    return qkv + sample * s.length * s.stride + which * s.width + head * s.head_cols;
  }
  template <class T>
  __device__ AttentionMatrix<T> matrix(const T* qkv, const AttentionShape& s, int which) const {
    return {part(qkv, s, which), s.stride, s.length};
  }
  template <class T>
  __device__ AttentionMatrix<T> outer(const T* y, const AttentionShape& s) const {
    return {y + sample * s.length * s.width + head * s.head_cols, s.width, s.length};
  }
};

/// What the sample may attend to: up to its last key; where there is none, all keys with scores of 0.
struct AttentionKeys {
  const uint8_t* mask;
  int64_t count;
  float scale;

  __device__ AttentionKeys(const uint8_t* masks, const AttentionShape& s, const AttentionPlace& at) {
    mask = masks == nullptr ? nullptr : masks + at.sample * s.length;
    count = s.length;
    scale = s.settings.scale;
    if (mask == nullptr) return;
    float last = 0.0f;  // exact: T is below 2^20
    for (int64_t k = threadIdx.x; k < s.length; k += kThreads)
      if (mask[k] != 0) last = float(k + 1);
    count = int64_t(block_reduce<Max>(last));
    if (count > 0) return;
    mask = nullptr;
    count = s.length;
    scale = 0.0f;
  }
  __device__ bool open(int64_t key) const { return key < count && (mask == nullptr || mask[key] != 0); }
};

/// tile = 32 rows and columns of m from column `first` on, 0 outside.
template <class T>
__device__ __forceinline__ void load_tile(AttentionTile& tile, const AttentionMatrix<T>& m, int first, int cols) {
  SLUICE_UNROLL_TWICE
  for (int r = warp(); r < kAttentionBlock; r += kThreads / 32) {
    const bool inside = r < m.rows && first + lane() < cols;
    tile[r][lane()] = inside ? float(m.at[r * m.row + first + lane()]) : 0.0f;
  }
}

/// How much of a tile is not 0.
__device__ inline int tile_extent(int64_t left) { return left < kAttentionBlock ? int(left) : kAttentionBlock; }

/// product[r] = the warp's row r of `a` times the lane's row of `b`. All threads must take part.
template <class T>
__device__ __forceinline__ void row_products(float (&product)[kAttentionRows], const AttentionMatrix<T>& a,
                                             const AttentionMatrix<T>& b, int cols, AttentionTiles& tiles) {
  for (int r = 0; r < kAttentionRows; ++r) product[r] = 0.0f;
  for (int first = 0; first < cols; first += kAttentionBlock) {
    load_tile(tiles.left, a, first, cols);
    load_tile(tiles.right, b, first, cols);
    __syncthreads();
    const int depth = tile_extent(cols - first);
    SLUICE_UNROLL_TWICE
    for (int k = 0; k < depth; ++k) {
      const float right = tiles.right[lane()][k];
      for (int r = 0; r < kAttentionRows; ++r)
        product[r] = fmaf(tiles.left[kAttentionRows * warp() + r][k], right, product[r]);
    }
    __syncthreads();
  }
}

/// f of each constant: an array that is indexed by them stays in registers.
template <class F, int... I>
__device__ __forceinline__ void for_constants(F f, std::integer_sequence<int, I...>) {
  (f.template operator()<I>(), ...);
}

/// sum[r][j] += the warp's row r of tiles.probabilities times column 32 j + lane of b. All threads must take part.
template <int N, class T>
__device__ __forceinline__ void add_products(float (&sum)[kAttentionRows][N], const AttentionMatrix<T>& b, int cols,
                                             AttentionTiles& tiles) {
  const int depth = tile_extent(b.rows);
  for_constants(
      [&]<int J>() {
        load_tile(tiles.right, b, J * kAttentionBlock, cols);
        __syncthreads();
        SLUICE_UNROLL_TWICE
        for (int k = 0; k < depth; ++k) {
          const float right = tiles.right[k][lane()];
          for (int r = 0; r < kAttentionRows; ++r)
            sum[r][J] = fmaf(tiles.probabilities[kAttentionRows * warp() + r][k], right, sum[r][J]);
        }
        __syncthreads();
      },
      std::make_integer_sequence<int, N>());
}

/// kept[r] = 1 / (1 - p) or 0 for (query + r, key), key the lane's. A counter's four words are of four keys: a quad of
/// lanes draws for one query each and trades words.
__device__ __forceinline__ void draw_kept(float (&kept)[kAttentionRows], int64_t query, int64_t key,
                                          const AttentionPlace& at, const AttentionSettings& s) {
  const float whole = 1.0f / (1.0f - s.p);
  for (int r = 0; r < kAttentionRows; ++r) kept[r] = whole;
  if (s.p == 0.0f) return;
  static_assert(kAttentionRows == 4);
  const int mine = lane() % 4;
  const Philox4 words =
      philox(s.key, attention_draw(at.head, query + mine, key).low, uint64_t(s.sample_base + at.sample));
  for (int step = 0; step < 4; ++step) {
    const int other = mine ^ step;
    const uint32_t low = other % 2 == 0 ? words.v[0] : words.v[1], high = other % 2 == 0 ? words.v[2] : words.v[3];
    const uint32_t word = __shfl_xor_sync(kAllLanes, other < 2 ? low : high, step);
    for (int r = 0; r < 4; ++r)
      if (r == other) kept[r] = uniform(word) >= s.p ? whole : 0.0f;
  }
}

/// The warp's rows of `sum` times `factor` to where the head's columns are.
template <int N, class T>
__device__ __forceinline__ void store_rows(T* to, int64_t row, int64_t rows, const float (&sum)[kAttentionRows][N],
                                           int cols) {
  for (int r = 0; r < kAttentionRows; ++r) {
    const int64_t at = kAttentionRows * warp() + r;
    for (int j = 0; j < N; ++j)
      if (at < rows && 32 * j + lane() < cols) to[at * row + 32 * j + lane()] = T(sum[r][j]);
  }
}

template <int N>
__device__ __forceinline__ void clear(float (&sum)[kAttentionRows][N]) {
  for (int r = 0; r < kAttentionRows; ++r)
    for (int j = 0; j < N; ++j) sum[r][j] = 0.0f;
}

/// N columns of 32 hold a head's. The maximum and the sum of a row grow block by block (online softmax).
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kAttentionBlocks)
    attention_kernel(T* y, float* lse, const T* qkv, const uint8_t* masks, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s);
  const AttentionKeys keys(masks, s, at);
  const auto q = at.matrix(qkv, s, 0).from(at.first), k = at.matrix(qkv, s, 1), v = at.matrix(qkv, s, 2);
  const int64_t query = at.first + kAttentionRows * warp();
  float result[kAttentionRows][N], top[kAttentionRows], sum[kAttentionRows];
  clear(result);
  for (int r = 0; r < kAttentionRows; ++r) {
    top[r] = Max::kNeutral;
    sum[r] = 0.0f;
  }
  for (int64_t first = 0; first < keys.count; first += kAttentionBlock) {
    float score[kAttentionRows], kept[kAttentionRows];
    row_products(score, q, k.from(first), s.head_cols, tiles);
    draw_kept(kept, query, first + lane(), at, s.settings);
    const bool open = keys.open(first + lane());
    for (int r = 0; r < kAttentionRows; ++r) {
      const float scaled = score[r] * keys.scale;
      const float largest = Max::combine(warp_reduce<Max>(open ? scaled : Max::kNeutral), top[r]);
      const float e = open ? math::exp(scaled - largest) : 0.0f, shrunk = math::exp(top[r] - largest);
      sum[r] = sum[r] * shrunk + warp_reduce<Sum>(e);
      top[r] = largest;
      for (int j = 0; j < N; ++j) result[r][j] *= shrunk;
      tiles.probabilities[kAttentionRows * warp() + r][lane()] = e * kept[r];
    }
    add_products(result, v.from(first), s.head_cols, tiles);
  }
  for (int r = 0; r < kAttentionRows; ++r)
    for (int j = 0; j < N; ++j) result[r][j] /= sum[r];
  const int64_t rows = s.length - at.first;
  T* to = y + (at.sample * s.length + at.first) * s.width + at.head * s.head_cols;
  store_rows(to, s.width, rows, result, s.head_cols);
  if (lse == nullptr || lane() != 0) return;
  lse += (at.sample * s.heads + at.head) * s.length;
  for (int r = 0; r < kAttentionRows; ++r)
    if (query + r < s.length) lse[query + r] = top[r] + math::log(sum[r]);
}

/// delta = the sum of y dy over a head's columns: [B, T, heads], a warp each.
template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_delta_kernel(float* delta, const T* y, const T* dy, int64_t rows, int head_cols) {
  const int64_t row = global_thread() / 32;
  if (row >= rows) return;  // whole warps
  float sum = 0.0f;
  for (int j = lane(); j < head_cols; j += 32) sum += float(y[row * head_cols + j]) * float(dy[row * head_cols + j]);
  sum = warp_reduce<Sum>(sum);
  if (lane() == 0) delta[row] = sum;
}

template <class T>
struct AttentionGradReads {
  const T *qkv, *dy;
  const uint8_t* masks;
  const float *lse, *delta;
};

/// Where a block of scores begins.
struct AttentionCorner {
  int64_t query, key;
};

/// A thread's probabilities of a block of queries and keys, dropped, and the gradients of its scores.
struct AttentionGradBlock {
  float dropped[kAttentionRows], dscore[kAttentionRows];

  template <class T>
  __device__ __forceinline__ AttentionGradBlock(const AttentionGradReads<T>& in, const AttentionShape& s,
                                                const AttentionPlace& at, const AttentionKeys& keys,
                                                const AttentionCorner& first, AttentionTiles& tiles) {
    const auto q = at.matrix(in.qkv, s, 0).from(first.query), k = at.matrix(in.qkv, s, 1).from(first.key),
               v = at.matrix(in.qkv, s, 2).from(first.key), dy = at.outer(in.dy, s).from(first.query);
    float score[kAttentionRows], dprobability[kAttentionRows], kept[kAttentionRows];
    row_products(score, q, k, s.head_cols, tiles);
    row_products(dprobability, dy, v, s.head_cols, tiles);
    const int64_t query = first.query + kAttentionRows * warp(), key = first.key + lane();
    draw_kept(kept, query, key, at, s.settings);
    const float* lse = in.lse + (at.sample * s.heads + at.head) * s.length;
    const float* delta = in.delta + at.sample * s.length * s.heads + at.head;
    const bool open = keys.open(key);
    for (int r = 0; r < kAttentionRows; ++r) {
      dropped[r] = dscore[r] = 0.0f;
      if (!open || query + r >= s.length) continue;
      const float p = math::exp(score[r] * keys.scale - lse[query + r]);
      dropped[r] = p * kept[r];
      dscore[r] = p * (dprobability[r] * kept[r] - delta[(query + r) * s.heads]) * keys.scale;
    }
  }
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kAttentionBlocks)
    attention_grad_query_kernel(T* dqkv, AttentionGradReads<T> in, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s);
  const AttentionKeys keys(in.masks, s, at);
  const auto k = at.matrix(in.qkv, s, 1);
  float dq[kAttentionRows][N];
  clear(dq);
  for (int64_t first = 0; first < keys.count; first += kAttentionBlock) {
    const AttentionGradBlock block(in, s, at, keys, {at.first, first}, tiles);
    for (int r = 0; r < kAttentionRows; ++r) tiles.probabilities[kAttentionRows * warp() + r][lane()] = block.dscore[r];
    add_products(dq, k.from(first), s.head_cols, tiles);
  }
  store_rows(at.part(dqkv, s, 0) + at.first * s.stride, s.stride, s.length - at.first, dq, s.head_cols);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kAttentionBlocks)
    attention_grad_key_kernel(T* dqkv, AttentionGradReads<T> in, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s);
  const AttentionKeys keys(in.masks, s, at);
  const auto q = at.matrix(in.qkv, s, 0);
  const auto dy = at.outer(in.dy, s);
  float dk[kAttentionRows][N], dv[kAttentionRows][N];
  clear(dk);
  clear(dv);
  for (int64_t first = 0; at.first < keys.count && first < s.length; first += kAttentionBlock) {
    const AttentionGradBlock block(in, s, at, keys, {first, at.first}, tiles);
    for (int r = 0; r < kAttentionRows; ++r)  // turned: rows are keys now
      tiles.probabilities[lane()][kAttentionRows * warp() + r] = block.dropped[r];
    add_products(dv, dy.from(first), s.head_cols, tiles);
    for (int r = 0; r < kAttentionRows; ++r) tiles.probabilities[lane()][kAttentionRows * warp() + r] = block.dscore[r];
    add_products(dk, q.from(first), s.head_cols, tiles);
  }
  const int64_t rows = s.length - at.first, begin = at.first * s.stride;
  store_rows(at.part(dqkv, s, 1) + begin, s.stride, rows, dk, s.head_cols);
  store_rows(at.part(dqkv, s, 2) + begin, s.stride, rows, dv, s.head_cols);
}

namespace {

AttentionShape shape_of(const ConstRef& qkv, const AttentionSettings& settings) {
  const int64_t length = qkv.dim(1), stride = qkv.dim(2);
  AttentionShape s{
      length,  stride, stride / 3, settings.heads, int(stride / 3 / settings.heads), ceil_div(length, kAttentionBlock),
      settings};
  s.settings.scale = attention_scale(settings, s.head_cols);
  return s;
}

/// f.operator()<T, N>(): N columns of 32 hold a head's.
template <class F>
void visit_heads(const ConstRef& qkv, const AttentionShape& s, F&& f) {
  visit_float(qkv.dtype, [&]<class T>() {
    if (s.head_cols <= 32) return f.template operator()<T, 1>();
    if (s.head_cols <= 64) return f.template operator()<T, 2>();
    f.template operator()<T, 4>();
  });
}

}  // namespace

void Attention::cuda(CudaContext& c) const {
  if (qkv.numel() == 0) return;
  const AttentionShape s = shape_of(qkv, settings);
  const int64_t blocks = qkv.dim(0) * s.heads * s.blocks;
  visit_heads(qkv, s, [&]<class T, int N>() {
    launch_kernel(c, kName, attention_kernel<T, N>, blocks, kThreads, 0, y.as<T>(), lse.as<float>(), qkv.as<T>(),
                  mask.as<uint8_t>(), s);
  });
}

void AttentionGrad::cuda(CudaContext& c) const {
  if (qkv.numel() == 0) return;
  const AttentionShape s = shape_of(qkv, settings);
  const int64_t rows = qkv.dim(0) * s.length * s.heads, blocks = qkv.dim(0) * s.heads * s.blocks;
  auto* delta = static_cast<float*>(c.workspace(size_t(rows) * sizeof(float)));
  visit_heads(qkv, s, [&]<class T, int N>() {
    launch_kernel(c, kName, attention_delta_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, delta, y.as<T>(),
                  dy.as<T>(), rows, s.head_cols);
    const AttentionGradReads<T> in{qkv.as<T>(), dy.as<T>(), mask.as<uint8_t>(), lse.as<float>(), delta};
    launch_kernel(c, kName, attention_grad_query_kernel<T, N>, blocks, kThreads, 0, dqkv.as<T>(), in, s);
    launch_kernel(c, kName, attention_grad_key_kernel<T, N>, blocks, kThreads, 0, dqkv.as<T>(), in, s);
  });
}

}  // namespace sluice::kernels
