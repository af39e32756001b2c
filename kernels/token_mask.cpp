// CPU half of the token mask: one pass.
#include "kernels/token_mask.h"

#include "kernels/common/parallel.h"

namespace sluice::kernels {

template <>
void TokenMask::cpu<kIsa>(CpuContext& c) const {
  parallel_blocks(c, ids.numel(), 16384,
                  [in = ids.as<int32_t>(), out = mask.as<uint8_t>()](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) out[i] = uint8_t(in[i] != 0 ? 1 : 0);
                  });
}

}  // namespace sluice::kernels
