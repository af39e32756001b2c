// y = the samples of x that an index names, along any dimension: batch compaction. No operands may overlap.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// y[o, n, i] = x[o, index[n], i], where o and i run over the dimensions before and behind `axis`. The caller promises
/// indices in [0, x.dim(axis)).
struct SelectRows {
  static constexpr const char* kName = "select_rows";
  ConstRef x;      // any dtype
  ConstRef index;  // [N] i32
  Ref y;           // as x, with N in place of dimension `axis`
  int axis = 0;

  void check() const {
    expect_dtype(kName, "index", index.dtype, DType::kI32);
    expect_rank(kName, "index", index.shape, 1);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    if (axis < 0 || axis >= x.shape.rank())
      throw ShapeError(str("select_rows: axis ", axis, " of x with shape ", x.shape.text()));
    Shape expected;
    for (int i = 0; i < x.shape.rank(); ++i) expected.push_back(i == axis ? index.dim(0) : x.dim(i));
    expect_shape(kName, "y", y.shape, expected);
  }
  /// Bytes behind the axis, and how often they come.
  int64_t inner_bytes() const {
    int64_t bytes = size_of(x.dtype);
    for (int i = axis + 1; i < x.shape.rank(); ++i) bytes *= x.dim(i);
    return bytes;
  }
  int64_t outer() const {
    int64_t n = 1;
    for (int i = 0; i < axis; ++i) n *= x.dim(i);
    return n;
  }
  Operands operands() const { return {{x, index}, {y}}; }
  /// Only what is selected is read.
  Cost cost() const { return {y.bytes() + index.bytes(), y.bytes(), 0}; }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
