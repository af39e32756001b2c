// Forward-only passes over a data set: the accuracy of the newest weights.
#pragma once

#include <vector>

#include "pipeline/action.h"
#include "pipeline/parcel.h"
#include "pipeline/peers.h"
#include "pipeline/stage.h"
#include "pipeline/wiring.h"

namespace sluice {

struct Evaluation {
  int64_t correct = 0, samples = 0;  // of sequences: tokens
  double loss = 0;                   // nats a token of sequences; 0 of other samples
  double accuracy() const { return samples > 0 ? double(correct) / double(samples) : 0.0; }
};

/// Counts the samples (of networks whose last stage reads "weights": the tokens but padding) whose largest decoded
/// value is the label's: x through infer() of the first `exit` stages (0: all; fewer are a shortcut that leaves behind
/// stage `exit`), head() of the last of them, decode() from it to the first. No tape, training = false. The feed is
/// asked on behalf of stage 0 for inference_ports(). Batches stream through the devices; the host stays a bounded
/// number of batches ahead. Throws ConfigError for an exit that is not there.
Evaluation evaluate(Stages stages, const Feed& feed, int64_t batches, size_t exit = 0);

/// Whether a network that ends with this stage weighs its labels, as those of sequences do.
bool reads_weights(const StageBody& last);

/// What a process knows of a network of which other processes have some stages.
struct Spread {
  Peers& peers;
  const Placement& ranks;  // the process of every stage
  const std::vector<StagePorts>& ports;
  bool weighted = false;  // reads_weights(the last stage)
};
/// The same where `stages` is null for those of other processes: all call it, and all get the result. Throws
/// TransportError with the cause when the processes fail.
Evaluation evaluate(Stages stages, const Spread& spread, const Feed& feed, int64_t batches, size_t exit = 0);

}  // namespace sluice
