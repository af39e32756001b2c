// What ptxas says of every kernel for sm_80 and sm_90: nothing spills, registers keep to a budget, and blocks fit.
#include <cuda_occupancy.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace {

constexpr int kThreads = 256;  // of every block: kernels/common/device.cuh, and scripts/kernel_gate holds kernels to it
constexpr int kMostRegisters = 80;  // so that three blocks fit
constexpr int kFewestBlocks = 3;

/// One kernel on one architecture, as ptxas reports it.
struct Usage {
  std::string kernel;
  int architecture = 0, registers = 0, barriers = 0, shared_bytes = 0, spilled_bytes = 0;
};

/// The last number in front of `what`, or 0.
int number_before(const std::string& text, const std::string& what) {
  std::smatch m;
  return std::regex_search(text, m, std::regex("(\\d+) " + what)) ? std::stoi(m[1]) : 0;
}

std::vector<Usage> parse(const std::string& report) {
  std::vector<Usage> all;
  const std::regex entry("Compiling entry function '(\\S+)' for 'sm_(\\d+)'([\\s\\S]*?Used[^\\n]*)");
  for (std::sregex_iterator i(report.begin(), report.end(), entry); i != std::sregex_iterator(); ++i) {
    const std::string body = (*i)[3];
    all.push_back({(*i)[1], std::stoi((*i)[2]), number_before(body, "registers"), number_before(body, "barriers"),
                   number_before(body, "bytes smem"),
                   number_before(body, "bytes spill stores") + number_before(body, "bytes spill loads")});
  }
  return all;
}

/// What cmake/ptxas_report kept when the file was compiled.
std::string report_of(const std::string& file) {
  const std::filesystem::path path = std::string(SLUICE_PTXAS_REPORTS) + "/" + file + ".cu.o.ptxas";
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The numbers of an A100 (8.0) and an H100 (9.0), from the CUDA C++ programming guide's table of compute capabilities.
cudaOccDeviceProp device(int architecture) {
  cudaOccDeviceProp p;
  p.computeMajor = architecture / 10;
  p.computeMinor = architecture % 10;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = 2048;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.sharedMemPerBlock = 48 << 10;
  p.sharedMemPerMultiprocessor = size_t(architecture == 80 ? 164 : 228) << 10;
  p.sharedMemPerBlockOptin = p.sharedMemPerMultiprocessor - 1024;
  p.reservedSharedMemPerBlock = 1024;
  p.numSms = architecture == 80 ? 108 : 132;
  return p;
}

int blocks_per_multiprocessor(const Usage& u) {
  const cudaOccDeviceProp properties = device(u.architecture);
  cudaOccFuncAttributes attributes;
  attributes.maxThreadsPerBlock = kThreads;
  attributes.numRegs = u.registers;
  attributes.sharedSizeBytes = size_t(u.shared_bytes);
  attributes.partitionedGCConfig = PARTITIONED_GC_OFF;
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
  attributes.maxDynamicSharedSizeBytes = 0;
  attributes.numBlockBarriers = u.barriers;
  const cudaOccDeviceState state;
  cudaOccResult result;
  EXPECT_EQ(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes, &state, kThreads, 0),
            CUDA_OCC_SUCCESS);
  return result.activeBlocksPerMultiprocessor;
}

/// What of the usage breaks the budget; empty if nothing.
std::string breach(const Usage& u) {
  if (u.spilled_bytes > 0) return "spills";
  if (u.registers > kMostRegisters) return "registers";
  if (u.shared_bytes > 48 << 10) return "shared memory";
  return blocks_per_multiprocessor(u) < kFewestBlocks ? "blocks" : "";
}

class KernelBudgetTest : public testing::TestWithParam<std::string> {};

/// Some halves only call passes that others share.
bool has_kernels(const std::filesystem::path& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {}).find("__global__") != std::string::npos;
}

std::vector<std::string> device_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SLUICE_SOURCE_DIR) + "/kernels"))
    if (entry.path().extension() == ".cu" && has_kernels(entry.path())) files.push_back(entry.path().stem().string());
  std::sort(files.begin(), files.end());
  return files;
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelBudgetTest, testing::ValuesIn(device_files()),
                         [](const auto& file) { return file.param; });

TEST_P(KernelBudgetTest, KeepsToItOnBothArchitectures) {
  std::map<int, int> kernels;
  for (const Usage& u : parse(report_of(GetParam()))) {
    ++kernels[u.architecture];
    EXPECT_EQ(breach(u), "") << u.kernel << " on sm_" << u.architecture << ": " << u.registers << " registers, "
                             << u.shared_bytes << " bytes of shared memory, " << u.spilled_bytes << " spilled";
  }
  EXPECT_GT(kernels[80], 0) << "the report was not understood";
  EXPECT_EQ(kernels[80], kernels[90]);
}

TEST(KernelBudget, PlantedBreachesAreSeen) {
  const std::string line = "ptxas info    : ";
  const auto report = [&](const std::string& spilled, const std::string& used) {
    return line + "Compiling entry function '_Z1kPf' for 'sm_90'\n" + line + "Function properties for _Z1kPf\n" +
           "    8 bytes stack frame, " + spilled + " bytes spill stores, 0 bytes spill loads\n" + line + "Used " +
           used + ", 404 bytes cmem[0]\n";
  };
  const auto verdict = [&](const std::string& spilled, const std::string& used) {
    const std::vector<Usage> all = parse(report(spilled, used));
    return all.size() == 1 ? breach(all[0]) : "not understood";
  };
  EXPECT_EQ(verdict("0", "40 registers, used 1 barriers, 4096 bytes smem"), "");
  EXPECT_EQ(verdict("8", "40 registers, used 1 barriers, 4096 bytes smem"), "spills");
  EXPECT_EQ(verdict("0", "96 registers, used 1 barriers"), "registers");
  EXPECT_EQ(verdict("0", "40 registers, used 1 barriers, 50000 bytes smem"), "shared memory");
}

}  // namespace
