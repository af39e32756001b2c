// GNMT: the published counts and boundaries of its four stages, the whole network against its equations in double
// precision, and what neither padding nor the cut may change.
#include "models/gnmt.h"

#include <cmath>

#include "pipeline/inference.h"
#include "tests/models/counts.h"
#include "tests/models/pairs.h"

namespace sluice::test::gnmt_test {
namespace {

using testing::ElementsAre;

using GnmtTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, GnmtTest, testing::ValuesIn(test_devices()), device_label);

GnmtConfig small(int layers = 4) {
  return {.source_vocabulary = 11, .target_vocabulary = 13, .hidden = 6, .layers = layers};
}

std::vector<int64_t> counts(const std::vector<StageNet>& nets) {
  std::vector<int64_t> all;
  for (const StageNet& n : nets) all.push_back(count(n.init));
  return all;
}

TEST(Gnmt, HasThePublishedParameterCountsInEachStage) {
  const std::vector<StageNet> eight = cut(gnmt({})), sixteen = cut(gnmt({.layers = 8}));
  EXPECT_THAT(counts(eight), ElementsAre(62'480'384, 60'385'281, 25'182'208, 45'719'104));
  EXPECT_EQ(total(eight), 193'766'977);
  EXPECT_THAT(counts(sixteen), ElementsAre(87'670'784, 81'373'185, 50'364'416, 58'310'208));
  EXPECT_EQ(total(sixteen), 277'718'593);
}

/// Numbers in a bundle by whether they are floats, which have a gradient that goes back, or integers, which have none.
struct Boundary {
  int64_t floats = 0, integers = 0;
  std::vector<std::string> integer_ports;
};
Boundary boundary(const StageNet& from, const Bundle& values) {
  Boundary b;
  const std::vector<Port> ports = from.body->out_ports();
  for (size_t i = 0; i < ports.size(); ++i) {
    const bool is_float = ports[i].dtype == DType::kF32;
    EXPECT_EQ(ports[i].differentiable, is_float) << ports[i].name;
    (is_float ? b.floats : b.integers) += values[i].value.numel();
    if (!is_float) b.integer_ports.push_back(ports[i].name);
  }
  return b;
}

TEST_P(GnmtTest, ThePublishedStagesExchangeWhatIsPublished) {
  const Stream s(device());
  constexpr int64_t kBatch = 2, kSource = 5, kTarget = 7, kHidden = 6;
  for (const auto& [layers, last] : {std::pair<int, int64_t>{4, 3}, {8, 4}}) {
    SCOPED_TRACE(layers);
    const std::vector<StageNet> nets = cut(gnmt(small(layers)));
    const Pass pass = pass_over(s, nets, pairs(s, kSource, kTarget));
    ASSERT_EQ(pass.handed_on.size(), 4u);
    const Boundary first = boundary(nets[0], pass.handed_on[0]), second = boundary(nets[1], pass.handed_on[1]),
                   third = boundary(nets[2], pass.handed_on[2]);
    EXPECT_EQ(first.floats, 2 * kSource * kBatch * kHidden);
    EXPECT_THAT(first.integer_ports, testing::UnorderedElementsAre("mask", "target"));
    EXPECT_EQ(first.integers, kSource * kBatch + kTarget * kBatch);
    EXPECT_EQ(second.floats, 2 * kTarget * kBatch * kHidden);
    EXPECT_EQ(third.floats, last * kTarget * kBatch * kHidden);
    EXPECT_EQ(second.integers + third.integers, 0);
  }
}

TEST(Gnmt, TheFullSizeExchangesWhatIsPublishedToo) {
  constexpr int64_t kBatch = 64, kTokens = 50, kHidden = 1024;
  for (const auto& [layers, last] : {std::pair<int, int64_t>{4, 3}, {8, 4}}) {
    const UnitNet net = gnmt({.layers = layers});
    const std::vector<UnitCost> costs = unit_costs(net, kBatch);
    std::vector<int64_t> floats;
    for (const int at : net.cuts) {
      floats.push_back(0);
      for (const UnitValue& v : costs[size_t(at) - 1].handed_on)
        if (v.port.dtype == DType::kF32) floats.back() += v.shape.numel();
    }
    constexpr int64_t kSequence = kBatch * kTokens * kHidden;
    EXPECT_THAT(floats, ElementsAre(2 * kSequence, 2 * kSequence, last * kSequence));
  }
}

TEST_P(GnmtTest, TheCutChangesNoBit) {
  const Stream s(device());
  const UnitNet net = gnmt(small());
  const Pairs p = pairs(s, 4, 5);
  const Pass expected = pass_over(s, cut(net), p, {.smoothing = 0.1f}, true);
  EXPECT_TRUE(std::isfinite(expected.loss));
  ASSERT_EQ(net.units.size(), 18u);
  std::vector<int> everywhere;
  for (int i = 1; i < 18; ++i) everywhere.push_back(i);
  for (const std::vector<int>& cuts : {std::vector<int>{}, {9}, {3, 8}, {1, 2, 4, 16}, everywhere}) {
    SCOPED_TRACE(cuts.size());
    const Pass pass = pass_over(s, cut(net, cuts), p, {.smoothing = 0.1f}, true);
    EXPECT_EQ(pass.loss, expected.loss);
    EXPECT_EQ(pass.by_path, expected.by_path);
  }
}

TEST_P(GnmtTest, PaddingOfEitherSideChangesNothing) {
  const Stream s(device());
  const Pass tight = pass_over(s, cut(gnmt(small())), pairs(s, 3, 4), {.smoothing = 0.1f}, true);
  const Pass padded = pass_over(s, cut(gnmt(small())), pairs(s, 8, 7), {.smoothing = 0.1f}, true);
  EXPECT_NEAR(tight.loss, padded.loss, 1e-5);
  expect_close(padded.gradient, tight.gradient, 1e-4);
}

/// sum over real tokens of 0.9 nll + 0.1 mean over all words of -log p, for weights of 1 / sentences.
TEST_P(GnmtTest, TheLossIsThePublishedOne) {
  const Stream s(device());
  const std::vector<StageNet> nets = cut(gnmt(small()), {17});
  Pairs p = pairs(s, 3, 4);
  p.weights = Tensor::from<float>(s, std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0, 0}, {2, 4});
  const Pass pass = pass_over(s, nets, p, {.smoothing = 0.1f, .uniform = true});
  // The last stage is the classifier alone: its logits from what it was handed.
  Arena arena(s, nets[1].init, 3);
  Ledger ledger;
  Ctx ctx{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  const std::vector<double> z = to_double(s, nets[1].body->infer(ctx, pass.handed_on[0])[0].value),
                            labels = to_double(s, p.labels);
  double expected = 0;
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] == 0) continue;
    double sum = 0, mean = 0;
    for (size_t k = 0; k < 13; ++k) sum += std::exp(z[13 * row + k]);
    for (size_t k = 0; k < 13; ++k) mean += (std::log(sum) - z[13 * row + k]) / 13;
    expected += (0.9 * (std::log(sum) - z[13 * row + size_t(labels[row])]) + 0.1 * mean) / 2;
  }
  EXPECT_NEAR(pass.loss, expected, 1e-5);
}

// ---- the equations ----

using Row = std::vector<double>;
using Rows = std::vector<Row>;  // of a sequence

Row joined(Row a, const Row& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// The network on one pair of sentences, without dropout.
struct Equations {
  std::map<std::string, Row> weights;
  int layers;

  const Row& at(const std::string& path) const { return weights.at(path); }
  Row product(const std::string& path, const Row& x) const {
    const Row& w = at(path);
    Row y(w.size() / x.size(), 0.0);
    for (size_t i = 0; i < y.size(); ++i)
      for (size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    return y;
  }
  Rows embedded(const std::string& path, const std::vector<int>& ids) const {
    const Row& table = at(path + ".weight");
    Rows rows;
    for (const int id : ids) rows.emplace_back(table.begin() + 6 * id, table.begin() + 6 * (id + 1));
    return rows;
  }
  Rows lstm(const std::string& path, Rows x, bool reverse = false) const {
    if (reverse) std::reverse(x.begin(), x.end());
    const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
    Row h(6, 0.0), c(6, 0.0);
    Rows y;
    for (const Row& in : x) {
      Row z = product(path + ".w_ih", in);
      const Row back = product(path + ".w_hh", h);
      for (size_t i = 0; i < z.size(); ++i) z[i] += back[i] + at(path + ".b_ih")[i] + at(path + ".b_hh")[i];
      for (size_t j = 0; j < 6; ++j) {
        c[j] = sigmoid(z[6 + j]) * c[j] + sigmoid(z[j]) * std::tanh(z[12 + j]);
        h[j] = sigmoid(z[18 + j]) * std::tanh(c[j]);
      }
      y.push_back(h);
    }
    if (reverse) std::reverse(y.begin(), y.end());
    return y;
  }
  Rows encoded(const std::vector<int>& source) const {
    const Rows e = embedded("encoder.embedding", source);
    const Rows there = lstm("encoder.lstm1.forward", e), back = lstm("encoder.lstm1.reverse", e, true);
    Rows s;
    for (size_t t = 0; t < e.size(); ++t) s.push_back(joined(there[t], back[t]));
    for (int k = 2; k <= layers; ++k) s = residual(str("encoder.lstm", k), s, s, k);
    return s;
  }
  Rows residual(const std::string& path, const Rows& in, const Rows& before, int k) const {
    Rows y = lstm(path, in);
    for (size_t t = 0; k > 2 && t < y.size(); ++t)
      for (size_t j = 0; j < 6; ++j) y[t][j] += before[t][j];
    return y;
  }
  Row context(const Row& y, const Rows& memory) const {
    const std::string path = "decoder.attention.";
    const Row q = product(path + "query", y), &v = at(path + "v"), &b = at(path + "b");
    double length = 0, sum = 0;
    for (const double e : v) length += e * e;
    Row shares, mean(6, 0.0);
    for (const Row& m : memory) {
      const Row k = product(path + "key", m);
      double score = 0;
      for (size_t j = 0; j < 6; ++j)
        score += at(path + "scale")[0] * v[j] / std::sqrt(length) * std::tanh(q[j] + k[j] + b[j]);
      shares.push_back(std::exp(score));
      sum += shares.back();
    }
    for (size_t t = 0; t < memory.size(); ++t)
      for (size_t j = 0; j < 6; ++j) mean[j] += shares[t] / sum * memory[t][j];
    return mean;
  }
  Rows logits(const std::vector<int>& source, const std::vector<int>& target) const {
    const Rows memory = encoded(source);
    Rows y = lstm("decoder.lstm1", embedded("decoder.embedding", target)), contexts, out;
    for (const Row& row : y) contexts.push_back(context(row, memory));
    for (int k = 2; k <= layers; ++k) {
      Rows in;
      for (size_t t = 0; t < y.size(); ++t) in.push_back(joined(y[t], contexts[t]));
      y = residual(str("decoder.lstm", k), in, y, k);
    }
    for (const Row& row : y) {
      Row z = product("classifier.weight", row);
      for (size_t i = 0; i < z.size(); ++i) z[i] += at("classifier.bias")[i];
      out.push_back(z);
    }
    return out;
  }
};

TEST_P(GnmtTest, MatchesItsEquations) {
  const Stream s(device());
  for (const int layers : {4, 8}) {
    SCOPED_TRACE(layers);
    const std::vector<StageNet> nets = cut(gnmt(small(layers)));
    const Pairs p = pairs(s, 5, 6);
    Equations network{{}, layers};
    std::vector<std::unique_ptr<Arena>> arenas;
    Ledger ledger;
    Bundle x{{p.source}, {p.target}};
    for (size_t i = 0; i < nets.size(); ++i) {
      arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
      const Arena& a = *arenas[i];
      for (size_t k = 0; k < a.specs().size(); ++k)
        network.weights[a.specs()[k].path] = to_double(s, a.values().flat_view(a.offset(int(k)), a.specs()[k].shape));
      if (i > 0) x = handed_on(*nets[i - 1].body, *nets[i].body, x);
      Ctx c{.stream = s, .weights = a.weights(), .arena = *arenas[i], .ledger = ledger};
      x = nets[i].body->infer(c, x);
    }
    const Row all = to_double(s, x[0].value);
    ASSERT_EQ(all.size(), 2u * 6 * 13);
    const std::vector<std::pair<std::vector<int>, std::vector<int>>> sentences{{{4, 9, 5}, {2, 5, 8, 12}},
                                                                               {{6, 7}, {2, 9}}};
    Row expected, got;
    for (size_t b = 0; b < 2; ++b) {
      const Rows rows = network.logits(sentences[b].first, sentences[b].second);
      for (size_t t = 0; t < rows.size(); ++t) {
        expected = joined(expected, rows[t]);
        got.insert(got.end(), all.begin() + int64_t((6 * b + t) * 13), all.begin() + int64_t((6 * b + t + 1) * 13));
      }
    }
    expect_close(got, expected, bound(DType::kF32));
  }
}

TEST(Gnmt, WhatDoesNotFitIsRefused) {
  const auto with = [](auto change) {
    GnmtConfig c = small();
    change(c);
    return [c] { gnmt(c); };
  };
  EXPECT_THROW(with([](GnmtConfig& c) { c.layers = 1; })(), ConfigError);
  EXPECT_THROW(with([](GnmtConfig& c) { c.hidden = 0; })(), ConfigError);
  EXPECT_THROW(with([](GnmtConfig& c) { c.target_vocabulary = 1; })(), ConfigError);
  EXPECT_THROW(with([](GnmtConfig& c) { c.dropout = 1; })(), ConfigError);
  EXPECT_THROW(cut(gnmt(small()), {18}), ConfigError);
  EXPECT_EQ(cut(gnmt(small(5))).size(), 1u);
}

}  // namespace
}  // namespace sluice::test::gnmt_test
