// The residual LSTM: its counts, its equations in double precision, and what padding may change.
#include "models/residual_lstm.h"

#include <cmath>
#include <map>

#include "pipeline/inference.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::residual_lstm_test {
namespace {

using testing::ElementsAre;
using Row = std::vector<double>;

using ResidualLstmTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ResidualLstmTest, testing::ValuesIn(test_devices()), device_label);

constexpr size_t kWidth = 6;

ResidualLstmConfig small(bool faithful = false) {
  return {.vocabulary = 20, .classes = 3, .width = kWidth, .faithful = faithful};
}

TEST(ResidualLstm, HasThePublishedParameterCountsInEachStage) {
  const std::vector<StageNet> nets = cut(residual_lstm({}));
  std::vector<int64_t> counts;
  for (const StageNet& n : nets) counts.push_back(count(n.init));
  constexpr int64_t kBlock = 4 * 128 * (128 + 128) + 8 * 128 + 128 * 128 + 128;
  EXPECT_THAT(counts, ElementsAre(10'000 * 128 + kBlock, kBlock, kBlock, kBlock + 2 * 128 + 2));
  EXPECT_EQ(total(nets), 1'874'690);
}

/// Three documents of 7, 4 and 1 tokens, padded to `length`.
constexpr int64_t kLengths[] = {7, 4, 1};
int32_t token(int64_t b, int64_t t) { return int32_t(1 + (5 * b + 3 * t) % 19); }
Tensor documents(const Stream& s, int64_t length) {
  std::vector<int32_t> ids(size_t(3 * length), 0);
  for (int64_t b = 0; b < 3; ++b)
    for (int64_t t = 0; t < kLengths[b]; ++t) ids[size_t(b * length + t)] = token(b, t);
  return Tensor::from<int32_t>(s, ids, {3, length});
}

struct Outcome {
  Row logits;
  std::map<std::string, Row> weights;
};
Outcome run(const Stream& s, const std::vector<StageNet>& nets, const Tensor& ids) {
  Outcome r;
  std::vector<std::unique_ptr<Arena>> arenas;
  Ledger ledger;
  Bundle x{{ids}};
  for (size_t i = 0; i < nets.size(); ++i) {
    arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
    const Arena& a = *arenas[i];
    for (size_t k = 0; k < a.specs().size(); ++k)
      r.weights[a.specs()[k].path] = to_double(s, a.values().flat_view(a.offset(int(k)), a.specs()[k].shape));
    if (i > 0) x = handed_on(*nets[i - 1].body, *nets[i].body, x);
    Ctx c{.stream = s, .weights = a.weights(), .arena = *arenas[i], .ledger = ledger};
    x = nets[i].body->infer(c, x);
  }
  r.logits = to_double(s, x[0].value);
  return r;
}

/// The equations on one document, `padding` further tokens of id 0 included.
struct Equations {
  const std::map<std::string, Row>& weights;

  const Row& at(const std::string& path) const { return weights.at(path); }
  Row linear(const std::string& path, const Row& x) const {
    const Row& w = at(path + ".weight");
    Row y = at(path + ".bias");
    for (size_t i = 0; i < y.size(); ++i)
      for (size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    return y;
  }
  void block(const std::string& path, std::vector<Row>& s) const {
    const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
    const Row &in = at(path + ".lstm.w_ih"), &back = at(path + ".lstm.w_hh"), &b = at(path + ".lstm.b_ih"),
              &b2 = at(path + ".lstm.b_hh");
    Row h(kWidth, 0.0), c(kWidth, 0.0);
    for (Row& x : s) {
      Row z(4 * kWidth);
      for (size_t i = 0; i < z.size(); ++i) {
        z[i] = b[i] + b2[i];
        for (size_t j = 0; j < kWidth; ++j) z[i] += in[i * kWidth + j] * x[j] + back[i * kWidth + j] * h[j];
      }
      for (size_t j = 0; j < kWidth; ++j) {
        c[j] = sigmoid(z[kWidth + j]) * c[j] + sigmoid(z[j]) * std::tanh(z[2 * kWidth + j]);
        h[j] = sigmoid(z[3 * kWidth + j]) * std::tanh(c[j]);
      }
      const Row y = linear(path + ".fc", h);
      for (size_t j = 0; j < kWidth; ++j) x[j] += y[j];
    }
  }
  Row logits(int64_t b, int64_t padding) const {
    const Row& table = at("embedding.weight");
    std::vector<Row> s;
    for (int64_t t = 0; t < kLengths[b] + padding; ++t) {
      const auto row = table.begin() + int64_t(kWidth) * (t < kLengths[b] ? token(b, t) : 0);
      s.emplace_back(row, row + int64_t(kWidth));
    }
    for (int k = 1; k <= 4; ++k) block(str("block", k), s);
    Row mean(kWidth, 0.0);
    for (const Row& row : s)
      for (size_t j = 0; j < kWidth; ++j) mean[j] += row[j] / double(s.size());
    return linear("head", mean);
  }
};

TEST_P(ResidualLstmTest, MatchesItsEquationsWhateverThePaddingUnlessFaithful) {
  const Stream s(device());
  for (const bool faithful : {false, true})
    for (const int64_t length : {7, 11}) {
      SCOPED_TRACE(testing::Message() << faithful << " " << length);
      const Outcome r = run(s, cut(residual_lstm(small(faithful))), documents(s, length));
      Row expected;
      for (int64_t b = 0; b < 3; ++b) {
        const Row z = Equations{r.weights}.logits(b, faithful ? length - kLengths[b] : 0);
        expected.insert(expected.end(), z.begin(), z.end());
      }
      expect_close(r.logits, expected, bound(DType::kF32));
    }
}

TEST(ResidualLstm, SizesOutOfRangeAreRefused) {
  EXPECT_THROW(residual_lstm({.vocabulary = 1}), ConfigError);
  EXPECT_THROW(residual_lstm({.classes = 1}), ConfigError);
  EXPECT_THROW(residual_lstm({.width = 0}), ConfigError);
  EXPECT_THROW(residual_lstm({.blocks = 0}), ConfigError);
}

}  // namespace
}  // namespace sluice::test::residual_lstm_test
