// PipeDream's configuration of a run: which module is in which stage, and which ranks have that stage.
#pragma once

#include <string>
#include <vector>

#include "apps/config.h"

namespace sluice {

struct StageMaps {
  std::vector<int> stage_of_module;     // ascending from 0 in steps of at most 1
  std::vector<std::vector<int>> ranks;  // of each stage
  std::vector<int> depth;               // forwards that each stage is ahead of its backwards; empty: not given

  int modules() const { return int(stage_of_module.size()); }
};

/// Whether the text is meant to be one: it names a map of modules.
bool is_stage_maps(const std::string& text);

/// Reads {"module_to_stage_map": [0, 0, 1], "stage_to_rank_map": {"0": [0], "1": [1]}, "stage_to_depth_map": {...}};
/// the last is optional. Throws DataError with `where`, for text that is no JSON with line and column, and for: a
/// missing or unknown key, stages that do not ascend, a stage without ranks or with one that another stage has, ranks
/// that are not 0 to n - 1, a depth that is missing or negative.
StageMaps read_stage_maps(const std::string& text, const std::string& where);

/// The configuration with these cuts and a device for each stage, or with replicas where a stage has several ranks.
/// `units`: of the network; the loss may count as a module of its own. Throws ConfigError where modules or ranks do not
/// fit the network or the devices, where replicas are not in the order of ranks, or where the depth is another one than
/// that of as many stages without replicas.
RunConfig with_stage_maps(RunConfig config, const StageMaps& maps, int units, const std::string& where);

}  // namespace sluice
