// Finds the values that cross a cut, and runs a stage's units one after another.
#include "models/units.h"

#include <algorithm>
#include <map>

namespace sluice {
namespace {

/// The units of one stage. Values have a place each, found by name when the stage is made.
class UnitRun final : public Block {
 public:
  UnitRun(std::vector<BlockPtr> units, std::vector<Port> in, std::vector<Port> out)
      : units_(std::move(units)), in_(std::move(in)), out_(std::move(out)) {
    std::map<std::string, size_t> known;
    const auto places = [&](const std::vector<Port>& ports) {
      std::vector<size_t> all;
      for (const Port& p : ports) all.push_back(known.try_emplace(p.name, known.size()).first->second);
      return all;
    };
    from_ = places(in_);
    for (const BlockPtr& u : units_) reads_.push_back(places(u->in_ports()));
    for (const BlockPtr& u : units_) writes_.push_back(places(u->out_ports()));
    to_ = places(out_);
    places_ = known.size();
  }
  std::vector<Port> in_ports() const override { return in_; }
  std::vector<Port> out_ports() const override { return out_; }
  Bundle forward(Ctx& c, const Bundle& in) const override {
    Bundle values(places_);
    for (size_t i = 0; i < from_.size(); ++i) values[from_[i]] = in[i];
    for (size_t u = 0; u < units_.size(); ++u) {
      Bundle read;
      for (const size_t at : reads_[u]) read.push_back(values[at]);
      Bundle written = units_[u]->forward(c, read);
      for (size_t i = 0; i < written.size(); ++i) values[writes_[u][i]] = std::move(written[i]);
    }
    Bundle out;
    for (const size_t at : to_) out.push_back(std::move(values[at]));
    return out;
  }

 private:
  std::vector<BlockPtr> units_;
  std::vector<Port> in_, out_;
  std::vector<size_t> from_, to_;  // places of the stage's ports
  std::vector<std::vector<size_t>> reads_, writes_;
  size_t places_ = 0;
};

bool has(const std::vector<Port>& ports, const Port& port) {
  return std::any_of(ports.begin(), ports.end(), [&](const Port& p) { return p.name == port.name; });
}

void expect_cuts(const UnitNet& net, const std::vector<int>& cuts) {
  int last = 0;
  for (const int at : cuts) {
    if (at <= last || at >= int(net.units.size()))
      throw ConfigError(str("a stage begins at unit ", at, " behind one at unit ", last,
                            ", expected ascending units of 1 to ", int(net.units.size()) - 1));
    last = at;
  }
}

/// What is written before each unit, or comes from the feed, and read by it or behind it; at the end what the last
/// gives. Ports are those of the writers.
std::vector<std::vector<Port>> crossing(const std::vector<BlockPtr>& units) {
  std::vector<std::vector<Port>> all(units.size() + 1);
  all.back() = units.back()->out_ports();
  for (size_t u = units.size(); u-- > 0;) {
    const std::vector<Port> written = units[u]->out_ports();
    all[u] = units[u]->in_ports();
    for (const Port& p : all[u + 1])
      if (!has(written, p) && !has(all[u], p)) all[u].push_back(p);
  }
  all[0] = detached(std::move(all[0]));
  std::map<std::string, Port> writers;
  for (const Port& p : all[0]) writers[p.name] = p;
  for (size_t u = 0; u < units.size(); ++u) {
    for (const Port& p : units[u]->out_ports()) writers[p.name] = p;
    for (Port& p : all[u + 1]) p = writers.at(p.name);
  }
  return all;
}

Shape of_samples(const Shape& one, int axis, int64_t samples) {
  Shape all;
  for (int i = 0; i < one.rank(); ++i) all.push_back(i == axis ? samples * one[i] : one[i]);
  return all;
}

/// Where a stage's units begin and end.
struct Range {
  size_t begin, end;
};
std::vector<Range> ranges(const UnitNet& net, const std::vector<int>& cuts) {
  std::vector<Range> all{{0, net.units.size()}};
  for (const int at : cuts) {
    all.back().end = size_t(at);
    all.push_back({size_t(at), net.units.size()});
  }
  return all;
}

}  // namespace

Unit module_unit(std::string name, MakeModule make, bool first, DType dtype) {
  return {std::move(name), [make = std::move(make), first, dtype](const Init& root) -> BlockPtr {
            const Port s{.name = "s", .dtype = dtype};
            return std::make_unique<ModuleBlock>(make(root), first ? Port{.name = "images"} : s, s);
          }};
}

std::vector<int> all_cuts(const UnitNet& net) {
  std::vector<int> cuts;
  for (int u = 1; u < int(net.units.size()); ++u) cuts.push_back(u);
  return cuts;
}

std::vector<StageNet> cut(const UnitNet& net, const std::vector<int>& cuts) {
  if (net.units.empty()) throw ConfigError("a network without units");
  expect_cuts(net, cuts);
  const std::vector<Range> stages = ranges(net, cuts);
  std::vector<StageNet> nets;
  std::vector<BlockPtr> blocks;
  for (size_t i = 0; i < stages.size(); ++i) {
    nets.push_back({.name = str("stage", i), .init = {}, .body = nullptr});
    for (size_t u = stages[i].begin; u < stages[i].end; ++u) blocks.push_back(net.units[u].make(nets[i].init));
  }
  const std::vector<std::vector<Port>> ports = crossing(blocks);
  for (size_t i = 0; i < stages.size(); ++i) {
    const Range at = stages[i];
    std::vector<BlockPtr> own(std::make_move_iterator(blocks.begin() + int64_t(at.begin)),
                              std::make_move_iterator(blocks.begin() + int64_t(at.end)));
    nets[i].body =
        std::make_unique<BackpropStage>(std::make_unique<UnitRun>(std::move(own), ports[at.begin], ports[at.end]),
                                        StagePosition{.first = i == 0, .last = i + 1 == stages.size()}, net.targets);
  }
  return nets;
}

std::vector<UnitCost> unit_costs(const UnitNet& net, int64_t samples) {
  const Stream dry(Device{}, CpuShare{.dry = true});
  const std::vector<StageNet> nets = cut(net, all_cuts(net));
  std::vector<UnitCost> costs;
  const std::vector<Port> feed = nets.front().body->feed_ports();
  if (net.sample.size() > feed.size())
    throw ShapeError(str("a sample of ", net.sample.size(), " values, expected ", feed.size()));
  Bundle values;
  for (size_t i = 0; i < net.sample.size(); ++i)
    values.push_back({Tensor::empty(dry, of_samples(net.sample[i], feed[i].batch_axis, samples), feed[i].dtype)});
  Ledger ledger;
  for (size_t u = 0; u < nets.size(); ++u) {
    Arena arena(dry, nets[u].init, 0);
    Ctx c{.stream = dry, .weights = arena.weights(), .arena = arena, .ledger = ledger};
    const int64_t before = dry.stats().flops;
    values = nets[u].body->infer(c, values);
    costs.push_back(
        {.name = net.units[u].name, .parameters = arena.count(), .flops = dry.stats().flops - before, .handed_on = {}});
    const std::vector<Port> out = nets[u].body->out_ports();
    for (size_t i = 0; i < out.size(); ++i) costs.back().handed_on.push_back({out[i], values[i].shape()});
  }
  return costs;
}

}  // namespace sluice
