// Prints what the installed engine can run on.
#include <cstdio>

#include "engine/device.h"

int main() {
  std::printf("cpu: %zu cores\n", sluice::available_cores().size());
  const sluice::CudaStatus cuda = sluice::cuda_status();
  std::printf("cuda: %d devices%s%s\n", cuda.devices, cuda.why.empty() ? "" : ": ", cuda.why.c_str());
}
