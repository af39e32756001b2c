// `sluice info`: devices, libraries and versions.
#include <fmt/format.h>
#include <omp.h>

#include "apps/catalog.h"
#include "apps/commands.h"
#include "engine/build_config.h"
#include "engine/device.h"
#include "engine/vendor/onednn.h"
#include "kernels/common/context.h"

namespace sluice {
namespace {

const char* isa_text(Isa isa) {
  switch (isa) {
    case Isa::base:
      return "baseline";
    case Isa::v3:
      return "x86-64-v3 (AVX2)";
    case Isa::v4:
      return "x86-64-v4 (AVX-512)";
  }
  return "?";
}

void print_info() {
  const std::vector<int> cores = available_cores();
  const CudaStatus cuda = cuda_status();
  fmt::print("sluice     {}\n", kVersion);
  fmt::print("cpu        {} cores usable, kernels for {}\n", cores.size(), isa_text(best_isa()));
  fmt::print("devices    cpu:0 .. cpu:{} (each with its own cores)", cores.size() - 1);
  for (int i = 0; i < cuda.devices; ++i) fmt::print(", cuda:{}", i);
  fmt::print("\n");
  fmt::print("cuda       {}\n", cuda.devices > 0 ? fmt::format("{} GPUs", cuda.devices) : "none: " + cuda.why);
  fmt::print("oneDNN     {}\n", onednn_version());
  fmt::print("OpenMP     {} (wait policy {})\n", _OPENMP,
             std::getenv("OMP_WAIT_POLICY") ? std::getenv("OMP_WAIT_POLICY") : "default");
  fmt::print("models     vgg\n");
  fmt::print("rules      bp (end-to-end backprop), al (associated learning)\n");
  std::string names;
  for (const DataEntry& d : data_sets()) names += (names.empty() ? "" : ", ") + std::string(d.name);
  fmt::print("data       {}\n", names);
}

}  // namespace

void add_info(CLI::App& app) {
  app.add_subcommand("info", "Show devices, libraries and versions")->callback(print_info);
}

}  // namespace sluice
