// A matrix product on one stream reads a block of another stream's pool, which the host drops meanwhile. As `fault`,
// the pool is not told of the reader, which AddressSanitizer must report; as `twin`, it is, and nothing may be said.
#include <cstring>
#include <future>
#include <vector>

#include "engine/launch.h"
#include "engine/tensor.h"
#include "kernels/matmul.h"

using namespace sluice;

int main(int, char** argv) {
  const bool fault = std::strcmp(argv[1], "fault") == 0;
  const Stream owner({DeviceKind::kCpu, 0}), reader({DeviceKind::kCpu, 1});
  const std::vector<float> ones(64 * 64, 1.0f);
  const Tensor w = Tensor::from<float>(owner, ones, {64, 64}), y = Tensor::empty(reader, {64, 64});
  Tensor x = Tensor::from<float>(owner, ones, {64, 64});
  reader.wait(owner.record());
  std::promise<void> late;
  reader.enqueue([&](CpuContext&) { late.get_future().wait(); });  // the read comes after the owner's free
  launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref()}, reader);
  if (!fault) x.storage()->record_use(reader);
  x = {};
  if (fault) owner.sync();
  late.set_value();
  reader.sync();
  owner.sync();
  return 0;
}
