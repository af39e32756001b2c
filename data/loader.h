// Feeds micro-batches: a CPU stream of its own fills host tensors ahead of their readers; the host never waits.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "data/augment.h"
#include "engine/stream.h"

namespace sluice {

struct LoaderOptions {
  int64_t batch = 128;  // samples of a micro-batch
  /// Above 0: micro-batches hold samples of like length instead, as many as fit in so many tokens, padding included
  /// (SampleSource::length, token_batches()). They stay the same; training draws their order anew each epoch and keeps
  /// all of them, evaluation goes from short to long.
  int64_t tokens = 0;
  /// Training shuffles each epoch, augments and drops an epoch's last partial micro-batch. Evaluation keeps the order
  /// of the dataset and the last partial micro-batch.
  bool training = true;
  uint64_t seed = 0;
  Augmentation augmentation{};  // of images
  int depth = 4;                // micro-batches that are filled ahead, the one that is asked for included
  /// How often micro-batch k is fetched, by how many stages: readers[k mod their number]. One of 0 is not filled.
  std::vector<int> readers{1};
  /// Which samples of the dataset are fed; empty: all.
  std::vector<int32_t> samples{};
};

/// A micro-batch. Its memory goes back to the loader when the last copy of the tensors is gone, and is filled again
/// only after the work that the readers had queued by then.
struct Batch {
  std::vector<BatchPort> ports;  // those of the samples' source
  std::vector<Tensor> values;    // one a port
  Event ready;

  /// The tensor of a port. Throws ConfigError with the names that there are.
  const Tensor& at(std::string_view port) const;
  /// Lets work that is queued on `s` from now on read the tensors.
  void claim(const Stream& s) const;
};

/// The order of n samples in an epoch: a Fisher-Yates shuffle by Philox, from seed and epoch alone.
std::vector<int32_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch);

/// The content of micro-batch `mb`, counted from the start of the run, depends on the dataset, the options and `mb`
/// alone, so a run resumes by seek(). May be used from several threads.
class Loader {
 public:
  /// Throws DataError when the dataset is not consistent, ConfigError for options or samples out of range or a training
  /// set smaller than a micro-batch or with a sample longer than the budget of tokens.
  Loader(std::shared_ptr<const SampleSource> dataset, const LoaderOptions& options, Device device = {});

  /// Micro-batches of an epoch.
  int64_t per_epoch() const { return per_epoch_; }
  /// Samples of an epoch, a last partial micro-batch included.
  int64_t size() const { return options_.samples.empty() ? dataset_->size() : int64_t(options_.samples.size()); }
  /// Micro-batch `mb`. Queues what is not yet filled up to mb + depth - 1 and returns without waiting. Each reader asks
  /// for its own in ascending order. Throws ConfigError when `mb` was already fetched by all readers, or is `depth` or
  /// more ahead of what is filled.
  Batch fetch(int64_t mb);
  /// Starts over at `mb`: after a resume, or for another pass of evaluation.
  void seek(int64_t mb);
  /// The samples of micro-batch `mb`, row by row, as indices of the dataset.
  std::vector<int32_t> samples_of(int64_t mb);

  const SampleSource& dataset() const { return *dataset_; }
  const LoaderOptions& options() const { return options_; }
  const Stream& stream() const { return stream_; }

 private:
  struct Pending {
    Batch batch;
    int readers = 0;
  };
  int readers_of(int64_t mb) const { return options_.readers[size_t(mb) % options_.readers.size()]; }
  const std::vector<int32_t>& order_of(int64_t epoch, int64_t n);
  std::vector<int32_t> drawn(int64_t mb);
  void queue_fill(int64_t mb);

  std::shared_ptr<const SampleSource> dataset_;
  LoaderOptions options_;
  int64_t per_epoch_ = 0;
  Stream stream_;
  std::mutex mutex_;
  std::map<int64_t, Pending> pending_;         // filled or being filled, not yet fetched by all readers
  int64_t next_ = 0;                           // first micro-batch that is not queued
  std::vector<std::vector<int32_t>> batches_;  // under a budget of tokens
  std::vector<int32_t> order_;                 // of order_epoch_: of samples, or of batches_
  int64_t order_epoch_ = -1;
};

}  // namespace sluice
