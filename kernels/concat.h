// Columns of several matrices side by side, y = [a, b, ...] row by row, and the gradient, which takes them apart. No
// operands may overlap.
#pragma once

#include <array>

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Up to six tensors, the first `count` of `v`; their last dimensions are columns, all others make rows.
template <class R>
struct ColumnParts {
  static constexpr int kMost = 6;
  std::array<R, kMost> v{};
  int count = 0;

  void push_back(const R& part) {
    if (count == kMost) throw ShapeError(str("concat: more than ", kMost, " parts"));
    v[size_t(count++)] = part;
  }
};

struct Concat {
  static constexpr const char* kName = "concat";
  ColumnParts<ConstRef> parts;  // [..., c0], [..., c1], ...; f32 or bf16
  Ref y;                        // [..., c0 + c1 + ...], as they

  void check() const;
  Operands operands() const {
    const auto& p = parts.v;
    return {{p[0], p[1], p[2], p[3], p[4], p[5]}, {y}};
  }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct ConcatGrad {
  static constexpr const char* kName = "concat_grad";
  ConstRef dy;              // [..., c0 + c1 + ...]; f32 or bf16
  ColumnParts<Ref> dparts;  // [..., c0], [..., c1], ...; as dy

  void check() const;
  Operands operands() const {
    const auto& p = dparts.v;
    return {{dy}, {p[0], p[1], p[2], p[3], p[4], p[5]}};
  }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
template <class R>
void expect_columns(const char* op, const ConstRef& whole, const ColumnParts<R>& parts) {
  expect_float(op, "y", whole.dtype);
  if (parts.count < 1 || whole.shape.rank() < 1)
    throw ShapeError(str(op, ": ", parts.count, " parts of y ", whole.shape.text(), ", expected 1 to 6 of rank 1 on"));
  Shape all;
  for (int i = 0; i + 1 < whole.shape.rank(); ++i) all.push_back(whole.dim(i));
  int64_t columns = 0;
  for (int i = 0; i < parts.count; ++i) {
    const R& part = parts.v[size_t(i)];
    expect_dtype(op, "a part", part.dtype, whole.dtype);
    Shape expected = all;
    expected.push_back(part.shape.cols());
    expect_shape(op, "a part", part.shape, expected);
    columns += part.shape.cols();
  }
  all.push_back(columns);
  expect_shape(op, "y", whole.shape, all);
}
}  // namespace detail

inline void Concat::check() const { detail::expect_columns(kName, y, parts); }
inline void ConcatGrad::check() const { detail::expect_columns(kName, dy, dparts); }

}  // namespace sluice::kernels
