// Sums down the columns of a row-major matrix: how blocks cut it into tiles, and how tiles are combined in fixed order.
// Batch norm and bias gradients are such sums. The cut depends on the shape alone, so results repeat on every GPU.
#pragma once

#include "kernels/common/vec.cuh"

namespace sluice {

/// A block of kThreads is a tile `lanes` threads wide and `strips` high; a thread walks down its `width` columns in
/// steps of `strips` rows inside the block's chunk of rows.
struct ColumnGrid {
  int64_t rows, cols;
  int width;  // neighbouring columns of a thread: 4, or 1 where packs do not fit
  int lanes;  // a power of two, at most 32
  int64_t tiles, chunks, chunk_rows;

  int64_t blocks() const { return tiles * chunks; }
};

/// `packed`: packs of 4 fit, so cols is a multiple of 4. Threads have at least 8 rows, the GPU at most 1024 blocks or
/// one for each tile: what a second pass combines stays small.
inline ColumnGrid column_grid(int64_t rows, int64_t cols, bool packed, int most_lanes = 32) {
  ColumnGrid g{rows, cols, packed ? 4 : 1, 1, 0, 0, 0};
  const int64_t packs = ceil_div(cols, g.width);
  while (g.lanes < most_lanes && g.lanes < packs) g.lanes *= 2;
  g.tiles = ceil_div(packs, g.lanes);
  const int64_t strips = kThreads / g.lanes;
  const int64_t chunks = std::clamp<int64_t>(ceil_div(rows, strips * 8), 1, std::max<int64_t>(1, 1024 / g.tiles));
  g.chunk_rows = std::max<int64_t>(1, ceil_div(ceil_div(rows, chunks), strips)) * strips;
  g.chunks = std::max<int64_t>(1, ceil_div(rows, g.chunk_rows));
  return g;
}

/// For the second pass over [chunks, cols] partial results: one block goes down a whole column, narrow tiles.
inline ColumnGrid finish_grid(int64_t chunks, int64_t cols) {
  ColumnGrid g = column_grid(chunks, cols, false, 8);
  g.chunks = 1;
  g.chunk_rows = chunks;
  return g;
}

/// A thread's part of the matrix.
struct ColumnPlace {
  int strip, strips;
  int64_t chunk, column;  // the first of its columns
  int64_t begin, end;     // its rows: begin, begin + strips, ... below end; none outside the matrix
  bool inside;
};

__device__ inline ColumnPlace column_place(const ColumnGrid& g) {
  ColumnPlace p;
  p.strip = int(threadIdx.x) / g.lanes;
  p.strips = kThreads / g.lanes;
  p.chunk = int64_t(blockIdx.x) / g.tiles;
  const int64_t tile = int64_t(blockIdx.x) - p.chunk * g.tiles;
  p.column = (tile * g.lanes + int64_t(threadIdx.x) % g.lanes) * g.width;
  p.inside = p.column < g.cols;
  const int64_t first = p.chunk * g.chunk_rows, behind = first + g.chunk_rows;
  p.begin = first + p.strip;
  p.end = !p.inside ? 0 : (behind < g.rows ? behind : g.rows);
  return p;
}

/// N values of a per-column vector, wherever it lies.
template <int N>
__device__ inline Pack<float, N> load_columns(const float* p) {
  Pack<float, N> v;
  for (int k = 0; k < N; ++k) v.v[k] = p[k];
  return v;
}

template <class Part>
struct StripParts {
  Part v[kThreads];
};

/// The parts of a tile's strips merged by part.merge(other), in a fixed order. Strip 0 gets the whole; all threads of
/// the block must take part.
template <class Part>
__device__ inline Part merge_strips(const Part& part, const ColumnGrid& g, const ColumnPlace& p) {
  StripParts<Part>& parts = block_shared<StripParts<Part>>();
  Part& mine = parts.v[threadIdx.x];
  mine = part;
  __syncthreads();
  for (int step = p.strips / 2; step > 0; step /= 2) {
    if (p.strip < step) mine.merge(parts.v[int(threadIdx.x) + step * g.lanes]);
    __syncthreads();
  }
  return mine;
}

/// K sums for each of N columns.
template <int K, int N>
struct ColumnSums {
  float v[K][N];

  __device__ void clear() {
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < N; ++j) v[k][j] = 0.0f;
  }
  __device__ void merge(const ColumnSums& o) {
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < N; ++j) v[k][j] += o.v[k][j];
  }
  /// To row `chunk` of partial results [chunks, K, cols].
  __device__ void write(float* partial, const ColumnGrid& g, const ColumnPlace& p) const {
    if (p.strip != 0 || !p.inside) return;
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < N; ++j) partial[(p.chunk * K + k) * g.cols + p.column + j] = v[k][j];
  }
  /// What this thread of a second pass sums of them.
  __device__ void read(const float* partial, const ColumnGrid& g, const ColumnPlace& p) {
    static_assert(N == 1);
    clear();
    for (int64_t chunk = p.begin; chunk < p.end; chunk += p.strips)
      for (int k = 0; k < K; ++k) v[k][0] += partial[(chunk * K + k) * g.cols + p.column];
  }
};

}  // namespace sluice
