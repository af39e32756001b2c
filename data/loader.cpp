// Which samples a micro-batch holds, and the window of micro-batches that are filled ahead.
#include "data/loader.h"

#include <algorithm>
#include <numeric>

namespace sluice {

void Batch::claim(const Stream& s) const {
  s.wait(ready);
  images.storage()->record_use(s);
  labels.storage()->record_use(s);
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

/// The worker's half: keeps the order of the epoch it is in.
struct Loader::Filler {
  std::shared_ptr<const ImageDataset> dataset;
  LoaderOptions options;
  int64_t epoch = -1;
  std::vector<int32_t> order;

  void fill(int64_t in_epoch, int64_t begin, const Ref& images, const Ref& labels) {
    const ImageDataset& d = *dataset;
    const Augmentation a = options.training ? options.augmentation : Augmentation{};
    std::vector<int32_t> samples(size_t(labels.numel() / a.views), 0);
    if (options.training) {
      if (epoch != in_epoch) {
        order = epoch_order(d.size(), options.seed, in_epoch);
        epoch = in_epoch;
      }
      std::copy_n(order.begin() + begin, samples.size(), samples.begin());
    } else {
      std::iota(samples.begin(), samples.end(), int32_t(begin));
    }
    const ImageDraw draw{.samples = samples, .epoch = in_epoch, .seed = options.seed};
    write_batch(d, draw, a, images.as<float>(), labels.as<int32_t>());
  }
};

Loader::Loader(std::shared_ptr<const ImageDataset> dataset, const LoaderOptions& options, Device device)
    : dataset_(std::move(dataset)), options_(options), stream_(device) {
  check(*dataset_, "dataset");
  check(options.augmentation, *dataset_);
  if (options.batch < 1 || options.depth < 1 || options.readers < 1)
    throw ConfigError(str("loader: batch ", options.batch, ", depth ", options.depth, ", readers ", options.readers,
                          ", expected positive numbers"));
  const int64_t n = dataset_->size();
  per_epoch_ = options.training ? n / options.batch : (n + options.batch - 1) / options.batch;
  if (per_epoch_ == 0)
    throw ConfigError(str("loader: ", n, " training samples, expected at least one micro-batch of ", options.batch));
  filler_ = std::make_shared<Filler>(Filler{.dataset = dataset_, .options = options, .order = {}});
}

void Loader::queue_fill(int64_t mb) {
  const int64_t begin = mb % per_epoch_ * options_.batch;
  const int64_t samples = std::min(options_.batch, dataset_->size() - begin);
  const int64_t count = samples * (options_.training ? options_.augmentation.views : 1);
  Shape shape{count};
  for (int i = 0; i < 3; ++i) shape.push_back(dataset_->image[i]);
  Pending p;
  p.readers = options_.readers;
  p.batch.images = Tensor::empty(stream_, shape, DType::kF32, MemoryTag::kIo);
  p.batch.labels = Tensor::empty(stream_, {count}, DType::kI32, MemoryTag::kIo);
  // References, not tensors: a tensor that the worker destroys could be the last handle of the worker's own stream.
  stream_.enqueue([filler = filler_, epoch = mb / per_epoch_, begin, images = p.batch.images.ref(),
                   labels = p.batch.labels.ref()](CpuContext&) { filler->fill(epoch, begin, images, labels); });
  p.batch.ready = stream_.record();
  pending_.emplace(mb, std::move(p));
}

Batch Loader::fetch(int64_t mb) {
  const std::lock_guard lock(mutex_);
  if (mb > next_)
    throw ConfigError(str("loader: micro-batch ", mb, " skips some, expected at most ", next_, "; seek() first"));
  int64_t last = mb + options_.depth - 1;
  if (!options_.training) last = std::min(last, (mb / per_epoch_ + 1) * per_epoch_ - 1);  // a pass ends
  for (; next_ <= last; ++next_) queue_fill(next_);
  const auto it = pending_.find(mb);
  if (it == pending_.end())
    throw ConfigError(str("loader: micro-batch ", mb, " was already fetched by all ", options_.readers,
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
