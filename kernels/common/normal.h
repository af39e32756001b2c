// Four normal numbers from one Philox draw (Box, Muller 1958), one text for CPU and CUDA.
#pragma once

#include "kernels/common/math.h"
#include "kernels/common/philox.h"

namespace sluice {

struct Normal4 {
  float v[4];
};

// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// cos and sin of 2 pi u for u in [0, 1], 24 bits: the nearest quarter of a turn is taken off exactly, the rest is
/// within an eighth. Polynomials of the Cephes library (Moshier 1989), absolute error below 2e-7.
struct Turn {
  float cos, sin;
};
SLUICE_HD Turn turn(float u) {
  const float ahead = 4.0f * u + 0.5f;
  const int quarter = int(ahead);
  const float x = (u - 0.25f * float(quarter)) * 6.283185307f, z = x * x;
  const float s = x + x * z * ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f);
  const float c =
      1.0f - 0.5f * z + z * z * ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f);
  const bool odd = quarter % 2 != 0;
  const float cosine = odd ? s : c, sine = odd ? c : s;
  return {quarter == 1 || quarter == 2 ? -cosine : cosine, quarter == 2 || quarter == 3 ? -sine : sine};
}

/// Words 0 and 1 give the first two, words 2 and 3 the others. Their size is below 5.8.
SLUICE_HD Normal4 normal(const Philox4& words) {
  Normal4 n;
  for (int pair = 0; pair < 4; pair += 2) {
    const float radius = sqrtf(-2.0f * math::log(1.0f - uniform(words.v[pair])));  // of (0, 1]
    const Turn t = turn(uniform(words.v[pair + 1]));
    n.v[pair] = radius * t.cos;
    n.v[pair + 1] = radius * t.sin;
  }
  return n;
}

/// Four numbers of size up to `cut`, which is 1 or more, or 0 for any size: from counter {index, 0}; those that are
/// longer come from {index, 1}, and so on (one in 22 at a cut of 2; none that 64 draws leave is ever met).
SLUICE_HD Normal4 normal_within(float cut, PhiloxKey key, uint64_t index) {
  Normal4 n = normal(philox(key, index, 0));
  if (!(cut > 0.0f)) return n;
  bool all = false;
  for (uint64_t again = 1; !all && again < 64; ++again) {
    all = true;
    for (float v : n.v) all = all && fabsf(v) <= cut;
    if (all) break;
    const Normal4 more = normal(philox(key, index, again));
    for (int k = 0; k < 4; ++k) n.v[k] = fabsf(n.v[k]) <= cut ? n.v[k] : more.v[k];
  }
  return n;
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
