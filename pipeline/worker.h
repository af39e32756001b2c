// One worker: interprets actions on its stages. Decides nothing; the rule says where errors and weights come from.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "pipeline/run_state.h"
#include "pipeline/step_log.h"

namespace sluice {

class Worker {
 public:
  Worker(RunState& run, int index);
  /// The worker's program, to its end on the device.
  void run();
  void step(const Action& a);
  /// Waits for the steps in flight and reports their losses.
  void drain();
  /// Appends what it has sent, ascending.
  void add_sent(std::vector<Sent>& to) const;

 private:
  using Route = std::tuple<int, int, int64_t, int>;  // from stage, to stage, micro-batch, view
  using Key = std::tuple<int, int64_t, int>;         // stage, micro-batch, view

  /// A micro-batch between forward and backward. Values are dropped where only their place on the tape is needed.
  struct Flight {
    Tape tape;
    Replay replay;            // of a stage that is recomputed
    std::vector<Saved> kept;  // its inputs and what it was fed, until then
    std::vector<Var> in, out, losses;
    std::vector<Tensor> later_losses;      // of the stages after this one
    std::vector<const Storage*> received;  // slots that hold them and the gradients
    WeightRead read{};                     // by forward
    Weights backward_weights;
  };
  /// A stage of this worker.
  struct Own {
    StepLog log;
    int64_t next_forward = 0;  // micro-batch
  };

  void interpret(const Action& a);
  void forward(const Action& a);
  void recompute(const Action& a);
  void backward(const Action& a);
  void backward_weight(const Action& a);
  void reduce(const Action& a);
  void update(const Action& a);
  void meet(const Action& a);

  /// Counted from the start of training.
  int64_t mb_of_training(const Action& a) const;
  Ctx context(const Action& a, Flight& f) const;
  std::vector<Var> fed(const Action& a) const;
  std::vector<Var> inputs(const Action& a, Flight& f);
  void hand_on(const Action& a, const StageOutput& out, const Flight& f);
  Signals signals(const Action& a, Flight& f);
  void hand_back(const Action& a, Flight& f);
  Parcel weight_gradients(int stage) const;
  void put(const Action& a, int to, Parcel parcel);
  Parcel take(const Action& a, int from);

  Stage& stage(const Action& a) const { return *run_.pipeline.stages[size_t(a.stage)]; }
  const LearningRule& rule() const { return *run_.pipeline.rule; }
  /// Where a pass of micro-batch `mb` stands behind `updates` of its stage.
  PassAt pass_at(int64_t mb, int64_t updates, const WeightRead& forward = {}) const;
  Weights read(const Action& a, Pass pass, const WeightRead& what);
  /// Null where the gradients have no common norm, or all are this worker's.
  const NormExchange* norm_exchange() const;
  bool is_mine(int stage) const { return run_.pipeline.report.placement[size_t(stage)] == index_; }
  const Instances& instances() const { return run_.pipeline.wiring.instances; }
  bool brings_gradient(const Edge& e, const Action& a) const {
    return run_.pipeline.wiring.gradient_crosses(e) && run_.pipeline.wiring.carries(e, a.mb);
  }
  int64_t mbs_per_step() const { return run_.pipeline.report.mbs_per_step; }
  static Key key(const Action& a) { return {a.stage, a.mb, a.view}; }

  RunState& run_;
  int index_;
  std::map<int, Own> own_;  // by stage; before live_, so that it goes last
  std::map<Key, Flight> live_;
  std::map<Route, Parcel> inbox_, outbox_;
  std::map<std::pair<int, int>, Sent> sent_;
};

}  // namespace sluice
