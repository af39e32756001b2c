// The middle of repeated measurements.
#pragma once

#include <algorithm>
#include <vector>

namespace sluice {

/// The mean of the middle two of an even number of values; 0 of none.
inline double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  const size_t n = v.size();
  return n % 2 == 1 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/// The median over rounds of a / b, round by round, so that a drift of the machine's speed cancels.
inline double paired(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return median(ratios);
}

}  // namespace sluice
