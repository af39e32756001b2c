// A machine without a GPU is told why there is none, in every build, and keeps working.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/build_config.h"
#include "engine/stream.h"
#include "kernels/common/error.h"

namespace sluice::cuda_status_test {
namespace {

TEST(CudaStatusTest, NamesTheReasonExactlyWhenThereIsNoGpu) {
  const CudaStatus status = cuda_status();
  EXPECT_EQ(status.why.empty(), status.devices > 0) << status.why;
  if (!kWithCuda) {
    EXPECT_EQ(status.devices, 0);
    EXPECT_THAT(status.why, testing::HasSubstr("no CUDA"));
  }
}

TEST(CudaStatusTest, AStreamOnAGpuThatDoesNotExistThrowsWithTheReason) {
  const CudaStatus status = cuda_status();
  const Device missing{DeviceKind::kCuda, status.devices};
  try {
    const Stream stream(missing);
    FAIL() << missing.text() << " was taken";
  } catch (const DeviceError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr(missing.text()));
    EXPECT_THAT(e.what(), testing::HasSubstr(status.why));  // empty where there are GPUs
  }
  Stream cpu(Device{});  // and the CPU goes on
  EXPECT_NO_THROW(cpu.sync());
}

}  // namespace
}  // namespace sluice::cuda_status_test
