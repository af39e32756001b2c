// CPU half of the weight gradient from signs: as many rows at a time as stay in the cache are expanded, with the scale
// in them, and go through the library's product.
#include "kernels/sign_grad_weight.h"

#include <algorithm>

#include "kernels/expand_signs.h"
#include "kernels/matmul.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kBytes = int64_t{4} << 20;  // of expanded rows; each piece adds to dw once more

/// Rows [begin, begin + count) of a matrix.
template <class R>
R rows_of(const R& m, int64_t begin, int64_t count) {
  R some = m;
  some.shape = {count, m.dim(1)};
  some.data = static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(m.data))) +
              begin * m.dim(1) * size_of(m.dtype);
  return some;
}

}  // namespace

void SignGradWeight::cpu(CpuContext& c) const {
  const int64_t rows = dz.dim(0), in = dw.dim(1);
  const int64_t most = std::max<int64_t>(8, kBytes / std::max<int64_t>(1, in * size_of(dz.dtype)) / 8 * 8);
  const int64_t pieces = std::max<int64_t>(1, (rows + most - 1) / most), piece = (rows / pieces + 8) / 8 * 8;
  void* expanded = c.outer_workspace(size_t(std::min(piece, rows) * in * size_of(dz.dtype)));
  int64_t begin = 0;
  do {  // once without rows, too: then the gradient is 0
    const int64_t count = std::min(piece, rows - begin);
    const Ref s{{expanded, {count, in}, dz.dtype}};
    const ConstRef packed{{bits.as<uint8_t>() + begin * in / 8, {packed_bytes(count * in)}, DType::kU8}};
    run_cpu(ExpandSigns{.bits = packed, .y = s, .one = scale, .zero = scale * zero}, c);
    MatmulGradWeight{.x = s,
                     .dz = rows_of(dz, begin, count),
                     .dw = dw,
                     .db = db,
                     .accumulate_w = accumulate_w || begin > 0,
                     .accumulate_b = accumulate_b || begin > 0}
        .cpu(c);
    begin += count;
  } while (begin < rows);
}

}  // namespace sluice::kernels
