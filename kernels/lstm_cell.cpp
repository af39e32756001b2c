// CPU halves of the LSTM cell: a task is a sample, whose four gates are four streams side by side.
#include "kernels/lstm_cell.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

/// Row b of a matrix, from `column` on; null where there is no matrix.
template <class T, class R>
auto row(const R& r, int64_t b, int64_t column = 0) {
  return r.defined() ? r.template as<T>() + b * r.dim(1) + column : nullptr;
}

/// The rows of one sample.
template <class T>
struct Forward {
  T* gates;
  const float* c_previous;
  float* c;
  T *h, *y;  // y null: not wanted
};

template <class T>
void step(const Forward<T>& s, int64_t hidden) {
  T *const i = s.gates, *const f = i + hidden, *const g = f + hidden, *const o = g + hidden, *const h = s.h;
  float* const c = s.c;
  const float* const before = s.c_previous;
#pragma omp simd
  for (int64_t j = 0; j < hidden; ++j) {
    const float zi = math::sigmoid(float(i[j])), zf = math::sigmoid(float(f[j])), zg = math::tanh(float(g[j])),
                zo = math::sigmoid(float(o[j])), state = zf * before[j] + zi * zg;
    store(i[j], zi);
    store(f[j], zf);
    store(g[j], zg);
    store(o[j], zo);
    c[j] = state;
    store(h[j], zo * math::tanh(state));
  }
  if (s.y != nullptr) std::copy_n(h, hidden, s.y);
}

/// Padding: the state goes on, the output is 0.
template <class T>
void carry(const Forward<T>& s, const T* h_previous, int64_t hidden) {
  if (s.c != s.c_previous) std::copy_n(s.c_previous, hidden, s.c);
  if (s.h != h_previous) std::copy_n(h_previous, hidden, s.h);
  if (s.y != nullptr) std::fill_n(s.y, hidden, T(0.0f));
}

template <class T>
struct Backward {
  T* gates;
  const float *c, *c_previous;
  const T* dy;  // null: 0
  T* dh;
  float* dc;
};

template <bool kOutput, class T>
void step_grad(const Backward<T>& s, int64_t hidden) {
  T *const i = s.gates, *const f = i + hidden, *const g = f + hidden, *const o = g + hidden;
  const T *const dh = s.dh, *const dy = s.dy;
  const float *const c = s.c, *const before = s.c_previous;
  float* const dc = s.dc;
#pragma omp simd
  for (int64_t j = 0; j < hidden; ++j) {
    const float ai = float(i[j]), af = float(f[j]), ag = float(g[j]), ao = float(o[j]), t = math::tanh(c[j]);
    const float out = float(dh[j]) + (kOutput ? float(dy[j]) : 0.0f), state = lstm_state_grad(dc[j], out, ao, t);
    store(i[j], lstm_sigmoid_grad(state * ag, ai));
    store(f[j], lstm_sigmoid_grad(state * before[j], af));
    store(g[j], lstm_tanh_grad(state * ai, ag));
    store(o[j], lstm_sigmoid_grad(out * t, ao));
    dc[j] = state * af;
  }
}

}  // namespace

template <>
void LstmCell::cpu<kIsa>(CpuContext& context) const {
  const int64_t hidden = c.dim(1);
  visit_float(gates.dtype, [&]<class T>() {
    parallel_for(context, c.dim(0), [&](int64_t b) {
      const Forward<T> s{row<T>(gates, b), row<float>(c_previous, b), row<float>(c, b), row<T>(h, b),
                         row<T>(y, b, column)};
      if (mask.defined() && mask.as<uint8_t>()[b] == 0) return carry<T>(s, row<T>(h_previous, b), hidden);
      step(s, hidden);
    });
  });
}

template <>
void LstmCellGrad::cpu<kIsa>(CpuContext& context) const {
  const int64_t hidden = c.dim(1);
  visit_float(gates.dtype, [&]<class T>() {
    parallel_for(context, c.dim(0), [&](int64_t b) {
      const Backward<T> s{row<T>(gates, b),      row<float>(c, b), row<float>(c_previous, b),
                          row<T>(dy, b, column), row<T>(dh, b),    row<float>(dc, b)};
      if (mask.defined() && mask.as<uint8_t>()[b] == 0) {  // dh and dc pass by
        std::fill_n(s.gates, 4 * hidden, T(0.0f));
        return;
      }
      if (s.dy == nullptr)
        step_grad<false>(s, hidden);
      else
        step_grad<true>(s, hidden);
      if (mask.defined()) std::fill_n(s.dh, hidden, T(0.0f));
    });
  });
}

}  // namespace sluice::kernels
