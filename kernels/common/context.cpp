// Picks the instruction set of the vectorised kernels once, from what the processor reports.
#include "kernels/common/context.h"

namespace sluice {

Isa best_isa() {
#if defined(__x86_64__)
  static const Isa isa = [] {
#if !defined(SLUICE_V3_ONLY)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
      return Isa::v4;
#endif
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::v3;
    throw DeviceError("this processor has no AVX2 and FMA; the CPU kernels need x86-64-v3");
  }();
  return isa;
#else
  return Isa::base;
#endif
}

}  // namespace sluice
