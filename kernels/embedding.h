// y[i] = table[ids[i]], or what that row is foretold to be, and the gradient of the table: for each id the sum of dy's
// rows that have it. y may not be an input.
#pragma once

#include <algorithm>

#include "kernels/common/forecast.h"

namespace sluice::kernels {

namespace detail {
/// Throws unless ids are i32 and `rows` is [shape of ids..., columns of the table].
inline void expect_rows_of(const char* op, const char* what, const ConstRef& ids, const ConstRef& rows,
                           const ConstRef& table) {
  expect_dtype(op, "ids", ids.dtype, DType::kI32);
  expect_dtype(op, "table", table.dtype, DType::kF32);
  expect_rank(op, "table", table.shape, 2);
  expect_float(op, what, rows.dtype);
  Shape expected = ids.shape;
  expected.push_back(table.dim(1));
  expect_shape(op, what, rows.shape, expected);
}
}  // namespace detail

/// Rows of any table by label. An id outside [0, V) makes its row NaN and reads nothing outside the table, so that
/// every loss behind it is NaN. With a direction, rows are foretold as they are read: the same bits as in a forecast of
/// the whole table (kernels/forecast.h), for the price of the rows.
struct Embedding {
  static constexpr const char* kName = "embedding";
  ConstRef ids;    // [...] i32
  ConstRef table;  // [V, D] f32
  Ref y;           // [..., D]; f32 or bf16
  DirectionRule direction{.kind = Direction::kNone};
  ConstRef m{}, v{};   // [V, D] f32; undefined where the direction does not take them
  ConstRef scalars{};  // kStepScalarsShape, u8; undefined without a direction
  int place = 0;       // of the forecast in the scalars
  int64_t group = 0;   // of the table

  void check() const {
    detail::expect_rows_of(kName, "y", ids, y, table);
    for (const ConstRef* kept : {direction.takes_m() ? &m : nullptr, direction.takes_v() ? &v : nullptr}) {
      if (kept == nullptr) continue;
      expect_dtype(kName, "a moment of the table", kept->dtype, DType::kF32);
      expect_shape(kName, "a moment of the table", kept->shape, table.shape);
    }
    if (direction.takes_m()) expect_step_scalars(kName, scalars);
  }
  Operands operands() const { return {{ids, table, m, v, scalars}, {y}}; }
  /// Reads the rows that ids name, each once: at most one for each id.
  Cost cost() const {
    const int64_t arrays = 1 + (direction.takes_m() ? 1 : 0) + (direction.takes_v() ? 1 : 0);
    return {ids.bytes() + arrays * std::min(table.bytes(), y.numel() * 4) + scalars.bytes(), y.bytes(),
            (arrays - 1) * 3 * y.numel()};
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dtable[v] (+)= the sum of dy[i] over ids[i] = v, by a stable sort of the ids: the order of additions depends on the
/// ids alone. Ids outside [0, V) are left out. A row without ids becomes 0, or stays as it is when accumulating.
struct EmbeddingGrad {
  static constexpr const char* kName = "embedding_grad";
  ConstRef ids;             // [...] i32, fewer than 2^31
  ConstRef dy;              // [..., D]; f32 or bf16
  Ref dtable;               // [V, D] f32
  bool accumulate = false;  // add to what is there

  void check() const {
    detail::expect_rows_of(kName, "dy", ids, dy, dtable);
    if (ids.numel() > INT32_MAX)
      throw ShapeError(str(kName, ": ids has shape ", ids.shape.text(), ", expected fewer than 2^31 elements"));
  }
  Operands operands() const { return {{ids, dy}, {dtable}}; }
  /// Accumulating touches at most one row for each id.
  Cost cost() const {
    const int64_t touched = accumulate ? std::min(dtable.bytes(), dy.numel() * 4) : dtable.bytes();
    return {ids.bytes() + dy.bytes() + (accumulate ? touched : 0), touched, dy.numel()};
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
