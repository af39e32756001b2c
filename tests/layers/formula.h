// Linear layers, norms and the blocks of networks over patches in double, from a layer's own parameters.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/layers/run.h"

namespace sluice::test {

using Values = std::vector<double>;

/// A weight and bias, of a linear layer or of a norm.
struct Weights64 {
  Values w, b;
  Weights64(LayerRun& run, const std::string& path) : w(run.values(path + ".weight")), b(run.values(path + ".bias")) {}

  /// Rows of x times the transposed matrix, plus the bias.
  Values linear(const Values& x) const {
    const size_t out = b.size(), in = w.size() / out, rows = x.size() / in;
    Values y(rows * out);
    for (size_t r = 0; r < rows; ++r)
      for (size_t o = 0; o < out; ++o) {
        y[r * out + o] = b[o];
        for (size_t i = 0; i < in; ++i) y[r * out + o] += x[r * in + i] * w[o * in + i];
      }
    return y;
  }
  /// w (x - mean) / sqrt(biased variance + 1e-5) + b in each row; or over the unbiased deviation + 1e-6.
  Values norm(const Values& x, bool unbiased = false) const {
    Values y(x.size());
    const size_t n = w.size();
    for (size_t row = 0; row < x.size(); row += n) {
      double mean = 0, square = 0;
      for (size_t j = 0; j < n; ++j) mean += x[row + j] / double(n);
      for (size_t j = 0; j < n; ++j) square += std::pow(x[row + j] - mean, 2);
      const double spread = unbiased ? std::sqrt(square / double(n - 1)) + 1e-6 : std::sqrt(square / double(n) + 1e-5);
      for (size_t j = 0; j < n; ++j) y[row + j] = w[j] * (x[row + j] - mean) / spread + b[j];
    }
    return y;
  }
};

inline Values relu(Values x) {
  for (double& v : x) v = std::max(v, 0.0);
  return x;
}
inline Values sum_of(Values a, const Values& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}
/// Each of `samples` matrices of `rows` rows turned.
inline Values turned(const Values& x, size_t samples, size_t rows) {
  Values y(x.size());
  const size_t size = x.size() / samples, cols = size / rows;
  for (size_t b = 0; b < samples; ++b)
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = 0; c < cols; ++c) y[b * size + c * rows + r] = x[b * size + r * cols + c];
  return y;
}

// ---- blocks ----

struct TokenSizes {
  size_t samples, tokens, width;
};

/// softmax(scale Q K^T) V of each head, without a mask.
inline Values attended(const Values& qkv, const TokenSizes& z, size_t heads, double scale) {
  const size_t cols = z.width / heads;
  Values y(z.samples * z.tokens * z.width, 0.0);
  for (size_t b = 0; b < z.samples; ++b)
    for (size_t h = 0; h < heads; ++h)
      for (size_t q = 0; q < z.tokens; ++q) {
        const auto at = [&](size_t t, size_t part, size_t j) {
          return qkv[((b * z.tokens + t) * 3 + part) * z.width + h * cols + j];
        };
        Values e(z.tokens, 0.0);
        double sum = 0;
        for (size_t k = 0; k < z.tokens; ++k) {
          for (size_t j = 0; j < cols; ++j) e[k] += at(q, 0, j) * at(k, 1, j) * scale;
          sum += e[k] = std::exp(e[k]);
        }
        for (size_t k = 0; k < z.tokens; ++k)
          for (size_t j = 0; j < cols; ++j) y[(b * z.tokens + q) * z.width + h * cols + j] += e[k] / sum * at(k, 2, j);
      }
  return y;
}

/// VisionBlock without dropout.
inline Values vision_block(LayerRun& run, const std::string& path, const Values& x, const TokenSizes& z, size_t heads) {
  const auto w = [&](const char* name) { return Weights64(run, path + "." + name); };
  const Values qkv = w("qkv").linear(w("attention_norm").norm(x));
  const Values y = sum_of(x, w("out").linear(attended(qkv, z, heads, 1 / std::sqrt(double(z.width)))));
  return sum_of(y, relu(w("narrow").linear(relu(w("widen").linear(w("inner_norm").norm(y))))));
}

/// MixerBlock without dropout.
inline Values mixer_block(LayerRun& run, const std::string& path, const Values& x, const TokenSizes& z) {
  const auto w = [&](const char* name) { return Weights64(run, path + "." + name); };
  const Values by_channel = turned(w("token_norm").norm(x), z.samples, z.tokens);
  const Values mixed = w("token_narrow").linear(relu(w("token_widen").linear(by_channel)));
  const Values y = sum_of(x, turned(mixed, z.samples, z.width));
  return sum_of(y, w("channel_narrow").linear(relu(w("channel_widen").linear(w("channel_norm").norm(y)))));
}

}  // namespace sluice::test
