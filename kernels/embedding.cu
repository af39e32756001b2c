// CUDA halves of the embedding: a warp per row. The gradient sorts keys (id, place), which are unique, so that any sort
// is a stable one: tiles by counting, then merges of four. What is found stays on the device.
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/embedding.h"

namespace sluice::kernels {

inline constexpr int64_t kWindow = 64;  // sorted places whose sum is made ahead where they all have one id
inline constexpr int kMergedRuns = 4;

struct TableRows {
  const float *w, *m, *v;  // [vocabulary, cols]
  int64_t vocabulary, cols;
  DirectionRule direction;
  const StepScalars* scalars;
  int place;
  int64_t group;
};

template <class T, Direction kBy, int N>
__global__ void __launch_bounds__(kThreads, 4)
    embedding_kernel(T* y, const int32_t* ids, int64_t count, TableRows rows) {
  constexpr bool kM = kBy != Direction::kNone, kV = kM && kBy != Direction::kMomentum;
  ForecastConstants k{};
  if constexpr (kM) k = foretell::constants(rows.direction, *rows.scalars, rows.place, rows.group);
  for (int64_t i = global_thread() / 32; i < count; i += grid_threads() / 32) {
    const int64_t id = ids[i];
    const bool known = id >= 0 && id < rows.vocabulary;
    for (int64_t c = int64_t(lane()) * N; c < rows.cols; c += 32 * N) {
      Pack<T, N> out;
      if (known) {
        const int64_t at = id * rows.cols + c;
        Pack<float, N> w = load<N>(rows.w + at), m{}, v{};
        if constexpr (kM) m = load<N>(rows.m + at);
        if constexpr (kV) v = load<N>(rows.v + at);
        for (int j = 0; j < N; ++j) out.v[j] = T(foretell::weight<kBy>(w.v[j], m.v[j], v.v[j], k));
      } else {
        for (int j = 0; j < N; ++j) out.v[j] = T(__builtin_nanf(""));
      }
      store(y + i * rows.cols + c, out);
    }
  }
}

void Embedding::cuda(CudaContext& c) const {
  const int64_t count = ids.numel(), cols = table.dim(1);
  if (y.numel() == 0) return;
  const TableRows rows{table.as<float>(),         m.as<float>(), v.as<float>(), table.dim(0), cols, direction,
                       scalars.as<StepScalars>(), place,         group};
  visit_float(y.dtype, [&]<class T>() {
    visit_direction(direction.kind, [&]<Direction kBy>() {
      const bool packed = cols % 4 == 0 && aligned_for(4, rows.w, rows.m, rows.v) && aligned_for(4, y.as<T>());
      const Grid g = grid_for(c, count * 32);
      launch_kernel(c, kName, packed ? embedding_kernel<T, kBy, 4> : embedding_kernel<T, kBy, 1>, g.blocks, g.threads,
                    0, y.as<T>(), ids.as<int32_t>(), count, rows);
    });
  });
}

// ---- the sort ----

struct KeyTile {
  uint64_t v[kThreads];
};

/// keys = id << 32 | place, ascending in every tile of kThreads. Ids that are in no table come last.
__global__ void __launch_bounds__(kThreads)
    embedding_tiles_kernel(uint64_t* keys, const int32_t* ids, int64_t count, int64_t vocabulary) {
  KeyTile& tile = block_shared<KeyTile>();
  const int64_t first = int64_t(blockIdx.x) * kThreads, i = first + int64_t(threadIdx.x);
  const int size = int(count - first < kThreads ? count - first : kThreads);
  uint64_t key = 0;
  if (i < count) {
    const int32_t id = ids[i];
    key = uint64_t(id >= 0 && id < vocabulary ? uint32_t(id) : 0xffffffffu) << 32 | uint64_t(i);
    tile.v[threadIdx.x] = key;
  }
  __syncthreads();
  if (i >= count) return;
  int rank = 0;
  for (int k = 0; k < size; ++k) rank += tile.v[k] < key ? 1 : 0;
  keys[first + rank] = key;
}

/// The first of keys[begin, end) that is not below `key`, or end.
__device__ inline int64_t lower_bound(const uint64_t* keys, int64_t begin, int64_t end, uint64_t key) {
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (keys[middle] < key)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

/// Groups of kMergedRuns sorted runs become one: a key's place is the sum of its ranks in the runs.
__global__ void __launch_bounds__(kThreads)
    embedding_merge_kernel(uint64_t* to, const uint64_t* from, int64_t count, int64_t run) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const int64_t group = i / (run * kMergedRuns) * (run * kMergedRuns);
  const uint64_t key = from[i];
  int64_t place = group;
  for (int r = 0; r < kMergedRuns; ++r) {
    const int64_t begin = group + r * run, end = begin + run < count ? begin + run : count;
    if (begin >= count) break;
    place += (i >= begin && i < end ? i : lower_bound(from, begin, end, key)) - begin;
  }
  to[place] = key;
}

// ---- the sums ----

template <class T>
struct SortedRows {
  const T* dy;  // [count, cols]
  int64_t count, cols;
  const uint64_t* keys;  // [count], ascending
  const float* windows;  // [whole windows, cols]: their sums, where they have one id
};

template <class T, int N>
__device__ inline void add_places(Pack<float, N>& sum, const SortedRows<T>& in, int64_t c, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const Pack<T, N> row = load<N>(in.dy + int64_t(in.keys[p] & 0xffffffffu) * in.cols + c);
    for (int k = 0; k < N; ++k) sum.v[k] += float(row.v[k]);
  }
}

/// A warp per whole window: common ids (padding) would keep one warp busy for long.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_windows_kernel(float* windows, SortedRows<T> in) {
  const int64_t w = global_thread() / 32, begin = w * kWindow, end = begin + kWindow;
  if (end > in.count || in.keys[begin] >> 32 != in.keys[end - 1] >> 32) return;  // whole warps
  for (int64_t c = int64_t(lane()) * N; c < in.cols; c += 32 * N) {
    Pack<float, N> sum{};
    add_places(sum, in, c, begin, end);
    store(windows + w * in.cols + c, sum);
  }
}

/// A warp per row of the table. Places are added in order, whole windows as one.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    embedding_grad_kernel(float* dtable, SortedRows<T> in, int64_t vocabulary, bool accumulate) {
  const int64_t row = global_thread() / 32;
  if (row >= vocabulary) return;  // whole warps
  int64_t bound = 0;
  if (lane() < 2) bound = lower_bound(in.keys, 0, in.count, uint64_t(row + lane()) << 32);
  const int64_t begin = __shfl_sync(kAllLanes, bound, 0), end = __shfl_sync(kAllLanes, bound, 1);
  if (begin == end && accumulate) return;
  const int64_t first = ceil_div(begin, kWindow), last = end / kWindow;
  for (int64_t c = int64_t(lane()) * N; c < in.cols; c += 32 * N) {
    Pack<float, N> sum{};
    if (first < last) {
      add_places(sum, in, c, begin, first * kWindow);
      for (int64_t w = first; w < last; ++w) {
        const Pack<float, N> window = load<N>(in.windows + w * in.cols + c);
        for (int k = 0; k < N; ++k) sum.v[k] += window.v[k];
      }
      add_places(sum, in, c, last * kWindow, end);
    } else {
      add_places(sum, in, c, begin, end);
    }
    float* at = dtable + row * in.cols + c;
    if (accumulate) {
      const Pack<float, N> old = load<N>(at);
      for (int k = 0; k < N; ++k) sum.v[k] = old.v[k] + sum.v[k];
    }
    store(at, sum);
  }
}

namespace {

/// The keys of all ids, sorted; in one of the two buffers.
const uint64_t* sort_ids(CudaContext& c, const char* name, const ConstRef& ids, int64_t vocabulary, uint64_t* buffer) {
  const int64_t count = ids.numel(), blocks = ceil_div(count, kThreads);
  uint64_t *sorted = buffer, *other = buffer + count;
  launch_kernel(c, name, embedding_tiles_kernel, blocks, kThreads, 0, sorted, ids.as<int32_t>(), count, vocabulary);
  for (int64_t run = kThreads; run < count; run *= kMergedRuns) {
    launch_kernel(c, name, embedding_merge_kernel, blocks, kThreads, 0, other, sorted, count, run);
    std::swap(sorted, other);
  }
  return sorted;
}

}  // namespace

void EmbeddingGrad::cuda(CudaContext& c) const {
  const int64_t count = ids.numel(), vocabulary = dtable.dim(0), cols = dtable.dim(1), windows = count / kWindow;
  if (dtable.numel() == 0) return;
  if (count == 0) {
    if (!accumulate) passes::zero(c, dtable);
    return;
  }
  const size_t keys = passes::padded(size_t(2 * count) * sizeof(uint64_t));
  auto* scratch = static_cast<std::byte*>(c.workspace(keys + size_t(windows * cols) * sizeof(float)));
  auto* sums = reinterpret_cast<float*>(scratch + keys);
  const uint64_t* sorted = sort_ids(c, kName, ids, vocabulary, reinterpret_cast<uint64_t*>(scratch));
  visit_float(dy.dtype, [&]<class T>() {
    const bool packed = cols % 4 == 0 && aligned_for(4, dtable.as<float>()) && aligned_for(4, dy.as<T>());
    const SortedRows<T> in{dy.as<T>(), count, cols, sorted, sums};
    if (windows > 0)
      launch_kernel(c, kName, packed ? embedding_windows_kernel<T, 4> : embedding_windows_kernel<T, 1>,
                    ceil_div(windows * 32, kThreads), kThreads, 0, sums, in);
    launch_kernel(c, kName, packed ? embedding_grad_kernel<T, 4> : embedding_grad_kernel<T, 1>,
                  ceil_div(vocabulary * 32, kThreads), kThreads, 0, dtable.as<float>(), in, vocabulary, accumulate);
  });
}

}  // namespace sluice::kernels
