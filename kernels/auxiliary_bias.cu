// CUDA halves of auxiliary bias activation: a warp a row of w for the bias; column sums of dz, then one pass over the
// weights that writes dw and one, down their columns, that sums da.
#include "kernels/auxiliary_bias.h"
#include "kernels/common/columns.cuh"
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

struct AuxiliaryShape {
  int64_t out, in, group;  // group: outputs that share a vector
};

__global__ void __launch_bounds__(kThreads)
    auxiliary_bias_kernel(float* y, const float* w, const float* a, const float* bias, AuxiliaryShape z) {
  constexpr int64_t kWarps = kThreads / 32;
  for (int64_t o = int64_t(blockIdx.x) * kWarps + warp(); o < z.out; o += int64_t(gridDim.x) * kWarps) {
    const float *row = w + o * z.in, *v = a + o / z.group * z.in;
    float sum = 0.0f;
    for (int64_t i = lane(); i < z.in; i += 32) sum += row[i] * v[i];
    sum = warp_reduce<Sum>(sum);
    if (lane() == 0) y[o] = bias == nullptr ? sum : bias[o] + sum;
  }
}

__global__ void __launch_bounds__(kThreads)
    auxiliary_weight_kernel(float* dw, const float* sums, const float* a, float scale, AuxiliaryShape z, bool add) {
  for (int64_t i = global_thread(); i < z.out * z.in; i += grid_threads()) {
    const int64_t o = i / z.in;
    const float g = scale * sums[o] * a[o / z.group * z.in + i % z.in];
    dw[i] = add ? dw[i] + g : g;
  }
}

/// da (+)= w^T sums: a thread goes down a column of its group, so that neighbours load neighbouring weights.
__global__ void __launch_bounds__(kThreads)
    auxiliary_vector_kernel(float* da, const float* w, const float* sums, AuxiliaryShape z, bool add) {
  for (int64_t i = global_thread(); i < z.out / z.group * z.in; i += grid_threads()) {
    const int64_t first = i / z.in * z.group, column = i % z.in;
    float sum = 0.0f;
    for (int64_t o = first; o < first + z.group; ++o) sum += sums[o] * w[o * z.in + column];
    da[i] = add ? da[i] + sum : sum;
  }
}

__global__ void __launch_bounds__(kThreads) add_sums_kernel(float* db, const float* sums, int64_t n, bool add) {
  for (int64_t i = global_thread(); i < n; i += grid_threads()) db[i] = add ? db[i] + sums[i] : sums[i];
}

void AuxiliaryBias::cuda(CudaContext& c) const {
  const int64_t out = w.dim(0);
  if (out == 0) return;
  const Grid g = grid_for(c, out * 32);
  launch_kernel(c, kName, auxiliary_bias_kernel, g.blocks, g.threads, 0, y.as<float>(), w.as<float>(), a.as<float>(),
                bias.as<float>(), AuxiliaryShape{out, w.dim(1), detail::auxiliary_rows(w, a)});
}

void AuxiliaryBiasGrad::cuda(CudaContext& c) const {
  const int64_t out = w.dim(0), in = w.dim(1);
  if (out == 0 || in == 0) return;
  const size_t own = passes::padded(size_t(out) * sizeof(float));
  auto* scratch = static_cast<std::byte*>(c.workspace(own + passes::column_sums_workspace(dz)));
  const Ref sums{{scratch, {out}, DType::kF32}};
  passes::column_sums(c, kName, dz, sums, false, scratch + own);
  if (db.defined()) {
    const Grid g = grid_for(c, out);
    launch_kernel(c, kName, add_sums_kernel, g.blocks, g.threads, 0, db.as<float>(), sums.as<float>(), out,
                  accumulate_b);
  }
  const AuxiliaryShape z{out, in, detail::auxiliary_rows(w, a)};
  const Grid all = grid_for(c, out * in), columns = grid_for(c, out / z.group * in);
  launch_kernel(c, kName, auxiliary_weight_kernel, all.blocks, all.threads, 0, dw.as<float>(), sums.as<float>(),
                a.as<float>(), scale, z, accumulate_w);
  launch_kernel(c, kName, auxiliary_vector_kernel, columns.blocks, columns.threads, 0, da.as<float>(), w.as<float>(),
                sums.as<float>(), z, accumulate_a);
}

}  // namespace sluice::kernels
