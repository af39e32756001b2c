// Pairs of sentences: the ports of a micro-batch, and micro-batches under a budget of tokens.
#include "data/parallel.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "data/loader.h"
#include "tests/support/support.h"

namespace sluice::parallel_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int32_t>;

ParallelDataset pairs(const std::vector<std::pair<Ids, Ids>>& all) {
  ParallelDataset d;
  d.source_vocabulary = 20;
  d.target_vocabulary = 30;
  for (const auto& [from, to] : all) {
    d.source.add(from);
    d.target.add(to);
  }
  return d;
}

/// Sample i has a source of `lengths[i]` tokens and a target of one.
std::shared_ptr<const ParallelDataset> of_lengths(const std::vector<int64_t>& lengths) {
  std::vector<std::pair<Ids, Ids>> all;
  for (const int64_t n : lengths) all.emplace_back(Ids(size_t(n), 5), Ids{6});
  return std::make_shared<ParallelDataset>(pairs(all));
}

std::vector<int64_t> many_lengths() {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 97; ++i) lengths.push_back(3 + i * i % 23);
  return lengths;
}

struct Filled {
  Ids source, target, labels;
  std::vector<float> weights;
  Shape source_shape, target_shape;
};
Filled fetch(ParallelDataset d) {
  Loader loader(std::make_shared<ParallelDataset>(std::move(d)), {.batch = 2, .training = false});
  const Batch b = loader.fetch(0);
  Stream reader(Device{});
  b.claim(reader);
  return {b.at("source").to_vector<int32_t>(reader),
          b.at("target").to_vector<int32_t>(reader),
          b.at("labels").to_vector<int32_t>(reader),
          b.at("weights").to_vector<float>(reader),
          b.at("source").shape(),
          b.at("target").shape()};
}

TEST(Parallel, ThePortsOfAMicroBatch) {
  ParallelDataset d = pairs({{{4, 5, 6}, {7}}, {{8}, {9, 10}}});
  d.bucket = 2;
  Filled f = fetch(d);
  EXPECT_EQ(f.source_shape, (Shape{2, 4}));
  EXPECT_EQ(f.target_shape, (Shape{2, 4}));
  EXPECT_THAT(f.source, ElementsAre(4, 5, 6, 0, 8, 0, 0, 0));
  EXPECT_THAT(f.target, ElementsAre(2, 7, 0, 0, 2, 9, 10, 0));
  EXPECT_THAT(f.labels, ElementsAre(7, 3, 0, 0, 9, 10, 3, 0));
  const float w = 1.0f / 5;
  EXPECT_THAT(f.weights, ElementsAre(w, w, 0, 0, w, w, w, 0));
  d.token_weights = TokenWeights::kSentences;
  EXPECT_THAT(fetch(d).weights, ElementsAre(0.5f, 0.5f, 0, 0, 0.5f, 0.5f, 0.5f, 0));
  d.bucket = 1;
  d.token_weights = TokenWeights::kPositions;
  f = fetch(d);
  EXPECT_EQ(f.source_shape, (Shape{2, 3}));
  EXPECT_EQ(f.target_shape, (Shape{2, 3}));
  const float v = 1.0f / 6;
  EXPECT_THAT(f.weights, ElementsAre(v, v, 0, v, v, v));
}

TEST(Parallel, ASampleCostsItsLongerSide) {
  const ParallelDataset d = pairs({{{4, 5, 6, 7}, {7}}, {{8}, {9, 10}}});
  EXPECT_EQ(d.length(0), 4);
  EXPECT_EQ(d.length(1), 4) << "the target with its marks";
  EXPECT_EQ(d.classes(), 30);
  EXPECT_EQ(d.size(), 2);
}

TEST(Parallel, RefusesWhatIsNotSound) {
  const auto message = [](const ParallelDataset& d, const char* text) {
    EXPECT_THAT([&] { d.expect_sound("here"); }, ThrowsMessage<DataError>(HasSubstr(text)));
  };
  message(pairs({}), "here: 0 source and 0 target sentences");
  ParallelDataset d = pairs({{{4}, {4}}});
  d.source.add(Ids{5});
  message(d, "here: 2 source and 1 target sentences");
  message(pairs({{{4}, {}}}), "here: target: sentence 0 has no token");
  message(pairs({{{20}, {4}}}), "here: source: token 20, expected 1 or one in [4, 20)");
  message(pairs({{{4}, {3}}}), "here: target: token 3");
  message(pairs({{{0}, {4}}}), "here: source: token 0");
  d = pairs({{{4}, {1}}});
  d.bucket = 0;
  message(d, "a bucket of 0 tokens");
}

TEST(TokenBatches, AnEpochHoldsEverySampleOnceWithinTheBudget) {
  const auto d = of_lengths(many_lengths());
  Loader loader(d, {.tokens = 60, .seed = 3});
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::multiset<int32_t> seen;
    for (int64_t mb = 0; mb < loader.per_epoch(); ++mb) {
      const Ids samples = loader.samples_of(epoch * loader.per_epoch() + mb);
      int64_t longest = 0;
      for (const int32_t i : samples) longest = std::max(longest, d->length(i));
      EXPECT_LE(int64_t(samples.size()) * longest, 60);
      seen.insert(samples.begin(), samples.end());
    }
    Ids all(97);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, std::multiset<int32_t>(all.begin(), all.end()));
  }
}

TEST(TokenBatches, TheOrderIsAnothersEachEpochAndTheBatchesStay) {
  const auto d = of_lengths(many_lengths());
  Loader loader(d, {.tokens = 60, .seed = 3}), again(d, {.tokens = 60, .seed = 3}), other(d, {.tokens = 60, .seed = 4});
  const int64_t n = loader.per_epoch();
  std::vector<Ids> first, second, repeated, others;
  for (int64_t mb = 0; mb < n; ++mb) {
    first.push_back(loader.samples_of(mb));
    second.push_back(loader.samples_of(n + mb));
    repeated.push_back(again.samples_of(mb));
    others.push_back(other.samples_of(mb));
  }
  EXPECT_EQ(first, repeated);
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  std::sort(others.begin(), others.end());
  EXPECT_EQ(first, second);
  EXPECT_NE(first, others) << "equal lengths are ordered by the seed";
}

TEST(TokenBatches, ResumesAtAnyMicroBatch) {
  const auto d = of_lengths(many_lengths());
  const LoaderOptions options{.tokens = 60, .seed = 3};
  const auto source = [](Loader& loader, int64_t mb) {
    const Batch b = loader.fetch(mb);
    Stream reader(Device{});
    b.claim(reader);
    return b.at("source").to_vector<int32_t>(reader);
  };
  Loader whole(d, options), resumed(d, options);
  std::vector<Ids> expected;
  for (int64_t mb = 0; mb < 2 * whole.per_epoch(); ++mb) expected.push_back(source(whole, mb));
  for (const int64_t from : {int64_t{1}, whole.per_epoch() + 1}) {
    resumed.seek(from);
    for (int64_t mb = from; mb < 2 * whole.per_epoch(); ++mb) EXPECT_EQ(source(resumed, mb), expected[size_t(mb)]);
  }
}

TEST(TokenBatches, EvaluationGoesFromShortToLongAndSomeSamplesAreADatasetOfTheirOwn) {
  const auto d = of_lengths({9, 4, 6, 3, 5});
  Loader loader(d, {.tokens = 12, .training = false, .samples = {0, 1, 3, 4}});
  ASSERT_EQ(loader.per_epoch(), 3);
  EXPECT_THAT(loader.samples_of(0), ElementsAre(3, 1));
  EXPECT_THAT(loader.samples_of(1), ElementsAre(4));
  EXPECT_THAT(loader.samples_of(2), ElementsAre(0));
}

TEST(TokenBatches, ASampleBeyondTheBudgetIsNamed) {
  EXPECT_THAT(
      [] {
        Loader(of_lengths({4, 13}), {.tokens = 12});
      },
      ThrowsMessage<ConfigError>(HasSubstr("sample 1 has a length of 13, expected at most the budget of 12")));
  EXPECT_THROW(Loader(of_lengths({4}), {.tokens = -1}), ConfigError);
}

}  // namespace
}  // namespace sluice::parallel_test
