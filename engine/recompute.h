// Gradient checkpointing (Chen, Xu, Zhang and Guestrin 2016): a part of a network keeps its inputs alone and runs again
// in the backward pass.
#pragma once

#include <functional>

#include "engine/tape.h"

namespace sluice {

/// What runs twice: the same ops from the same inputs. Dropout draws the same numbers by itself; batch norms take the
/// statistics of the first run, so running ones are updated once.
using RecomputedBody = std::function<Var(Ctx& c, const std::vector<Var>& in)>;

/// body(in). Of `in`, at most kMostInputs values, all are kept and nothing else but the batch norms' statistics. The
/// second run uses the weights that the learning rule chose for backward. `body` is called again as long as the tape
/// lives: what it refers to must live as long.
Var recompute(Ctx& c, const std::vector<Var>& in, const RecomputedBody& body);

}  // namespace sluice
