// Devices as small values, and the share of the machine's cores that each CPU device gets.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

enum class DeviceKind : uint8_t { kCpu, kCuda };

/// A device: `cpu:0`, `cpu:1` are virtual devices with their own cores; `cuda:0` is a GPU.
struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;

  auto operator<=>(const Device&) const = default;
  std::string text() const;  // "cpu:0"
  bool is_cpu() const { return kind == DeviceKind::kCpu; }
  /// Bytes that a kernel may write so that the next one still finds them near: in a core's cache, in a GPU's.
  int64_t near_bytes() const { return is_cpu() ? int64_t{256} << 10 : int64_t{16} << 20; }
};

/// Parses "cpu:0", "cuda:1", "cpu" (= cpu:0). Throws ConfigError.
Device parse_device(const std::string& text);
/// Parses a comma-separated list. Throws ConfigError when it is empty or names a device twice.
std::vector<Device> parse_devices(const std::string& text);

/// How a CPU stream's worker runs: its OpenMP team and the cores it is bound to (none: not bound). LLVM's OpenMP, which
/// clang links, binds threads itself, to the cores of whoever used it first: run such programs with
/// KMP_AFFINITY=disabled.
struct CpuShare {
  int team = 1;
  std::vector<int> cores{};
  /// Work is checked, counted and given memory, but never runs: what a step keeps is known without computing it, and
  /// memory that nobody touches costs nothing. Values are undefined.
  bool dry = false;
};

/// Cores this process may run on, in ascending order.
std::vector<int> available_cores();
/// Cores for each device of the list: cpu:i gets the i-th `cores_each` available cores; 0: as many as an even split
/// over cpu:0 up to the highest index named allows. Devices of one core may be more than there are cores, up to 16
/// times as many: they share them in turn, which serves checks and not speed. Throws DeviceError for a CPU device
/// beyond these. CUDA devices get a share of no cores.
std::vector<CpuShare> share_cores(const std::vector<Device>& devices, int cores_each = 0);

/// The number of usable GPUs and, when 0, why. 0 in a build without CUDA.
struct CudaStatus {
  int devices = 0;
  std::string why;
};
CudaStatus cuda_status();
/// Throws DeviceError, with the devices that exist, when `d` does not.
void expect_exists(const Device& d);

}  // namespace sluice
