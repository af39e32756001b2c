// CPU halves: sums of blocks in float, added in order in double.
#include "kernels/gradient_norm.h"

#include <cmath>

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"

namespace sluice::kernels {
namespace {
constexpr int64_t kSquaresBlock = 4096;
}  // namespace

template <>
void SumSquares::cpu<kIsa>(CpuContext& c) const {
  const int64_t n = x.numel(), blocks = (n + kSquaresBlock - 1) / kSquaresBlock;
  auto* sums = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, blocks)) * sizeof(float)));
  parallel_blocks(c, n, kSquaresBlock, [=, in = x.as<float>()](int64_t begin, int64_t end) {
    sums[begin / kSquaresBlock] = lane_sum(begin, end, [=](int64_t i) { return in[i] * in[i]; });
  });
  double all = 0;
  for (int64_t b = 0; b < blocks; ++b) all += double(sums[b]);
  *sum.as<float>() = float(all);
}

template <>
void ClipFactor::cpu<kIsa>(CpuContext&) const {
  double all = 0;
  for (int64_t i = 0; i < squares.numel(); ++i) all += double(squares.as<float>()[i]);
  *factor.as<float>() = detail::clip_factor(float(std::sqrt(all)), most);
}

}  // namespace sluice::kernels
