// CUDA half of the weight gradient from signs: a block sums a tile of dw over all rows, with the bits expanded where
// they are multiplied. What a tile loads of dz and of the bits stays in L2 for its neighbours.
#include "kernels/common/passes.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/sign_grad_weight.h"

namespace sluice::kernels {
namespace {

constexpr int kTile = 64;  // outputs and inputs of a block
constexpr int kStep = 32;  // rows at a time
constexpr int kMine = 4;   // outputs and inputs of a thread: kThreads of them make a tile

}  // namespace

struct SignTile {
  float dz[kStep][kTile];
  uint8_t bits[kStep][kTile / 8];
};

struct SignProblem {
  int64_t rows, in, out;
  float scale, zero;
  bool add;
};

/// Eight bits from bit `first` on, which may lie across two bytes; those from bit n on are 0.
__device__ inline unsigned eight_bits(const uint8_t* bits, int64_t first, int64_t n) {
  if (first >= n) return 0;
  const int64_t byte = first / 8;
  unsigned two = bits[byte];
  if (first % 8 != 0 && (byte + 1) * 8 < n) two |= unsigned(bits[byte + 1]) << 8;
  return two >> (first % 8) & 0xffu;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    sign_grad_weight_kernel(float* dw, const uint8_t* bits, const T* dz, SignProblem p) {
  SignTile& tile = block_shared<SignTile>();
  const int64_t across = ceil_div(p.in, kTile);
  const int64_t first_out = int64_t(blockIdx.x) / across * kTile, first_in = int64_t(blockIdx.x) % across * kTile;
  const int t = int(threadIdx.x), my_out = t / (kTile / kMine) * kMine, my_in = t % (kTile / kMine) * kMine;
  float sum[kMine][kMine] = {};
  for (int64_t first = 0; first < p.rows; first += kStep) {
    for (int i = t; i < kStep * kTile; i += kThreads) {
      const int64_t row = first + i / kTile, column = first_out + i % kTile;
      tile.dz[i / kTile][i % kTile] = row < p.rows && column < p.out ? float(dz[row * p.out + column]) : 0.0f;
    }
    for (int i = t; i < kStep * kTile / 8; i += kThreads) {
      const int64_t row = first + i / (kTile / 8), column = first_in + i % (kTile / 8) * 8;
      const bool there = row < p.rows && column < p.in;
      tile.bits[i / (kTile / 8)][i % (kTile / 8)] =
          uint8_t(there ? eight_bits(bits, row * p.in + column, p.rows * p.in) : 0);
    }
    __syncthreads();
    for (int r = 0; r < kStep; ++r) {
      const unsigned mine = unsigned(tile.bits[r][my_in / 8]) >> (my_in % 8);
      for (int j = 0; j < kMine; ++j) {
        const float sign = (mine >> j & 1u) != 0 ? 1.0f : p.zero;
        for (int i = 0; i < kMine; ++i) sum[i][j] += tile.dz[r][my_out + i] * sign;
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kMine; ++i)
    for (int j = 0; j < kMine; ++j) {
      const int64_t row = first_out + my_out + i, column = first_in + my_in + j;
      if (row >= p.out || column >= p.in) continue;
      float* at = dw + row * p.in + column;
      *at = p.scale * sum[i][j] + (p.add ? *at : 0.0f);
    }
}

void SignGradWeight::cuda(CudaContext& c) const {
  if (db.defined()) {
    void* scratch = c.workspace(passes::column_sums_workspace(dz));
    passes::column_sums(c, kName, dz, db, accumulate_b, scratch);
  }
  if (dw.numel() == 0) return;
  const SignProblem p{dz.dim(0), dw.dim(1), dz.dim(1), scale, zero, accumulate_w};
  visit_float(dz.dtype, [&]<class T>() {
    launch_kernel(c, kName, sign_grad_weight_kernel<T>, ceil_div(p.out, kTile) * ceil_div(p.in, kTile), kThreads, 0,
                  dw.as<float>(), bits.as<uint8_t>(), dz.as<T>(), p);
  });
}

}  // namespace sluice::kernels
