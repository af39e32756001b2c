// A number for the rows of an image and one for its columns.
#pragma once

#include <string>

#include "kernels/common/error.h"

namespace sluice {

/// A single number stands for both.
struct ByAxis {
  int rows, columns;

  constexpr ByAxis(int both) : rows(both), columns(both) {}  // implicit: `.padding = 1` is the usual case
  constexpr ByAxis(int of_rows, int of_columns) : rows(of_rows), columns(of_columns) {}
  bool operator==(const ByAxis&) const = default;
};

/// "1", or "0x3".
inline std::string text(const ByAxis& v) { return v.rows == v.columns ? str(v.rows) : str(v.rows, "x", v.columns); }

}  // namespace sluice
