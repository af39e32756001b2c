// Two matrix products of the library on two streams, the second reading what the first writes. As `fault`, the wait
// between them is missing, which ThreadSanitizer must report; as `twin`, it is there, and nothing may be said.
#include <cstring>
#include <vector>

#include "engine/launch.h"
#include "engine/tensor.h"
#include "kernels/matmul.h"

using namespace sluice;

int main(int, char** argv) {
  const bool fault = std::strcmp(argv[1], "fault") == 0;
  const Stream first({DeviceKind::kCpu, 0}), second({DeviceKind::kCpu, 1});
  const std::vector<float> ones(64 * 64, 1.0f);
  const Tensor x = Tensor::from<float>(first, ones, {64, 64}), w = Tensor::from<float>(first, ones, {64, 64});
  const Tensor h = Tensor::empty(first, {64, 64}), y = Tensor::empty(second, {64, 64});
  second.wait(first.record());  // the operands are there; h is not
  launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = h.ref()}, first);
  if (!fault) second.wait(first.record());
  launch(kernels::Matmul{.x = h.cref(), .w = w.cref(), .bias = {}, .y = y.ref()}, second);
  second.sync();
  first.sync();
  return 0;
}
