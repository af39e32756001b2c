// The weights of a stage that its passes may read: the newest, older ones that are kept, and foretold ones. Undo is
// another pointer: nothing is copied back.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <vector>

#include "optim/optimizer.h"
#include "pipeline/wiring.h"

namespace sluice {

/// The settings of each parameter group at a step.
using SettingsAt = std::function<std::vector<GroupSettings>(int64_t step)>;

/// What a run asks of a stage's weights.
struct VersionNeeds {
  int64_t first_step = 0;  // updates before the run
  int kept = 1;            // versions, the newest among them
  int forecasts = 1;       // of forward, that are read again when others have followed
  Lookahead lookahead = Lookahead::kDirection;
  /// Foretold weights are read when updates have followed them, so tables cannot be left to be foretold by the row.
  bool late = false;
};

/// Of one stage; used by its worker's thread. Memory is made at first use and stays.
class WeightVersions {
 public:
  /// All three outlive this object.
  WeightVersions(Arena& arena, Optimizer& optimizer, const SettingsAt& settings)
      : arena_(arena), optimizer_(optimizer), settings_(settings) {}

  /// Before a run: the weights as they are become version 0.
  void begin(const VersionNeeds& needs);
  /// Queues what makes the weights, where they are foretold and not made yet. Foretold weights of a pass replace the
  /// oldest of those that it read before. Throws Error for a version that is not kept.
  Weights read(Pass pass, const WeightRead& what, const Stream& stream);
  /// What the next passes will read, as far as it is known: foretold in the same pass over the arena.
  struct Next {
    WeightRead forward{}, backward{};
  };
  /// Queues the update that ends a step.
  void update(const Stream& stream, const Tensor& finite, const Next& next);
  /// Updates of this run.
  int64_t updates() const { return updates_; }
  /// Arrays of the size of the weights that are held, the weights among them.
  int copies() const;

 private:
  struct Forecasted {
    WeightRead what{};  // ahead of 0: none yet
    Weights weights{};
  };
  Tensor room(const Stream& stream);
  std::deque<Forecasted>& forecasted(Pass pass) { return forecasted_[size_t(pass)]; }
  /// The pass's newest one becomes `what`.
  Forecast forecast_to(Pass pass, const WeightRead& what, const Stream& stream);

  Arena& arena_;
  Optimizer& optimizer_;
  const SettingsAt& settings_;
  VersionNeeds needs_;
  int64_t updates_ = 0;
  std::deque<Weights> kept_;  // the newest last
  std::vector<Tensor> spare_;
  std::array<std::deque<Forecasted>, 2> forecasted_;  // by pass, the newest last
};

}  // namespace sluice
