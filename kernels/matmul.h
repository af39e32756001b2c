// y = act(x w^T + b) and its gradients: dx (+)= dz w, dw (+)= dz^T x, db (+)= column sums of dz. No operands may
// overlap.
#pragma once

#include "kernels/activation.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

namespace detail {
/// Weights are of the activations' dtype or f32 masters, which are rounded to it when they are packed.
inline void expect_weight_dtype(const char* op, DType w, DType x) {
  if (w != x && w != DType::kF32)
    throw DTypeError(str(op, ": w is ", name(w), ", expected f32", x == DType::kF32 ? "" : " or bf16"));
}
inline void expect_not_empty(const char* op, const Shape& w) {
  if (w.numel() == 0) throw ShapeError(str(op, ": w has shape ", w.text(), ", expected at least one element"));
}
/// An optional vector of `count` f32.
inline void expect_f32_vector(const char* op, const char* what, const ConstRef& v, int64_t count) {
  if (!v.defined()) return;
  expect_dtype(op, what, v.dtype, DType::kF32);
  expect_shape(op, what, v.shape, {count});
}
}  // namespace detail

/// y = act(x w^T + bias), or y += x w^T; products summed in f32. On a CPU without bf16 arithmetic, bf16 is a DTypeError
/// when it runs.
struct Matmul {
  static constexpr const char* kName = "matmul";
  ConstRef x;     // [rows, in], f32 or bf16
  ConstRef w;     // [out, in], as x or f32
  ConstRef bias;  // [out], f32; or undefined
  Ref y;          // [rows, out], as x
  Act act = Act::kNone;
  uint64_t w_version = 0;   // equal numbers promise equal contents at w.data; 0: unknown, never cached
  bool accumulate = false;  // add to what is there; without bias and activation
  bool w_reused = false;    // a version is read many times, as at each time step: packing it pays whatever it costs

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_rank(kName, "x", x.shape, 2);
    expect_rank(kName, "w", w.shape, 2);
    detail::expect_not_empty(kName, w.shape);
    detail::expect_weight_dtype(kName, w.dtype, x.dtype);
    expect_shape(kName, "w", w.shape, {w.dim(0), x.dim(1)});
    detail::expect_f32_vector(kName, "bias", bias, w.dim(0));
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, {x.dim(0), w.dim(0)});
    if (accumulate && (bias.defined() || act != Act::kNone))
      throw ConfigError("matmul: bias or activation with accumulate, expected neither");
  }
  Operands operands() const { return {{x, w, bias}, {y}}; }
  Cost cost() const {
    Cost c = operands().once(2 * x.numel() * w.dim(0) + y.numel() * (bias.defined() ? 1 : 0));
    c.read += accumulate ? y.bytes() : 0;
    return c;
  }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx (+)= dz w.
struct MatmulGradInput {
  static constexpr const char* kName = "matmul_grad_input";
  ConstRef dz;              // [rows, out], f32 or bf16; the gradient before the activation
  ConstRef w;               // [out, in], as dz or f32
  Ref dx;                   // [rows, in], as dz
  uint64_t w_version = 0;   // as in Matmul
  bool accumulate = false;  // add to what is there

  void check() const {
    expect_float(kName, "dz", dz.dtype);
    expect_rank(kName, "dz", dz.shape, 2);
    expect_rank(kName, "w", w.shape, 2);
    detail::expect_not_empty(kName, w.shape);
    detail::expect_weight_dtype(kName, w.dtype, dz.dtype);
    expect_shape(kName, "w", w.shape, {dz.dim(1), w.dim(1)});
    expect_dtype(kName, "dx", dx.dtype, dz.dtype);
    expect_shape(kName, "dx", dx.shape, {dz.dim(0), w.dim(1)});
  }
  Operands operands() const { return {{dz, w}, {dx}}; }
  Cost cost() const {
    Cost c = operands().once(2 * dz.numel() * w.dim(1));
    c.read += accumulate ? dx.bytes() : 0;
    return c;
  }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dw (+)= dz^T x and db (+)= column sums of dz. The product is complete before it is added, so accumulating one
/// gradient after another rounds like adding the finished gradients.
struct MatmulGradWeight {
  static constexpr const char* kName = "matmul_grad_weight";
  ConstRef x;                 // [rows, in], f32 or bf16
  ConstRef dz;                // [rows, out], as x
  Ref dw;                     // [out, in], f32
  Ref db;                     // [out], f32; or undefined
  bool accumulate_w = false;  // add to what is there
  bool accumulate_b = false;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "dz", dz.dtype, x.dtype);
    expect_rank(kName, "x", x.shape, 2);
    expect_rank(kName, "dz", dz.shape, 2);
    expect_shape(kName, "dz", dz.shape, {x.dim(0), dz.dim(1)});
    expect_dtype(kName, "dw", dw.dtype, DType::kF32);
    detail::expect_not_empty(kName, dw.shape);
    expect_shape(kName, "dw", dw.shape, {dz.dim(1), x.dim(1)});
    detail::expect_f32_vector(kName, "db", db, dz.dim(1));
  }
  Operands operands() const { return {{x, dz}, {dw, db}}; }
  Cost cost() const {
    Cost c = operands().once(2 * x.numel() * dz.dim(1) + (db.defined() ? dz.numel() : 0));
    c.read += (accumulate_w ? dw.bytes() : 0) + (accumulate_b ? db.bytes() : 0);
    return c;
  }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
