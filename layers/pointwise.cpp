// Dropout's key comes from its path.
#include "layers/pointwise.h"

#include "layers/checks.h"

namespace sluice {

Dropout::Dropout(const Init& init, float p) : p_(p), path_(path_hash(init.path())) { expect_dropout(init, p); }

}  // namespace sluice
