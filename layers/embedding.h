// Embedding: rows of a table by id.
#pragma once

#include "layers/module.h"

namespace sluice {

/// ids [...] i32 -> [..., width]. Starts N(0, 1), as PyTorch's does. Not a Module: integers go in.
class Embedding final {
 public:
  Embedding(Init init, int64_t vocabulary, int64_t width);
  Var forward(Ctx& c, const Tensor& ids) const { return embedding(c, ids, table_); }

 private:
  Param table_;
};

}  // namespace sluice
