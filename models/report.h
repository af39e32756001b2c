// What a network's parameters are for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "layers/module.h"

namespace sluice {

/// Numbers that a stage trains.
struct StageParams {
  std::string stage;
  std::vector<std::pair<std::string, int64_t>> modules;  // "f", "b", "g", "h", "p", "head": those that there are
  int64_t effective = 0;  // used by inference on the full path: f, decoders h, heads, the last stage's bridge b
  int64_t affiliate = 0;  // only there to train: label encoders g, projectors p, the other bridges
};

/// By stage, from the paths that the stages declared.
std::vector<StageParams> parameter_report(const std::vector<StageNet>& nets);

}  // namespace sluice
