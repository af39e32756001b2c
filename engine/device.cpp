// Device names and the split of the machine's cores.
#include "engine/device.h"

#include <sched.h>

#include <algorithm>
#include <charconv>

#include "engine/build_config.h"
#include "kernels/common/error.h"

namespace sluice {

std::string Device::text() const { return str(is_cpu() ? "cpu:" : "cuda:", index); }

Device parse_device(const std::string& text) {
  const auto fail = [&]() -> ConfigError {
    return ConfigError(str("device '", text, "': expected cpu, cpu:N or cuda:N, such as cpu:0"));
  };
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  Device d;
  if (kind == "cuda")
    d.kind = DeviceKind::kCuda;
  else if (kind != "cpu")
    throw fail();
  if (colon != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, d.index);
    if (error != std::errc() || rest != end || d.index < 0) throw fail();
  }
  return d;
}

std::vector<Device> parse_devices(const std::string& text) {
  std::vector<Device> devices;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    devices.push_back(parse_device(text.substr(begin, end - begin)));
    if (std::count(devices.begin(), devices.end(), devices.back()) > 1)
      throw ConfigError(str("devices '", text, "': ", devices.back().text(), " is named twice"));
    begin = end + 1;
  }
  return devices;
}

std::vector<int> available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(size_t(i), &set)) cores.push_back(i);
  return cores;
}

constexpr int kDevicesPerCore = 16;

std::vector<CpuShare> share_cores(const std::vector<Device>& devices, int cores_each) {
  const std::vector<int> cores = available_cores();
  int64_t count = 0;  // one past the highest index: cpu:i always gets the same cores, whoever else is named
  for (const Device& d : devices)
    if (d.is_cpu()) count = std::max(count, int64_t(d.index) + 1);
  if (cores_each <= 0) cores_each = int(std::max<int64_t>(1, int64_t(cores.size()) / std::max<int64_t>(1, count)));
  std::vector<CpuShare> shares;
  for (const Device& d : devices) {
    CpuShare share;
    if (d.is_cpu()) {
      const auto n = int64_t(cores.size()), most = cores_each == 1 ? n * kDevicesPerCore : n / cores_each;
      if (d.index >= most)
        throw DeviceError(str(d.text(), " does not exist: with ", cores_each, " cores each there are ", most,
                              " CPU devices on the ", n, " cores that this process may use"));
      const int64_t begin = int64_t(d.index) * cores_each % n;
      share.team = cores_each;
      for (int i = 0; i < cores_each; ++i) share.cores.push_back(cores[size_t(begin + i)]);
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

void expect_exists(const Device& d) {
  if (d.is_cpu()) return;
  const CudaStatus status = cuda_status();
  if (d.index >= status.devices)
    throw DeviceError(str(d.text(), " does not exist: ",
                          status.devices == 0 ? status.why : str(status.devices, " GPUs"), "; the CPU is cpu:0"));
}

}  // namespace sluice
