// Learning indicators over a run: one array that grows by an epoch, and its histogram.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "apps/npy.h"

namespace sluice {

/// Appends an epoch's lists, one a layer. Where all are of one length, as those of convolutions, one number a sample:
/// [layers of all epochs, samples]. Else, one number a token: [numbers of all epochs], `most` of an epoch's, drawn
/// without replacement by seed and epoch. Throws DataError where the file holds something else.
struct IndicatorEpoch {
  std::vector<std::vector<float>> layers;
  bool tokens = false;
  int64_t most = 1500;
  uint64_t seed = 0;
  int64_t epoch = 0;
};
void append_indicators(const std::filesystem::path& path, const IndicatorEpoch& epoch);

/// Counts in `bins` equal parts of [-range, range); what lies outside is left out.
std::vector<int64_t> histogram(const std::vector<double>& values, double range, int bins);
/// A gnuplot program that draws it: positive parts from pale yellow to red, negative ones from white to blue, counts on
/// a logarithmic axis.
std::string histogram_plot(const std::vector<int64_t>& counts, double range, const std::string& out);

}  // namespace sluice
