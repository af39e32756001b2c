// Dropout's key comes from its path.
#include "layers/pointwise.h"

namespace sluice {

Dropout::Dropout(const Init& init, float p) : p_(p), path_(path_hash(init.path())) {
  if (!(p >= 0.0f && p < 1.0f)) throw ConfigError(str(init.path(), ": dropout probability ", p, ", expected [0, 1)"));
}

}  // namespace sluice
