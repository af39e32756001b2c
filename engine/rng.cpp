// Keys of the counter-based generator.
#include "engine/rng.h"

namespace sluice {
namespace {

uint64_t mix(uint64_t x) {  // SplitMix64's finaliser (Steele, Lea, Flood 2014)
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t path_hash(std::string_view path) {
  uint64_t h = 0xcbf29ce484222325u;
  for (const char ch : path) h = (h ^ uint8_t(ch)) * 0x100000001b3u;
  return h;
}

PhiloxKey Rng::key(RngPurpose purpose, uint64_t path) const {
  const uint64_t h = mix(mix(mix(seed) ^ path) ^ (uint64_t(purpose) << 32 | view));
  return {uint32_t(h), uint32_t(h >> 32)};
}

}  // namespace sluice
