// A worker's parameters: declared to an Init by the layers, laid out in one Arena, read through explicit versions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "kernels/common/forecast.h"

namespace sluice {

class Arena;

/// How a parameter starts: U(low, high), a constant when both are equal, or N(low, deviation^2) where there is one, of
/// which nothing lies further than `cut` deviations from low where there is one of those. Draws are keyed by the
/// parameter's path.
struct InitialValue {
  float low = 0, high = 0;
  float deviation = 0;
  uint64_t draws = 0;  // not 0: the key instead of the path's hash, so that parameters start as clones of each other
  int64_t period = 0;  // not 0: elements after which the draws start again
  float cut = 0;
  static InitialValue constant(float v) { return {v, v}; }
  static InitialValue uniform(float bound) { return {-bound, bound}; }
  static InitialValue normal(float mean, float deviation) { return {mean, mean, deviation}; }
  static InitialValue truncated(float deviation, float cut) { return {0, 0, deviation, 0, 0, cut}; }
  static InitialValue clones(float bound, uint64_t draws, int64_t period) { return {-bound, bound, 0, draws, period}; }
};

/// A handle to a parameter of the arena that is made from the same Init. `group` selects optimiser settings.
struct Param {
  int index = -1;
  Shape shape;
  bool table = false;  // read by rows alone
};
/// A handle to a buffer: state that is not trained (running statistics).
struct Buffer {
  int index = -1;
  Shape shape;
};

struct ParamSpec {
  std::string path;  // "stage0.f.conv1.weight"; the key in checkpoints and the seed of the initial value
  Shape shape;
  InitialValue initial;
  int group = 0;
  bool table = false;
};

/// Collects what layers declare, under dotted paths. Scopes nest: `Init conv = init.scope("conv1")`.
class Init {
 public:
  Init() : lists_(std::make_shared<Lists>()) {}
  Init scope(const std::string& name) const;
  /// The same path; parameters declared through it belong to `group`. Throws ConfigError outside [0, kMaxGroups).
  Init group(int group) const;
  /// Throws ConfigError when the path is taken: it is the key of checkpoints and of the initial value.
  Param param(const std::string& name, Shape shape, InitialValue initial);
  /// A parameter [rows, columns] that is read by rows alone (embedding()), few of them at a time. Where weights are
  /// foretold, its rows are foretold as they are read. Throws as param(), and ShapeError for another rank.
  Param table(const std::string& name, Shape shape, InitialValue initial);
  Buffer buffer(const std::string& name, Shape shape, float value);
  const std::string& path() const { return path_; }
  const std::vector<ParamSpec>& params() const { return lists_->params; }
  const std::vector<ParamSpec>& buffers() const { return lists_->buffers; }

 private:
  struct Lists {
    std::vector<ParamSpec> params, buffers;
  };
  std::shared_ptr<Lists> lists_;
  std::string path_;
  int group_ = 0;
};

/// One version of one parameter, as an op reads it.
struct Weight {
  ConstRef ref;
  uint64_t version = 0;  // never the same for two different contents; 0: unknown
};

/// What rows of tables are foretold from as they are read: flat arrays of an arena's layout.
struct RowForecast {
  DirectionRule direction{};
  Tensor w{}, m{}, v{};  // m and v where the direction takes them
  Tensor scalars{};      // StepScalars
  int place = 0;         // of the forecast in them
  const Arena* arena = nullptr;
  uint64_t version = 0;  // of its weights; an update takes the rows away
};

/// Rows of a parameter, as an op reads them: w itself, or what it is foretold to be.
struct Rows {
  ConstRef w, m{}, v{};  // [rows, columns] f32
  ConstRef scalars{};
  DirectionRule direction{.kind = Direction::kNone};
  int place = 0, group = 0;
};

/// One version of all parameters of an arena. Holds the memory while an op that was given it may run.
struct Weights {
  Tensor values;  // flat f32; of foretold weights only what is no table, where there are `rows`
  uint64_t version = 0;
  const std::vector<int64_t>* offsets = nullptr;  // of the arena; elements
  std::shared_ptr<const RowForecast> rows{};      // how tables are foretold; null: they are values

  /// Throws Error for a table.
  Weight at(const Param& p) const;
  /// Of any parameter of two dimensions. Throws Error where a table's rows are gone.
  Rows rows_of(const Param& p) const;
};

/// Where an op puts the gradient of a parameter.
struct GradSlot {
  Ref ref;
  bool accumulate = false;  // false: the first gradient of the step, which writes
};

/// A stretch of the arena that one optimiser setting applies to.
struct Segment {
  int64_t offset = 0, count = 0;  // elements
  int group = 0;
};

/// Weights, gradients, optimiser state and buffers of one stage: equal offsets, one update for all. Tables come last.
/// Before them, and among them, parameters of a group are contiguous, in declaration order. Not thread-safe: owned by
/// one worker.
class Arena {
 public:
  /// Queues the initial values on the stream: Philox keyed by (seed, path), so they do not depend on the cut.
  Arena(const Stream& s, const Init& init, uint64_t seed);
  Arena(const Arena&) = delete;  // Weights point to the offsets
  Arena& operator=(const Arena&) = delete;

  Weights weights() const { return {values_, version_, &offsets_}; }
  /// Other values of the same layout, as a version of their own; without the tables where their rows are foretold.
  Weights weights_of(Tensor values, std::shared_ptr<const RowForecast> rows = nullptr) const;
  /// Call after queueing work that changes the values.
  void bump_version();
  /// Other memory takes the place of the values, as a new version. Throws ShapeError or DTypeError unless it has their
  /// size. Weights that were handed out keep the old values.
  void replace_values(Tensor values);
  GradSlot grad(const Param& p);
  /// Queues zeroes for gradients that nobody wrote since the last begin_step(), so that an update reads no stale ones.
  void finish_grads(const Stream& s);
  /// Queues the sum of the gradients and those of an arena of the same layout, whose grads() `others` are; or those
  /// alone. Finished gradients, both times.
  void add_grads(const Stream& s, const Tensor& others);
  void set_grads(const Stream& s, const Tensor& others);
  void begin_step();

  Tensor values() const { return values_; }
  Tensor grads() const { return grads_; }
  /// Optimiser state k (moments), zero at first use; of the size of the values.
  Tensor state(const Stream& s, int k);
  int states() const { return int(states_.size()); }
  Tensor buffer(const Buffer& b) const;
  Tensor buffers() const { return buffer_values_; }
  const std::vector<Segment>& segments() const { return segments_; }

  const std::vector<ParamSpec>& specs() const { return specs_; }
  const std::vector<ParamSpec>& buffer_specs() const { return buffer_specs_; }
  int64_t offset(int param_index) const { return offsets_[size_t(param_index)]; }
  int64_t buffer_offset(int index) const { return buffer_offsets_[size_t(index)]; }
  int64_t count() const { return count_; }            // trained numbers, padding left out
  int64_t dense_size() const { return dense_size_; }  // of the values, up to the first table

 private:
  static Tensor zeros(const Stream& s, int64_t count, MemoryTag tag);
  int64_t lay_out(int64_t size, bool tables);
  void fill_initial(const Stream& s, uint64_t seed);

  std::vector<ParamSpec> specs_, buffer_specs_;
  std::vector<int64_t> offsets_, buffer_offsets_;
  std::vector<Segment> segments_;
  std::vector<bool> written_;
  Tensor values_, grads_, buffer_values_;
  std::vector<Tensor> states_;
  uint64_t version_ = 0;
  int64_t count_ = 0, dense_size_ = 0;
};

}  // namespace sluice
