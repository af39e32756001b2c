// The longest path through a plan's actions, and its picture.
#include "pipeline/simulate.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

double cost_of(const std::vector<double>& costs, int stage) {
  if (costs.empty()) return 0.0;
  return costs[std::min(size_t(stage), costs.size() - 1)];
}

double cost_of(const CostModel& m, const Action& a) {
  switch (a.what) {
    case Do::kForward:
      return cost_of(m.forward, a.stage);
    case Do::kBackward:
      return cost_of(m.backward, a.stage);
    case Do::kBackwardInput:
    case Do::kBackwardWeight:
      return cost_of(m.backward, a.stage) / 2;
    case Do::kUpdate:
      return cost_of(m.update, a.stage);
    case Do::kSend:
    case Do::kRecv:
    case Do::kArrive:
    case Do::kAwait:
      return 0.0;
  }
  return 0.0;
}

}  // namespace

double Timeline::idle_share() const {
  double sum = 0;
  for (double b : busy) sum += b;
  return makespan > 0 && !busy.empty() ? 1.0 - sum / (makespan * double(busy.size())) : 0.0;
}

Timeline simulate(const Plan& plan, const Wiring& wiring, const CostModel& costs, int64_t mbs) {
  return simulate(validate(plan, wiring, mbs), costs);
}

Timeline simulate(const Report& report, const CostModel& costs) {
  Timeline t;
  t.busy.assign(size_t(count_workers(report.placement)), 0.0);
  std::vector<double> free(t.busy.size(), 0.0);
  for (const Placed& p : report.order) {
    const size_t w = size_t(p.worker);
    double begin = free[w];
    for (int64_t i : p.after)
      begin = std::max(begin, t.spans[size_t(i)].end + (p.action.what == Do::kRecv ? costs.transfer : 0.0));
    const double cost = cost_of(costs, p.action);
    t.spans.push_back({p.worker, p.action, begin, begin + cost});
    free[w] = begin + cost;
    t.busy[w] += cost;
    t.makespan = std::max(t.makespan, free[w]);
  }
  return t;
}

std::string picture(const Timeline& timeline, double unit) {
  size_t width = 1;
  for (const Timeline::Span& s : timeline.spans)
    if (s.end > s.begin) width = std::max(width, to_text(s.action).size());
  const int64_t cells = int64_t(std::ceil(timeline.makespan / unit - 1e-9));
  std::string out;
  for (size_t w = 0; w < timeline.busy.size(); ++w) {
    std::vector<std::string> row(static_cast<size_t>(cells), ".");
    for (const Timeline::Span& s : timeline.spans)
      if (s.worker == int(w))
        for (int64_t c = 0; c < cells; ++c)
          if ((double(c) + 0.5) * unit >= s.begin && (double(c) + 0.5) * unit < s.end)
            row[size_t(c)] = to_text(s.action);
    std::string line;
    for (const std::string& cell : row) line += cell + std::string(width + 1 - cell.size(), ' ');
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

}  // namespace sluice
