// What forward-only passes outside the executor share: evaluation, adaptive exits, label codes.
#pragma once

#include <vector>

#include "pipeline/parcel.h"
#include "pipeline/stage.h"

namespace sluice {

/// The newest weights of a stage, no tape, training = false.
Ctx inference_ctx(Stage& stage);

/// t, made on `from`, for use on `to` from now on: itself on one stream, else a copy on the other stream's device.
Tensor moved(const Tensor& t, const Stream& from, const Stream& to);

/// The ports that inference asks the feed for, on behalf of stage 0: all that it reads but what is compared with, then
/// "labels", and "weights" where there are `weighted` ones. Throws ScheduleError when it reads nothing.
std::vector<Port> inference_ports(const StageBody& first, bool weighted = false);

/// What the feed gives for inference_ports(), on the first stage's stream.
struct InferenceBatch {
  Bundle x;
  Tensor labels;
  Tensor weights{};  // of the labels, or undefined
};
/// Throws DataError when the feed gives another number of values.
InferenceBatch fetch_batch(const Stage& first, const Feed& feed, int64_t batch, bool weighted = false);

/// What `to` takes of what infer() of the stage before it gave, by the names of the ports. Throws ScheduleError where
/// the stage before does not hand on all that `to` infers from.
Bundle handed_on(const StageBody& from, const StageBody& to, const Bundle& values);
/// The same from the ports that give and those that take.
Bundle handed_on(const std::vector<Port>& given, const std::vector<Port>& wanted, const Bundle& values);

/// z, made by stage k, through decode() of the stages from k to the first, each on its device.
Var decoded(Stages stages, size_t k, Var z);

}  // namespace sluice
