// Parses cuts, and balances them by what units cost on paper.
#include "apps/cutting.h"

#include <charconv>

#include "pipeline/partition.h"

namespace sluice {
namespace {

constexpr const char* kBalanced = "balanced:";

int whole_number(const std::string& cuts, const std::string& text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    throw ConfigError(str("cuts='", cuts, "': expected ascending numbers of units such as 3,7,11, all, or balanced:4"));
  return value;
}

/// `stages` runs of units.
std::vector<int> balanced(const UnitNet& net, int stages) {
  std::vector<double> costs;
  for (const UnitCost& c : unit_costs(net)) costs.push_back(double(c.flops));
  if (stages > int(costs.size()))
    throw ConfigError(str("cuts=", kBalanced, stages, ": the network has ", costs.size(),
                          " units, of which each is in "
                          "one stage"));
  const Placement stage_of = partition(costs, stages, /*contiguous=*/true).placement;
  std::vector<int> cuts;
  for (size_t u = 1; u < stage_of.size(); ++u)
    if (stage_of[u] != stage_of[u - 1]) cuts.push_back(int(u));
  return cuts;
}

}  // namespace

std::vector<int> cuts_of(const RunConfig& c, const UnitNet& net) {
  if (c.cuts.empty()) return net.cuts;
  if (c.cuts == "all") return all_cuts(net);
  if (c.cuts.starts_with(kBalanced))
    return balanced(net, whole_number(c.cuts, c.cuts.substr(std::string(kBalanced).size())));
  std::vector<int> cuts;
  for (const std::string& item : list_items(c.cuts)) {
    cuts.push_back(whole_number(c.cuts, item));
    if (cuts.back() >= int(net.units.size()) || (cuts.size() > 1 && cuts.back() <= cuts[cuts.size() - 2]))
      throw ConfigError(
          str("cuts=", c.cuts, ": expected ascending units of 1 to ", net.units.size() - 1, " of model=", c.model));
  }
  return cuts;
}

}  // namespace sluice
