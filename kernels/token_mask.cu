// CUDA half of TokenMask: one pass, four tokens a thread.
#include "kernels/common/vec.cuh"
#include "kernels/token_mask.h"

namespace sluice::kernels {

__global__ void __launch_bounds__(kThreads)
    token_mask_kernel(uint8_t* mask, const int32_t* ids, int64_t n, bool packed) {
  for_packs<4>(n, packed, [=]<int N>(int64_t i) {
    const Pack<int32_t, N> id = load<N>(ids + i);
    Pack<uint8_t, N> v;
    for (int k = 0; k < N; ++k) v.v[k] = uint8_t(id.v[k] != 0 ? 1 : 0);
    store(mask + i, v);
  });
}

void TokenMask::cuda(CudaContext& c) const {
  const int64_t n = ids.numel();
  if (n == 0) return;
  const Grid g = grid_for(c, ceil_div(n, 4));
  launch_kernel(c, kName, token_mask_kernel, g.blocks, g.threads, 0, mask.as<uint8_t>(), ids.as<int32_t>(), n,
                aligned_for(4, ids.as<int32_t>()) && aligned_for(4, mask.as<uint8_t>()));
}

}  // namespace sluice::kernels
