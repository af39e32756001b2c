// Stages that several workers compute: which instance of a stage takes which micro-batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/action.h"
#include "pipeline/costs.h"

namespace sluice {

struct Edge;

/// The stage numbers of a plan are instances. Each instance of a stage has weights and an optimiser of its own, which
/// start equal and stay so, bit for bit: before every update the gradients of all are added, to those of the lowest
/// instance in ascending order, and all go on with that sum.
struct Instances {
  std::vector<int> stage_of{};              // by instance; instance s is the first of stage s. Empty: one for each
  std::vector<std::vector<bool>> shares{};  // by instance and place in a step: whether it computes that micro-batch

  int stage(int instance) const { return stage_of.empty() ? instance : stage_of[size_t(instance)]; }
  bool is_first(int instance) const { return stage(instance) == instance; }
  /// Whether both are instances of one stage, and not the same one.
  bool are_replicas(int a, int b) const { return a != b && stage(a) == stage(b); }
  /// The other instances of its stage, ascending.
  std::vector<int> replicas(int instance) const;
  bool computes(int instance, int64_t mb) const;
  /// Micro-batches of a step that the instance computes.
  int count(int instance, int mbs_per_step) const;
  /// Those of them that come before micro-batch `mb` of a step.
  int place(int instance, int64_t mb) const;
  bool operator==(const Instances&) const = default;
};

/// What the plan gives to each instance. Throws ScheduleError unless stages are 0 .. n - 1 and their own first
/// instances, each micro-batch of a step is computed by one instance of every stage, the same in all steps, and the
/// plan has no prologue and no epilogue where a stage has replicas.
Instances share_out(std::vector<int> stage_of, const Plan& plan);

/// A plan and the stage of each instance that it numbers; empty: every stage has one.
struct InstancePlan {
  Plan plan{};
  std::vector<int> stage_of{};
  int stages() const;  // throws what placement_of() throws
  bool operator==(const InstancePlan&) const = default;
};

/// Throws ScheduleError unless the first instances of all stages come first, in order, and the plan has as many
/// instances as are named.
void expect_stages(const InstancePlan& p);

/// That of the plan and, before it, "stage_of 0 1 0 1" where stages of instances are named.
std::string to_text(const InstancePlan& p);
/// The inverse. Throws what parse() and expect_stages() throw.
InstancePlan parse_instances(const std::string& text);

/// In which order the gradients of a step's micro-batches are added: "0 1 2 3", of two instances "0 2, 1 3", and of
/// every stage, as "0 1; 1 0", where they differ. Plans of the same order give the same bits.
std::string order_of_sums(const Plan& plan, const std::vector<int>& stage_of);

/// The edges between stages, for each pair of instances that computes some micro-batch together.
std::vector<Edge> between(const Instances& instances, const std::vector<Edge>& of_stages);

/// What instances take and keep, from what stages do. The parcels between instances of a stage hold its gradients.
CostModel between(const Instances& instances, const CostModel& of_stages);

}  // namespace sluice
