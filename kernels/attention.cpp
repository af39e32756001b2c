// CPU halves of attention. A task is one head of one sample: its K and V are packed into padded scratch, and panels of
// queries go through products in registers. A panel holds its scores as [keys, queries], so that a row's maximum and
// sum need no work across lanes, and stays in the cache. Tasks share nothing, so no sum depends on the team.
#include "kernels/attention.h"

#include <limits>

#include "kernels/common/draws.h"
#include "kernels/common/lanes.h"
#include "kernels/common/math.h"
#include "kernels/common/parallel.h"
#include "kernels/common/some_columns.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

// A tile of sums that stays in registers: 16 of the 32 registers of AVX-512, 12 of the 16 of AVX2.
constexpr int kTileRows = kIsa == Isa::v4 ? 8 : 6;
constexpr int kTileCols = kIsa == Isa::v4 ? 32 : 16;
constexpr int kPanel = kTileCols;  // queries at a time
constexpr int64_t kSpare = 24;     // rows behind a panel's keys that whole tiles and groups of four keys may touch
constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Element (i, k) of the left factor is at[i * row + k * step].
struct Left {
  const float* at;
  int64_t row, step;
};

/// c[kTileRows, kTileCols] (+)= a b over `depth`.
template <bool kAdd>
void tile(int64_t depth, Left a, const Rows& b, const Rows& c) {
  float sum[kTileRows][kTileCols];
  for (int i = 0; i < kTileRows; ++i)
    for (int j = 0; j < kTileCols; ++j) sum[i][j] = kAdd ? c.at[i * c.row + j] : 0.0f;
  for (int64_t k = 0; k < depth; ++k) {
    const float* left = a.at + k * a.step;
    const float* right = b.at + k * b.row;
    for (int i = 0; i < kTileRows; ++i) {
      const float v = left[i * a.row];
#pragma omp simd
      for (int j = 0; j < kTileCols; ++j) sum[i][j] = __builtin_fmaf(v, right[j], sum[i][j]);
    }
  }
  for (int i = 0; i < kTileRows; ++i)
    for (int j = 0; j < kTileCols; ++j) c.at[i * c.row + j] = sum[i][j];
}

struct Extent {
  int64_t rows, cols, depth;  // of a product; rows and cols are rounded up to whole tiles
};

/// c (+)= a b, tile by tile down the rows, so that a strip of b stays in the cache.
template <bool kAdd>
void product(const Extent& e, Left a, const Rows& b, const Rows& c) {
  for (int64_t j = 0; j < e.cols; j += kTileCols)
    for (int64_t i = 0; i < e.rows; i += kTileRows)
      tile<kAdd>(e.depth, {a.at + i * a.row, a.row, a.step}, {b.at + j, b.row}, {c.at + i * c.row + j, c.row});
}

/// Floats of scratch, handed out one after another.
struct Scratch {
  float* at;
  Rows take(int64_t rows, int64_t row) {
    const Rows r{at, row};
    at += padded(rows * row, 16);
    return r;
  }
};

/// The layout of a call, and what a task needs.
struct Sizes : AttentionLayout {
  Sizes(const ConstRef& qkv, const ConstRef& kv, const AttentionSettings& s)
      : AttentionLayout(qkv, kv, s), heads(s.heads), cols(padded(head_cols, kTileCols)) {}
  int64_t tasks() const { return samples * heads; }
  int64_t spare_keys() const { return keys + kSpare; }
  /// Floats of a task: keys, values and a panel of scores; backward twice that. What panels of queries need is small.
  int64_t scratch(bool backward) const {
    const int64_t whole = spare_keys() * (2 * cols + kPanel), panels = (kPanel + kSpare) * 2 * cols;
    return (backward ? 2 : 1) * (whole + panels + 2 * head_cols * kPanel);
  }

  int64_t heads;
  int64_t cols;  // d_k in whole tiles
};

/// What queries may attend to: up to the sample's last key. Without any key all are equally likely: scores count as 0.
struct Attended {
  Attended(const uint8_t* mask_of_sample, const Sizes& z) : mask(mask_of_sample), causal(z.causal) {
    for (int64_t k = 0; k < z.keys; ++k)
      if (open(k)) count = k + 1;
    if (count > 0) {
      scale = z.scale;
    } else {
      count = z.keys;
      mask = nullptr;
    }
  }
  bool open(int64_t key) const { return mask == nullptr || mask[key] != 0; }
  /// The same as far as queries before `end` see.
  Attended seen_before(int64_t end) const {
    Attended seen = *this;
    if (causal) seen.count = std::min(count, end);
    return seen;
  }
  const uint8_t* mask;
  bool causal;
  int64_t count = 0;
  float scale = 0;
};

/// The scores of keys behind their query, in a panel of queries from `query` on, to those of nothing.
void close_later(float* panel, int64_t query, const Attended& seen) {
  if (!seen.causal) return;
  for (int64_t k = query + 1; k < seen.count; ++k)
    std::fill_n(panel + k * kPanel, std::min<int64_t>(k - query, kPanel), -kInfinity);
}

/// A panel's rows behind its last key, as far as whole tiles reach: what they hold would be added to keys that later
/// panels see.
void clear_behind(float* panel, const Attended& seen) {
  if (!seen.causal) return;
  std::fill_n(panel + seen.count * kPanel, (padded(seen.count, kTileRows) - seen.count) * kPanel, 0.0f);
}

/// A task's place, and its draws.
struct Place {
  Place(int64_t task, const Sizes& z, const AttentionSettings& s)
      : sample(task / z.heads),
        head(task % z.heads),
        q(sample * z.queries * z.q_row + head * z.head_cols),
        k(sample * z.keys * z.kv_row + z.key_column + head * z.head_cols),
        y(sample * z.queries * z.width + head * z.head_cols),
        lse(task * z.queries),
        settings(s) {}
  /// u[16 w + l] = the draw of (query + l, key + w); key is a multiple of 4.
  void draw(int64_t query, int64_t key, float* u) const {
    draw_sixteen(settings.key, attention_draw(head, query, key).low, uint64_t(settings.sample_base + sample), u);
  }
  const uint8_t* mask(const ConstRef& m, const Sizes& z) const {
    return m.defined() ? m.as<uint8_t>() + sample * z.keys : nullptr;
  }
  int64_t sample, head;
  int64_t q, k, y, lse;  // first elements
  const AttentionSettings& settings;
};

/// Columns of a head from element `at` of a tensor on.
template <class T>
Columns<T> columns(const ConstRef& of, int64_t at, int64_t row, const Sizes& z) {
  return {of.as<T>() + at, row, z.head_cols, of.as<T>() + of.numel()};
}
/// Where K and V lie.
template <class Call>
const ConstRef& keys_of(const Call& call) {
  return call.kv.defined() ? call.kv : call.qkv;
}

/// f(row, lanes, draws) for the 16 queries from each multiple of 16 of a panel and each key, a row of the panel; four
/// keys are drawn together. Without dropout all draws are 1.
template <class F>
void for_draws(const Attended& keys, int64_t query, const Place& at, F&& f) {
  float u[64];
  std::fill_n(u, 64, 1.0f);
  for (int64_t k = 0; k < keys.count; k += 4)
    for (int64_t l = 0; l < kPanel; l += 16) {
      if (at.settings.p > 0.0f) at.draw(query + l, k, u);
      for (int64_t w = 0; w < std::min<int64_t>(4, keys.count - k); ++w) f(k + w, l, u + 16 * w);
    }
}

/// What the softmax of each query of a panel is made of.
struct Softmax {
  float top[kPanel], sum[kPanel];
};

/// Scores to e^(score - largest), 0 where dropped, in place. The sums are of all.
void exponentials(float* panel, int64_t query, const Attended& keys, const Place& at, Softmax& s) {
  const float scale = keys.scale, p = at.settings.p;
  std::fill_n(s.top, kPanel, -kInfinity);
  std::fill_n(s.sum, kPanel, 0.0f);
  for (int64_t k = 0; k < keys.count; ++k) {
    const float* row = panel + k * kPanel;
    if (!keys.open(k)) continue;
#pragma omp simd
    for (int l = 0; l < kPanel; ++l) s.top[l] = row[l] > s.top[l] ? row[l] : s.top[l];
  }
#pragma omp simd
  for (int l = 0; l < kPanel; ++l) s.top[l] *= scale;
  for_draws(keys, query, at, [&, scale, p](int64_t k, int64_t first, const float* u) {
    float *row = panel + k * kPanel + first, *sum = s.sum + first;
    const float* top = s.top + first;
    const float closed = keys.open(k) ? 0.0f : -kInfinity;
#pragma omp simd
    for (int l = 0; l < 16; ++l) {
      const float e = math::exp(row[l] * scale - top[l] + closed);
      sum[l] += e;
      row[l] = u[l] >= p ? e : 0.0f;
    }
  });
}

template <class T>
void forward(const Attention& call, const Sizes& z, const Place& at, Scratch scratch) {
  const Attended keys(at.mask(call.mask, z), z);
  const Columns<T> q = columns<T>(call.qkv, at.q, z.q_row, z), ks = columns<T>(keys_of(call), at.k, z.kv_row, z);
  const Rows k = readable(ks, keys.count, padded(keys.count, kTileRows), scratch.take(z.spare_keys(), z.cols));
  const Rows v = readable(ks.beside(z.width), keys.count, keys.count, scratch.take(z.spare_keys(), z.cols));
  const Rows qt = scratch.take(z.head_cols, kPanel);
  const Rows result = scratch.take(kPanel + kSpare, z.cols), scores = scratch.take(z.spare_keys(), kPanel);
  const float kept = 1.0f / (1.0f - at.settings.p);
  for (int64_t first = 0; first < z.queries; first += kPanel) {
    const int64_t rows = std::min<int64_t>(kPanel, z.queries - first);
    const Attended seen = keys.seen_before(first + rows);
    transpose(q.from(first), rows, qt);
    product<false>({seen.count, kPanel, z.head_cols}, {k.at, k.row, 1}, qt, scores);
    close_later(scores.at, first, seen);
    Softmax s;
    exponentials(scores.at, first, seen, at, s);
    product<false>({rows, z.cols, seen.count}, {scores.at, 1, kPanel}, v, result);
    unpack(result, rows, z.head_cols, call.y.as<T>() + at.y + first * z.width, z.width,
           [&](int64_t r) { return kept / s.sum[r]; });
    if (!call.lse.defined()) continue;
    float* lse = call.lse.as<float>() + at.lse + first;
#pragma omp simd
    for (int64_t r = 0; r < rows; ++r) lse[r] = s.top[r] + math::log(s.sum[r]);
  }
}

/// What is known of each query of a backward panel.
struct Known {
  float lse[kPanel], delta[kPanel];
};
template <class T>
void find_known(const AttentionGrad& call, const Sizes& z, const Place& at, int64_t first, int64_t rows, Known& known) {
  std::fill_n(known.lse, kPanel, 0.0f);
  std::fill_n(known.delta, kPanel, 0.0f);
  std::copy_n(call.lse.as<float>() + at.lse + first, rows, known.lse);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = at.y + (first + r) * z.width;
    const T *y = call.y.as<T>() + begin, *dy = call.dy.as<T>() + begin;
    fetch_ahead<0>(y, z.head_cols);
    known.delta[r] = lane_sum(0, z.head_cols, [=](int64_t j) { return float(y[j]) * float(dy[j]); });
  }
}

/// Scores become dropped probabilities, and the probabilities' gradients those of the scores, in place.
void probabilities(float* scores, float* grads, int64_t query, const Attended& keys, const Place& at,
                   const Known& known) {
  const float p = at.settings.p, kept = 1.0f / (1.0f - p), scale = keys.scale;
  for_draws(keys, query, at, [&, p, kept, scale](int64_t k, int64_t first, const float* u) {
    float *s = scores + k * kPanel + first, *g = grads + k * kPanel + first;
    const float *lse = known.lse + first, *delta = known.delta + first;
    const float closed = keys.open(k) ? 0.0f : -kInfinity;
#pragma omp simd
    for (int l = 0; l < 16; ++l) {
      const float whole = math::exp(s[l] * scale - lse[l] + closed), factor = u[l] >= p ? kept : 0.0f;
      s[l] = whole * factor;
      g[l] = whole * (g[l] * factor - delta[l]) * scale;
    }
  });
}

/// K and V of a head, and the sums of their gradients over the panels.
struct KeySide {
  Rows k, v, dk, dv;
};
/// One panel of queries: its rows of Q and of dy, plain and transposed, its scores and their gradients.
struct QuerySide {
  Rows q, qt, dy, dyt, dq, scores, grads;
};

template <bool kAdd>
void add_panel(const Extent& e, const KeySide& to, const QuerySide& from) {
  product<kAdd>(e, {from.grads.at, kPanel, 1}, from.q, to.dk);
  product<kAdd>(e, {from.scores.at, kPanel, 1}, from.dy, to.dv);
}

/// dK and dV of a head to where its columns are; keys that nobody attends to have none.
template <class T>
void store_key_grads(const KeySide& side, int64_t count, const Sizes& z, T* dk) {
  const auto one = [](int64_t) { return 1.0f; };
  unpack(side.dk, count, z.head_cols, dk, z.kv_row, one);
  unpack(side.dv, count, z.head_cols, dk + z.width, z.kv_row, one);
  for (int64_t r = count; r < z.keys; ++r)
    for (const int64_t part_of_row : {int64_t{0}, z.width})
      std::fill_n(dk + r * z.kv_row + part_of_row, z.head_cols, T(0.0f));
}

template <class T>
void backward(const AttentionGrad& call, const Sizes& z, const Place& at, Scratch scratch) {
  const Attended keys(at.mask(call.mask, z), z);
  const Columns<T> q = columns<T>(call.qkv, at.q, z.q_row, z), ks = columns<T>(keys_of(call), at.k, z.kv_row, z),
                   dy = columns<T>(call.dy, at.y, z.width, z);
  const auto all = [&] { return scratch.take(z.spare_keys(), z.cols); };
  const auto turned = [&] { return scratch.take(z.head_cols, kPanel); };
  const auto panel = [&] { return scratch.take(z.spare_keys(), kPanel); };
  const auto some = [&] { return scratch.take(kPanel, z.cols); };
  const int64_t whole = padded(keys.count, kTileRows);
  const KeySide side{readable(ks, keys.count, whole, all()), readable(ks.beside(z.width), keys.count, whole, all()),
                     all(), all()};
  QuerySide part{some(), turned(), some(), turned(), scratch.take(kPanel + kSpare, z.cols), panel(), panel()};
  const Rows q_scratch = part.q, dy_scratch = part.dy;
  if (z.causal)  // a panel adds to the keys that it sees
    for (const Rows& sum : {side.dk, side.dv}) std::fill_n(sum.at, z.spare_keys() * z.cols, 0.0f);
  for (int64_t first = 0; first < z.queries; first += kPanel) {
    const int64_t rows = std::min<int64_t>(kPanel, z.queries - first);
    const Attended seen = keys.seen_before(first + rows);
    part.q = readable(q.from(first), rows, rows, q_scratch);
    part.dy = readable(dy.from(first), rows, rows, dy_scratch);
    transpose(q.from(first), rows, part.qt);
    transpose(dy.from(first), rows, part.dyt);
    Known known;
    find_known<T>(call, z, at, first, rows, known);
    const Extent over_keys{seen.count, kPanel, z.head_cols}, of_keys{seen.count, z.cols, rows};
    product<false>(over_keys, {side.k.at, side.k.row, 1}, part.qt, part.scores);
    product<false>(over_keys, {side.v.at, side.v.row, 1}, part.dyt, part.grads);
    close_later(part.scores.at, first, seen);
    probabilities(part.scores.at, part.grads.at, first, seen, at, known);
    for (const Rows& panel_of : {part.scores, part.grads}) clear_behind(panel_of.at, seen);
    product<false>({rows, z.cols, seen.count}, {part.grads.at, 1, kPanel}, side.k, part.dq);
    unpack(part.dq, rows, z.head_cols, call.dqkv.as<T>() + at.q + first * z.q_row, z.q_row,
           [](int64_t) { return 1.0f; });
    if (first == 0 && !z.causal)
      add_panel<false>(of_keys, side, part);
    else
      add_panel<true>(of_keys, side, part);
  }
  store_key_grads(side, keys.count, z, (call.dkv.defined() ? call.dkv : call.dqkv).template as<T>() + at.k);
}

/// f(place, scratch) for every head of every sample; each thread has scratch of its own.
template <class F>
void for_heads(CpuContext& c, const Sizes& z, const AttentionSettings& settings, bool is_backward, F&& f) {
  const int64_t shares = std::min<int64_t>(c.team, z.tasks()), size = padded(z.scratch(is_backward), 16);
  if (shares == 0 || z.queries == 0) return;
  auto* scratch = static_cast<float*>(c.workspace(size_t(shares * size) * sizeof(float)));
  parallel_for(c, shares, [&](int64_t share) {
    for (int64_t task = z.tasks() * share / shares; task < z.tasks() * (share + 1) / shares; ++task)
      f(Place(task, z, settings), Scratch{scratch + share * size});
  });
}

}  // namespace

template <>
void Attention::cpu<kIsa>(CpuContext& c) const {
  const Sizes z(qkv, kv, settings);
  visit_float(qkv.dtype, [&]<class T>() {
    for_heads(c, z, settings, false, [&](const Place& at, const Scratch& s) { forward<T>(*this, z, at, s); });
  });
}

template <>
void AttentionGrad::cpu<kIsa>(CpuContext& c) const {
  const Sizes z(qkv, kv, settings);
  visit_float(qkv.dtype, [&]<class T>() {
    for_heads(c, z, settings, true, [&](const Place& at, const Scratch& s) { backward<T>(*this, z, at, s); });
  });
}

}  // namespace sluice::kernels
