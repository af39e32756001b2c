// Layers over NHWC images in double, and the check of a layer's gradients against differences of such a formula.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "tests/layers/run.h"

namespace sluice::test {

/// NHWC images in double.
struct Images {
  int64_t n, h, w, c;
  std::vector<double> v;

  bool inside(int64_t row, int64_t column) const { return row >= 0 && column >= 0 && row < h && column < w; }
  double at(int64_t i, int64_t row, int64_t column, int64_t channel) const {
    return inside(row, column) ? v[size_t(((i * h + row) * w + column) * c + channel)] : 0;
  }
};

/// A window that slides over an image.
struct Sliding {
  int64_t rows = 3, columns = 3;
  int64_t stride = 1, above = 1, left = 1;  // the latter two: zeroes around the image, below and right as many

  static Sliding square(int64_t side, int64_t stride = 1) { return {side, side, stride, side / 2, side / 2}; }
  /// f(image, row, column of its first pixel) for every place; gives images of `channels` without values.
  template <class F>
  Images over(const Images& x, int64_t channels, F&& f) const {
    Images y{x.n, (x.h + 2 * above - rows) / stride + 1, (x.w + 2 * left - columns) / stride + 1, channels, {}};
    for (int64_t i = 0; i < y.n; ++i)
      for (int64_t p = 0; p < y.h; ++p)
        for (int64_t q = 0; q < y.w; ++q) f(i, p * stride - above, q * stride - left);
    return y;
  }
};

/// KRSC filters; a bias where there is one.
inline Images conv(const Images& x, const std::vector<double>& filters, int64_t out, const Sliding& window,
                   const std::vector<double>& bias = {}) {
  std::vector<double> values;
  const int64_t taps = window.rows * window.columns;
  Images y = window.over(x, out, [&](int64_t i, int64_t row, int64_t column) {
    for (int64_t k = 0; k < out; ++k) {
      double sum = bias.empty() ? 0 : bias[size_t(k)];
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < x.c; ++c)
          sum += filters[size_t((k * taps + t) * x.c + c)] *
                 x.at(i, row + t / window.columns, column + t % window.columns, c);
      values.push_back(sum);
    }
  });
  y.v = std::move(values);
  return y;
}

/// The largest of a window's pixels, or their mean with those outside the image as zeroes.
inline Images pooled(const Images& x, const Sliding& window, bool largest) {
  std::vector<double> values;
  Images y = window.over(x, x.c, [&](int64_t i, int64_t row, int64_t column) {
    for (int64_t c = 0; c < x.c; ++c) {
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t r = row; r < row + window.rows; ++r)
        for (int64_t s = column; s < column + window.columns; ++s) {
          if (x.inside(r, s)) most = std::max(most, x.at(i, r, s, c));
          sum += x.at(i, r, s, c);
        }
      values.push_back(largest ? most : sum / double(window.rows * window.columns));
    }
  });
  y.v = std::move(values);
  return y;
}

/// Channels side by side.
inline Images joined(const std::vector<Images>& parts) {
  Images y{parts[0].n, parts[0].h, parts[0].w, 0, {}};
  for (const Images& p : parts) y.c += p.c;
  for (int64_t pixel = 0; pixel < y.n * y.h * y.w; ++pixel)
    for (const Images& p : parts) y.v.insert(y.v.end(), p.v.begin() + pixel * p.c, p.v.begin() + (pixel + 1) * p.c);
  return y;
}

struct Norm64 {
  const std::vector<double>&gamma, &beta;
  bool training;
  double eps = 1e-5;
};
/// By the batch's statistics, or by the running ones at their start: mean 0, variance 1.
inline void normalise(Images& x, const Norm64& norm) {
  const int64_t rows = x.n * x.h * x.w;
  for (int64_t c = 0; c < x.c; ++c) {
    double mean = 0, var = norm.training ? 0 : 1;
    if (norm.training) {
      for (int64_t r = 0; r < rows; ++r) mean += x.v[size_t(r * x.c + c)] / double(rows);
      for (int64_t r = 0; r < rows; ++r) var += std::pow(x.v[size_t(r * x.c + c)] - mean, 2) / double(rows);
    }
    for (int64_t r = 0; r < rows; ++r) {
      double& v = x.v[size_t(r * x.c + c)];
      v = (v - mean) / std::sqrt(var + norm.eps) * norm.gamma[size_t(c)] + norm.beta[size_t(c)];
    }
  }
}

inline void relu(Images& x) {
  for (double& v : x.v) v = std::max(v, 0.0);
}

// ---- a layer against its formula ----

/// A layer's parameters by path, and its input under "x".
using NamedValues = std::map<std::string, std::vector<double>>;

inline NamedValues named_values(LayerRun& run, const Tensor& x) {
  NamedValues v{{"x", to_double(run.stream, x)}};
  for (const ParamSpec& p : run.arena.specs()) v[p.path] = run.values(p.path);
  return v;
}

/// Gradients of sum(y * dy) by the tape: the input's under "x", the parameters' by path.
inline NamedValues gradients(LayerRun& run, const Module& layer, const Tensor& x, const Tensor& dy, bool training) {
  const Stream& s = run.stream;
  Tape tape;
  Ctx c{.stream = s,
        .weights = run.arena.weights(),
        .arena = run.arena,
        .ledger = run.ledger,
        .tape = &tape,
        .training = training};
  const Var leaf = tape.leaf(x), y = layer.forward(c, leaf);
  EXPECT_GT(run.ledger.bytes(), 0);
  BackwardCtx b{.stream = s, .weights = run.arena.weights(), .arena = run.arena, .ledger = run.ledger};
  run.arena.begin_step();
  tape.backward({{y, dy}}, b);
  run.arena.finish_grads(s);
  EXPECT_EQ(run.ledger.bytes(), 0);
  const Tensor dx = tape.take_grad(leaf);
  EXPECT_EQ(dx.dtype(), x.dtype());
  NamedValues all{{"x", to_double(s, dx)}};
  for (size_t i = 0; i < run.arena.specs().size(); ++i) {
    const ParamSpec& p = run.arena.specs()[i];
    all[p.path] = to_double(s, run.arena.grads().flat_view(run.arena.offset(int(i)), p.shape));
  }
  return all;
}

/// Parameters that start as constants get values of their own: a norm's bias of 0 puts a ReLU right at its corner
/// where all inputs are 0.
inline void shake_constants(LayerRun& run) {
  for (size_t i = 0; i < run.arena.specs().size(); ++i) {
    const ParamSpec& p = run.arena.specs()[i];
    if (p.initial.deviation > 0 || p.initial.low != p.initial.high) continue;
    Tensor values = run.arena.values().flat_view(run.arena.offset(int(i)), p.shape);
    std::vector<float> shaken;
    for (const double v : to_double(run.stream, random(run.stream, p.shape, 50 + i, 0.1f, 0.4f)))
      shaken.push_back(p.initial.low + float(v));
    values.assign<float>(run.stream, shaken);
  }
  run.arena.bump_version();
}

/// What the layer gives, from its values.
using Formula = std::function<std::vector<double>(const NamedValues&, bool training)>;

/// A dozen elements of each gradient against differences of the formula, not of the layer: in double a step can be so
/// small that it crosses no ReLU's corner.
inline void expect_gradients(LayerRun& run, const Module& layer, const Tensor& x, const Formula& formula) {
  constexpr double kStep = 1e-6;
  shake_constants(run);
  for (const bool training : {false, true}) {  // in this order: training changes the running statistics
    SCOPED_TRACE(training ? "training" : "evaluation");
    const NamedValues at = named_values(run, x);
    const Tensor dy = random(run.stream, run(layer, x).shape(), 2);
    const std::vector<double> direction = to_double(run.stream, dy);
    for (const auto& named : gradients(run, layer, x, dy, training)) {
      const std::vector<double>& gradient = named.second;
      SCOPED_TRACE(named.first);
      double worst = 0, largest = 1;  // gradients that are zero by the formula have rounding errors only
      const size_t stride = std::max<size_t>(1, gradient.size() / 12);
      for (size_t i = stride / 2; i < gradient.size(); i += stride) {
        const auto value = [&](double change) {
          NamedValues moved = at;
          moved[named.first][i] += change;
          const std::vector<double> y = formula(moved, training);
          return std::inner_product(y.begin(), y.end(), direction.begin(), 0.0);
        };
        const double expected = (value(kStep) - value(-kStep)) / (2 * kStep);
        largest = std::max(largest, std::abs(expected));
        worst = std::max(worst, std::abs(gradient[i] - expected));
      }
      EXPECT_LT(worst / largest, 1e-4);
    }
  }
}

}  // namespace sluice::test
