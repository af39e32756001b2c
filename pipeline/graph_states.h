// Where a network's graph can be cut into stages, with what lies before each cut.
#pragma once

#include <cstddef>
#include <vector>

#include "pipeline/profile.h"

namespace sluice {

/// A cut: every node before it has all its sources before it. Figures are sums over those nodes.
struct CutState {
  std::vector<bool> before;                // by place in the profile
  double seconds = 0;                      // forward and backward
  double activations = 0, parameters = 0;  // bytes
  double crossing = 0;                     // bytes that nodes behind the cut read from nodes before it
  /// Whether all that is before `other` is before this one too.
  bool contains(const CutState& other) const;
};

/// The cuts of a profile's graph in an order in which each is behind those that it contains; the last is the whole
/// network. Inputs are left out, and so are list items (getitem) that nobody reads. Between two nodes that every path
/// passes, where branches run beside each other, these are all cuts there are (Narayanan et al., SOSP 2019: an
/// antichain each), unless that makes more than `most`: then the branches are taken one after another, so that the
/// number of cuts grows no faster than that of nodes. Throws DataError when the graph has a cycle or no node.
std::vector<CutState> cut_states(const Profile& profile, size_t most = 32);

/// Writes the stage of each node into the profile: `cuts` are the last cuts of the stages, ascending, the whole network
/// last. Inputs go to stage 0, items that nobody reads with the node that they come from.
void assign_stages(Profile& profile, const std::vector<CutState>& cuts);

}  // namespace sluice
