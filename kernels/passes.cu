// Zeroes, sums of partial results, bias and activation in place, column sums, conversion, accumulation: passes.cuh.
#include "kernels/common/columns.cuh"
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"

namespace sluice::passes {

void zero(CudaContext& c, const Ref& r) {
  if (r.bytes() > 0) check(cudaMemsetAsync(r.data, 0, size_t(r.bytes()), c.stream), "cudaMemsetAsync");
}

__global__ void __launch_bounds__(kThreads) sum_kernel(float* out, const float* partial, int64_t n, float factor) {
  float s = 0.0f;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) s += partial[i];
  s = block_reduce<Sum>(s);
  if (threadIdx.x == 0) *out = factor * s;
}

void sum(CudaContext& c, const char* name, const float* partial, int64_t n, float factor, float* out) {
  launch_kernel(c, name, sum_kernel, 1, kThreads, 0, out, partial, n, factor);
}

template <class T, int N, Act A>
__global__ void __launch_bounds__(kThreads) bias_act_kernel(T* y, const float* bias, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  if (!p.inside) return;
  Pack<float, N> add{};
  if (bias != nullptr) add = load_columns<N>(bias + p.column);
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    T* at = y + r * g.cols + p.column;
    Pack<T, N> v = load<N>(at);
    for (int j = 0; j < N; ++j) v.v[j] = T(math::act<A>(float(v.v[j]) + add.v[j]));
    store(at, v);
  }
}

void bias_act(CudaContext& c, const char* name, const Ref& y, const ConstRef& bias, Act act) {
  if (y.numel() == 0 || (act == Act::kNone && !bias.defined())) return;
  visit_float(y.dtype, [&]<class T>() {
    visit_act(act, [&]<Act A>() {
      const bool packed = y.shape.cols() % 4 == 0 && aligned_for(4, y.as<T>());
      const ColumnGrid g = column_grid(y.shape.rows(), y.shape.cols(), packed);
      launch_kernel(c, name, packed ? bias_act_kernel<T, 4, A> : bias_act_kernel<T, 1, A>, g.blocks(), kThreads, 0,
                    y.as<T>(), bias.as<float>(), g);
    });
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) column_sums_kernel(float* partial, const T* x, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  ColumnSums<1, N> sums;
  sums.clear();
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    const Pack<T, N> v = load<N>(x + r * g.cols + p.column);
    for (int j = 0; j < N; ++j) sums.v[0][j] += float(v.v[j]);
  }
  merge_strips(sums, g, p).write(partial, g, p);
}

__global__ void __launch_bounds__(kThreads)
    column_sums_finish_kernel(float* sums, const float* partial, ColumnGrid g, bool add) {
  const ColumnPlace p = column_place(g);
  ColumnSums<1, 1> s;
  s.read(partial, g, p);
  s = merge_strips(s, g, p);
  if (add && p.strip == 0 && p.inside) s.v[0][0] = sums[p.column] + s.v[0][0];
  s.write(sums, g, p);
}

namespace {
template <class T>
ColumnGrid sums_grid(const ConstRef& x) {
  const bool packed = x.shape.cols() % 4 == 0 && aligned_for(4, x.as<T>());
  return column_grid(x.shape.rows(), x.shape.cols(), packed);
}
}  // namespace

size_t column_sums_workspace(const ConstRef& x) {
  size_t bytes = 0;
  if (x.shape.cols() > 0)
    visit_float(x.dtype, [&]<class T>() { bytes = size_t(sums_grid<T>(x).chunks * x.shape.cols()) * sizeof(float); });
  return bytes;
}

void column_sums(CudaContext& c, const char* name, const ConstRef& x, const Ref& sums, bool accumulate,
                 void* workspace) {
  const int64_t cols = x.shape.cols();
  if (cols == 0) return;
  auto* partial = static_cast<float*>(workspace);
  visit_float(x.dtype, [&]<class T>() {
    const ColumnGrid g = sums_grid<T>(x), second = finish_grid(g.chunks, cols);
    launch_kernel(c, name, g.width == 4 ? column_sums_kernel<T, 4> : column_sums_kernel<T, 1>, g.blocks(), kThreads, 0,
                  partial, x.as<T>(), g);
    launch_kernel(c, name, column_sums_finish_kernel, second.blocks(), kThreads, 0, sums.as<float>(), partial, second,
                  accumulate);
  });
}

template <class To, class From, bool kAdd>
__global__ void __launch_bounds__(kThreads) convert_kernel(To* to, const From* from, int64_t n, bool packed) {
  for_packs<4>(n, packed, [=]<int N>(int64_t i) {
    const Pack<From, N> v = load<N>(from + i);
    Pack<To, N> result;
    if constexpr (kAdd) result = load<N>(to + i);
    for (int k = 0; k < N; ++k) result.v[k] = To(kAdd ? float(result.v[k]) + float(v.v[k]) : float(v.v[k]));
    store(to + i, result);
  });
}

namespace {
template <class To, class From, bool kAdd>
void run_convert(CudaContext& c, const char* name, const ConstRef& from, const Ref& to) {
  const int64_t n = to.numel();
  if (n == 0) return;
  const Grid g = grid_for(c, ceil_div(n, 4));
  launch_kernel(c, name, convert_kernel<To, From, kAdd>, g.blocks, g.threads, 0, to.as<To>(), from.as<From>(), n,
                aligned_for(4, to.as<To>()) && aligned_for(4, from.as<From>()));
}
}  // namespace

void convert(CudaContext& c, const char* name, const ConstRef& from, const Ref& to) {
  if (to.dtype == DType::kBF16) return run_convert<bf16, float, false>(c, name, from, to);
  run_convert<float, bf16, false>(c, name, from, to);
}

void accumulate(CudaContext& c, const char* name, const ConstRef& from, const Ref& to) {
  if (from.dtype == DType::kF32) return run_convert<float, float, true>(c, name, from, to);
  run_convert<float, bf16, true>(c, name, from, to);
}

}  // namespace sluice::passes
