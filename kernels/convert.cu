// CUDA half of Convert: a pass that others share.
#include "kernels/common/passes.cuh"
#include "kernels/convert.h"

namespace sluice::kernels {

void Convert::cuda(CudaContext& c) const { passes::convert(c, kName, x, y); }

}  // namespace sluice::kernels
