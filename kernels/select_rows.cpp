// CPU half of SelectRows: one copy for each selected stretch.
#include "kernels/select_rows.h"

#include <cstring>

#include "kernels/common/parallel.h"

namespace sluice::kernels {

template <>
void SelectRows::cpu<kIsa>(CpuContext& c) const {
  if (y.numel() == 0) return;
  const int64_t inner = inner_bytes(), from = x.dim(axis), to = index.dim(0);
  parallel_for(c, outer() * to, [&](int64_t row) {
    const int64_t o = row / to, n = row % to;
    memcpy(y.as<char>() + row * inner, x.as<char>() + (o * from + index.as<int32_t>()[n]) * inner, size_t(inner));
  });
}

}  // namespace sluice::kernels
