// Columns of several runs' metrics as curves.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sluice {

struct Curve {
  std::string name;                               // the run's folder
  std::vector<std::pair<double, double>> points;  // step, value
};

/// The rows of run/metrics.csv that have a value in `column`. Throws DataError where there is no such file, no such
/// column (with those that there are) or no value in it.
Curve read_curve(const std::filesystem::path& run, const std::string& column);

/// A gnuplot program that draws them over steps, a colour each.
std::string curves_plot(const std::vector<Curve>& curves, const std::string& column, const std::string& out);

}  // namespace sluice
