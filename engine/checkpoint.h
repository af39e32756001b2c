// Checkpoints: the weights, buffers and optimiser state of arenas in one safetensors file, under their paths.
#pragma once

#include <set>

#include "engine/param.h"
#include "engine/safetensors.h"

namespace sluice {

/// One arena of a checkpoint. `states` names its optimiser's states: parameter `path` has the keys `path`, and
/// `path`.<state> for each. Buffers have their own paths. No states: weights and buffers only.
struct CheckpointPart {
  Arena& arena;
  Stream stream;
  std::vector<std::string> states;
};

/// Everything of the parts, and the format's version in the metadata; more metadata may be added by the caller. Waits
/// for the streams.
TensorFile make_checkpoint(const std::vector<CheckpointPart>& parts);

/// Queues everything of `file` into the parts and makes new weight versions. Parts without states ignore those that
/// the file has. First checks that the version, every path, dtype and shape fit, and that nothing is left over but what
/// belongs to the paths `elsewhere`: throws DataError, starting with `where`, and then changes nothing.
void load_checkpoint(const TensorFile& file, const std::string& where, const std::vector<CheckpointPart>& parts,
                     const std::set<std::string>& elsewhere = {});

}  // namespace sluice
