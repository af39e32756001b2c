// Adaptive exits against passes over all stages by hand, shortcuts, and the health of label codes.
#include "pipeline/adaptive.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "models/text.h"
#include "pipeline/code_health.h"
#include "pipeline/evaluate.h"
#include "pipeline/inference.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::adaptive_test {
namespace {

constexpr int64_t kBatches = 3, kLength = 9;
constexpr int32_t kClasses = 3;

/// Random documents; what a class looks like is left to the labels.
Feed documents() {
  return [](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& p : r.ports)
      parcel.values.push_back(p.name == "tokens" ? random_ints(r.stream, {kRows, kLength}, uint64_t(r.mb), 0, 20)
                                                 : random_ints(r.stream, {kRows}, uint64_t(r.mb) + 100, 0, kClasses));
    return parcel;
  };
}

TextConfig text() {
  return {.vocabulary = 20, .classes = kClasses, .embedding = 12, .hidden = 8, .code = 6, .heads = 2};
}

class Adaptive : public OnEachPlace {
 public:
  static Trained trained(const Placement& placement, bool lstm) {
    Trained t = make_trained(lstm ? lstm_associated(text()) : transformer_associated(text()),
                             {.rule = "associated",
                              .schedule = count_workers(placement) == 1 ? "associated" : "associated_streaming",
                              .placement = placement,
                              .where = GetParam()});
    RunOptions o = run_options(GetParam() == Where::kCpu ? 8 : 2);  // an emulated GPU takes its time
    o.feed = documents();
    execute(t.pipeline, o);
    return t;
  }
};
INSTANTIATE_TEST_SUITE_P(Places, Adaptive, testing::ValuesIn(mixed_places()), place_label);

/// Outputs of every exit for one batch, by stage.
std::vector<std::vector<float>> outputs(const Trained& t, int64_t batch) {
  const auto& stages = t.pipeline.stages;
  const std::vector<Port> ports = inference_ports(*stages[0]->body);
  std::vector<std::vector<float>> all;
  for (size_t exit = 0; exit < stages.size(); ++exit) {
    Bundle x{{documents()({0, batch, ports, stages[0]->stream}).values[0]}};
    const auto there = [&](const Var& v, const Stream& from, const Stream& to) -> Var {
      if (from == to) return v;
      Tensor copied = Tensor::empty(to, v.shape(), v.value.dtype());
      if (v.value.dtype() == DType::kU8)
        copied.assign<uint8_t>(to, v.value.to_vector<uint8_t>(from));
      else
        copied.assign<float>(to, v.value.to_vector<float>(from));
      return {copied};
    };
    const auto ctx = [](Stage& s) {
      return Ctx{.stream = s.stream, .weights = s.arena.weights(), .arena = s.arena, .ledger = s.ledger};
    };
    for (size_t k = 0; k <= exit; ++k) {
      if (k > 0)
        for (Var& v : x) v = there(v, stages[k - 1]->stream, stages[k]->stream);
      Ctx c = ctx(*stages[k]);
      x = stages[k]->body->infer(c, x);
    }
    Ctx c = ctx(*stages[exit]);
    Var z = stages[exit]->body->head(c, x);
    for (size_t j = exit + 1; j-- > 0;) {
      if (j < exit) z = there(z, stages[j + 1]->stream, stages[j]->stream);
      Ctx here = ctx(*stages[j]);
      z = stages[j]->body->decode(here, z);
    }
    all.push_back(z.value.to_vector<float>(stages[0]->stream));
  }
  return all;
}

bool right(const std::vector<float>& logits, int64_t row, int32_t label) {
  const auto first = logits.begin() + row * kClasses;
  return std::max_element(first, first + kClasses) - first == label;
}

TEST_P(Adaptive, EverySampleLeavesWhereItIsSureFirst) {
  for (const bool lstm : {false, true})
    for (const Placement& placement : {Placement{0, 0, 0, 0}, Placement{0, 1, 0, 1}})
      for (const Confidence by : {Confidence::kMaximum, Confidence::kEntropy}) {
        if (GetParam() != Where::kCpu && (placement[1] == 0 || (by == Confidence::kEntropy) != lstm)) continue;
        SCOPED_TRACE(testing::Message() << (lstm ? "lstm" : "transformer") << ", stage 1 on worker " << placement[1]);
        const Trained t = trained(placement, lstm);
        AdaptiveOptions options{.by = by};
        std::vector<std::vector<std::vector<float>>> logits;
        std::vector<double> sure;  // of the first two exits: the threshold goes between two of them
        for (int64_t b = 0; b < kBatches; ++b) {
          logits.push_back(outputs(t, b));
          for (const double v : confidence(logits.back()[0], kClasses, options)) sure.push_back(v);
          for (const double v : confidence(logits.back()[1], kClasses, options)) sure.push_back(v);
        }
        std::sort(sure.begin(), sure.end());
        size_t widest = sure.size() / 3;
        for (size_t i = widest; i < 2 * sure.size() / 3; ++i)
          if (sure[i + 1] - sure[i] > sure[widest + 1] - sure[widest]) widest = i;
        options.threshold = (sure[widest] + sure[widest + 1]) / 2;

        std::vector<Exit> expected(4);
        const Stream& s = t.pipeline.stages[0]->stream;
        for (int64_t b = 0; b < kBatches; ++b) {
          const auto labels = random_ints(s, {kRows}, uint64_t(b) + 100, 0, kClasses).to_vector<int32_t>(s);
          for (int64_t row = 0; row < kRows; ++row)
            for (size_t k = 0; k < 4; ++k) {
              if (k < 3 && confidence(logits[size_t(b)][k], kClasses, options)[size_t(row)] < options.threshold)
                continue;
              ++expected[k].samples;
              expected[k].correct += right(logits[size_t(b)][k], row, labels[size_t(row)]);
              break;
            }
        }
        const AdaptiveResult got = infer_adaptively(t.pipeline.stages, documents(), kBatches, options);
        for (size_t k = 0; k < 4; ++k) {
          EXPECT_EQ(got.exits[k].samples, expected[k].samples) << "exit " << k;
          EXPECT_EQ(got.exits[k].correct, expected[k].correct) << "exit " << k;
          EXPECT_EQ(got.exits[k].samples > 0, got.exits[k].seconds > 0);
        }
        EXPECT_GT(expected[0].samples, 0);
        EXPECT_LT(expected[0].samples, kRows * kBatches);
        EXPECT_EQ(got.samples(), kRows * kBatches);
      }
}

TEST_P(Adaptive, ShortcutsAreThresholdsThatLetAllOrNobodyGo) {
  const Trained t = trained({0, 1, 1, 0}, false);
  const auto& stages = t.pipeline.stages;
  const AdaptiveResult at_once = infer_adaptively(stages, documents(), kBatches, {.threshold = 0});
  EXPECT_EQ(at_once.exits[0].samples, kRows * kBatches);
  EXPECT_EQ(at_once.correct(), evaluate(stages, documents(), kBatches, 1).correct);
  const AdaptiveResult never = infer_adaptively(stages, documents(), kBatches, {.threshold = 1.5});
  EXPECT_EQ(never.exits[3].samples, kRows * kBatches);
  EXPECT_EQ(never.correct(), evaluate(stages, documents(), kBatches).correct);
  EXPECT_EQ(never.correct(), evaluate(stages, documents(), kBatches, 4).correct);
  EXPECT_THROW(evaluate(stages, documents(), kBatches, 5), ConfigError);
  EXPECT_THROW(infer_adaptively(stages, documents(), kBatches, {.threshold = std::nan("")}), ConfigError);
}

TEST(Confidences, AreTheFormulas) {
  const std::vector<float> rows{0, 0, 0, 2, 0, 0};
  const double p = std::exp(2.0) / (std::exp(2.0) + 2), q = (1 - p) / 2;
  const std::vector<double> maximum = confidence(rows, 3, {});
  EXPECT_NEAR(maximum[0], 1.0 / 3, 1e-12);
  EXPECT_NEAR(maximum[1], p, 1e-12);
  const std::vector<double> entropy = confidence(rows, 3, {.by = Confidence::kEntropy});
  EXPECT_NEAR(entropy[0], 0, 1e-12);
  EXPECT_NEAR(entropy[1], 1 + (p * std::log(p) + 2 * q * std::log(q)) / std::log(3.0), 1e-12);
  EXPECT_NEAR(confidence({0.2f, 0.9f, 0.1f}, 3, {.logits = false})[0], 0.9, 1e-7);
}

TEST_P(Adaptive, CodesAreJudgedWithoutData) {
  const Trained t = trained({0, 1, 0, 1}, false);
  const std::vector<CodeHealth> health = code_health(t.pipeline.stages, kClasses);
  ASSERT_EQ(health.size(), 4u);
  for (const CodeHealth& h : health) {
    EXPECT_GT(h.spread, 0);
    EXPECT_GE(h.decoded, 1.0 / kClasses - 1e-9);
  }
  const Trained ends = make_trained(net(), "one_device", all_on_one(3), 1);
  EXPECT_THROW(code_health(ends.pipeline.stages, kClasses), ConfigError);
}

}  // namespace
}  // namespace sluice::test::adaptive_test
