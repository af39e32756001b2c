// CUDA half of SelectRows: a thread for each word of y.
#include "kernels/common/vec.cuh"
#include "kernels/select_rows.h"

namespace sluice::kernels {

struct SelectShape {
  int64_t words;     // of y
  int64_t inner;     // words behind the axis
  int64_t from, to;  // samples of x and y along the axis
};

template <class Word>
__global__ void __launch_bounds__(kThreads)
    select_rows_kernel(Word* y, const Word* x, const int32_t* index, SelectShape s) {
  for (int64_t i = global_thread(); i < s.words; i += grid_threads()) {
    const int64_t row = i / s.inner, outer = row / s.to;
    y[i] = x[(outer * s.from + index[row - outer * s.to]) * s.inner + (i - row * s.inner)];
  }
}

void SelectRows::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const auto launch_as = [&]<class Word>(Word) {
    const int64_t size = int64_t(sizeof(Word));
    const SelectShape s{y.bytes() / size, inner_bytes() / size, x.dim(axis), index.dim(0)};
    const Grid g = grid_for(c, s.words);
    launch_kernel(c, kName, select_rows_kernel<Word>, g.blocks, g.threads, 0, y.as<Word>(), x.as<Word>(),
                  index.as<int32_t>(), s);
  };
  const bool packed = inner_bytes() % 4 == 0 && aligned_for(1, x.as<uint32_t>(), y.as<uint32_t>());
  if (packed) return launch_as(uint32_t{});
  launch_as(uint8_t{});
}

}  // namespace sluice::kernels
