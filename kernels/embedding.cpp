// CPU halves of the embedding. The gradient sorts the ids by counting, then each row of the table is one thread's.
#include "kernels/embedding.h"

#include <limits>
#include <type_traits>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kPiece = 256;  // rows written and rows read by one task
constexpr int64_t kBlock = 64;   // rows that are summed before they join the total, so that long sums stay exact
constexpr int64_t kStrip = 64;   // columns whose sums stay near the core

/// The places of the ids in the order of the ids: those of id v are order[starts[v], starts[v + 1]), ascending.
struct Sorted {
  int32_t* starts;  // [vocabulary + 1]
  int32_t* order;
  int64_t vocabulary;

  static size_t bytes(int64_t count, int64_t vocabulary) { return size_t(vocabulary + 1 + count) * sizeof(int32_t); }
  Sorted(void* workspace, const int32_t* ids, int64_t count, int64_t rows)
      : starts(static_cast<int32_t*>(workspace)), order(starts + rows + 1), vocabulary(rows) {
    std::fill_n(starts, vocabulary + 1, 0);
    const auto known = [&](int64_t i) { return ids[i] >= 0 && ids[i] < vocabulary; };
    for (int64_t i = 0; i < count; ++i)
      if (known(i)) ++starts[ids[i]];
    int32_t sum = 0;  // starts[v] becomes the end of v; filling from behind moves it to the beginning
    for (int64_t v = 0; v < vocabulary; ++v) starts[v] = sum += starts[v];
    starts[vocabulary] = sum;
    for (int64_t i = count; i-- > 0;)
      if (known(i)) order[--starts[ids[i]]] = int32_t(i);
  }
  /// The first row of a piece: pieces hold equal numbers of rows of the table and of places together.
  int64_t first_row(int64_t piece) const {
    int64_t low = 0, high = vocabulary;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (middle + starts[middle] < piece * kPiece)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  int64_t pieces() const { return (vocabulary + starts[vocabulary]) / kPiece + 1; }
};

struct Places {
  const int32_t* at;
  int64_t count;
};

/// out[0, width) (+)= sum of x[place * stride + 0, width) over the places, in order.
template <class T, class Width>
void add_places(const T* x, int64_t stride, Places places, float* out, Width width, bool accumulate) {
  float total[kStrip] = {};
  for (int64_t first = 0; first < places.count; first += kBlock) {
    float part[kStrip] = {};
    for (int64_t i = first; i < std::min(places.count, first + kBlock); ++i) {
      const T* row = x + int64_t(places.at[i]) * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) part[j] += float(row[j]);
    }
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) total[j] += part[j];
  }
#pragma omp simd
  for (int64_t j = 0; j < width; ++j) out[j] = accumulate ? out[j] + total[j] : total[j];
}

template <class T>
void add_row(const T* dy, int64_t cols, Places places, float* out, bool accumulate) {
  int64_t c = 0;
  for (; c + kStrip <= cols; c += kStrip)
    add_places(dy + c, cols, places, out + c, std::integral_constant<int64_t, kStrip>(), accumulate);
  if (c < cols) add_places(dy + c, cols, places, out + c, cols - c, accumulate);
}

template <class T, Direction kBy>
void gather(const Embedding& call, const CpuContext& c) {
  constexpr bool kM = kBy != Direction::kNone, kV = kM && kBy != Direction::kMomentum;
  const int64_t vocabulary = call.table.dim(0), cols = call.table.dim(1);
  ForecastConstants k{};
  if constexpr (kM) k = foretell::constants(call.direction, *call.scalars.as<StepScalars>(), call.place, call.group);
  parallel_for(c, call.ids.numel(), [&](int64_t i) {
    const int64_t id = call.ids.as<int32_t>()[i];
    T* out = call.y.as<T>() + i * cols;
    if (id < 0 || id >= vocabulary) {
      std::fill_n(out, cols, T(std::numeric_limits<float>::quiet_NaN()));
      return;
    }
    const float* w = call.table.as<float>() + id * cols;
    const float* m = kM ? call.m.as<float>() + id * cols : nullptr;
    const float* v = kV ? call.v.as<float>() + id * cols : nullptr;
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) store(out[j], foretell::weight<kBy>(w[j], kM ? m[j] : 0, kV ? v[j] : 0, k));
  });
}

}  // namespace

template <>
void Embedding::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype,
              [&]<class T>() { visit_direction(direction.kind, [&]<Direction kBy>() { gather<T, kBy>(*this, c); }); });
}

template <>
void EmbeddingGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t count = ids.numel(), vocabulary = dtable.dim(0), cols = dtable.dim(1);
  const Sorted sorted(c.workspace(Sorted::bytes(count, vocabulary)), ids.as<int32_t>(), count, vocabulary);
  visit_float(dy.dtype, [&]<class T>() {
    parallel_for(c, sorted.pieces(), [&](int64_t p) {
      for (int64_t v = sorted.first_row(p), end = sorted.first_row(p + 1); v < end; ++v) {
        const Places places{sorted.order + sorted.starts[v], sorted.starts[v + 1] - sorted.starts[v]};
        float* out = dtable.as<float>() + v * cols;
        if (places.count > 0)
          add_row(dy.as<T>(), cols, places, out, accumulate);
        else if (!accumulate)
          std::fill_n(out, cols, 0.0f);
      }
    });
  });
}

}  // namespace sluice::kernels
