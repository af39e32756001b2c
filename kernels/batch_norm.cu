// CUDA halves of batch norm. A thread keeps its channels' constants in registers and walks down the rows; sums go
// through partial results per chunk of rows, combined in order by a second kernel. Aliasing as in the header.
#include "kernels/batch_norm.h"
#include "kernels/common/bits.cuh"
#include "kernels/common/columns.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

/// Count, mean and sum of squared distances from it, for each of N channels.
template <int N>
struct Moments {
  float n, mean[N], square[N];

  __device__ void clear() {
    n = 0.0f;
    for (int j = 0; j < N; ++j) mean[j] = square[j] = 0.0f;
  }
  __device__ void add(const Pack<float, N>& x) {  // Welford 1962
    n += 1.0f;
    const float w = 1.0f / n;
    for (int j = 0; j < N; ++j) {
      const float d = x.v[j] - mean[j];
      mean[j] += d * w;
      square[j] += d * (x.v[j] - mean[j]);
    }
  }
  __device__ void merge(const Moments& o) {  // Chan, Golub, LeVeque 1979
    if (o.n == 0.0f) return;
    const float total = n + o.n, share = o.n / total;
    for (int j = 0; j < N; ++j) {
      const float d = o.mean[j] - mean[j];
      mean[j] += d * share;
      square[j] += o.square[j] + d * d * n * share;
    }
    n = total;
  }
};

template <class T, int N>
__device__ inline Pack<float, N> load_floats(const T* p) {
  const Pack<T, N> raw = load<N>(p);
  Pack<float, N> v;
  for (int j = 0; j < N; ++j) v.v[j] = float(raw.v[j]);
  return v;
}
template <class T, int N>
__device__ inline void store_floats(T* p, const Pack<float, N>& v) {
  Pack<T, N> raw;
  for (int j = 0; j < N; ++j) raw.v[j] = T(v.v[j]);
  store(p, raw);
}

/// Partial results [chunks, 2, C]: mean, squares. Values and means count from those of the first row: in float a mean
/// far from zero would lose what the variance is made of.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) batch_norm_moments_kernel(float* partial, const T* x, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  Moments<N> m;
  m.clear();
  Pack<float, N> origin{};
  if (p.begin < p.end) origin = load_floats<T, N>(x + p.column);
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    Pack<float, N> v = load_floats<T, N>(x + r * g.cols + p.column);
    for (int j = 0; j < N; ++j) v.v[j] -= origin.v[j];
    m.add(v);
  }
  m = merge_strips(m, g, p);
  if (p.strip != 0 || !p.inside) return;
  for (int j = 0; j < N; ++j) {
    partial[2 * p.chunk * g.cols + p.column + j] = m.mean[j];
    partial[(2 * p.chunk + 1) * g.cols + p.column + j] = m.square[j];
  }
}

struct BatchNormVectors {
  const float *gamma, *beta;
  float* stats;
  float *running_mean, *running_var;  // null: not updated
  float eps, momentum;
};

__device__ inline void write_stats(const BatchNormVectors& v, int64_t channels, int64_t ch, float mean, float var) {
  const float inv_std = 1.0f / sqrtf(var + v.eps);
  v.stats[int64_t(BatchNormRow::kMean) * channels + ch] = mean;
  v.stats[int64_t(BatchNormRow::kInvStd) * channels + ch] = inv_std;
  v.stats[int64_t(BatchNormRow::kScale) * channels + ch] = v.gamma[ch] * inv_std;
  v.stats[int64_t(BatchNormRow::kShift) * channels + ch] = v.beta[ch];
}

/// `first` is the grid of the pass that made the partial results.
template <class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_statistics_kernel(const float* partial, const T* x, ColumnGrid first, ColumnGrid g, BatchNormVectors v) {
  const ColumnPlace p = column_place(g);
  Moments<1> m;
  m.clear();
  for (int64_t chunk = p.begin; chunk < p.end; chunk += p.strips) {
    const int64_t left = first.rows - chunk * first.chunk_rows;
    Moments<1> part;
    part.n = float(left < first.chunk_rows ? left : first.chunk_rows);
    part.mean[0] = partial[2 * chunk * g.cols + p.column];
    part.square[0] = partial[(2 * chunk + 1) * g.cols + p.column];
    m.merge(part);
  }
  m = merge_strips(m, g, p);
  if (p.strip != 0 || !p.inside) return;
  const float n = m.n > 1.0f ? m.n : 1.0f, batch_mean = m.n > 0.0f ? float(x[p.column]) + m.mean[0] : 0.0f;
  write_stats(v, g.cols, p.column, batch_mean, m.square[0] / n);
  if (v.running_mean == nullptr || m.n == 0.0f) return;
  float &mean = v.running_mean[p.column], &var = v.running_var[p.column];
  mean += v.momentum * (batch_mean - mean);
  var += v.momentum * (m.square[0] / (n > 2.0f ? n - 1.0f : 1.0f) - var);
}

__global__ void __launch_bounds__(kThreads)
    batch_norm_running_kernel(const float* mean, const float* var, int64_t channels, BatchNormVectors v) {
  const int64_t ch = global_thread();
  if (ch < channels) write_stats(v, channels, ch, mean[ch], var[ch]);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    batch_norm_apply_kernel(T* y, const T* x, const T* residual, const float* stats, ColumnGrid g, bool relu) {
  const ColumnPlace p = column_place(g);
  if (!p.inside) return;
  const float* at = stats + p.column;
  const Pack<float, N> mean = load_columns<N>(at + int64_t(BatchNormRow::kMean) * g.cols),
                       scale = load_columns<N>(at + int64_t(BatchNormRow::kScale) * g.cols),
                       shift = load_columns<N>(at + int64_t(BatchNormRow::kShift) * g.cols);
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    const int64_t i = r * g.cols + p.column;
    Pack<float, N> v = load_floats<T, N>(x + i);
    for (int j = 0; j < N; ++j) v.v[j] = batch_norm_value(v.v[j], mean.v[j], scale.v[j], shift.v[j]);
    if (residual != nullptr) {
      const Pack<float, N> add = load_floats<T, N>(residual + i);
      for (int j = 0; j < N; ++j) v.v[j] += add.v[j];
    }
    if (relu)
      for (int j = 0; j < N; ++j) v.v[j] = v.v[j] < 0.0f ? 0.0f : v.v[j];  // NaN passes, so that it is noticed
    store_floats(y + i, v);
  }
}

/// The constants of the channels of eight elements, the first of channel `at`.
struct EightChannels {
  float mean[8], scale[8], shift[8];

  __device__ EightChannels(const float* stats, int64_t at, int64_t channels) {
    for (int k = 0; k < 8; ++k) {
      mean[k] = stats[int64_t(BatchNormRow::kMean) * channels + at];
      scale[k] = stats[int64_t(BatchNormRow::kScale) * channels + at];
      shift[k] = stats[int64_t(BatchNormRow::kShift) * channels + at];
      at = at + 1 < channels ? at + 1 : 0;
    }
  }
};

template <class T>
struct BatchNormSum {
  const T *x, *residual;
  const float* stats;
  int64_t channels, count;
};

/// The end of a residual block with the bits for backward, in the order of memory: a byte is of eight neighbours.
template <class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_relu_bits_kernel(T* y, uint8_t* bits, BatchNormSum<T> in, bool packed) {
  const int64_t n = in.count;
  for_eights(n, [=](int64_t i) {
    const EightChannels ch(in.stats, i % in.channels, in.channels);
    const Eight<T> x = load_eight(in.x, i, n, packed);
    Eight<float> e;
    for (int k = 0; k < 8; ++k) e.v[k] = batch_norm_value(float(x.v[k]), ch.mean[k], ch.scale[k], ch.shift[k]);
    if (in.residual != nullptr) {
      const Eight<T> add = load_eight(in.residual, i, n, packed);
      for (int k = 0; k < 8; ++k) e.v[k] += float(add.v[k]);
    }
    for (int64_t k = n - i; k < 8; ++k) e.v[k] = 0.0f;  // spare bits
    bits[i / 8] = positive_bits(e);
    store_eight(y, relu<T>(e), i, n, packed);
  });
}

/// What the two backward kernels read, and dz, the gradient in front of ReLU.
template <class T>
struct BatchNormReads {
  const T *x, *dy;
  const uint8_t* bits;
  const float* stats;
  BatchNormMask mask;
};

template <class T, int N>
struct BatchNormChannels {
  Pack<float, N> mean, inv_std, scale, shift;

  __device__ BatchNormChannels(const BatchNormReads<T>& in, const ColumnGrid& g, const ColumnPlace& p)
      : mean(row(in, g, p, BatchNormRow::kMean)),
        inv_std(row(in, g, p, BatchNormRow::kInvStd)),
        scale(row(in, g, p, BatchNormRow::kScale)),
        shift(row(in, g, p, BatchNormRow::kShift)) {}
  __device__ static Pack<float, N> row(const BatchNormReads<T>& in, const ColumnGrid& g, const ColumnPlace& p,
                                       BatchNormRow r) {
    return load_columns<N>(in.stats + int64_t(r) * g.cols + p.column);
  }
  /// At element i, whose input values are x.
  __device__ Pack<float, N> dz(const BatchNormReads<T>& in, int64_t i, const Pack<float, N>& x) const {
    Pack<float, N> d = load_floats<T, N>(in.dy + i);
    if (in.mask == BatchNormMask::kFromInput)
      for (int j = 0; j < N; ++j)
        d.v[j] = batch_norm_value(x.v[j], mean.v[j], scale.v[j], shift.v[j]) > 0.0f ? d.v[j] : 0.0f;
    if (in.mask == BatchNormMask::kFromBits) {  // N is 1, or divides 8 and i
      const unsigned byte = unsigned(in.bits[i / 8]) >> (i % 8);
      for (int j = 0; j < N; ++j) d.v[j] = (byte >> j & 1u) != 0 ? d.v[j] : 0.0f;
    }
    return d;
  }
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    batch_norm_grad_sums_kernel(float* partial, T* dresidual, BatchNormReads<T> in, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  ColumnSums<2, N> sums;
  sums.clear();
  if (p.inside) {
    const BatchNormChannels<T, N> ch(in, g, p);
    for (int64_t r = p.begin; r < p.end; r += p.strips) {
      const int64_t i = r * g.cols + p.column;
      const Pack<float, N> x = load_floats<T, N>(in.x + i), d = ch.dz(in, i, x);
      for (int j = 0; j < N; ++j) {
        sums.v[0][j] += d.v[j];
        sums.v[1][j] += d.v[j] * (x.v[j] - ch.mean.v[j]);
      }
      if (dresidual != nullptr) store_floats(dresidual + i, d);
    }
  }
  merge_strips(sums, g, p).write(partial, g, p);
}

__global__ void __launch_bounds__(kThreads)
    batch_norm_finish_sums_kernel(float* sums, const float* partial, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  ColumnSums<2, 1> s;
  s.read(partial, g, p);
  merge_strips(s, g, p).write(sums, g, p);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    batch_norm_grad_input_kernel(T* dx, BatchNormReads<T> in, const float* gamma, const float* sums, ColumnGrid g,
                                 bool training) {
  const ColumnPlace p = column_place(g);
  if (!p.inside) return;
  const BatchNormChannels<T, N> ch(in, g, p);
  const bool reads_x = training || in.mask == BatchNormMask::kFromInput;
  Pack<float, N> factor = load_columns<N>(gamma + p.column), offset{}, slope{};
  for (int j = 0; j < N; ++j) factor.v[j] *= ch.inv_std.v[j];
  if (training) {
    const float share = 1.0f / float(g.rows);
    for (int j = 0; j < N; ++j) {
      offset.v[j] = sums[p.column + j] * share;
      slope.v[j] = ch.inv_std.v[j] * ch.inv_std.v[j] * (sums[g.cols + p.column + j] * share);
    }
  }
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    const int64_t i = r * g.cols + p.column;
    Pack<float, N> x = ch.mean;
    if (reads_x) x = load_floats<T, N>(in.x + i);
    Pack<float, N> d = ch.dz(in, i, x);
    for (int j = 0; j < N; ++j) d.v[j] = factor.v[j] * (d.v[j] - offset.v[j] - (x.v[j] - ch.mean.v[j]) * slope.v[j]);
    store_floats(dx + i, d);
  }
}

/// Gradients that are added to rather than written.
struct Accumulate {
  bool gamma, beta;
};

__global__ void __launch_bounds__(kThreads)
    batch_norm_grad_params_kernel(float* dgamma, float* dbeta, const float* sums, const float* inv_std,
                                  int64_t channels, Accumulate add) {
  const int64_t ch = global_thread();
  if (ch >= channels) return;
  dgamma[ch] = (add.gamma ? dgamma[ch] : 0.0f) + inv_std[ch] * sums[channels + ch];
  dbeta[ch] = (add.beta ? dbeta[ch] : 0.0f) + sums[ch];
}

namespace {

/// f.operator()<T, N>(grid): N = 4 where packs of all the pointers fit.
template <class F, class... P>
void visit_columns(const ConstRef& x, F&& f, P... pointers) {
  visit_float(x.dtype, [&]<class T>() {
    const int64_t rows = x.shape.rows(), cols = x.shape.cols();
    const bool packed = cols % 4 == 0 && aligned_for(4, static_cast<const T*>(pointers)...);
    const ColumnGrid g = column_grid(rows, cols, packed);
    if (packed)
      f.template operator()<T, 4>(g);
    else
      f.template operator()<T, 1>(g);
  });
}

template <class T>
BatchNormReads<T> reads(const ConstRef& x, const ConstRef& dy, const ConstRef& bits, const ConstRef& stats,
                        BatchNormMask mask) {
  return {x.as<T>(), dy.as<T>(), bits.as<uint8_t>(), stats.as<float>(), mask};
}

}  // namespace

void BatchNormStatistics::cuda(CudaContext& c) const {
  const int64_t channels = x.shape.cols();
  if (channels == 0) return;
  visit_columns(
      x,
      [&]<class T, int N>(const ColumnGrid& g) {
        auto* partial = static_cast<float*>(c.workspace(size_t(g.chunks * 2 * channels) * sizeof(float)));
        launch_kernel(c, kName, batch_norm_moments_kernel<T, N>, g.blocks(), kThreads, 0, partial, x.as<T>(), g);
        const ColumnGrid second = finish_grid(g.chunks, channels);
        const BatchNormVectors v{gamma.as<float>(),
                                 beta.as<float>(),
                                 stats.as<float>(),
                                 running_mean.as<float>(),
                                 running_var.as<float>(),
                                 eps,
                                 momentum};
        launch_kernel(c, kName, batch_norm_statistics_kernel<T>, second.blocks(), kThreads, 0, partial, x.as<T>(), g,
                      second, v);
      },
      x.data);
}

void BatchNormRunning::cuda(CudaContext& c) const {
  const int64_t channels = gamma.dim(0);
  if (channels == 0) return;
  const BatchNormVectors v{gamma.as<float>(), beta.as<float>(), stats.as<float>(), nullptr, nullptr, eps, 0.0f};
  launch_kernel(c, kName, batch_norm_running_kernel, ceil_div(channels, kThreads), kThreads, 0,
                running_mean.as<float>(), running_var.as<float>(), channels, v);
}

void BatchNormApply::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  if (bits.defined())
    return visit_float(x.dtype, [&]<class T>() {
      const Grid g = grid_for(c, packed_bytes(n));
      launch_kernel(c, kName, batch_norm_relu_bits_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), bits.as<uint8_t>(),
                    BatchNormSum<T>{x.as<T>(), residual.as<T>(), stats.as<float>(), x.shape.cols(), n},
                    aligned_for(kPack<T>, y.as<T>(), x.as<T>(), residual.as<T>()));
    });
  visit_columns(
      x,
      [&]<class T, int N>(const ColumnGrid& g) {
        launch_kernel(c, kName, batch_norm_apply_kernel<T, N>, g.blocks(), kThreads, 0, y.as<T>(), x.as<T>(),
                      residual.as<T>(), stats.as<float>(), g, relu);
      },
      x.data, y.data, residual.data);
}

void BatchNormGradSums::cuda(CudaContext& c) const {
  const int64_t channels = x.shape.cols();
  if (channels == 0) return;
  visit_columns(
      x,
      [&]<class T, int N>(const ColumnGrid& g) {
        auto* partial = static_cast<float*>(c.workspace(size_t(g.chunks * 2 * channels) * sizeof(float)));
        launch_kernel(c, kName, batch_norm_grad_sums_kernel<T, N>, g.blocks(), kThreads, 0, partial, dresidual.as<T>(),
                      reads<T>(x, dy, bits, stats, mask), g);
        const ColumnGrid second = finish_grid(g.chunks, channels);
        launch_kernel(c, kName, batch_norm_finish_sums_kernel, second.blocks(), kThreads, 0, sums.as<float>(), partial,
                      second);
      },
      x.data, dy.data, dresidual.data);
}

void BatchNormGradInput::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  visit_columns(
      x,
      [&]<class T, int N>(const ColumnGrid& g) {
        launch_kernel(c, kName, batch_norm_grad_input_kernel<T, N>, g.blocks(), kThreads, 0, dx.as<T>(),
                      reads<T>(x, dy, ConstRef{}, stats, mask), gamma.as<float>(), sums.as<float>(), g, training);
      },
      x.data, dy.data, dx.data);
}

void BatchNormGradParams::cuda(CudaContext& c) const {
  const int64_t channels = dgamma.dim(0);
  if (channels == 0) return;
  launch_kernel(c, kName, batch_norm_grad_params_kernel, ceil_div(channels, kThreads), kThreads, 0, dgamma.as<float>(),
                dbeta.as<float>(), sums.as<float>(), stats.as<float>() + int64_t(BatchNormRow::kInvStd) * channels,
                channels, Accumulate{accumulate_gamma, accumulate_beta});
}

}  // namespace sluice::kernels
