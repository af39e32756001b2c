// Products in double over packed operands: a column of D is the sum of k scaled columns of op(A).
#include "emu/gemm.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <vector>

#include "emu/rt.h"

namespace emu::lib {
namespace {

template <class T>
T read(const void* data, int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + size_t(i) * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void write(void* data, int64_t i, T value) {
  std::memcpy(static_cast<std::byte*>(data) + size_t(i) * sizeof(T), &value, sizeof(T));
}

/// A column's stretch may be shorter than its place: what lies between is not the matrix's.
template <class F>
bool for_columns(const Matrix& m, F&& f) {
  if (m.rows == 0 || m.cols == 0) return true;
  const size_t element = size_of(m.type);
  if (m.rows == m.ld) return f(m.data, size_t(m.rows * m.cols) * element);
  for (int64_t j = 0; j < m.cols; ++j)
    if (!f(static_cast<const std::byte*>(m.data) + size_t(j * m.ld) * element, size_t(m.rows) * element)) return false;
  return true;
}
bool usable(const Matrix& m, int device, const std::string& what) {
  return for_columns(m, [&](const void* p, size_t bytes) { return rt::is_usable(p, bytes, device, what.c_str()); });
}
void touch(const Matrix& m, bool write, OpId op, const char* what) {
  for_columns(m, [&](const void* p, size_t bytes) {
    emu::touch(p, bytes, write, op, what);
    return true;
  });
}

/// op(A) with its columns one after another.
std::vector<double> packed(const Matrix& m, bool transpose) {
  const int64_t rows = transpose ? m.cols : m.rows, cols = transpose ? m.rows : m.cols;
  std::vector<double> out(size_t(rows * cols));
  for (int64_t j = 0; j < cols; ++j)
    for (int64_t i = 0; i < rows; ++i) out[size_t(j * rows + i)] = transpose ? m.at(j, i) : m.at(i, j);
  return out;
}

double activated(double v, Epilogue act) {
  switch (act) {
    case Epilogue::kRelu:
      return v > 0 || std::isnan(v) ? v : 0;
    case Epilogue::kGelu:
      return 0.5 * v * (1 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
    case Epilogue::kNone:
      break;
  }
  return v;
}

void compute(const Gemm& g) {
  const int64_t m = g.d.rows, n = g.d.cols, k = g.transpose_a ? g.a.rows : g.a.cols;
  const std::vector<double> a = packed(g.a, g.transpose_a), b = packed(g.b, g.transpose_b);
  std::vector<double> sum(size_t(m), 0.0);
  for (int64_t j = 0; j < n; ++j) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t p = 0; p < k; ++p) {
      const double scale = b[size_t(j * k + p)];
      const double* const column = a.data() + p * m;
      for (int64_t i = 0; i < m; ++i) sum[size_t(i)] += scale * column[i];
    }
    for (int64_t i = 0; i < m; ++i) {
      double v = g.alpha * sum[size_t(i)];
      if (g.d.type != CUDA_R_64F) v = double(float(v));  // accumulators of f32 are complete before C and bias come
      if (g.beta != 0) v += g.beta * g.c.at(i, j);
      if (g.bias != nullptr) v += load(g.bias, i, g.bias_type);
      store(const_cast<void*>(g.d.data), i + j * g.d.ld, g.d.type, activated(v, g.act));
    }
  }
}

}  // namespace

size_t size_of(cudaDataType_t type) {
  switch (type) {
    case CUDA_R_64F:
      return 8;
    case CUDA_R_32F:
      return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF:
      return 2;
    default:
      return 0;
  }
}

double load(const void* data, int64_t i, cudaDataType_t type) {
  switch (type) {
    case CUDA_R_64F:
      return read<double>(data, i);
    case CUDA_R_16F:
      return double(__half2float(read<__half>(data, i)));
    case CUDA_R_16BF:
      return double(__bfloat162float(read<__nv_bfloat16>(data, i)));
    default:
      return double(read<float>(data, i));
  }
}

void store(void* data, int64_t i, cudaDataType_t type, double value) {
  switch (type) {
    case CUDA_R_64F:
      return write(data, i, value);
    case CUDA_R_16F:
      return write(data, i, __float2half(float(value)));
    case CUDA_R_16BF:
      return write(data, i, __float2bfloat16(float(value)));
    default:
      return write(data, i, float(value));
  }
}

void run_gemm(const Gemm& g, int device, OpId op, const char* what) {
  const std::string name = what;
  const size_t bias_bytes = g.bias == nullptr ? 0 : size_t(g.d.rows) * size_of(g.bias_type);
  const bool sound = usable(g.a, device, name + " A") && usable(g.b, device, name + " B") &&
                     (g.beta == 0 || usable(g.c, device, name + " C")) && usable(g.d, device, name + " D") &&
                     rt::is_usable(g.bias, bias_bytes, device, (name + " bias").c_str());
  if (!sound) return;
  touch(g.a, false, op, what);
  touch(g.b, false, op, what);
  if (g.beta != 0) touch(g.c, false, op, what);
  if (bias_bytes != 0) emu::touch(g.bias, bias_bytes, false, op, what);
  touch(g.d, true, op, what);
  compute(g);
}

}  // namespace emu::lib
