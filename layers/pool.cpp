// The global pool is an average pool whose window is the image.
#include "layers/pool.h"

namespace sluice {

Var GlobalAvgPool::forward(Ctx& c, const Var& x) const {
  if (x.shape().rank() != 4 || x.shape()[1] != x.shape()[2])
    throw ShapeError(str("global average pool: x has shape ", x.shape().text(), ", expected square NHWC images"));
  const int window = int(x.shape()[1]);
  return flatten(c, avg_pool(c, x, {.window = window, .stride = window}));
}

}  // namespace sluice
