// Collects and draws learning indicators.
#include "apps/indicators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/loader.h"
#include "kernels/common/error.h"

namespace sluice {
namespace {

/// gnuplot's and matplotlib's colour maps "hot" (backwards) and "ocean", x in [0, 1].
int rgb(double r, double g, double b) {
  const auto part = [](double v) { return int(std::lround(255 * std::clamp(v, 0.0, 1.0))); };
  return part(r) << 16 | part(g) << 8 | part(b);
}
int hot_backwards(double x) { return rgb(3 * (1 - x), 3 * (1 - x) - 1, 3 * (1 - x) - 2); }
int ocean(double x) { return rgb(3 * x - 2, std::abs((3 * x - 1) / 2), x); }

}  // namespace

void append_indicators(const std::filesystem::path& path, const IndicatorEpoch& e) {
  if (e.layers.empty()) return;
  const auto samples = int64_t(e.layers[0].size());
  NpyArray all{.shape = e.tokens ? std::vector<int64_t>{0} : std::vector<int64_t>{0, samples}, .values = {}};
  if (std::filesystem::exists(path)) {
    const NpyArray before = read_npy(path);
    if (before.shape.size() != all.shape.size() || (!e.tokens && before.shape[1] != samples))
      throw DataError(str(path.string(), ": indicators of another run; choose another --out"));
    all = before;
  }
  std::vector<double> now;
  for (const std::vector<float>& layer : e.layers) now.insert(now.end(), layer.begin(), layer.end());
  if (!e.tokens) {
    all.values.insert(all.values.end(), now.begin(), now.end());
    all.shape[0] += int64_t(e.layers.size());
    return write_npy(path, all);
  }
  std::vector<int32_t> order = epoch_order(int64_t(now.size()), e.seed, e.epoch);
  order.resize(std::min(order.size(), size_t(e.most)));
  for (const int32_t i : order) all.values.push_back(now[size_t(i)]);
  all.shape[0] += int64_t(order.size());
  write_npy(path, all);
}

std::vector<int64_t> histogram(const std::vector<double>& values, double range, int bins) {
  std::vector<int64_t> counts(static_cast<size_t>(bins));
  for (const double v : values)
    if (v >= -range && v < range) ++counts[std::min(counts.size() - 1, size_t((v + range) / (2 * range) * bins))];
  return counts;
}

std::string histogram_plot(const std::vector<int64_t>& counts, double range, const std::string& out) {
  const bool svg = out.ends_with(".svg");
  std::string plot = fmt::format(
      "set terminal {} size 900,560\nset output '{}'\nset logscale y\nset yrange [0.7:1e5]\nset xrange [{}:{}]\n"
      "set xtics {},{},{}\nset mxtics 2\nset xlabel 'Learning Indicator'\nset ylabel 'Distribution'\nunset key\n"
      "set style fill solid\nplot '-' using 1:2:3:4 with boxes linecolor rgb variable\n",
      svg ? "svg" : "pngcairo", out, -range, range, -range, range / 2, range);
  const double width = 2 * range / double(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const double centre = -range + (double(i) + 0.5) * width;
    if (counts[i] > 0)
      plot += fmt::format("{} {} {} {}\n", centre, counts[i], width,
                          centre > 0 ? hot_backwards(0.15 + 0.85 * centre / range) : ocean(1 + centre / range));
  }
  return plot + "e\n";
}

}  // namespace sluice
