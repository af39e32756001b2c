// CUDA halves of the LSTM cell: a thread takes four neighbouring columns of a sample (one where packs do not fit) and
// their four gates. Aliasing as in the header: a thread reads all of an element's values before it writes any.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/lstm_cell.h"

namespace sluice::kernels {

struct LstmShape {
  int64_t rows, hidden;
  int64_t width;  // of y or dy
};

/// Four gates of N neighbouring columns.
template <class T, int N>
struct LstmPacks {
  Pack<T, N> i, f, g, o;

  __device__ void load_from(const T* gates, int64_t hidden) {
    i = load<N>(gates);
    f = load<N>(gates + hidden);
    g = load<N>(gates + 2 * hidden);
    o = load<N>(gates + 3 * hidden);
  }
  __device__ void store_to(T* gates, int64_t hidden) const {
    store(gates, i);
    store(gates + hidden, f);
    store(gates + 2 * hidden, g);
    store(gates + 3 * hidden, o);
  }
};

template <class T>
struct LstmCellOperands {
  T* gates;
  const float* c_previous;
  const T* h_previous;
  const uint8_t* mask;  // null: no padding
  float* c;
  T *h, *y;  // y: the first of its columns, null: not wanted
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) lstm_cell_kernel(LstmCellOperands<T> p, LstmShape s) {
  const int64_t packs = s.hidden / N;
  for (int64_t k = global_thread(); k < s.rows * packs; k += grid_threads()) {
    const int64_t row = k / packs, column = (k - row * packs) * N, state = row * s.hidden + column;
    Pack<float, N> c = load<N>(p.c_previous + state);
    Pack<T, N> h, y;
    if (p.mask != nullptr && p.mask[row] == 0) {
      h = load<N>(p.h_previous + state);
      for (int j = 0; j < N; ++j) y.v[j] = T(0.0f);
    } else {
      T* const gates = p.gates + row * 4 * s.hidden + column;
      LstmPacks<T, N> z;
      z.load_from(gates, s.hidden);
      for (int j = 0; j < N; ++j) {
        const float i = math::sigmoid(float(z.i.v[j])), f = math::sigmoid(float(z.f.v[j])),
                    g = math::tanh(float(z.g.v[j])), o = math::sigmoid(float(z.o.v[j]));
        c.v[j] = f * c.v[j] + i * g;
        h.v[j] = T(o * math::tanh(c.v[j]));
        z.i.v[j] = T(i);
        z.f.v[j] = T(f);
        z.g.v[j] = T(g);
        z.o.v[j] = T(o);
      }
      z.store_to(gates, s.hidden);
      y = h;
    }
    store(p.c + state, c);
    store(p.h + state, h);
    if (p.y != nullptr) store(p.y + row * s.width + column, y);
  }
}

template <class T>
struct LstmCellGradOperands {
  T* gates;
  const float *c, *c_previous;
  const T* dy;          // the first of its columns; null: 0
  const uint8_t* mask;  // null: no padding
  T* dh;
  float* dc;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) lstm_cell_grad_kernel(LstmCellGradOperands<T> p, LstmShape s) {
  const int64_t packs = s.hidden / N;
  for (int64_t k = global_thread(); k < s.rows * packs; k += grid_threads()) {
    const int64_t row = k / packs, column = (k - row * packs) * N, state = row * s.hidden + column;
    T* const gates = p.gates + row * 4 * s.hidden + column;
    LstmPacks<T, N> z;
    if (p.mask != nullptr && p.mask[row] == 0) {  // dh and dc pass by
      for (int j = 0; j < N; ++j) z.i.v[j] = z.f.v[j] = z.g.v[j] = z.o.v[j] = T(0.0f);
      z.store_to(gates, s.hidden);
      continue;
    }
    z.load_from(gates, s.hidden);
    const Pack<float, N> c = load<N>(p.c + state), previous = load<N>(p.c_previous + state);
    Pack<float, N> dc = load<N>(p.dc + state);
    Pack<T, N> dh = load<N>(p.dh + state), dy{};
    if (p.dy != nullptr) dy = load<N>(p.dy + row * s.width + column);
    for (int j = 0; j < N; ++j) {
      const float whole = p.dy != nullptr ? float(dh.v[j]) + float(dy.v[j]) : float(dh.v[j]);
      const float i = float(z.i.v[j]), f = float(z.f.v[j]), g = float(z.g.v[j]), o = float(z.o.v[j]);
      const float t = math::tanh(c.v[j]), d = lstm_state_grad(dc.v[j], whole, o, t);
      z.i.v[j] = T(lstm_sigmoid_grad(d * g, i));
      z.f.v[j] = T(lstm_sigmoid_grad(d * previous.v[j], f));
      z.g.v[j] = T(lstm_tanh_grad(d * i, g));
      z.o.v[j] = T(lstm_sigmoid_grad(whole * t, o));
      dc.v[j] = d * f;
      dh.v[j] = T(0.0f);
    }
    z.store_to(gates, s.hidden);
    store(p.dc + state, dc);
    if (p.mask != nullptr) store(p.dh + state, dh);
  }
}

namespace {

/// f.operator()<T, N>(): N = 4 where packs of all the pointers fit, in every row.
template <class F, class... P>
void visit_packs(const Ref& gates, int64_t hidden, int64_t width, F&& f, std::initializer_list<const float*> states,
                 P... pointers) {
  visit_float(gates.dtype, [&]<class T>() {
    bool packed = hidden % 4 == 0 && width % 4 == 0 && aligned_for(4, static_cast<const T*>(pointers)...);
    for (const float* state : states) packed = packed && aligned_for(4, state);
    if (packed)
      f.template operator()<T, 4>();
    else
      f.template operator()<T, 1>();
  });
}

/// The columns of r that are meant.
template <class T, class R>
auto columns(const R& r, int64_t column) {
  return r.defined() ? r.template as<T>() + column : nullptr;
}
const void* columns_address(const ConstRef& r, int64_t column) {
  return r.defined() ? static_cast<const std::byte*>(r.data) + column * size_of(r.dtype) : nullptr;
}

}  // namespace

void LstmCell::cuda(CudaContext& context) const {
  if (c.numel() == 0) return;
  const LstmShape s{c.dim(0), c.dim(1), y.defined() ? y.dim(1) : 0};
  visit_packs(
      gates, s.hidden, s.width,
      [&]<class T, int N>() {
        const Grid g = grid_for(context, c.numel() / N);
        const LstmCellOperands<T> p{gates.as<T>(),        c_previous.as<float>(), h_previous.as<T>(),
                                    mask.as<uint8_t>(),   c.as<float>(),          h.as<T>(),
                                    columns<T>(y, column)};
        launch_kernel(context, kName, lstm_cell_kernel<T, N>, g.blocks, g.threads, 0, p, s);
      },
      {c.as<float>(), c_previous.as<float>()}, gates.data, h_previous.data, h.data, columns_address(y, column));
}

void LstmCellGrad::cuda(CudaContext& context) const {
  if (c.numel() == 0) return;
  const LstmShape s{c.dim(0), c.dim(1), dy.defined() ? dy.dim(1) : 0};
  visit_packs(
      gates, s.hidden, s.width,
      [&]<class T, int N>() {
        const Grid g = grid_for(context, c.numel() / N);
        const LstmCellGradOperands<T> p{gates.as<T>(),          c.as<float>(),      c_previous.as<float>(),
                                        columns<T>(dy, column), mask.as<uint8_t>(), dh.as<T>(),
                                        dc.as<float>()};
        launch_kernel(context, kName, lstm_cell_grad_kernel<T, N>, g.blocks, g.threads, 0, p, s);
      },
      {c.as<float>(), c_previous.as<float>(), dc.as<float>()}, gates.data, dh.data, columns_address(dy, column));
}

}  // namespace sluice::kernels
