// What the units of the image networks have in common.
#include "models/image_networks.h"

#include "layers/recomputed.h"

namespace sluice {

UnitChain::UnitChain(const char* model, const ImageNetworkConfig& c, int64_t smallest)
    : recompute_(c.recompute), dtype_(c.dtype) {
  net_.sample = {{1, c.image, c.image, c.in_channels}};
  if (c.classes < 2 || c.in_channels < 1)
    throw ConfigError(
        str(model, ": ", c.classes, " classes and ", c.in_channels, " channels, expected at least 2 and 1"));
  if (!(c.width > 0)) throw ConfigError(str(model, ": width ", c.width, ", expected a positive number"));
  if (c.image < smallest)
    throw ConfigError(str(model, ": images of side ", c.image, ", expected ", smallest, " or more"));
}

void UnitChain::add(const std::string& name, const MakeModule& make) {
  if (!recompute_) return append(name, make);
  append(name, [make](const Init& init) -> ModulePtr { return std::make_unique<Recomputed>(make(init)); });
}

void UnitChain::append(const std::string& name, const MakeModule& make) {
  net_.units.push_back(module_unit(
      name, [=](const Init& root) { return make(root.scope(name)); }, net_.units.empty(), dtype_));
}

}  // namespace sluice
