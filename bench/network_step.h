// One training step of a network cut into stages, on one device: forward through all stages, backward through all,
// update. What it keeps and how long it takes are looked at from outside.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/ledger.h"
#include "layers/module.h"
#include "optim/optimizer.h"

namespace sluice::bench {

struct StepBytes {
  int64_t stored = 0;  // kept between forward and backward
  std::array<int64_t, kSaveKinds> by_kind{};
  std::vector<int64_t> by_stage;
  int64_t peak = 0;  // of all memory but weights, gradients and optimiser state
};

class NetworkStep {
 public:
  /// `feed`: the values of the first stage's ports, then those of the last one's.
  NetworkStep(Stream stream, std::vector<StageNet> nets, std::vector<Tensor> feed);
  StepBytes run();
  const Stream& stream() const { return stream_; }

 private:
  Bundle forward_stage(size_t i, const Bundle& from);
  void backward_stage(size_t i, Bundle& from);

  struct Flight {
    Tape tape;
    Bundle in, out;
  };
  Stream stream_;
  std::vector<StageNet> nets_;
  std::vector<Tensor> feed_;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<OptimizerPtr> optimizers_;
  std::vector<std::unique_ptr<Flight>> flights_;
  Ledger ledger_;
  int64_t step_ = 0;
};

}  // namespace sluice::bench
