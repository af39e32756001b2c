// Content by Philox: the same in every run.
#include "bench/random_data.h"

#include "data/text.h"

namespace sluice::bench {
namespace {

constexpr int64_t kVocabulary = 30'000, kSamples = 4096;

uint32_t word(size_t i) { return philox({7, 7}, i / 4, 0).v[i % 4]; }

}  // namespace

TrainingData random_images() {
  ImageDataset d;
  d.image = {32, 32, 3};
  d.labels.resize(size_t(kSamples));
  d.pixels.resize(d.labels.size() * 32 * 32 * 3);
  for (size_t i = 0; i < d.pixels.size(); ++i) d.pixels[i] = uint8_t(word(i));
  for (size_t i = 0; i < d.labels.size(); ++i) d.labels[i] = int32_t(i % 10);
  for (int i = 0; i < 10; ++i) d.class_names.push_back(std::to_string(i));
  d.mean = {0.5f, 0.5f, 0.5f};
  d.stddev = {0.25f, 0.25f, 0.25f};
  const auto data = std::make_shared<const ImageDataset>(std::move(d));
  return {data, data};
}

TrainingData random_texts(int64_t length) {
  TextDataset d;
  d.vocabulary_size = kVocabulary;
  for (int64_t i = 0; i < kSamples; ++i) {
    for (int64_t t = 0; t < length; ++t)
      d.tokens.push_back(int32_t(2 + word(size_t(i * length + t)) % uint32_t(kVocabulary - 2)));
    d.offsets.push_back(int64_t(d.tokens.size()));
    d.labels.push_back(int32_t(i % 4));
  }
  for (int i = 0; i < 4; ++i) d.class_names.push_back(std::to_string(i));
  const auto data = std::make_shared<const TextDataset>(std::move(d));
  return {data, data};
}

}  // namespace sluice::bench
