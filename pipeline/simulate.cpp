// The longest path through a plan's actions, what they keep, and the picture.
#include "pipeline/simulate.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace sluice {
namespace {

constexpr bool is_transfer(Do what) { return what == Do::kSend || what == Do::kRecv; }

class Simulation {
 public:
  Simulation(const Report& report, const CostModel& costs) : report_(report), costs_(costs) {
    const auto workers = size_t(count_workers(report.placement));
    free_.assign(workers, 0.0);
    first_.assign(workers, std::numeric_limits<double>::infinity());
    kept_.assign(workers, 0);
    t_.busy.assign(workers, 0.0);
    t_.stage_time.assign(workers, 0.0);
    t_.bytes.assign(workers, {});
    add_lasting_bytes();
  }

  Timeline run() {
    for (const Placed& p : report_.order) {
      const size_t w = size_t(p.worker);
      double begin = free_[w];
      for (int64_t i : p.after)
        begin = std::max(begin, p.action.what == Do::kRecv ? arrival_[i] : t_.spans[size_t(i)].end);
      const double end = begin + cost_of(p.action);
      if (p.action.what == Do::kSend) arrival_[int64_t(t_.spans.size())] = sent(p.action, begin);
      t_.spans.push_back({p.worker, p.action, begin, end});
      free_[w] = end;
      t_.makespan = std::max(t_.makespan, end);
      if (is_transfer(p.action.what) || is_meeting(p.action.what)) continue;
      t_.busy[w] += end - begin;
      if (end > begin) first_[w] = std::min(first_[w], begin);
      t_.stage_time[w] = std::max(t_.stage_time[w], end - first_[w]);
      kept_[w] += kept_by(p.action);
      t_.bytes[w].activations = std::max(t_.bytes[w].activations, kept_[w]);
    }
    return std::move(t_);
  }

 private:
  int worker_of(int stage) const { return report_.placement[size_t(stage)]; }

  void add_lasting_bytes() {
    for (size_t s = 0; s < report_.placement.size(); ++s) {
      const StageBytes b = CostModel::of(costs_.bytes, int(s));
      WorkerBytes& to = t_.bytes[size_t(report_.placement[s])];
      to.weights += b.weights + b.buffers;
      to.gradients += b.gradients;
      to.optimizer += b.optimizer;
      to.working = std::max(to.working, b.working);
      to.stash += b.weights * (report_.versions_held[s] - 1);
      to.stash += (b.weights - (report_.forecasts_late[s] ? 0 : b.tables)) * report_.forecasts_held[s].count();
    }
    for (const ChannelUse& c : report_.channels)
      t_.bytes[size_t(worker_of(c.to))].parcels +=
          std::min<int64_t>(c.slots, report_.mbs) * costs_.parcel(c.from, c.to);
  }

  double cost_of(const Action& a) const {
    switch (a.what) {
      case Do::kForward:
      case Do::kRecompute:
        return CostModel::of(costs_.forward, a.stage);
      case Do::kBackward:
        return CostModel::of(costs_.backward_input, a.stage) + CostModel::of(costs_.backward_weight, a.stage);
      case Do::kBackwardInput:
        return CostModel::of(costs_.backward_input, a.stage);
      case Do::kBackwardWeight:
        return CostModel::of(costs_.backward_weight, a.stage);
      case Do::kUpdate:
        return CostModel::of(costs_.update, a.stage);
      case Do::kSend:
        return costs_.link.holds_sender ? costs_.link.seconds(costs_.parcel(a.stage, a.peer)) : 0.0;
      case Do::kReduceGrad:
      case Do::kRecv:
      case Do::kArrive:
      case Do::kAwait:
        return 0.0;
    }
    return 0.0;
  }

  /// Bytes that an action adds to what its worker keeps; negative where it lets go.
  int64_t kept_by(const Action& a) const {
    const StageBytes b = CostModel::of(costs_.bytes, a.stage);
    switch (a.what) {
      case Do::kForward:
        return report_.recomputed[size_t(a.stage)] ? b.inputs : b.activations;
      case Do::kRecompute:
        return b.activations - b.inputs;
      case Do::kBackward:
        return -b.activations;
      case Do::kBackwardInput:
        return b.deferred - b.activations;
      case Do::kBackwardWeight:
        return -b.deferred;
      default:
        return 0;
    }
  }

  /// When the parcel of a send that begins then can be received. It takes its way after the parcels before it.
  double sent(const Action& a, double begin) {
    double& way = ways_[{worker_of(a.stage), worker_of(a.peer)}];
    way = std::max(way, begin) + costs_.link.seconds(costs_.parcel(a.stage, a.peer));
    return way + costs_.link.latency;
  }

  const Report& report_;
  const CostModel& costs_;
  Timeline t_;
  std::vector<double> free_, first_;            // by worker
  std::vector<int64_t> kept_;                   // by worker: activations now
  std::map<int64_t, double> arrival_;           // by the place of the send
  std::map<std::pair<int, int>, double> ways_;  // by workers: when it is free again
};

}  // namespace

double Timeline::longest_stage_time() const {
  return stage_time.empty() ? 0.0 : *std::max_element(stage_time.begin(), stage_time.end());
}

double Timeline::idle_share() const {
  double sum = 0;
  for (double b : busy) sum += b;
  return makespan > 0 && !busy.empty() ? 1.0 - sum / (makespan * double(busy.size())) : 0.0;
}

Timeline simulate(const Plan& plan, const Wiring& wiring, const CostModel& costs, int64_t mbs) {
  return simulate(validate(plan, wiring, mbs), costs);
}

Timeline simulate(const Report& report, const CostModel& costs) { return Simulation(report, costs).run(); }

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
