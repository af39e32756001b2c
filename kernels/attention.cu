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
  AttentionLayout layout;
  int heads, head_cols;
  int64_t query_blocks, key_blocks;  // of a head
  AttentionSettings settings;
};

/// Rows of one head's columns.
template <class T>
struct AttentionMatrix {
  const T* at;
  int64_t row;   // distance
  int64_t rows;  // from `at` on
  __device__ AttentionMatrix from(int64_t first) const { return {at + first * row, row, rows - first}; }
};

/// Where a block works: it has 32 rows from `first` on, of the queries or of the keys of a head.
struct AttentionPlace {
  int64_t sample, head, first;

  __device__ AttentionPlace(const AttentionShape& s, int64_t blocks_of_head) {
    const int64_t task = int64_t(blockIdx.x) / blocks_of_head;
    sample = task / s.heads;
    head = task - sample * s.heads;
    first = (int64_t(blockIdx.x) - task * blocks_of_head) * kAttentionBlock;
  }
  template <class T>
  __device__ T* queries(T* q, const AttentionShape& s) const {
    return q + sample * s.layout.queries * s.layout.q_row + head * s.head_cols;
  }
  /// K or V: what begins in `column`.
  template <class T>
  __device__ T* keys(T* kv, const AttentionShape& s, int64_t column) const {
    return kv + sample * s.layout.keys * s.layout.kv_row + column + head * s.head_cols;
  }
  template <class T>
  __device__ AttentionMatrix<T> query_matrix(const T* q, const AttentionShape& s) const {
    return {queries(q, s), s.layout.q_row, s.layout.queries};
  }
  template <class T>
  __device__ AttentionMatrix<T> key_matrix(const T* kv, const AttentionShape& s, int64_t column) const {
    return {keys(kv, s, column), s.layout.kv_row, s.layout.keys};
  }
  template <class T>
  __device__ AttentionMatrix<T> outer(const T* y, const AttentionShape& s) const {
    return {y + sample * s.layout.queries * s.layout.width + head * s.head_cols, s.layout.width, s.layout.queries};
  }
};

/// What the sample may attend to: up to its last key; where there is none, all keys with scores of 0.
struct AttentionKeys {
  const uint8_t* mask;
  int64_t count;
  float scale;
  bool causal;

  __device__ AttentionKeys(const uint8_t* masks, const AttentionShape& s, const AttentionPlace& at) {
    const int64_t keys = s.layout.keys;
    mask = masks == nullptr ? nullptr : masks + at.sample * keys;
    count = keys;
    scale = s.layout.scale;
    causal = s.layout.causal;
    if (mask == nullptr) return;
    float last = 0.0f;  // exact: S is below 2^20
    for (int64_t k = threadIdx.x; k < keys; k += kThreads)
      if (mask[k] != 0) last = float(k + 1);
    count = int64_t(block_reduce<Max>(last));
    if (count > 0) return;
    mask = nullptr;
    count = keys;
    scale = 0.0f;
  }
  __device__ bool open(int64_t key) const { return key < count && (mask == nullptr || mask[key] != 0); }
  __device__ bool seen(int64_t query, int64_t key) const { return !causal || key <= query; }
  /// How many of the keys the 32 queries from `first` on see.
  __device__ int64_t count_for(int64_t first) const {
    return causal && first + kAttentionBlock < count ? first + kAttentionBlock : count;
  }
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
    attention_kernel(T* y, float* lse, const T* q_all, const T* kv, const uint8_t* masks, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s, s.query_blocks);
  const AttentionKeys keys(masks, s, at);
  const auto q = at.query_matrix(q_all, s).from(at.first), k = at.key_matrix(kv, s, s.layout.key_column),
             v = at.key_matrix(kv, s, s.layout.value_column);
  const int64_t query = at.first + kAttentionRows * warp();
  float result[kAttentionRows][N], top[kAttentionRows], sum[kAttentionRows];
  clear(result);
  for (int r = 0; r < kAttentionRows; ++r) {
    top[r] = Max::kNeutral;
    sum[r] = 0.0f;
  }
  for (int64_t first = 0; first < keys.count_for(at.first); first += kAttentionBlock) {
    float score[kAttentionRows], kept[kAttentionRows];
    row_products(score, q, k.from(first), s.head_cols, tiles);
    draw_kept(kept, query, first + lane(), at, s.settings);
    const bool open = keys.open(first + lane());
    for (int r = 0; r < kAttentionRows; ++r) {
      const bool counts = open && keys.seen(query + r, first + lane());
      const float scaled = score[r] * keys.scale;
      const float largest = Max::combine(warp_reduce<Max>(counts ? scaled : Max::kNeutral), top[r]);
      const float e = counts ? math::exp(scaled - largest) : 0.0f, shrunk = math::exp(top[r] - largest);
      sum[r] = sum[r] * shrunk + warp_reduce<Sum>(e);
      top[r] = largest;
      for (int j = 0; j < N; ++j) result[r][j] *= shrunk;
      tiles.probabilities[kAttentionRows * warp() + r][lane()] = e * kept[r];
    }
    add_products(result, v.from(first), s.head_cols, tiles);
  }
  for (int r = 0; r < kAttentionRows; ++r)
    for (int j = 0; j < N; ++j) result[r][j] /= sum[r];
  const int64_t rows = s.layout.queries - at.first, width = s.layout.width;
  T* to = y + (at.sample * s.layout.queries + at.first) * width + at.head * s.head_cols;
  store_rows(to, width, rows, result, s.head_cols);
  if (lse == nullptr || lane() != 0) return;
  lse += (at.sample * s.heads + at.head) * s.layout.queries;
  for (int r = 0; r < kAttentionRows; ++r)
    if (query + r < s.layout.queries) lse[query + r] = top[r] + math::log(sum[r]);
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
  const T *q, *kv, *dy;
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
    const auto q = at.query_matrix(in.q, s).from(first.query),
               k = at.key_matrix(in.kv, s, s.layout.key_column).from(first.key),
               v = at.key_matrix(in.kv, s, s.layout.value_column).from(first.key),
               dy = at.outer(in.dy, s).from(first.query);
    float score[kAttentionRows], dprobability[kAttentionRows], kept[kAttentionRows];
    row_products(score, q, k, s.head_cols, tiles);
    row_products(dprobability, dy, v, s.head_cols, tiles);
    const int64_t query = first.query + kAttentionRows * warp(), key = first.key + lane();
    draw_kept(kept, query, key, at, s.settings);
    const float* lse = in.lse + (at.sample * s.heads + at.head) * s.layout.queries;
    const float* delta = in.delta + at.sample * s.layout.queries * s.heads + at.head;
    const bool open = keys.open(key);
    for (int r = 0; r < kAttentionRows; ++r) {
      dropped[r] = dscore[r] = 0.0f;
      if (!open || query + r >= s.layout.queries || !keys.seen(query + r, key)) continue;
      const float p = math::exp(score[r] * keys.scale - lse[query + r]);
      dropped[r] = p * kept[r];
      dscore[r] = p * (dprobability[r] * kept[r] - delta[(query + r) * s.heads]) * keys.scale;
    }
  }
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kAttentionBlocks)
    attention_grad_query_kernel(T* dq_all, AttentionGradReads<T> in, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s, s.query_blocks);
  const AttentionKeys keys(in.masks, s, at);
  const auto k = at.key_matrix(in.kv, s, s.layout.key_column);
  float dq[kAttentionRows][N];
  clear(dq);
  for (int64_t first = 0; first < keys.count_for(at.first); first += kAttentionBlock) {
    const AttentionGradBlock block(in, s, at, keys, {at.first, first}, tiles);
    for (int r = 0; r < kAttentionRows; ++r) tiles.probabilities[kAttentionRows * warp() + r][lane()] = block.dscore[r];
    add_products(dq, k.from(first), s.head_cols, tiles);
  }
  const int64_t row = s.layout.q_row;
  store_rows(at.queries(dq_all, s) + at.first * row, row, s.layout.queries - at.first, dq, s.head_cols);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kAttentionBlocks)
    attention_grad_key_kernel(T* dkv, AttentionGradReads<T> in, AttentionShape s) {
  AttentionTiles& tiles = block_shared<AttentionTiles>();
  const AttentionPlace at(s, s.key_blocks);
  const AttentionKeys keys(in.masks, s, at);
  const auto q = at.query_matrix(in.q, s);
  const auto dy = at.outer(in.dy, s);
  float dk[kAttentionRows][N], dv[kAttentionRows][N];
  clear(dk);
  clear(dv);
  const int64_t begin = keys.causal ? at.first : 0;  // the first query that sees one of these keys
  for (int64_t first = begin; at.first < keys.count && first < s.layout.queries; first += kAttentionBlock) {
    const AttentionGradBlock block(in, s, at, keys, {first, at.first}, tiles);
    for (int r = 0; r < kAttentionRows; ++r)  // turned: rows are keys now
      tiles.probabilities[lane()][kAttentionRows * warp() + r] = block.dropped[r];
    add_products(dv, dy.from(first), s.head_cols, tiles);
    for (int r = 0; r < kAttentionRows; ++r) tiles.probabilities[lane()][kAttentionRows * warp() + r] = block.dscore[r];
    add_products(dk, q.from(first), s.head_cols, tiles);
  }
  const int64_t row = s.layout.kv_row, rows = s.layout.keys - at.first;
  store_rows(at.keys(dkv, s, s.layout.key_column) + at.first * row, row, rows, dk, s.head_cols);
  store_rows(at.keys(dkv, s, s.layout.value_column) + at.first * row, row, rows, dv, s.head_cols);
}

namespace {

AttentionShape attention_shape(const AttentionLayout& at, const AttentionSettings& settings) {
  return {at,
          settings.heads,
          int(at.head_cols),
          ceil_div(at.queries, kAttentionBlock),
          ceil_div(at.keys, kAttentionBlock),
          settings};
}

/// f.operator()<T, N>(): N columns of 32 hold a head's.
template <class F>
void visit_heads(DType dtype, const AttentionShape& s, F&& f) {
  visit_float(dtype, [&]<class T>() {
    if (s.head_cols <= 32) return f.template operator()<T, 1>();
    if (s.head_cols <= 64) return f.template operator()<T, 2>();
    f.template operator()<T, 4>();
  });
}

}  // namespace

void Attention::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const AttentionShape s = attention_shape({qkv, kv, settings}, settings);
  const ConstRef& pairs = kv.defined() ? kv : qkv;
  visit_heads(qkv.dtype, s, [&]<class T, int N>() {
    launch_kernel(c, kName, attention_kernel<T, N>, s.layout.samples * s.heads * s.query_blocks, kThreads, 0, y.as<T>(),
                  lse.as<float>(), qkv.as<T>(), pairs.as<T>(), mask.as<uint8_t>(), s);
  });
}

void AttentionGrad::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const AttentionShape s = attention_shape({qkv, kv, settings}, settings);
  const int64_t heads = s.layout.samples * s.heads, rows = heads * s.layout.queries;
  const ConstRef& pairs = kv.defined() ? kv : qkv;
  const Ref& dpairs = kv.defined() ? dkv : dqkv;
  auto* delta = static_cast<float*>(c.workspace(size_t(rows) * sizeof(float)));
  visit_heads(qkv.dtype, s, [&]<class T, int N>() {
    launch_kernel(c, kName, attention_delta_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, delta, y.as<T>(),
                  dy.as<T>(), rows, s.head_cols);
    const AttentionGradReads<T> in{qkv.as<T>(), pairs.as<T>(), dy.as<T>(), mask.as<uint8_t>(), lse.as<float>(), delta};
    launch_kernel(c, kName, attention_grad_query_kernel<T, N>, heads * s.query_blocks, kThreads, 0, dqkv.as<T>(), in,
                  s);
    launch_kernel(c, kName, attention_grad_key_kernel<T, N>, heads * s.key_blocks, kThreads, 0, dpairs.as<T>(), in, s);
  });
}

}  // namespace sluice::kernels
