// Which samples a micro-batch holds, and the window of micro-batches that are filled ahead.
#include "data/loader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "data/token_batches.h"

namespace sluice {

const Tensor& Batch::at(std::string_view port) const {
  std::string names;
  for (size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].name == port) return values[i];
    names += str(i == 0 ? "" : " and ", ports[i].name);
  }
  throw ConfigError(str("the data feed has no '", port, "', only ", names));
}

void Batch::claim(const Stream& s) const {
  s.wait(ready);
  for (const Tensor& t : values) t.storage()->record_use(s);
}

std::vector<int32_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch) {
  std::vector<int32_t> order(size_t(n), 0);
  std::iota(order.begin(), order.end(), 0);
  const PhiloxKey key = Rng{.seed = seed}.key(RngPurpose::kShuffle, path_hash("epoch"));
  for (int64_t i = n - 1; i > 0; --i) {
    const uint64_t word = philox(key, uint64_t(i), uint64_t(epoch)).v[0];
    std::swap(order[size_t(i)], order[size_t(word * uint64_t(i + 1) >> 32)]);
  }
  return order;
}

Loader::Loader(std::shared_ptr<const SampleSource> dataset, const LoaderOptions& options, Device device)
    : dataset_(std::move(dataset)), options_(options), stream_(device) {
  dataset_->expect_sound("dataset");
  dataset_->expect_fits(options.augmentation);
  if (options.batch < 1 || options.depth < 1 || options.tokens < 0)
    throw ConfigError(str("loader: batch ", options.batch, ", depth ", options.depth, ", tokens ", options.tokens,
                          ", expected positive numbers, or 0 tokens"));
  if (options.readers.empty() || *std::min_element(options.readers.begin(), options.readers.end()) < 0)
    throw ConfigError("loader: readers of no micro-batch or below 0, expected how many each has");
  for (const int32_t i : options.samples)
    if (i < 0 || i >= dataset_->size())
      throw ConfigError(str("loader: sample ", i, ", expected one in [0, ", dataset_->size(), ")"));
  const int64_t n = size();
  if (options.tokens > 0) {
    std::vector<int32_t> samples = options.samples;
    if (samples.empty()) {
      samples.resize(size_t(n));
      std::iota(samples.begin(), samples.end(), 0);
    }
    batches_ = token_batches(*dataset_, samples, options.tokens, options.seed);
    per_epoch_ = int64_t(batches_.size());
    return;
  }
  per_epoch_ = options.training ? n / options.batch : (n + options.batch - 1) / options.batch;
  if (per_epoch_ == 0)
    throw ConfigError(str("loader: ", n, " training samples, expected at least one micro-batch of ", options.batch));
}

const std::vector<int32_t>& Loader::order_of(int64_t epoch, int64_t n) {
  if (std::exchange(order_epoch_, epoch) != epoch) order_ = epoch_order(n, options_.seed, epoch);
  return order_;
}

std::vector<int32_t> Loader::samples_of(int64_t mb) {
  const std::lock_guard lock(mutex_);
  return drawn(mb);
}

std::vector<int32_t> Loader::drawn(int64_t mb) {
  const int64_t at = mb % per_epoch_, begin = at * options_.batch, epoch = mb / per_epoch_;
  if (!batches_.empty())
    return batches_[size_t(options_.training ? order_of(epoch, per_epoch_)[size_t(at)] : int32_t(at))];
  std::vector<int32_t> samples(size_t(std::min(options_.batch, size() - begin)), 0);
  if (!options_.training) {
    std::iota(samples.begin(), samples.end(), int32_t(begin));
  } else {
    std::copy_n(order_of(epoch, size()).begin() + begin, samples.size(), samples.begin());
  }
  if (!options_.samples.empty())
    for (int32_t& i : samples) i = options_.samples[size_t(i)];
  return samples;
}

void Loader::queue_fill(int64_t mb) {
  std::vector<int32_t> samples = drawn(mb);
  const Augmentation augmentation = options_.training ? options_.augmentation : Augmentation{};
  // The samples and the augmentation lie where the caller keeps them.
  const auto draw = [epoch = mb / per_epoch_, seed = options_.seed](const auto& of, const Augmentation& a) {
    return BatchDraw{.samples = of, .epoch = epoch, .seed = seed, .augmentation = a};
  };
  Pending p;
  p.readers = readers_of(mb);
  p.batch.ports = dataset_->ports(draw(samples, augmentation));
  // References, not tensors: a tensor that the worker destroys could be the last handle of the worker's own stream.
  std::vector<Ref> refs;
  for (const BatchPort& port : p.batch.ports) {
    p.batch.values.push_back(Tensor::empty(stream_, port.shape, port.dtype, MemoryTag::kIo));
    refs.push_back(p.batch.values.back().ref());
  }
  stream_.enqueue([dataset = dataset_, samples = std::move(samples), refs = std::move(refs), augmentation,
                   draw](CpuContext&) { dataset->fill(draw(samples, augmentation), refs); });
  p.batch.ready = stream_.record();
  pending_.emplace(mb, std::move(p));
}

Batch Loader::fetch(int64_t mb) {
  const std::lock_guard lock(mutex_);
  if (mb >= next_ + options_.depth)  // readers may be that far apart
    throw ConfigError(
        str("loader: micro-batch ", mb, " skips some, expected less than ", next_ + options_.depth, "; seek() first"));
  int64_t last = mb + options_.depth - 1;
  if (!options_.training) last = std::min(last, (mb / per_epoch_ + 1) * per_epoch_ - 1);  // a pass ends
  for (; next_ <= last; ++next_)
    if (readers_of(next_) > 0) queue_fill(next_);
  const auto it = pending_.find(mb);
  if (it == pending_.end())
    throw ConfigError(str("loader: micro-batch ", mb, " was already fetched by all ", readers_of(mb),
                          " readers; seek() starts over"));
  Batch batch = it->second.batch;
  if (--it->second.readers == 0) pending_.erase(it);
  return batch;
}

void Loader::seek(int64_t mb) {
  const std::lock_guard lock(mutex_);
  pending_.clear();
  next_ = mb;
}

}  // namespace sluice
