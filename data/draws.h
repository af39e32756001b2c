// As many random numbers as one image needs in one epoch, by Philox: they depend on nothing else.
#pragma once

#include <string_view>

#include "engine/rng.h"

namespace sluice {

class Draws {
 public:
  /// `path` says what for; draws of other paths are independent.
  Draws(const Rng& rng, std::string_view path, int64_t image, int64_t epoch)
      : rng_(rng), path_(path_hash(path)), image_(uint64_t(image)), epoch_(uint64_t(epoch)) {}

  uint32_t word();
  /// [0, 1).
  float unit() { return uniform(word()); }
  double between(double low, double high) { return low + (high - low) * double(unit()); }
  /// [0, n).
  int below(int n) { return int(uint64_t(word()) * uint64_t(n) >> 32); }
  bool coin() { return word() >> 31 != 0; }
  /// Beta(shape, shape), for a shape > 0: uniform for 1.
  double beta(double shape);

 private:
  double normal();
  double gamma(double shape);

  Rng rng_;
  uint64_t path_, image_, epoch_;
  Philox4 words_{};
  uint64_t taken_ = 0;
};

}  // namespace sluice
