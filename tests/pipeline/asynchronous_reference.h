// What asynchronous rules give, recomputed in double from their definitions: which weights every pass reads, what they
// are foretold to be, and what comes of it for a chain h <- tanh(h W) with the mean squared error at its end.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "pipeline/wiring.h"
#include "tests/support/support.h"

namespace sluice::test::asynchronous_test {

inline constexpr int64_t kDim = 8, kSamples = 2;  // weights of one block of the pool
inline constexpr double kLr = 0.05, kMomentum = 0.9, kDecay = 0.1;

enum class Kind : uint8_t { kSgd, kAdam, kAdamW };
struct Case {
  std::string rule;
  int stages = 4, mbs = 1;
  Kind kind = Kind::kSgd;
  std::string schedule = "async_1f1b";
  std::vector<int> recomputed{};  // stages
  Pass recompute = Pass::kForward;
};

inline std::vector<float> sample(int64_t mb, bool target) {
  return random_values(kSamples * kDim, uint64_t(mb) * 2 + (target ? 1 : 0));
}

/// Updates behind the weights, steps foretold, and whether the released code's direction is meant.
struct Reads {
  int64_t version = 0, ahead = 0;
};
struct Expected {
  Reads forward, backward;
};

/// Micro-batch i at stage r of p, T micro-batches a step: the formulas of the methods.
inline Expected reads(const std::string& rule, int64_t i, int64_t r, int64_t p, int64_t T) {
  const int64_t s = p - r - 1, at_forward = std::max<int64_t>(0, i - s) / T, at_backward = i / T;
  if (rule == "naive") return {{at_forward, 0}, {at_backward, 0}};
  if (rule == "pipedream") return {{at_forward, 0}, {at_forward, 0}};
  if (rule == "pipedream_vertical") {
    const int64_t entered = std::max<int64_t>(0, i - (p - 1)) / T;
    return {{entered, 0}, {entered, 0}};
  }
  if (rule == "2bw") {
    const int64_t delayed = std::max<int64_t>(0, i / T - 1);
    return {{delayed, 0}, {delayed, 0}};
  }
  if (rule == "spectrain") return {{at_forward, r / 2 + s}, {at_backward, r / 2}};
  if (rule == "xpipe") {
    const int64_t bellwether = i / T * T;
    const double sf = std::round((double(p + T) - double(r) / 2 - 2) / double(T)),
                 sb = std::round(double(T + r / 2 - 1) / double(T));
    return {{std::max<int64_t>(0, bellwether - s) / T, int64_t(sf)}, {at_backward, int64_t(sb)}};
  }
  if (rule == "pipeoptim_paper") return {{at_forward, s}, {at_backward, 0}};
  if (rule == "pipeoptim_released") return {{at_forward, s + 1}, {at_backward, 0}};
  return {{at_forward, at_backward - at_forward}, {at_backward, 0}};  // pipeoptim, pipeoptim_decay
}

using Row = std::vector<double>;

/// One stage's history: after each number of updates its weights and moments.
struct History {
  std::vector<Row> w, m, v, g;
};

class Reference {
 public:
  Reference(Case setup, const std::vector<Row>& initial) : setup_(std::move(setup)) {
    for (const Row& w : initial) {
      const Row zero(w.size(), 0.0);
      stages_.push_back({{w}, {zero}, {zero}, {zero}});
    }
  }

  std::vector<Row> train(int64_t steps) {
    const int64_t T = setup_.mbs, p = setup_.stages;
    for (int64_t step = 0; step < steps; ++step) {
      std::vector<Row> sums(size_t(p), Row(kDim * kDim, 0.0));
      for (int64_t i = step * T; i < (step + 1) * T; ++i) add_gradients(i, sums);
      for (int64_t r = 0; r < p; ++r) update(stages_[size_t(r)], sums[size_t(r)]);
    }
    std::vector<Row> last;
    for (const History& h : stages_) last.push_back(h.w.back());
    return last;
  }

 private:
  Row weights(int64_t stage, const Reads& read) const {
    const History& h = stages_[size_t(stage)];
    Row w = h.w.at(size_t(read.version));
    if (read.version == 0) return w;  // nothing is known of any direction
    const auto t = double(read.version);
    const bool released = setup_.rule == "pipeoptim_released";
    double shrink = 1, sum = double(read.ahead);
    if (setup_.rule == "pipeoptim_decay" && setup_.kind == Kind::kAdamW) {
      const double keep = 1 - kLr * kDecay;
      shrink = std::pow(keep, double(read.ahead));
      sum = (1 - shrink) / (1 - keep);
    }
    for (size_t k = 0; k < w.size(); ++k) {
      const double m = h.m[size_t(read.version)][k], v = h.v[size_t(read.version)][k];
      double direction = m;
      if (setup_.kind != Kind::kSgd)
        direction = m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      else if (released)
        direction = kMomentum * m + h.g[size_t(read.version)][k];
      w[k] = shrink * w[k] - kLr * sum * direction;
    }
    return w;
  }

  static Row stage_of(const Row& in, const Row& w) {
    Row out(kSamples * kDim, 0.0);
    for (int64_t b = 0; b < kSamples; ++b)
      for (int64_t o = 0; o < kDim; ++o) {
        double z = 0;
        for (int64_t k = 0; k < kDim; ++k) z += in[size_t(b * kDim + k)] * w[size_t(o * kDim + k)];
        out[size_t(b * kDim + o)] = std::tanh(z);
      }
    return out;
  }

  void add_gradients(int64_t i, std::vector<Row>& sums) const {
    const int64_t p = setup_.stages;
    const std::vector<float> x = sample(i, false), y = sample(i, true);
    std::vector<Row> h{Row(x.begin(), x.end())};
    for (int64_t r = 0; r < p; ++r)
      h.push_back(stage_of(h.back(), weights(r, reads(setup_.rule, i, r, p, setup_.mbs).forward)));
    Row d(kSamples * kDim);
    for (int64_t r = p; r-- > 0;) {
      const Row w = weights(r, reads(setup_.rule, i, r, p, setup_.mbs).backward);
      const bool again = std::count(setup_.recomputed.begin(), setup_.recomputed.end(), int(r)) > 0;
      const Row out = again && setup_.recompute == Pass::kBackward ? stage_of(h[size_t(r)], w) : h[size_t(r) + 1];
      if (r + 1 == p)
        for (size_t k = 0; k < d.size(); ++k) d[k] = 2.0 / double(d.size()) / setup_.mbs * (out[k] - double(y[k]));
      for (size_t k = 0; k < d.size(); ++k) d[k] *= 1 - out[k] * out[k];
      Row before(kSamples * kDim, 0.0);
      for (int64_t b = 0; b < kSamples; ++b)
        for (int64_t o = 0; o < kDim; ++o)
          for (int64_t k = 0; k < kDim; ++k) {
            sums[size_t(r)][size_t(o * kDim + k)] += d[size_t(b * kDim + o)] * h[size_t(r)][size_t(b * kDim + k)];
            before[size_t(b * kDim + k)] += d[size_t(b * kDim + o)] * w[size_t(o * kDim + k)];
          }
      d = before;
    }
  }

  void update(History& h, Row g) const {
    Row w = h.w.back(), m = h.m.back(), v = h.v.back();
    const auto t = double(h.w.size());
    for (size_t k = 0; k < w.size(); ++k) {
      if (setup_.kind == Kind::kSgd) {
        g[k] += kDecay * w[k];
        m[k] = kMomentum * m[k] + g[k];
        w[k] -= kLr * m[k];
        continue;
      }
      if (setup_.kind == Kind::kAdamW)
        w[k] -= kLr * kDecay * w[k];
      else
        g[k] += kDecay * w[k];
      m[k] = 0.9 * m[k] + 0.1 * g[k];
      v[k] = 0.999 * v[k] + 0.001 * g[k] * g[k];
      w[k] -= kLr * m[k] / (1 - std::pow(0.9, t)) / (std::sqrt(v[k] / (1 - std::pow(0.999, t))) + 1e-8);
    }
    h.w.push_back(w), h.m.push_back(m), h.v.push_back(v), h.g.push_back(g);
  }

  Case setup_;
  std::vector<History> stages_;
};

}  // namespace sluice::test::asynchronous_test
