// How the pooling kernels walk NHWC images: a thread per output, or input, pixel and pack of channels.
#pragma once

#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/pool2d.h"

namespace sluice::kernels {

/// Sizes of x [N, H, W, C] and y [N, P, Q, C]. Per image and channel they fit an int.
struct PoolSizes {
  Pool2d pool;
  int h, w, p, q;
  int64_t c, images;
};

inline PoolSizes pool_sizes(const Pool2d& pool, const Shape& x, const Shape& y) {
  return {pool, int(x[1]), int(x[2]), int(y[1]), int(y[2]), x[3], x[0]};
}

/// f(element, image, row, column, channel) for packs of N channels of images of `rows` by `columns` pixels.
template <int N, class F>
__device__ inline void for_pixels(const PoolSizes& s, int rows, int columns, F f) {
  const int64_t packs = s.c / N, n = s.images * rows * columns * packs;
  for (int64_t i = global_thread(); i < n; i += grid_threads()) {
    const int64_t pixel = i / packs, line = pixel / columns, image = line / rows;
    f(i * N, image, int(line - image * rows), int(pixel - line * columns), (i - pixel * packs) * N);
  }
}

/// The windows [first, last] that cover position `at`, among `count` of them.
struct WindowRange {
  int first, last;
};
__device__ inline WindowRange windows_over(int at, int window, const Pool2d& pool, int count) {
  const int shifted = at + pool.padding;
  const int first = shifted < window ? 0 : (shifted - window) / pool.stride + 1, last = shifted / pool.stride;
  return {first, last < count - 1 ? last : count - 1};
}

/// Host side: f.operator()<T, N>() with N channels a thread, 16 bytes of them where `packed`.
template <class F>
void visit_pack(DType dtype, int64_t channels, F&& f, const void* a, const void* b, const uint8_t* index = nullptr) {
  visit_float(dtype, [&]<class T>() {
    if (channels % kPack<T> == 0 && aligned_for(kPack<T>, static_cast<const T*>(a), static_cast<const T*>(b), index))
      return f.template operator()<T, kPack<T>>();
    return f.template operator()<T, 1>();
  });
}

}  // namespace sluice::kernels
