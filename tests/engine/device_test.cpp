// Names of devices and the split of the cores.
#include "engine/device.h"

#include <limits>

#include "tests/support/support.h"

namespace sluice::device_test {
namespace {

using testing::HasSubstr;

TEST(DeviceName, Parses) {
  EXPECT_EQ(parse_device("cpu"), (Device{DeviceKind::kCpu, 0}));
  EXPECT_EQ(parse_device("cpu:3"), (Device{DeviceKind::kCpu, 3}));
  EXPECT_EQ(parse_device("cuda:1"), (Device{DeviceKind::kCuda, 1}));
  EXPECT_EQ(parse_device("cuda:1").text(), "cuda:1");
  EXPECT_EQ(parse_devices("cpu:0,cpu:1,cuda:0").size(), 3u);
}

TEST(DeviceName, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"", "gpu", "cpu:", "cpu:x", "cpu:-1", "cpu:1x", "cpu: 1", "CPU:0", "cpu:99999999999"})
    EXPECT_THROW(parse_device(text), ConfigError) << text;
  for (const char* text : {"", "cpu:0,", ",cpu:0", "cpu:0,cpu:0", "cpu,cpu:0", "cpu:0 cpu:1"})
    EXPECT_THROW(parse_devices(text), ConfigError) << text;
}

TEST(DeviceName, OfAMissingGpuSaysWhatThereIs) {
  const Device last{DeviceKind::kCuda, cuda_status().devices};
  try {
    Stream s(last);
    ADD_FAILURE() << last.text() << " should not exist";
  } catch (const DeviceError& e) {
    EXPECT_THAT(e.what(), HasSubstr(last.text()));
    EXPECT_THAT(e.what(), HasSubstr("cpu:0"));
  }
}

TEST(ShareCores, SplitsThemWithoutOverlap) {
  const std::vector<int> all = available_cores();
  ASSERT_FALSE(all.empty());
  std::vector<Device> devices{{DeviceKind::kCuda, 0}};
  for (size_t i = 0; i < all.size(); ++i) devices.push_back({DeviceKind::kCpu, int(i)});
  const std::vector<CpuShare> shares = share_cores(devices);
  ASSERT_EQ(shares.size(), devices.size());
  EXPECT_TRUE(shares[0].cores.empty()) << "a GPU needs none";
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(shares[i + 1].team, 1);
    EXPECT_THAT(shares[i + 1].cores, testing::ElementsAre(all[i]));
  }
  EXPECT_EQ(share_cores({{DeviceKind::kCpu, 0}})[0].cores, all);
  EXPECT_EQ(share_cores({{DeviceKind::kCpu, 0}}, 1)[0].cores.size(), 1u);
}

TEST(ShareCores, DevicesOfOneCoreShareThemInTurn) {
  const std::vector<int> all = available_cores();
  const auto n = int(all.size());
  std::vector<Device> devices;
  for (int i = 0; i < 16 * n; ++i) devices.push_back({DeviceKind::kCpu, i});
  const std::vector<CpuShare> shares = share_cores(devices);
  for (int i = 0; i < 16 * n; ++i) EXPECT_THAT(shares[size_t(i)].cores, testing::ElementsAre(all[size_t(i % n)]));
  devices.push_back({DeviceKind::kCpu, 16 * n});
  EXPECT_THROW(share_cores(devices), DeviceError);
}

TEST(ShareCores, RefusesMoreThanThereAre) {
  const auto n = int(available_cores().size());
  EXPECT_THROW(share_cores({{DeviceKind::kCpu, 0}}, n + 1), DeviceError);
  EXPECT_THROW(share_cores({{DeviceKind::kCpu, std::numeric_limits<int>::max()}}), DeviceError);
}

}  // namespace
}  // namespace sluice::device_test
