// Measures units.
#include "apps/unit_costs.h"

#include <algorithm>
#include <thread>

#include "apps/median.h"

namespace sluice {
namespace {

constexpr int64_t kWarmUp = 2, kMeasured = 5;  // steps; first use makes plans and memory

/// One step on one device: all units forward, then each half of their backwards. Units with losses of their own go back
/// at once, and take both halves in one.
RunConfig one_device(const RunConfig& config, const ModelEntry& model, int64_t mbs) {
  RunConfig c = config;
  c.schedule = find_rule(model.rule_kind).error_crosses ? "zb_h1" : "associated";
  c.weights = "synchronous";
  c.placement = "auto";
  c.cuts = model.units != nullptr ? "all" : "";
  c.batch = config.batch / mbs;
  c.batch_tokens = config.batch_tokens / mbs;
  c.micro_batches = 1;
  c.clip_grad = 0;  // of one norm for all units, which they do not have on several devices
  c.out.clear();
  return c;
}

/// The configuration's devices that can train at once.
std::vector<Device> devices_at_once(const RunConfig& c, int cores_each) {
  std::vector<Device> all = parse_devices(c.devices);
  const size_t fit = std::max<size_t>(1, available_cores().size() / size_t(std::max(1, cores_each)));
  if (!all[0].is_cpu()) return {all[0]};
  std::erase_if(all, [](const Device& d) { return !d.is_cpu(); });
  all.resize(std::min(all.size(), fit));
  return all;
}

double copy_seconds(const Stream& mover, const Tensor& from, const Tensor& to) {
  std::vector<double> seconds;
  for (int i = 0; i < 9; ++i) {
    const Event begin = mover.record();
    copy(mover, from, to);
    const Event end = mover.record();
    mover.sync();
    if (i >= 2) seconds.push_back(end.time() - begin.time());
  }
  return median(seconds);
}

}  // namespace

CostModel median_costs(const Trace& trace, int stages) {
  using Seconds = std::vector<std::vector<double>>;
  Seconds forward(static_cast<size_t>(stages)), whole(forward), input(forward), weight(forward), update(forward);
  for (const Trace::Span& s : trace.spans()) {
    const double spent = s.end.time() - s.begin.time();
    const auto i = size_t(s.action.stage);
    if (s.action.what == Do::kForward) forward[i].push_back(spent);
    if (s.action.what == Do::kBackward) whole[i].push_back(spent);
    if (s.action.what == Do::kBackwardInput) input[i].push_back(spent);
    if (s.action.what == Do::kBackwardWeight) weight[i].push_back(spent);
    if (s.action.what == Do::kUpdate) update[i].push_back(spent);
  }
  CostModel costs{.forward = {}, .backward_input = {}, .backward_weight = {}, .update = {}};
  for (size_t i = 0; i < forward.size(); ++i) {
    costs.forward.push_back(median(forward[i]));
    costs.backward_input.push_back(whole[i].empty() ? median(input[i]) : median(whole[i]) / 2);
    costs.backward_weight.push_back(whole[i].empty() ? median(weight[i]) : median(whole[i]) / 2);
    costs.update.push_back(median(update[i]));
  }
  return costs;
}

UnitCosts measure_units(const RunConfig& config, const TrainingData& data, int64_t mbs) {
  const ModelEntry& model = find_model(config);
  RunConfig one = one_device(config, model, mbs);
  const int cores =
      one.cores_per_device > 0 ? int(one.cores_per_device) : share_cores(parse_devices(one.devices))[0].team;
  one.cores_per_device = cores;
  std::vector<std::unique_ptr<Training>> trainings;
  for (const Device& d : devices_at_once(config, cores)) {
    one.devices = d.text();
    trainings.push_back(std::make_unique<Training>(one, data));
  }
  Trace trace;
  for (auto& t : trainings) t->run({.steps = kWarmUp});
  std::vector<std::thread> beside;
  for (size_t i = 1; i < trainings.size(); ++i)
    beside.emplace_back([&, i] { trainings[i]->run({.steps = kMeasured}); });
  trainings[0]->run({.steps = kMeasured, .trace = &trace});
  for (std::thread& t : beside) t.join();

  UnitCosts units{.mbs = mbs, .names = {}, .wiring = trainings[0]->pipeline().wiring, .costs = {}};
  units.mergeable = model.units != nullptr;
  units.costs = median_costs(trace, units.wiring.stages);
  ByteCount count = trainings[0]->counted_bytes();
  units.costs.bytes = std::move(count.bytes);
  units.costs.edges = std::move(count.edges);
  for (int u = 0; u < units.wiring.stages; ++u) units.names.push_back(str("stage", u));
  if (units.mergeable) {
    const UnitNet net = model.units(trainings[0]->config(), *data.train);
    for (size_t u = 0; u < net.units.size(); ++u) units.names[u] = net.units[u].name;
  }
  return units;
}

Link measure_link(const std::vector<Device>& devices) {
  const Stream from(devices.front()), to(devices.back());
  const Stream& mover = from.is_cpu() && !to.is_cpu() ? to : from;
  constexpr int64_t kFloats = int64_t{1} << 21;  // 8 MiB
  const Tensor source = Tensor::empty(from, {kFloats}), target = Tensor::empty(to, {kFloats});
  from.sync();
  to.sync();
  const double small = copy_seconds(mover, source.flat_view(0, {64}), target.flat_view(0, {64}));
  const double large = copy_seconds(mover, source, target);
  return {.latency = small, .bandwidth = double(source.bytes()) / std::max(large - small, 1e-9), .holds_sender = true};
}

Profile profile_of(const UnitCosts& units) {
  Profile p;
  p.nodes.push_back({.id = "node0", .description = "Input0", .activation_bytes = {0.0}});
  for (int u = 0; u < units.wiring.stages; ++u) {
    const CostModel& c = units.costs;
    double handed_on = 0;
    for (const EdgeBytes& e : c.edges)
      if (e.from == u) handed_on = std::max(handed_on, double(e.activations));
    p.nodes.push_back({.id = str("node", u + 1),
                       .description = units.names[size_t(u)],
                       .forward_ms = 1e3 * CostModel::of(c.forward, u),
                       .backward_ms = 1e3 * (CostModel::of(c.backward_input, u) + CostModel::of(c.backward_weight, u)),
                       .activation_bytes = {handed_on},
                       .parameter_bytes = double(CostModel::of(c.bytes, u).weights)});
  }
  p.edges.emplace_back(0, 1);
  for (const Edge& e : units.wiring.edges) p.edges.emplace_back(size_t(e.from) + 1, size_t(e.to) + 1);
  return p;
}

}  // namespace sluice
