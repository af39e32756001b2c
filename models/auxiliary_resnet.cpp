// Lays out the units of deep residual networks and builds their stages.
#include "models/auxiliary_resnet.h"

#include <map>

#include "layers/dense.h"
#include "layers/pool.h"
#include "layers/recomputed.h"
#include "layers/residual_unit.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

constexpr int kResnetStages = 4;

struct Counts {
  bool bottleneck;
  std::array<int, kResnetStages> usual, tail;  // units of the stages; tail: besides the one alone, with bottlenecks
};
const std::map<int, Counts>& counts() {
  static const std::map<int, Counts> table{{18, {false, {2, 2, 2, 2}, {3, 2, 2, 1}}},
                                           {34, {false, {3, 4, 6, 3}, {4, 4, 6, 2}}},
                                           {50, {true, {3, 4, 6, 3}, {3, 4, 6, 2}}},
                                           {101, {true, {3, 4, 23, 3}, {3, 4, 23, 2}}},
                                           {152, {true, {3, 8, 36, 3}, {3, 8, 36, 2}}}};
  return table;
}

const Counts& counts_of(const AuxiliaryResnetConfig& c) {
  const auto found = counts().find(c.depth);
  if (found == counts().end()) throw ConfigError(str("resnet: depth ", c.depth, ", expected 18, 34, 50, 101 or 152"));
  return found->second;
}

void expect_valid_resnet(const AuxiliaryResnetConfig& c) {
  counts_of(c);
  if (c.image < 1 || c.in_channels < 1 || c.classes < 2)
    throw ConfigError(str("resnet: images of ", c.image, " with ", c.in_channels, " channels, ", c.classes,
                          " classes, expected positive numbers and 2 classes or more"));
  if (!(c.width > 0)) throw ConfigError(str("resnet: width ", c.width, ", expected a positive number"));
  for (const int k : c.stride)
    if (k < 1) throw ConfigError(str("resnet: groups of ", k, " units, expected 1 or more"));
}

bool usual(const AuxiliaryResnetConfig& c) { return c.rule == ResnetRule::kBackprop; }
int64_t half(int64_t side) { return (side + 1) / 2; }
int64_t stem_channels(const AuxiliaryResnetConfig& c) { return scaled(64, c.width); }

/// The rule of a unit's convolutions; units that a group starts with are backprop's.
WeightRule rule_of(const AuxiliaryResnetConfig& c, const ResnetUnit& u) {
  WeightRule r;
  if (c.rule == ResnetRule::kEightBits) r.from = Auxiliary::kEightBits;
  if (u.head || usual(c) || c.rule == ResnetRule::kResidual || c.rule == ResnetRule::kEightBits) return r;
  r.from = c.rule == ResnetRule::kBias ? Auxiliary::kBias : Auxiliary::kSign;
  r.scale = c.scale;
  r.epsilon = c.epsilon;
  r.after_relu = true;
  r.faithful = c.faithful;
  return r;
}

ResidualUnitConfig unit_config(const AuxiliaryResnetConfig& c, const ResnetUnit& u) {
  const bool own = c.rule == ResnetRule::kResidual || (!u.head && !usual(c)) || u.alone;
  const bool faithful = c.faithful && !usual(c);
  return {.in = u.in,
          .planes = u.planes,
          .bottleneck = counts_of(c).bottleneck,
          .stride = u.stride,
          .rule = rule_of(c, u),
          .recompute = c.recompute,
          .recompute_projection = c.recompute && u.alone,
          .first_biases = faithful && own,
          .more_biases = faithful && c.recompute,
          .recomputed_variance = faithful ? 0.0f : 1.0f,
          .start = c.start};
}

/// Neighbouring units of a stage.
struct UnitRange {
  int stage;
  size_t begin, end;
};

/// Units, each with the auxiliary activation of its group; no group begins in front of them. `init`: of their stage.
class ResnetUnits final : public Module {
 public:
  ResnetUnits(const Init& init, const AuxiliaryResnetConfig& c, const UnitRange& range)
      : shares_(c.rule == ResnetRule::kResidual), plan_(resnet_units(c, range.stage)) {
    plan_ = {plan_.begin() + int64_t(range.begin), plan_.begin() + int64_t(range.end)};
    for (size_t i = 0; i < plan_.size(); ++i)
      units_.push_back(
          std::make_unique<ResidualUnit>(init.scope(str("unit", range.begin + i)), unit_config(c, plan_[i])));
  }
  Var forward(Ctx& c, const Var& x) const override {
    Var v = x;
    Tensor shared;
    for (size_t i = 0; i < units_.size(); ++i) {
      if (shares_ && plan_[i].head) shared = v.value;
      v = units_[i]->forward(c, v, shared);
    }
    return v;
  }

 private:
  bool shares_;
  std::vector<ResnetUnit> plan_;
  std::vector<std::unique_ptr<ResidualUnit>> units_;
};

ModulePtr stem(const Init& init, const AuxiliaryResnetConfig& c) {
  const bool large = c.stem == ResnetStem::k7x7Pooled;
  auto net = std::make_unique<Sequential>();
  net->add<Conv2d>(init.scope("conv"), Conv2d::Shape2d{c.in_channels, stem_channels(c), large ? 7 : 3},
                   Conv2dSpec{.stride = c.stem == ResnetStem::k3x3 ? 1 : 2, .padding = large ? 3 : 1}, false,
                   WeightRule{}, c.start);
  net->add<BatchNorm>(init.scope("bn"), stem_channels(c), Act::kRelu);
  if (large) net->add<MaxPool>(Pool2dSpec{.window = 3, .stride = 2, .padding = 1});
  if (!c.recompute) return net;
  return std::make_unique<Recomputed>(std::move(net));
}

/// The units of a stage between which it may be cut: groups that share a tensor stay whole.
std::vector<UnitRange> inseparable(const AuxiliaryResnetConfig& c, int stage) {
  const std::vector<ResnetUnit> plan = resnet_units(c, stage);
  std::vector<UnitRange> ranges;
  for (size_t i = 0; i < plan.size(); ++i)
    if (i == 0 || plan[i].head || c.rule != ResnetRule::kResidual)
      ranges.push_back({stage, i, i + 1});
    else
      ranges.back().end = i + 1;
  return ranges;
}

int64_t last_channels(const AuxiliaryResnetConfig& c) {
  return resnet_units(c, kResnetStages - 1).back().planes * resnet_expansion(c);
}

}  // namespace

int64_t resnet_expansion(const AuxiliaryResnetConfig& c) { return counts_of(c).bottleneck ? 4 : 1; }

int64_t resnet_stem_side(const AuxiliaryResnetConfig& c) {
  return c.stem == ResnetStem::k3x3 ? c.image : c.stem == ResnetStem::k3x3Stride2 ? half(c.image) : half(half(c.image));
}

std::vector<ResnetUnit> resnet_units(const AuxiliaryResnetConfig& c, int stage) {
  expect_valid_resnet(c);
  const Counts& n = counts_of(c);
  const int64_t e = resnet_expansion(c);
  const auto planes = [&](int s) { return scaled(int64_t(64) << s, c.width); };
  std::vector<ResnetUnit> units;
  int64_t side = resnet_stem_side(c);
  for (int s = 0; s < stage; ++s) side = usual(c) && s == 0 ? side : half(side);
  int64_t in = stage == 0 ? stem_channels(c) : e * planes(usual(c) ? stage - 1 : stage);
  const auto add = [&](ResnetUnit u) {
    u.in = in;
    u.side = side;
    u.projects = u.stride != 1 || u.in != e * u.planes;
    in = e * u.planes;
    side = u.stride == 2 ? half(side) : side;
    units.push_back(u);
  };
  if (usual(c)) {
    for (int i = 0; i < n.usual[size_t(stage)]; ++i)
      add({.in = 0, .planes = planes(stage), .side = 0, .stride = i == 0 && stage > 0 ? 2 : 1});
    return units;
  }
  if (n.bottleneck && stage == 0) add({.in = 0, .planes = planes(0), .side = 0, .group = -1, .alone = true});
  const int count = n.tail[size_t(stage)], group = c.stride[size_t(stage)];
  for (int i = 0; i < count; ++i) {
    const bool widens = i + 1 == count && stage + 1 < kResnetStages;
    add({.in = 0,
         .planes = planes(widens ? stage + 1 : stage),
         .side = 0,
         .stride = widens ? 2 : 1,
         .group = i / group,
         .head = i % group == 0});
  }
  return units;
}

std::vector<ImageSlice> auxiliary_resnet_slices(const AuxiliaryResnetConfig& c) {
  expect_valid_resnet(c);
  const int64_t side = resnet_stem_side(c);
  std::vector<ImageSlice> all{
      {[c](const Init& init) { return stem(init, c); }, {side, side, stem_channels(c)}, c.dtype}};
  for (int s = 0; s < kResnetStages; ++s) {
    const ResnetUnit last = resnet_units(c, s).back();
    const int64_t out = last.stride == 2 ? half(last.side) : last.side;
    all.push_back({[c, s](const Init& init) -> ModulePtr {
                     return std::make_unique<ResnetUnits>(init, c, UnitRange{s, 0, resnet_units(c, s).size()});
                   },
                   {out, out, last.planes * resnet_expansion(c)},
                   c.dtype});
  }
  return all;
}

UnitNet auxiliary_resnet_units(const AuxiliaryResnetConfig& c) {
  expect_valid_resnet(c);
  UnitNet net;
  net.sample = {{1, c.image, c.image, c.in_channels}};
  const auto add = [&](const std::string& path, const MakeModule& make) {
    net.units.push_back(module_unit(path, make, net.units.empty(), c.dtype));
  };
  add("stage0.f", [c](const Init& root) { return stem(root.scope("stage0.f"), c); });
  for (int s = 0; s < kResnetStages; ++s) {
    net.cuts.push_back(int(net.units.size()));
    const std::string path = str("stage", s + 1, ".f");
    for (const UnitRange& range : inseparable(c, s))
      add(str(path, ".unit", range.begin), [c, path, range](const Init& root) -> ModulePtr {
        return std::make_unique<ResnetUnits>(root.scope(path), c, range);
      });
  }
  net.cuts.push_back(int(net.units.size()));
  add("stage5.f", [c](const Init& root) -> ModulePtr {
    auto head = std::make_unique<Sequential>();
    head->add<GlobalAvgPool>();
    head->add<Dense>(root.scope("stage5.f.fc"), last_channels(c), c.classes);
    return head;
  });
  if (usual(c) && c.depth == 101) net.cuts = {4, 11, 21};
  return net;
}

std::vector<StageNet> auxiliary_resnet_associated(const AuxiliaryResnetConfig& c, const ImageCodes& codes) {
  return associated_stages(auxiliary_resnet_slices(c), codes);
}

}  // namespace sluice
