// What the rules whose error crosses stages share.
#pragma once

#include "pipeline/rule.h"

namespace sluice {

/// A rule whose error is a stage's own losses and the gradients of its outputs, and that updates while other
/// micro-batches are on their way.
LearningRule asynchronous(const char* name, const char* summary, WeightsRead forward = newest_weights,
                          WeightsRead backward = newest_weights);
/// The same where passes read foretold weights.
LearningRule foretelling(Lookahead how, LearningRule rule);

}  // namespace sluice
