// Embedding: rows of a table by id.
#pragma once

#include "layers/module.h"

namespace sluice {

/// ids [...] i32 -> [..., width] of `dtype`. Starts N(0, 1), as PyTorch's does. Not a Module: integers go in.
class Embedding final {
 public:
  Embedding(Init init, int64_t vocabulary, int64_t width, DType dtype = DType::kF32);
  Var forward(Ctx& c, const Tensor& ids) const { return embedding(c, ids, table_, dtype_); }

 private:
  Param table_;
  DType dtype_;
};

}  // namespace sluice
