// CUDA halves of concatenation: one launch over the whole's elements, in packs where every part is whole packs wide.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/concat.h"

namespace sluice::kernels {

/// Where each part lies, and behind which column of the whole it ends; parts that there are not end with the last.
template <class Pointer>
struct ColumnTable {
  static constexpr int kMost = ColumnParts<Ref>::kMost;
  Pointer part[kMost];
  int64_t end[kMost];
};

/// f(pointer to the part's element) for element i of the whole. Selected without indexing by a variable, which would
/// copy the table to each thread's own memory.
template <class Pointer, class F>
__device__ inline void at_part(const ColumnTable<Pointer>& table, int64_t i, F f) {
  constexpr int kMost = ColumnTable<Pointer>::kMost;
  const int64_t columns = table.end[kMost - 1], row = i / columns, column = i - row * columns;
  Pointer part = table.part[0];
  int64_t begin = 0, end = table.end[0];
  for (int p = 1; p < kMost; ++p) {
    const bool behind = column >= table.end[p - 1];
    part = behind ? table.part[p] : part;
    begin = behind ? table.end[p - 1] : begin;
    end = behind ? table.end[p] : end;
  }
  f(part + row * (end - begin) + column - begin);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) concat_kernel(T* y, int64_t n, ColumnTable<const T*> parts) {
  for (int64_t i = global_thread() * N; i < n; i += grid_threads() * N)
    at_part(parts, i, [=](const T* x) { store(y + i, load<N>(x)); });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) concat_grad_kernel(const T* dy, int64_t n, ColumnTable<T*> parts) {
  for (int64_t i = global_thread() * N; i < n; i += grid_threads() * N)
    at_part(parts, i, [=](T* dx) { store(dx, load<N>(dy + i)); });
}

namespace detail {
template <class T, class Pointer, class R>
ColumnTable<Pointer> column_table(const ColumnParts<R>& parts) {
  ColumnTable<Pointer> table{};
  int64_t end = 0;
  for (int i = 0; i < ColumnParts<R>::kMost; ++i) {
    if (i < parts.count) {
      end += parts.v[size_t(i)].shape.cols();
      table.part[i] = parts.v[size_t(i)].template as<T>();
    }
    table.end[i] = end;
  }
  return table;
}
template <class T, class R>
bool whole_packs(const ColumnParts<R>& parts, const T* whole) {
  bool packed = aligned_for(kPack<T>, whole);
  for (int i = 0; i < parts.count; ++i) {
    const R& part = parts.v[size_t(i)];
    packed = packed && part.shape.cols() % kPack<T> == 0 && aligned_for(kPack<T>, part.template as<T>());
  }
  return packed;
}
}  // namespace detail

void Concat::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    constexpr int kN = kPack<T>;
    const bool packed = detail::whole_packs<T>(parts, y.as<T>());
    const Grid g = grid_for(c, packed ? n / kN : n);
    launch_kernel(c, kName, packed ? concat_kernel<T, kN> : concat_kernel<T, 1>, g.blocks, g.threads, 0, y.as<T>(), n,
                  detail::column_table<T, const T*>(parts));
  });
}

void ConcatGrad::cuda(CudaContext& c) const {
  const int64_t n = dy.numel();
  if (n == 0) return;
  visit_float(dy.dtype, [&]<class T>() {
    constexpr int kN = kPack<T>;
    const bool packed = detail::whole_packs<T>(dparts, dy.as<T>());
    const Grid g = grid_for(c, packed ? n / kN : n);
    launch_kernel(c, kName, packed ? concat_grad_kernel<T, kN> : concat_grad_kernel<T, 1>, g.blocks, g.threads, 0,
                  dy.as<T>(), n, detail::column_table<T, T*>(dparts));
  });
}

}  // namespace sluice::kernels
