// Declares an embedding's table.
#include "layers/embedding.h"

namespace sluice {

Embedding::Embedding(Init init, int64_t vocabulary, int64_t width, DType dtype)
    : table_(init.table("weight", {vocabulary, width}, InitialValue::normal(0, 1))), dtype_(dtype) {}

}  // namespace sluice
