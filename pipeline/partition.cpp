// Minimises the largest load of a worker.
#include "pipeline/partition.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr size_t kExactStages = 16;

Partition partition_contiguous(const std::vector<double>& costs, int workers) {
  const size_t n = costs.size(), k = size_t(workers);
  std::vector<double> sum(n + 1, 0.0);
  for (size_t i = 0; i < n; ++i) sum[i + 1] = sum[i] + costs[i];
  // best[w][i]: least largest load of the stages from i on over the workers from w on; cut[w][i]: where w ends.
  std::vector<std::vector<double>> best(k + 1, std::vector<double>(n + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<size_t>> cut(k + 1, std::vector<size_t>(n + 1, n));
  best[k][n] = 0;
  for (size_t w = k; w-- > 0;)
    for (size_t i = 0; i < n; ++i)
      for (size_t end = n; end > i; --end) {
        const double load = std::max(sum[end] - sum[i], best[w + 1][end]);
        if (load < best[w][i]) {
          best[w][i] = load;
          cut[w][i] = end;
        }
      }
  Partition p{Placement(n, 0), best[0][0]};
  for (size_t w = 0, i = 0; w < k; i = cut[w][i], ++w)
    for (size_t s = i; s < cut[w][i]; ++s) p.placement[s] = int(w);
  return p;
}

/// Depth first in the order of placements; a worker is opened only after those before it, since all are alike.
class Search {
 public:
  Search(const std::vector<double>& costs, int workers) : costs_(costs), loads_(size_t(workers), 0.0) {
    placement_.assign(costs.size(), 0);
    best_.largest_load = std::numeric_limits<double>::infinity();
  }
  Partition best() {
    place(0, 0);
    return best_;
  }

 private:
  void place(size_t stage, size_t opened) {
    if (costs_.size() - stage < loads_.size() - opened) return;  // too few stages left for the workers without one
    if (stage == costs_.size()) {
      best_ = {placement_, *std::max_element(loads_.begin(), loads_.end())};
      return;
    }
    for (size_t w = 0; w < std::min(opened + 1, loads_.size()); ++w) {
      const double before = loads_[w];
      loads_[w] += costs_[stage];
      placement_[stage] = int(w);
      if (*std::max_element(loads_.begin(), loads_.end()) < best_.largest_load)
        place(stage + 1, std::max(opened, w + 1));
      loads_[w] = before;
    }
  }
  const std::vector<double>& costs_;
  std::vector<double> loads_;
  Placement placement_;
  Partition best_;
};

Partition longest_first(const std::vector<double>& costs, int workers) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<double> loads(size_t(workers), 0.0);
  Partition p{Placement(costs.size(), 0), 0};
  for (size_t i = 0; i < order.size(); ++i) {
    // The first stages open the workers, so that zero costs leave none empty.
    const size_t w = i < loads.size() ? i : size_t(std::min_element(loads.begin(), loads.end()) - loads.begin());
    loads[w] += costs[order[i]];
    p.placement[order[i]] = int(w);
  }
  p.largest_load = *std::max_element(loads.begin(), loads.end());
  return p;
}

size_t distance(size_t a, size_t b) { return a < b ? b - a : a - b; }

void check(const std::vector<double>& costs, int workers) {
  if (workers < 1 || costs.size() < size_t(workers))
    throw ScheduleError(
        str("partition: ", costs.size(), " stages over ", workers, " workers, expected a stage for each"));
  for (size_t s = 0; s < costs.size(); ++s)
    if (!(costs[s] >= 0)) throw ScheduleError(str("partition: stage ", s, " costs ", costs[s], ", expected 0 or more"));
}

}  // namespace

Partition partition_blocks(const std::vector<double>& costs, int workers) {
  check(costs, workers);
  const size_t n = costs.size(), k = size_t(workers);
  const double most = *std::max_element(costs.begin(), costs.end());
  std::vector<double> sum{0.0};  // none costs nothing, so that a run which gives an element away has another one
  for (const double c : costs) sum.push_back(sum.back() + (most > 0 ? c / most + 1e-9 : 1.0));
  std::vector<size_t> end{0};  // of each run, behind that of no run
  for (size_t w = 0; w < k; ++w) end.push_back((w + 1) * n / k);
  const auto load = [&](size_t w) { return sum[end[w + 1]] - sum[end[w]]; };
  for (;;) {
    size_t large = 0, small = 0;
    for (size_t w = 1; w < k; ++w) {
      if (load(w) > load(large)) large = w;
      if (load(w) < load(small)) small = w;
    }
    const double enough = load(small) + 1 + 1e-9;
    if (load(large) <= enough) break;
    for (size_t w = 0; w < k; ++w)  // of equally small ones the nearest
      if (load(w) == load(small) && distance(w, large) < distance(small, large)) small = w;
    size_t giver = small;  // the first one on the way to the large one that stays large enough
    while (load(giver) <= enough) giver = giver < large ? giver + 1 : giver - 1;
    if (small < large)
      ++end[giver];
    else
      --end[giver + 1];
  }
  Partition p;
  for (size_t w = 0; w < k; ++w) {
    p.placement.insert(p.placement.end(), end[w + 1] - end[w], int(w));
    p.largest_load = std::max(p.largest_load, std::accumulate(costs.begin() + std::ptrdiff_t(end[w]),
                                                              costs.begin() + std::ptrdiff_t(end[w + 1]), 0.0));
  }
  return p;
}

Partition partition(const std::vector<double>& costs, int workers, bool contiguous) {
  check(costs, workers);
  if (contiguous) return partition_contiguous(costs, workers);
  return costs.size() <= kExactStages ? Search(costs, workers).best() : longest_first(costs, workers);
}

}  // namespace sluice
