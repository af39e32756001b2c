// Networks that are trained end to end as a list of units, the finest blocks between which they may be cut, and stages
// made of neighbouring units.
#pragma once

#include "models/stages.h"

namespace sluice {

/// Makes a block whose parameters lie below the network's root, under paths of the block's own, so that they do not
/// depend on the cut.
using MakeBlock = std::function<BlockPtr(const Init& root)>;

/// A block by name. Blocks read and write values by the names of their ports: what one writes stays readable until
/// another writes it again. So a value that is read units later (a skip connection, a mask) is an output port that
/// units between leave alone, and it crosses every cut on its way as a port of its own.
struct Unit {
  std::string name;
  MakeBlock make;
};

/// Makes a layer whose parameters lie below the given path.
using MakeModule = std::function<ModulePtr(const Init& init)>;
/// A layer from one image (or sequence) to one, computed in `dtype`. The first takes "images" f32, others "s"; all give
/// "s". `make` gets the root.
Unit module_unit(std::string name, MakeModule make, bool first, DType dtype);

/// What no unit before has written comes from the feed; what the last gives are logits.
struct UnitNet {
  std::vector<Unit> units;
  std::vector<int> cuts;      // the usual ones, as cut() takes them
  std::vector<Shape> sample;  // what the feed gives of one sample, in the order of the first stage's ports
  TargetKind targets = TargetKind::kClasses;
};

/// Stages of neighbouring units: a stage begins at unit 0 and at each of `cuts`, which ascend from 1 on. Each StageNet
/// has an Init of its own. The values that cross a cut are those written before it and read behind it; stages between
/// writer and reader hand them on. Weights, their start and the gradients do not depend on the cut. Throws ConfigError
/// for cuts that do not ascend within the network.
std::vector<StageNet> cut(const UnitNet& net, const std::vector<int>& cuts);
inline std::vector<StageNet> cut(const UnitNet& net) { return cut(net, net.cuts); }
/// Every unit a stage.
std::vector<int> all_cuts(const UnitNet& net);

/// A value by the name of its port.
struct UnitValue {
  Port port;
  Shape shape;
};
/// What a unit takes, of one forward pass.
struct UnitCost {
  std::string name;
  int64_t parameters = 0;
  int64_t flops = 0;                 // of its kernels, by their cost()
  std::vector<UnitValue> handed_on;  // what crosses a cut behind it; none behind the last unit
};
/// The costs of all units for so many samples, from shapes alone: nothing is computed. Throws what a pass would where
/// the network's sample does not fit.
std::vector<UnitCost> unit_costs(const UnitNet& net, int64_t samples = 1);

}  // namespace sluice
