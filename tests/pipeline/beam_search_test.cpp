// Search over a decoder that is a table, against all sequences; and a small transformer that learns to turn its source.
#include "pipeline/beam_search.h"

#include <cmath>
#include <map>

#include "models/gnmt.h"
#include "models/translation.h"
#include "pipeline/evaluate.h"
#include "pipeline/inference.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::beam_search_test {
namespace {

class BeamSearchTest : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, BeamSearchTest, testing::ValuesIn(test_places()), place_label);

constexpr int32_t kWords = 8, kFirst = 4;  // tokens are kFirst and above, behind padding, unknown and the marks
constexpr int64_t kBatch = 16, kLength = 4;

/// Sources of kLength tokens, and the same the other way round.
Feed turned_feed() {
  return [](const FeedRequest& r) {
    const std::vector<int32_t> all =
        random_ints(r.stream, {kBatch, kLength}, uint64_t(r.mb) + 1, kFirst, kWords).to_vector<int32_t>(r.stream);
    std::vector<int32_t> target, labels;
    for (int64_t b = 0; b < kBatch; ++b) {
      target.push_back(2);
      for (int64_t t = kLength; t-- > 0;) {
        const int32_t id = all[size_t(b * kLength + t)];
        target.push_back(id);
        labels.push_back(id);
      }
      labels.push_back(3);
    }
    Parcel parcel;
    for (const Port& p : r.ports) {
      if (p.name == "source") parcel.values.push_back(Tensor::from<int32_t>(r.stream, all, {kBatch, kLength}));
      if (p.name == "target") parcel.values.push_back(Tensor::from<int32_t>(r.stream, target, {kBatch, kLength + 1}));
      if (p.name == "labels") parcel.values.push_back(Tensor::from<int32_t>(r.stream, labels, {kBatch, kLength + 1}));
      if (p.name == "weights")
        parcel.values.push_back(Tensor::from<float>(
            r.stream, std::vector<float>(kBatch * (kLength + 1), 1.0f / float(kBatch * (kLength + 1))),
            {kBatch, kLength + 1}));
    }
    return parcel;
  };
}

TranslationConfig small() {
  return {.source_vocabulary = kWords,
          .target_vocabulary = kWords,
          .width = 32,
          .inner = 64,
          .heads = 4,
          .layers = 1,
          .dropout = 0};
}

/// A network of four stages.
Trained trained(Where where, int64_t steps, std::vector<StageNet> nets = translation_backprop(small())) {
  Trained t =
      make_trained(std::move(nets), {.schedule = "one_f_one_b", .placement = {0, 0, 1, 1}, .mbs = 1, .where = where});
  RunOptions o = run_options(steps, kBatch);
  o.feed = turned_feed();
  execute(t.pipeline, o);
  return t;
}

TEST_P(BeamSearchTest, ATransformerThatLearnedToTurnItsSourceTurnsIt) {
  if (GetParam() != Where::kCpu) GTEST_SKIP() << "an emulated GPU would train for minutes; the next test runs there";
  const Trained t = trained(GetParam(), 300);
  const Evaluation e = evaluate(t.pipeline.stages, turned_feed(), 3);
  EXPECT_EQ(e.samples, 3 * kBatch * (kLength + 1));
  EXPECT_GT(e.accuracy(), 0.95);
  EXPECT_LT(e.loss, 0.3);
  std::vector<std::vector<int32_t>> sources{{4, 5, 6, 7}, {7, 7, 4, 5}, {6, 4, 4, 7}}, expected;
  for (const auto& s : sources) expected.emplace_back(s.rbegin(), s.rend());
  EXPECT_EQ(beam_search(t.pipeline.stages, sources, {}), expected);
  EXPECT_EQ(beam_search(t.pipeline.stages, sources, {.beam = 3}), expected);
  EXPECT_EQ(beam_search(t.pipeline.stages, {sources[1]}, {.beam = 3})[0], expected[1]);
}

/// log p of a sequence by the network itself, all prefixes at once; its end included unless it was cut.
double log_p(const Trained& t, const std::vector<int32_t>& source, const std::vector<int32_t>& tokens, bool ended) {
  std::vector<int32_t> target{2}, labels(tokens);
  target.insert(target.end(), tokens.begin(), tokens.end());
  labels.push_back(3);
  double sum = 0;
  const size_t scored = tokens.size() + (ended ? 1 : 0);
  for (size_t i = 0; i < scored; ++i) {  // one label counts at a time
    const Feed feed = [&](const FeedRequest& r) {
      Parcel parcel;
      std::vector<float> weights(labels.size(), 0.0f);
      weights[i] = 1.0f;
      const Shape shape{1, int64_t(labels.size())};
      for (const Port& p : r.ports) {
        if (p.name == "source")
          parcel.values.push_back(Tensor::from<int32_t>(r.stream, source, {1, int64_t(source.size())}));
        if (p.name == "target") parcel.values.push_back(Tensor::from<int32_t>(r.stream, target, shape));
        if (p.name == "labels") parcel.values.push_back(Tensor::from<int32_t>(r.stream, labels, shape));
        if (p.name == "weights") parcel.values.push_back(Tensor::from<float>(r.stream, weights, shape));
      }
      return parcel;
    };
    sum -= evaluate(t.pipeline.stages, feed, 1).loss;
  }
  return sum;
}

/// All sequences of up to two tokens.
std::vector<std::vector<int32_t>> sequences() {
  std::vector<std::vector<int32_t>> all{{}};
  for (size_t from = 0, length = 0; length < 2; ++length) {
    const size_t count = all.size();
    for (; from < count; ++from)
      for (int32_t w = 1; w < kWords; ++w) {
        if (w == 2 || w == 3) continue;
        all.push_back(all[from]);
        all.back().push_back(w);
      }
  }
  return all;
}

TEST_P(BeamSearchTest, AWideBeamFindsTheLikeliestOfAllSequences) {
  const Trained t = trained(GetParam(), 5);  // has learned little: no sequence stands out
  const std::vector<int32_t> source{5, 6, 4};
  const float alpha = 0.6f;
  std::vector<int32_t> best, best_word;
  double most = -1e300, most_word = -1e300;
  const bool few = GetParam() != Where::kCpu;  // of an emulated GPU
  for (const std::vector<int32_t>& tokens : sequences()) {
    if (tokens.size() == 1 || tokens.empty()) {  // greedy: the likeliest first token, or the end
      const double score = log_p(t, source, tokens, tokens.empty());
      if (score > most_word) most_word = score, best_word = tokens;
    }
    if (few) continue;
    const double score =
        log_p(t, source, tokens, true) / std::pow((5.0 + double(tokens.size() + 1)) / 6.0, double(alpha));
    if (score > most) most = score, best = tokens;
  }
  const SearchOptions wide{.beam = 100, .max_len = 3, .length_penalty = alpha};
  if (!few) {
    EXPECT_EQ(beam_search(t.pipeline.stages, {source}, wide)[0], best);
  }
  EXPECT_EQ(beam_search(t.pipeline.stages, {source}, {.max_len = 1})[0], best_word);
}

/// The sum over source tokens of log(min(1, the attention that they got)) by the network itself, from one pass over
/// the tokens.
double coverage(const Trained& t, const std::vector<int32_t>& source, const std::vector<int32_t>& tokens) {
  std::vector<int32_t> target{2};
  target.insert(target.end(), tokens.begin(), tokens.end());
  const std::vector<StagePtr>& stages = t.pipeline.stages;
  const auto row = [&](const std::vector<int32_t>& ids) {
    return Tensor::from<int32_t>(stages[0]->stream, ids, {1, int64_t(ids.size())});
  };
  Bundle x{{row(source)}, {row(target)}};
  std::vector<double> sums(source.size(), 0.0);
  for (size_t i = 0; i < stages.size(); ++i) {
    Stage& s = *stages[i];
    if (i > 0) x = handed_on(*stages[i - 1]->body, *s.body, x);
    for (Var& v : x) v = {moved(v.value, stages[i == 0 ? 0 : i - 1]->stream, s.stream)};
    Ctx c = inference_ctx(s);
    std::vector<Tensor> weights;
    c.attention = &weights;
    x = s.body->infer(c, x);
    for (const Tensor& w : weights) {
      const std::vector<double> all = to_double(s.stream, w);  // [target, 1, source]
      for (size_t k = 0; k < all.size(); ++k) sums[k % sums.size()] += all[k];
    }
  }
  double sum = 0;
  for (const double a : sums) sum += std::log(std::min(1.0, a));
  return sum;
}

TEST_P(BeamSearchTest, CoverageDecidesAmongResultsWhereItIsAskedFor) {
  const UnitNet net = gnmt({.source_vocabulary = kWords, .target_vocabulary = kWords, .hidden = 16, .dropout = 0});
  const Trained t = trained(GetParam(), 5, cut(net));
  const std::vector<int32_t> source{5, 6, 4};
  for (const float beta : {0.0f, 0.1f, 3.0f}) {
    if (GetParam() != Where::kCpu && beta != 0.1f) continue;  // an emulated GPU takes its time
    SCOPED_TRACE(beta);
    const std::vector<int32_t> found =
        beam_search(t.pipeline.stages, {source}, {.beam = 100, .max_len = 3, .coverage_penalty = beta})[0];
    if (GetParam() != Where::kCpu) continue;
    std::vector<int32_t> best;
    double most = -1e300;
    for (const std::vector<int32_t>& tokens : sequences()) {
      const double score = log_p(t, source, tokens, true) / std::pow((5.0 + double(tokens.size() + 1)) / 6.0, 0.6) +
                           double(beta) * coverage(t, source, tokens);
      if (score > most) most = score, best = tokens;
    }
    EXPECT_EQ(found, best);
    EXPECT_EQ(best.size(), beta < 1 ? 0u : 2u) << "a strong penalty asks for longer results";
  }
  const Trained other = trained(GetParam(), 0);
  EXPECT_THAT([&] { beam_search(other.pipeline.stages, {source}, {.coverage_penalty = 0.1f}); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("0 additive attentions")));
  EXPECT_THROW(beam_search(t.pipeline.stages, {source}, {.coverage_penalty = -1}), ConfigError);
}

TEST_P(BeamSearchTest, BadOptionsSourcesAndNetworksAreRefused) {
  const Trained t = trained(GetParam(), 0);
  EXPECT_TRUE(beam_search(t.pipeline.stages, {}, {}).empty());
  EXPECT_THROW(beam_search(t.pipeline.stages, {{4}}, {.beam = 0}), ConfigError);
  EXPECT_THROW(beam_search(t.pipeline.stages, {{4}}, {.max_len = 0}), ConfigError);
  EXPECT_THROW(beam_search(t.pipeline.stages, {{4}, {}}, {}), ConfigError);
  const Trained other = make_trained(net(), "one_device", all_on_one(3), 1);
  EXPECT_THROW(beam_search(other.pipeline.stages, {{4}}, {}), ConfigError);
}

}  // namespace
}  // namespace sluice::test::beam_search_test
