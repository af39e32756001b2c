// Reads metrics.csv by its header, and writes what gnuplot draws.
#include "apps/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "apps/config.h"
#include "engine/error.h"

namespace sluice {
namespace {

std::vector<std::string> csv_cells(const std::string& row) {
  std::vector<std::string> cells{""};
  for (const char c : row) {
    if (c == ',')
      cells.emplace_back();
    else
      cells.back() += c;
  }
  return cells;
}

}  // namespace

Curve read_curve(const std::filesystem::path& run, const std::string& column) {
  const std::filesystem::path file = run / "metrics.csv";
  std::ifstream in(file);
  std::string row;
  if (!in || !std::getline(in, row))
    throw DataError(str(file.string(), ": cannot be read, expected the metrics of a run"));
  const std::vector<std::string> names = csv_cells(row);
  const auto found = std::find(names.begin(), names.end(), column);
  if (found == names.end()) throw DataError(str(file.string(), ": no column '", column, "', expected one of ", row));
  const auto at = size_t(found - names.begin());
  Curve curve{std::filesystem::absolute(run / "").parent_path().filename().string(), {}};
  while (std::getline(in, row)) {
    const std::vector<std::string> cells = csv_cells(row);
    if (at < cells.size() && !cells[at].empty())
      curve.points.emplace_back(std::strtod(cells[0].c_str(), nullptr), std::strtod(cells[at].c_str(), nullptr));
  }
  if (curve.points.empty()) throw DataError(str(file.string(), ": column '", column, "' has no value yet"));
  return curve;
}

std::string curves_plot(const std::vector<Curve>& curves, const std::string& column, const std::string& out) {
  const bool svg = out.ends_with(".svg");
  std::string plot = fmt::format(
      "set terminal {} size 900,560\nset output '{}'\nset xlabel 'step'\nset ylabel '{}' noenhanced\nset grid\n"
      "set key outside right noenhanced\nplot ",
      svg ? "svg" : "pngcairo", out, column);
  for (size_t i = 0; i < curves.size(); ++i)
    plot += fmt::format("{}'-' using 1:2 with linespoints pointtype 7 pointsize 0.4 title '{}'", i == 0 ? "" : ", ",
                        curves[i].name);
  plot += "\n";
  for (const Curve& c : curves) {
    for (const auto& [step, value] : c.points) plot += fmt::format("{} {}\n", step, value);
    plot += "e\n";
  }
  return plot;
}

}  // namespace sluice
