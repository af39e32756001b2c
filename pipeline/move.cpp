// The copy runs on the stream that can reach both ends.
#include "pipeline/move.h"

namespace sluice {

Tensor moved(const Tensor& t, const Stream& from, const Stream& to) {
  if (from == to) return t;
  Tensor out = Tensor::empty(to, t.shape(), t.dtype());
  const Stream& mover = to.is_cpu() && !from.is_cpu() ? from : to;  // a CPU stream reaches CPU memory only
  mover.wait(mover == to ? from.record() : to.record());
  t.storage()->record_use(mover);
  copy(mover, t, out);
  if (mover == from) {
    out.storage()->record_use(mover);
    to.wait(from.record());
  }
  return out;
}

}  // namespace sluice
