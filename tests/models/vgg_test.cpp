// VGG's parameter counts against the published ones, and the isolation of associated stages.
#include "models/vgg.h"

#include "models/report.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::vgg_test {
namespace {

TEST(VggTest, BackpropHasThePublishedParameterCounts) {
  EXPECT_EQ(total(vgg_backprop({.classes = 200})), 12'413'484);
  EXPECT_EQ(total(vgg_backprop({.classes = 10})), 11'938'294);
  EXPECT_EQ(total(vgg_backprop({.classes = 100})), 12'163'384);
}

TEST(VggTest, FaithfulAssociatedHasThePublishedParameterCounts) {
  EXPECT_EQ(total(vgg_associated({.classes = 200, .faithful = true})), 121'366'684);
  EXPECT_EQ(total(vgg_associated({.classes = 10, .faithful = true})), 121'100'494);
  EXPECT_EQ(total(vgg_associated({.classes = 100, .faithful = true})), 121'226'584);
}

TEST(VggTest, ContrastiveHasThePublishedParameterCount) {
  EXPECT_EQ(total(vgg_contrastive({.classes = 10})), 69'616'118);
}

TEST(VggTest, EveryModuleOfEveryStageHasThePublishedCount) {
  const std::vector<StageNet> nets = vgg_associated({.classes = 200, .faithful = true});
  const int64_t f[] = {299'136, 1'771'008, 2'360'320, 2'360'320};
  const int64_t b[] = {66'237'700, 33'469'700, 8'893'700, 2'749'700};
  const int64_t g[] = {140'700, 490'700, 490'700, 490'700}, h[] = {140'200, 490'700, 490'700, 490'700};
  ASSERT_EQ(nets.size(), 4u);
  for (size_t i = 0; i < nets.size(); ++i) {
    const std::string stage = "stage" + std::to_string(i);
    EXPECT_EQ(count(nets[i].init, stage + ".f."), f[i]);
    EXPECT_EQ(count(nets[i].init, stage + ".b."), b[i]);
    EXPECT_EQ(count(nets[i].init, stage + ".g."), g[i]);
    EXPECT_EQ(count(nets[i].init, stage + ".h."), h[i]);
  }
}

TEST(VggTest, TheReportTellsWhatInferenceUsesFromWhatOnlyTrains) {
  int64_t effective = 0, affiliate = 0;
  for (const StageParams& s : parameter_report(vgg_associated({.classes = 200, .faithful = true}))) {
    EXPECT_EQ(s.modules.size(), 4u);
    effective += s.effective;
    affiliate += s.affiliate;
  }
  EXPECT_EQ(effective, 11'152'784);
  EXPECT_EQ(affiliate, 110'213'900);
}

TEST(VggTest, ThePooledBridgeIsASmallPartOfTheStage) {
  const std::vector<StageNet> nets = vgg_associated({.classes = 10});
  for (size_t i = 0; i < nets.size(); ++i)
    EXPECT_LT(count(nets[i].init, "stage" + std::to_string(i) + ".b."), 10'000'000);
}

TEST(VggTest, RefusesSizesThatDoNotDivide) {
  EXPECT_THROW(vgg_backprop({.image = 28}), ConfigError);
  EXPECT_THROW(vgg_associated({.width = 0}), ConfigError);
  EXPECT_THROW(vgg_associated({.classes = 1}), ConfigError);
}

using AssociatedStageTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AssociatedStageTest, testing::ValuesIn(test_devices()), device_label);

/// Sum of |gradient| over the parameters under `prefix` after backward from loss `which`.
struct Isolation {
  Isolation(const Stream& stream, const StageNet& n, const std::vector<Tensor>& feed, const std::vector<Tensor>& in)
      : s(stream), net(n), arena(stream, n.init, 3), feed_(feed), in_(in) {}

  void run(size_t which) {
    Ledger ledger;
    Tape tape;
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    std::vector<Var> feed, in;
    for (const Tensor& t : feed_) feed.push_back({t});
    leaves.clear();
    for (const Tensor& t : in_) leaves.push_back(tape.leaf(t));  // as if gradients could flow to the stage before
    const StageOutput out = net.body->forward(c, feed, leaves, 1.0f);
    BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
    arena.begin_step();
    tape.backward({{out.losses[which], {}}}, b);
    arena.finish_grads(s);
    outputs_detached = true;
    for (const Var& v : out.out) outputs_detached = outputs_detached && v.node < 0;
    input_gradients.clear();
    for (const Var& v : leaves) input_gradients.push_back(tape.take_grad(v));
  }
  double gradient(const std::string& module) const {
    double sum = 0;
    for (size_t i = 0; i < net.init.params().size(); ++i) {
      const ParamSpec& p = net.init.params()[i];
      if (p.path.rfind(net.name + "." + module + ".", 0) != 0) continue;
      for (const double g : to_double(s, arena.grads().flat_view(arena.offset(int(i)), p.shape))) sum += std::abs(g);
    }
    return sum;
  }

  Stream s;
  const StageNet& net;
  Arena arena;
  std::vector<Tensor> feed_, in_;
  std::vector<Var> leaves;
  std::vector<Tensor> input_gradients;
  bool outputs_detached = false;
};

TEST_P(AssociatedStageTest, LossesReachOnlyTheirOwnModules) {
  const Stream s(device());
  for (const bool faithful : {false, true}) {
    const std::vector<StageNet> nets = vgg_associated({.width = 1.0 / 32, .faithful = faithful});
    const Tensor labels = random_ints(s, {6}, 4, 0, 10);
    Isolation first(s, nets[0], {random(s, {6, 32, 32, 3}, 1), labels}, {});
    const Tensor x = random(s, {6, 16, 16, 8}, 1, 0, 1), codes = random(s, {faithful ? 6 : 10, 22}, 2, 0, 1);
    Isolation second(s, nets[1], {}, faithful ? std::vector<Tensor>{x, codes} : std::vector<Tensor>{x, labels, codes});
    for (Isolation* stage : {&first, &second}) {
      stage->run(0);  // the autoencoder's loss
      EXPECT_EQ(stage->gradient("f"), 0);
      EXPECT_EQ(stage->gradient("b"), 0);
      EXPECT_GT(stage->gradient("g"), 0);
      EXPECT_GT(stage->gradient("h"), 0);
      EXPECT_TRUE(stage->outputs_detached);
      stage->run(1);  // the associated loss
      EXPECT_GT(stage->gradient("f"), 0);
      EXPECT_GT(stage->gradient("b"), 0);
      EXPECT_EQ(stage->gradient("g"), 0);  // the target is a detached code
      EXPECT_EQ(stage->gradient("h"), 0);
    }
    // The executor hands s and t over as constants; no gradient path leads to t whatever it is given as.
    EXPECT_FALSE(second.input_gradients.back().defined());
    for (const Port& p : nets[1].body->in_ports()) EXPECT_FALSE(p.differentiable);
  }
}

TEST_P(AssociatedStageTest, GradientsOfAWholeStageAgreeWithDifferences) {
  const Stream s(device());
  const std::vector<StageNet> nets = vgg_associated({.width = 1.0 / 64});
  const Tensor images = random(s, {3, 32, 32, 3}, 1), labels = random_ints(s, {3}, 4, 0, 10);
  for (const auto& [loss, module] :
       std::vector<std::pair<size_t, std::string>>{{0, ".g."}, {0, ".h."}, {1, ".f."}, {1, ".b."}}) {
    SCOPED_TRACE(module);
    check_gradients(s, nets[0].init, {},
                    [&, which = loss](Ctx& c, const std::vector<Var>&) {
                      return nets[0].body->forward(c, {{images}, {labels}}, {}, 1.0f).losses[which];
                    },
                    {.step = 3e-4, .bound = 0.08, .params = module});  // the loss's rounding alone gives up to 0.05
  }
}

}  // namespace
}  // namespace sluice::test::vgg_test
