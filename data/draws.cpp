// Four words a call of Philox; Beta from two Gammas (Marsaglia, Tsang 2000).
#include "data/draws.h"

#include <cmath>

namespace sluice {

uint32_t Draws::word() {
  const uint64_t block = taken_ / 4;
  if (taken_ % 4 == 0) words_ = philox(rng_.key(RngPurpose::kAugment, path_ + block), image_, epoch_);
  return words_.v[taken_++ % 4];
}

double Draws::normal() {
  constexpr double kTurn = 6.28318530717958647692;
  const double radius = std::sqrt(-2.0 * std::log(1.0 - double(unit())));
  return radius * std::cos(kTurn * double(unit()));
}

double Draws::gamma(double shape) {
  if (shape < 1) return gamma(shape + 1) * std::pow(1.0 - double(unit()), 1.0 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal(), root = 1 + c * x, v = root * root * root;
    if (v > 0 && std::log(1.0 - double(unit())) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double Draws::beta(double shape) {
  if (shape == 1) return double(unit());
  const double a = gamma(shape), b = gamma(shape);
  return a + b > 0 ? a / (a + b) : 0.5;
}

}  // namespace sluice
