// The loader: what a micro-batch holds, order, resuming, memory that stays put, and slow readers.
#include "data/loader.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "tests/support/support.h"

namespace sluice::loader_test {
namespace {

/// Image i is one pixel of value i mod 256 with label i mod 1000.
std::shared_ptr<const ImageDataset> numbered(int64_t count) {
  auto d = std::make_shared<ImageDataset>();
  d->image = {1, 1, 1};
  for (int64_t i = 0; i < count; ++i) {
    d->pixels.push_back(uint8_t(i % 256));
    d->labels.push_back(int32_t(i));
  }
  d->class_names.assign(size_t(count), "c");
  d->mean = {0.0f};
  d->stddev = {1.0f / 255.0f};
  return d;
}

struct Content {
  std::vector<float> images;
  std::vector<int32_t> labels;
  bool operator==(const Content&) const = default;
};
Content content(Loader& loader, int64_t mb) {
  const Batch b = loader.fetch(mb);
  Stream reader(Device{});
  b.claim(reader);
  return {b.at("images").to_vector<float>(reader), b.at("labels").to_vector<int32_t>(reader)};
}

TEST(Loader, AnEpochOfTrainingShowsEverySampleOnce) {
  Loader loader(numbered(100), {.batch = 9, .seed = 3});
  EXPECT_EQ(loader.per_epoch(), 11);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::set<int32_t> seen;
    for (int64_t i = 0; i < 11; ++i) {
      const Content c = content(loader, epoch * 11 + i);
      ASSERT_EQ(c.labels.size(), 9u);
      for (size_t k = 0; k < 9; ++k) {
        EXPECT_NEAR(c.images[k], float(c.labels[k] % 256), 1e-3f) << "image and label are of one sample";
        seen.insert(c.labels[k]);
      }
    }
    EXPECT_EQ(seen.size(), 99u);
  }
}

TEST(Loader, SomeSamplesAreADatasetOfTheirOwn) {
  const std::vector<int32_t> some{2, 3, 5, 7, 11, 13, 17, 19};
  Loader training(numbered(20), {.batch = 3, .seed = 3, .samples = some});
  EXPECT_EQ(training.size(), 8);
  EXPECT_EQ(training.per_epoch(), 2);
  std::set<int32_t> seen;
  for (int64_t mb = 0; mb < 16; ++mb) {
    const Content c = content(training, mb);
    for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(c.images[k], float(c.labels[k]), 1e-4f);
    seen.insert(c.labels.begin(), c.labels.end());
  }
  EXPECT_EQ(seen, std::set(some.begin(), some.end()));
  Loader evaluation(numbered(20), {.batch = 5, .training = false, .samples = some});
  EXPECT_EQ(evaluation.per_epoch(), 2);
  EXPECT_EQ(content(evaluation, 0).labels, (std::vector<int32_t>{2, 3, 5, 7, 11}));
  EXPECT_EQ(content(evaluation, 1).labels, (std::vector<int32_t>{13, 17, 19}));
  EXPECT_THROW(Loader(numbered(20), {.batch = 1, .samples = {20}}), ConfigError);
  EXPECT_THROW(Loader(numbered(20), {.batch = 3, .samples = {1, 2}}), ConfigError);
}

TEST(Loader, EvaluationKeepsOrderAndTheLastPartialMicroBatch) {
  Loader loader(numbered(10), {.batch = 4, .training = false, .augmentation = {.crop_padding = 3, .flip = true}});
  EXPECT_EQ(loader.per_epoch(), 3);
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<int32_t> labels;
    for (int64_t mb = 0; mb < 3; ++mb) {
      const Content c = content(loader, mb);
      labels.insert(labels.end(), c.labels.begin(), c.labels.end());
      for (size_t k = 0; k < c.labels.size(); ++k) EXPECT_NEAR(c.images[k], float(c.labels[k]), 1e-4f);
    }
    std::vector<int32_t> expected(10);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(labels, expected);
    loader.seek(0);
  }
}

TEST(Loader, OrderIsAPermutationThatDependsOnSeedAndEpoch) {
  const std::vector<int32_t> order = epoch_order(1000, 1, 0);
  std::vector<int32_t> sorted = order, expected(1000);
  std::sort(sorted.begin(), sorted.end());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(sorted, expected);
  EXPECT_NE(order, expected);
  EXPECT_EQ(order, epoch_order(1000, 1, 0));
  EXPECT_NE(order, epoch_order(1000, 2, 0));
  EXPECT_NE(order, epoch_order(1000, 1, 1));
}

TEST(Loader, ShufflesEvenly) {
  constexpr int64_t kCount = 6;
  std::array<std::array<int, kCount>, kCount> counts{};  // sample by place
  for (int64_t epoch = 0; epoch < 6000; ++epoch) {
    const std::vector<int32_t> order = epoch_order(kCount, 9, epoch);
    for (size_t place = 0; place < kCount; ++place) ++counts[size_t(order[place])][place];
  }
  for (const auto& row : counts)
    for (int count : row) EXPECT_NEAR(count, 1000, 170);  // 6 standard deviations of 29
}

TEST(Loader, ResumesAtAnyMicroBatchWithTheSameContent) {
  const LoaderOptions options{.batch = 7, .seed = 11, .augmentation = {.crop_padding = 1, .flip = true}};
  Loader whole(numbered(50), options);
  std::vector<Content> expected;
  for (int64_t mb = 0; mb < 20; ++mb) expected.push_back(content(whole, mb));
  for (int64_t from : {1, 6, 7, 13}) {  // inside an epoch and at its end
    Loader resumed(numbered(50), options);
    resumed.seek(from);
    for (int64_t mb = from; mb < 20; ++mb) EXPECT_EQ(content(resumed, mb), expected[size_t(mb)]) << mb;
  }
}

TEST(Loader, ContentDoesNotDependOnDepthOrReaders) {
  const auto augmented = [](int depth, int readers) {
    return LoaderOptions{
        .batch = 8, .seed = 2, .augmentation = {.crop_padding = 1}, .depth = depth, .readers = {readers}};
  };
  Loader one(numbered(64), augmented(1, 1)), many(numbered(64), augmented(5, 2));
  for (int64_t mb = 0; mb < 20; ++mb) {
    const Content expected = content(one, mb);
    EXPECT_EQ(content(many, mb), expected);
    EXPECT_EQ(content(many, mb), expected);  // the second reader's
  }
}

TEST(Loader, FillsWhatIsReadHereAlone) {
  const auto numbers = [](std::vector<int> readers) {
    return LoaderOptions{.batch = 8, .seed = 2, .depth = 6, .readers = std::move(readers)};
  };
  Loader all(numbered(64), numbers({1})), some(numbered(64), numbers({0, 2, 1}));
  for (int64_t mb = 0; mb < 30; ++mb) {
    const Content expected = content(all, mb);
    if (mb % 3 == 0) {
      EXPECT_THROW(some.fetch(mb), ConfigError);
      continue;
    }
    EXPECT_EQ(content(some, mb), expected);
    if (mb % 3 == 1) {
      EXPECT_EQ(content(some, mb), expected);
    }
    EXPECT_THROW(some.fetch(mb), ConfigError);
    some.stream().sync();
    EXPECT_LE(some.stream().pool().live_blocks(), 2 * 4);  // of six micro-batches ahead, four are read
  }
}

TEST(Loader, FillsAheadWithoutBeingAsked) {
  Loader loader(numbered(64), {.batch = 8, .depth = 4});
  const Batch first = loader.fetch(0);
  loader.stream().sync();  // everything queued so far: four micro-batches
  EXPECT_EQ(loader.stream().pool().live_blocks(), 2 * 4);
  for (int64_t mb = 1; mb < 4; ++mb) EXPECT_TRUE(loader.fetch(mb).ready.ready());
}

TEST(Loader, TakesNoMemoryAfterWarmUp) {
  Loader loader(numbered(64), {.batch = 8, .depth = 3});
  Stream reader(Device{});
  int64_t os_calls = 0;
  int64_t peak = 0;
  for (int64_t mb = 0; mb < 100; ++mb) {
    loader.fetch(mb).claim(reader);
    if (mb == 5) {
      os_calls = loader.stream().pool().os_calls();
      peak = loader.stream().pool().peak();
    }
  }
  EXPECT_EQ(loader.stream().pool().os_calls(), os_calls);
  EXPECT_EQ(loader.stream().pool().peak(), peak);
  EXPECT_EQ(loader.stream().stats().host_waits, 0);
  reader.sync();
}

// A reader that is far slower than the loader: its memory must not be refilled under it, nor grow.
TEST(Loader, ASlowReaderReadsWhatItFetched) {
  Loader loader(numbered(640), {.batch = 64, .training = false, .depth = 2});
  std::vector<std::vector<int32_t>> read(10);
  {
    Stream reader(Device{});
    for (int64_t mb = 0; mb < 10; ++mb) {
      const Batch b = loader.fetch(mb);
      b.claim(reader);
      reader.enqueue([from = b.at("labels").cref(), &to = read[size_t(mb)]](CpuContext&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        to.assign(from.as<int32_t>(), from.as<int32_t>() + from.numel());
      });
    }
    EXPECT_LE(loader.stream().pool().live_blocks(), 2 * 3);
    reader.sync();
  }
  for (int64_t mb = 0; mb < 10; ++mb) {
    std::vector<int32_t> expected(64);
    std::iota(expected.begin(), expected.end(), int32_t(mb * 64));
    EXPECT_EQ(read[size_t(mb)], expected) << "micro-batch " << mb;
  }
}

TEST(Loader, ServesReadersOnSeveralThreads) {
  Loader loader(numbered(256), {.batch = 8, .depth = 4, .readers = {3}});
  std::array<std::vector<Content>, 3> seen;
  std::vector<std::thread> threads;
  for (auto& mine : seen)
    threads.emplace_back([&loader, &mine] {
      for (int64_t mb = 0; mb < 40; ++mb) mine.push_back(content(loader, mb));
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST(Loader, RefusesWhatCannotBeServed) {
  EXPECT_THROW(Loader(numbered(10), {.batch = 11}), ConfigError);
  EXPECT_THROW(Loader(numbered(10), {.batch = 0}), ConfigError);
  EXPECT_THROW(Loader(numbered(10), {.batch = 2, .depth = 0}), ConfigError);
  EXPECT_THROW(Loader(numbered(10), {.batch = 2, .readers = {}}), ConfigError);
  EXPECT_THROW(Loader(numbered(10), {.batch = 2, .readers = {1, -1}}), ConfigError);
  auto broken = std::make_shared<ImageDataset>(*numbered(10));
  broken->labels[4] = 10;
  EXPECT_THROW(Loader(broken, {.batch = 2}), DataError);
  Loader loader(numbered(10), {.batch = 2});
  loader.fetch(0);
  EXPECT_THROW(loader.fetch(0), ConfigError);
  EXPECT_THROW(loader.fetch(50), ConfigError);
}

}  // namespace
}  // namespace sluice::loader_test
