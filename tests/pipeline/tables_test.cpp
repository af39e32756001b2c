// Asynchronous training with an embedding whose rows are foretold as they are read: bit for bit what foretelling the
// whole table gives, for less memory.
#include <map>

#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::tables_test {
namespace {

constexpr int64_t kIds = 12, kVocabulary = 300;
constexpr int kStages = 3;

/// ids -> rows -> tanh layers -> mean squared error. Only the first stage has rows, and a layer or none.
class WordStage final : public StageBody {
 public:
  WordStage(Init init, int index, bool table, bool layer) : index_(index) {
    const InitialValue start = InitialValue::uniform(0.5f);
    const Shape shape{kVocabulary, kWidth};
    if (index == 0) table_ = table ? init.table("rows", shape, start) : init.param("rows", shape, start);
    if (index > 0 || layer) linear_ = {init.param("w", {kWidth, kWidth}, start), Param{}, Act::kTanh};
  }
  std::vector<Port> feed_ports() const override {
    if (index_ == 0) return {{"ids", DType::kI32, false}};
    return index_ + 1 == kStages ? std::vector<Port>{{"target", DType::kF32, false}} : std::vector<Port>{};
  }
  std::vector<Port> in_ports() const override { return index_ == 0 ? std::vector<Port>{} : std::vector<Port>{{"h"}}; }
  std::vector<Port> out_ports() const override {
    return index_ + 1 == kStages ? std::vector<Port>{} : std::vector<Port>{{"h"}};
  }
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override {
    const Var h = infer(c, index_ == 0 ? feed : in)[0];
    StageOutput out;
    if (index_ + 1 == kStages)
      out.losses = {mse(c, h, feed[0].value, loss_weight)};
    else
      out.out = {h};
    return out;
  }
  Bundle infer(Ctx& c, const Bundle& in) const override {
    const Var h = index_ == 0 ? embedding(c, in[0].value, table_) : in[0];
    return {linear_.weight.index >= 0 ? matmul(c, h, linear_) : h};
  }
  Var head(Ctx&, const Bundle& s) const override { return s[0]; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  int index_;
  Param table_;
  Linear linear_;
};

struct Setup {
  std::string rule;
  bool table = true, layer = true;
  int mbs = 1;
};
Trained make_words(const Setup& setup, Where where) {
  std::vector<StageNet> nets;
  for (int s = 0; s < kStages; ++s) {
    StageNet net{.name = "stage" + std::to_string(s), .init = {}, .body = nullptr};
    net.body = std::make_unique<WordStage>(net.init.scope(net.name), s, setup.table, setup.layer);
    nets.push_back(std::move(net));
  }
  return make_trained(std::move(nets), {.rule = setup.rule,
                                        .schedule = "async_1f1b",
                                        .placement = {0, 1, 2},
                                        .mbs = setup.mbs,
                                        .where = where,
                                        .lr = 0.05f});
}
RunOptions options() {
  RunOptions o;
  o.steps = 8;
  o.feed = [](const FeedRequest& r) {
    const auto seed = uint64_t(r.mb * 2);
    const Tensor t = r.stage == 0 ? random_ints(r.stream, {kIds}, seed, 0, int32_t(kVocabulary))
                                  : random(r.stream, {kIds, kWidth}, seed + 1);
    return Parcel{{t}, r.stream.record()};
  };
  return o;
}

/// Values of every stage by path, moments too: tables lie elsewhere in their arena.
std::map<std::string, std::vector<float>> state(const Trained& t) {
  std::map<std::string, std::vector<float>> all;
  for (const StagePtr& s : t.pipeline.stages)
    for (size_t i = 0; i < s->arena.specs().size(); ++i) {
      const ParamSpec& p = s->arena.specs()[i];
      const int64_t at = s->arena.offset(int(i));
      all[p.path] = s->arena.values().flat_view(at, p.shape).to_vector<float>(s->stream);
      all[p.path + ".v"] = s->arena.state(s->stream, 1).flat_view(at, p.shape).to_vector<float>(s->stream);
    }
  return all;
}
int64_t stash(const Trained& t) { return t.streams[0].pool().in_use(MemoryTag::kStash); }

class TablesTest : public testing::TestWithParam<Where> {};
INSTANTIATE_TEST_SUITE_P(Places, TablesTest, testing::ValuesIn(test_places()), place_label);

TEST_P(TablesTest, TrainAsIfTheirWholeWereForetold) {
  constexpr int64_t kTableBytes = kVocabulary * kWidth * 4;
  for (const char* rule : {"pipeoptim", "pipeoptim_paper", "pipeoptim_released", "pipeoptim_decay"})
    for (const bool layer : {true, false}) {
      SCOPED_TRACE(testing::Message() << rule << (layer ? "" : ", nothing but the table"));
      Trained rows = make_words({.rule = rule, .layer = layer}, GetParam());
      Trained whole = make_words({.rule = rule, .table = false, .layer = layer}, GetParam());
      execute(rows.pipeline, options());
      execute(whole.pipeline, options());
      EXPECT_EQ(state(rows), state(whole));
      EXPECT_GE(stash(whole) - stash(rows), kTableBytes);  // blocks are rounded up
    }
}

/// XPipe reads a forecast when updates have followed it: rows of a table must have been foretold in time.
TEST_P(TablesTest, AreForetoldWholeWhereForecastsAreReadLate) {
  Trained rows = make_words({.rule = "xpipe", .mbs = 4}, GetParam());
  Trained whole = make_words({.rule = "xpipe", .table = false, .mbs = 4}, GetParam());
  EXPECT_TRUE(rows.pipeline.report.forecasts_late[0]);
  EXPECT_FALSE(rows.pipeline.report.forecasts_late[2]);
  execute(rows.pipeline, options());
  execute(whole.pipeline, options());
  EXPECT_EQ(state(rows), state(whole));
  EXPECT_EQ(stash(rows), stash(whole));
}

}  // namespace
}  // namespace sluice::test::tables_test
