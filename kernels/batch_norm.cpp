// CPU halves of batch norm. Rows are summed in blocks that stay in the cache, blocks are combined in order in double.
#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/common/bit_loops.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kLine = 512;     // elements that an inner loop runs over at least: four lines are two pages in order
constexpr int64_t kBlock = 32768;  // elements of a block at least
constexpr int64_t kDepth = 32;     // lines of a block at least, so that the sums of blocks are few against the rows

/// x as lines of `width` elements: one row each, or several where the channels are few, so that inner loops are long.
struct Layout {
  explicit Layout(const Shape& s) : rows(s.rows()), channels(s.cols()) {
    repeat = channels > 0 && channels < kLine ? (kLine + channels - 1) / channels : 1;
    width = repeat * channels;
    block_rows = std::max(kDepth, kBlock / std::max<int64_t>(1, width) / 8 * 8) * repeat;  // whole bytes of bits
    blocks = channels > 0 ? (rows + block_rows - 1) / block_rows : 0;
  }
  int64_t rows_of(int64_t block) const { return std::min(block_rows, rows - block * block_rows); }
  int64_t begin(int64_t block) const { return block * block_rows * channels; }
  int64_t end(int64_t block) const { return begin(block) + rows_of(block) * channels; }
  /// f(offset, lines, width) for the whole lines of a block's first rows, then for the rest as lines of one row.
  template <class F>
  void lines(int64_t block, int64_t count, F&& f) const {
    const int64_t whole = count / repeat, first = begin(block);
    f(first, whole, width);
    f(first + whole * width, count - whole * repeat, channels);
  }
  /// `to[0, width)` = `from[0, channels)`, repeated.
  float* spread(const float* from, float* to) const {
    for (int64_t r = 0; r < repeat; ++r) std::copy_n(from, channels, to + r * channels);
    return to + width;
  }
  /// line[0, channels) = the sums of the channels over the repeats.
  void fold(float* line) const {
    for (int64_t r = 1; r < repeat; ++r) {
#pragma omp simd
      for (int64_t ch = 0; ch < channels; ++ch) line[ch] += line[r * channels + ch];
    }
  }

  int64_t rows, channels, repeat, width, block_rows, blocks;
};

const float* row(const ConstRef& stats, BatchNormRow r) { return stats.as<float>() + int64_t(r) * stats.dim(1); }

/// What stats say about a channel, as the other passes read it.
void write_stats(const Ref& stats, int64_t channel, float mean, double variance_and_eps, ConstRef gamma,
                 ConstRef beta) {
  float* s = stats.as<float>() + channel;
  const int64_t channels = stats.dim(1);
  const float inv_std = float(1.0 / std::sqrt(variance_and_eps));
  s[int64_t(BatchNormRow::kMean) * channels] = mean;
  s[int64_t(BatchNormRow::kInvStd) * channels] = inv_std;
  s[int64_t(BatchNormRow::kScale) * channels] = gamma.as<float>()[channel] * inv_std;
  s[int64_t(BatchNormRow::kShift) * channels] = beta.as<float>()[channel];
}

/// acc[j] += sum over the lines of term(line * width + j); four lines a turn, so that acc is seldom touched.
template <class Term>
void add_lines(int64_t lines, int64_t width, float* acc, Term&& term) {
  int64_t i = 0;
  for (; i + 4 * width <= lines * width; i += 4 * width) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j)
      acc[j] += (term(i + j) + term(i + width + j)) + (term(i + 2 * width + j) + term(i + 3 * width + j));
  }
  for (; i < lines * width; i += width) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) acc[j] += term(i + j);
  }
}

struct Pair {
  float first, second;
};
/// The same for two sums at once.
template <class Term>
void add_pairs(int64_t lines, int64_t width, float* first, float* second, Term&& term) {
  int64_t i = 0;
  for (; i + 4 * width <= lines * width; i += 4 * width) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      const Pair a = term(i + j, j), b = term(i + width + j, j);
      const Pair c = term(i + 2 * width + j, j), d = term(i + 3 * width + j, j);
      first[j] += (a.first + b.first) + (c.first + d.first);
      second[j] += (a.second + b.second) + (c.second + d.second);
    }
  }
  for (; i < lines * width; i += width) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      const Pair a = term(i + j, j);
      first[j] += a.first;
      second[j] += a.second;
    }
  }
}

/// What is known of a block: a mean to count from, the same in all repeats, and the sums of x - mean and of its square.
/// Each [width], in the end [channels].
struct BlockMoments {
  BlockMoments(float* blocks, const Layout& l, int64_t b)
      : mean(blocks + 3 * b * l.width), drift(mean + l.width), square(drift + l.width) {}
  float *mean, *drift, *square;
};

/// One pass. It counts from the mean of the first kHead of n lines: whatever x holds, the square of that mean's
/// distance from the block's is at most n / kHead variances, so no more than that is lost to cancellation.
constexpr int64_t kHead = 4;
template <class T>
void find_moments(const T* x, const Layout& l, int64_t block, const BlockMoments& m) {
  std::fill_n(m.mean, 3 * l.width, 0.0f);
  const int64_t rows = l.rows_of(block), head = std::min(rows, kHead * l.repeat);
  l.lines(block, head, [&](int64_t first, int64_t lines, int64_t width) {
    add_lines(lines, width, m.mean, [in = x + first](int64_t i) { return float(in[i]); });
  });
  l.fold(m.mean);
  for (int64_t ch = 0; ch < l.channels; ++ch) m.mean[ch] /= float(head);
  for (int64_t r = 1; r < l.repeat; ++r) std::copy_n(m.mean, l.channels, m.mean + r * l.channels);
  l.lines(block, rows, [&](int64_t first, int64_t lines, int64_t width) {
    add_pairs(lines, width, m.drift, m.square, [in = x + first, mean = m.mean](int64_t i, int64_t j) {
      const float d = float(in[i]) - mean[j];
      return Pair{d, d * d};
    });
  });
  l.fold(m.drift);
  l.fold(m.square);
}

/// Mean and sum of squared distances of all rows from those of the blocks (Chan, Golub, LeVeque 1979), per channel.
/// The means of blocks count from that of the first, so that their squares do not cancel.
void combine(const Layout& l, float* blocks, double* mean, double* square) {
  std::fill_n(mean, l.channels, 0.0);
  std::fill_n(square, l.channels, 0.0);
  if (l.rows == 0) return;
  const float* origin = blocks;
  for (int64_t b = 0; b < l.blocks; ++b) {
    const BlockMoments block(blocks, l, b);
    const double n = double(l.rows_of(b));
#pragma omp simd
    for (int64_t ch = 0; ch < l.channels; ++ch) {
      const double drift = double(block.drift[ch]);
      const double from_origin = double(block.mean[ch]) - double(origin[ch]) + drift / n;
      mean[ch] += n * from_origin;
      square[ch] += double(block.square[ch]) - drift * drift / n + n * from_origin * from_origin;
    }
  }
  for (int64_t ch = 0; ch < l.channels; ++ch) {
    square[ch] -= mean[ch] * mean[ch] / double(l.rows);
    square[ch] = square[ch] < 0.0 ? 0.0 : square[ch];  // NaN stays
    mean[ch] = double(origin[ch]) + mean[ch] / double(l.rows);
  }
}

/// dz, the gradient in front of ReLU, and the recomputed value that says where ReLU was open.
template <class T, BatchNormMask M>
struct Gradient {
  const T *x, *dy;
  const float *mean, *scale, *shift;  // [width]

  float operator()(int64_t i, int64_t j) const {
    const float d = float(dy[i]);
    if constexpr (M == BatchNormMask::kFromInput)
      return batch_norm_value(float(x[i]), mean[j], scale[j], shift[j]) > 0.0f ? d : 0.0f;
    return d;
  }
  Gradient at(int64_t first) const { return {x + first, dy + first, mean, scale, shift}; }
};

/// What bits mask is masked before the sums, block by block: kNone for them.
template <class F>
void visit_mask(BatchNormMask m, F&& f) {
  if (m == BatchNormMask::kFromInput) return f.template operator()<BatchNormMask::kFromInput>();
  f.template operator()<BatchNormMask::kNone>();
}

/// sum[j] += dz, product[j] += dz (x - mean) over some lines; dz is stored where `out` is given.
template <bool kStore, class T, BatchNormMask M>
void add_gradients(const Gradient<T, M>& dz, T* out, int64_t lines, int64_t width, float* sum, float* product) {
  add_pairs(lines, width, sum, product, [&](int64_t i, int64_t j) {
    const float d = dz(i, j);
    if constexpr (kStore) store(out[i], d);
    return Pair{d, d * (float(dz.x[i]) - dz.mean[j])};
  });
}

/// The bits of elements [begin, end) of y, a block's.
template <class T>
void pack_block(const T* y, uint8_t* bits, int64_t begin, int64_t end) {
  float converted[kStretch];
  for (int64_t first = begin; first < end; first += kStretch) {
    const int64_t count = std::min(kStretch, end - first);
    pack_positive(as_floats(y + first, count, converted), count, bits + first / 8);
  }
}

}  // namespace

template <>
void BatchNormStatistics::cpu<kIsa>(CpuContext& c) const {
  const Layout l(x.shape);
  const size_t totals = size_t(2 * l.channels) * sizeof(double), all = size_t(3 * l.blocks * l.width) * sizeof(float);
  auto* means = static_cast<double*>(c.workspace(totals + all));
  double* squares = means + l.channels;
  auto* blocks = reinterpret_cast<float*>(squares + l.channels);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, l.blocks, [&, in = x.as<T>()](int64_t b) { find_moments(in, l, b, BlockMoments(blocks, l, b)); });
  });
  combine(l, blocks, means, squares);
  const double n = double(std::max<int64_t>(1, l.rows));
  for (int64_t ch = 0; ch < l.channels; ++ch) {
    write_stats(stats, ch, float(means[ch]), squares[ch] / n + double(eps), gamma, beta);
    if (!running_mean.defined() || l.rows == 0) continue;
    float &mean = running_mean.as<float>()[ch], &var = running_var.as<float>()[ch];
    mean += momentum * (float(means[ch]) - mean);
    var += momentum * (float(squares[ch] / std::max(1.0, n - 1.0)) - var);
  }
}

template <>
void BatchNormRunning::cpu<kIsa>(CpuContext&) const {
  for (int64_t ch = 0; ch < gamma.dim(0); ++ch)
    write_stats(stats, ch, running_mean.as<float>()[ch], double(running_var.as<float>()[ch]) + double(eps), gamma,
                beta);
}

template <>
void BatchNormApply::cpu<kIsa>(CpuContext& c) const {
  const Layout l(x.shape);
  float* mean = static_cast<float*>(c.workspace(size_t(3 * l.width) * sizeof(float)));
  float* scale = l.spread(row(stats, BatchNormRow::kMean), mean);
  float* shift = l.spread(row(stats, BatchNormRow::kScale), scale);
  l.spread(row(stats, BatchNormRow::kShift), shift);
  const auto run = [&]<class T, bool kResidual, bool kRelu>() {
    parallel_for(c, l.blocks, [&](int64_t b) {
      l.lines(b, l.rows_of(b), [&](int64_t first, int64_t lines, int64_t width) {
        for (int64_t i = first; i < first + lines * width; i += width) {
          const T *in = x.as<T>() + i, *add = kResidual ? residual.as<T>() + i : nullptr;
          T* out = y.as<T>() + i;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) {
            float v = batch_norm_value(float(in[j]), mean[j], scale[j], shift[j]);
            if constexpr (kResidual) v += float(add[j]);
            store(out[j], kRelu ? (v < 0.0f ? 0.0f : v) : v);  // NaN passes, so that it is noticed
          }
        }
      });
      if (bits.defined()) pack_block(y.as<T>(), bits.as<uint8_t>(), l.begin(b), l.end(b));
    });
  };
  visit_float(x.dtype, [&]<class T>() {
    if (residual.defined())
      return relu ? run.template operator()<T, true, true>() : run.template operator()<T, true, false>();
    return relu ? run.template operator()<T, false, true>() : run.template operator()<T, false, false>();
  });
}

template <>
void BatchNormGradSums::cpu<kIsa>(CpuContext& c) const {
  const Layout l(x.shape);
  const size_t totals = size_t(2 * l.channels) * sizeof(double);
  auto* total = static_cast<double*>(c.workspace(totals + size_t((3 + 2 * l.blocks) * l.width) * sizeof(float)));
  auto* mean = reinterpret_cast<float*>(total + 2 * l.channels);
  float* scale = l.spread(row(stats, BatchNormRow::kMean), mean);
  float* shift = l.spread(row(stats, BatchNormRow::kScale), scale);
  float* blocks = l.spread(row(stats, BatchNormRow::kShift), shift);
  visit_float(x.dtype, [&]<class T>() {
    visit_mask(mask, [&]<BatchNormMask M>() {
      const bool packed = mask == BatchNormMask::kFromBits;
      const Gradient<T, M> dz{x.as<T>(), packed ? dresidual.as<T>() : dy.as<T>(), mean, scale, shift};
      parallel_for(c, l.blocks, [&, out = packed ? nullptr : dresidual.as<T>()](int64_t b) {
        if (packed) keep_where_set(bits.as<uint8_t>(), dy.as<T>(), dresidual.as<T>(), l.begin(b), l.end(b));
        float *sum = blocks + 2 * b * l.width, *product = sum + l.width;
        std::fill_n(sum, 2 * l.width, 0.0f);
        l.lines(b, l.rows_of(b), [&](int64_t first, int64_t lines, int64_t width) {
          if (out != nullptr) return add_gradients<true>(dz.at(first), out + first, lines, width, sum, product);
          add_gradients<false>(dz.at(first), out, lines, width, sum, product);
        });
        l.fold(sum);
        l.fold(product);
      });
    });
  });
  std::fill_n(total, 2 * l.channels, 0.0);
  for (int64_t b = 0; b < 2 * l.blocks; ++b) {  // in block order, sums and products in turn
    double* to = total + b % 2 * l.channels;
    const float* from = blocks + b * l.width;
#pragma omp simd
    for (int64_t ch = 0; ch < l.channels; ++ch) to[ch] += double(from[ch]);
  }
  for (int64_t j = 0; j < 2 * l.channels; ++j) sums.as<float>()[j] = float(total[j]);
}

template <>
void BatchNormGradInput::cpu<kIsa>(CpuContext& c) const {
  const Layout l(x.shape);
  float* mean = static_cast<float*>(c.workspace(size_t(6 * l.width) * sizeof(float)));
  float* scale = l.spread(row(stats, BatchNormRow::kMean), mean);
  float* shift = l.spread(row(stats, BatchNormRow::kScale), scale);
  float* slope = l.spread(row(stats, BatchNormRow::kShift), shift);
  float *offset = slope + l.width, *tilt = offset + l.width;
  const float n = training ? 1.0f / float(std::max<int64_t>(1, l.rows)) : 0.0f;
  for (int64_t j = 0; j < l.width; ++j) {
    const int64_t ch = j % l.channels;
    const float inv_std = row(stats, BatchNormRow::kInvStd)[ch];
    slope[j] = gamma.as<float>()[ch] * inv_std;
    offset[j] = sums.as<float>()[ch] * n;
    tilt[j] = sums.as<float>()[l.channels + ch] * n * inv_std * inv_std;
  }
  visit_float(x.dtype, [&]<class T>() {
    visit_mask(mask, [&]<BatchNormMask M>() {
      const Gradient<T, M> all{x.as<T>(), dy.as<T>(), mean, scale, shift};
      parallel_for(c, l.blocks, [&](int64_t b) {
        l.lines(b, l.rows_of(b), [&](int64_t first, int64_t lines, int64_t width) {
          for (int64_t i = first; i < first + lines * width; i += width) {
            const Gradient<T, M> dz = all.at(i);
            T* out = dx.as<T>() + i;
#pragma omp simd
            for (int64_t j = 0; j < width; ++j)
              store(out[j], slope[j] * (dz(j, j) - offset[j] - (float(dz.x[j]) - mean[j]) * tilt[j]));
          }
        });
      });
    });
  });
}

template <>
void BatchNormGradParams::cpu<kIsa>(CpuContext&) const {
  const int64_t channels = dgamma.dim(0);
  const float* inv_std = row(stats, BatchNormRow::kInvStd);
  for (int64_t ch = 0; ch < channels; ++ch) {
    const float g = sums.as<float>()[channels + ch] * inv_std[ch], b = sums.as<float>()[ch];
    dgamma.as<float>()[ch] = accumulate_gamma ? dgamma.as<float>()[ch] + g : g;
    dbeta.as<float>()[ch] = accumulate_beta ? dbeta.as<float>()[ch] + b : b;
  }
}

}  // namespace sluice::kernels
