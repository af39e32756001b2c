// Cuts of a network with a skip connection and with a value of the feed that is read late: the ports that cross them,
// and the same loss and gradients, bit for bit, wherever it is cut.
#include "models/units.h"

#include <map>

#include "layers/dense.h"
#include "tests/support/support.h"

namespace sluice::test::units_test {
namespace {

using UnitsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, UnitsTest, testing::ValuesIn(test_devices()), device_label);

constexpr int64_t kWidth = 5;

Port of(const char* name, DType dtype = DType::kF32) { return {.name = name, .dtype = dtype}; }

/// What a test's unit does with the values of its ports.
struct Step {
  std::vector<Port> in, out;
  std::function<Bundle(Ctx& c, const Dense& layer, const Bundle& in)> f;
};

class TestBlock final : public Block {
 public:
  TestBlock(const Init& init, Step step) : step_(std::move(step)), layer_(init, kWidth, kWidth, Act::kTanh) {}
  std::vector<Port> in_ports() const override { return step_.in; }
  std::vector<Port> out_ports() const override { return step_.out; }
  Bundle forward(Ctx& c, const Bundle& in) const override { return step_.f(c, layer_, in); }

 private:
  Step step_;
  Dense layer_;
};

Unit unit(const std::string& name, const Step& step) {
  return {name, [=](const Init& root) -> BlockPtr { return std::make_unique<TestBlock>(root.scope(name), step); }};
}

/// x -> s, skip; s -> s; s -> s, skip2; s, skip, "table" of the feed -> s; s, skip2 -> logits.
UnitNet skipping() {
  const auto through = [](Ctx& c, const Dense& layer, const Bundle& in) -> Bundle { return {layer.forward(c, in[0])}; };
  UnitNet net;
  net.units.push_back(unit("a", {{of("x")}, {of("s"), of("skip")}, [](Ctx& c, const Dense& layer, const Bundle& in) {
                                   const Var y = layer.forward(c, in[0]);
                                   return Bundle{activation(c, y, Act::kTanh), y};
                                 }}));
  net.units.push_back(unit("b", {{of("s")}, {of("s")}, through}));
  net.units.push_back(unit("c", {{of("s")}, {of("s"), of("skip2")}, [](Ctx& c, const Dense& layer, const Bundle& in) {
                                   const Var y = layer.forward(c, in[0]);
                                   return Bundle{y, layer.forward(c, y)};
                                 }}));
  net.units.push_back(
      unit("d", {{of("s"), of("skip"), of("table")}, {of("s")}, [](Ctx& c, const Dense& layer, const Bundle& in) {
                   return Bundle{add(c, layer.forward(c, add(c, in[0], in[1])), in[2])};
                 }}));
  net.units.push_back(
      unit("e", {{of("s"), of("skip2")}, {of("logits")}, [](Ctx& c, const Dense& layer, const Bundle& in) {
                   return Bundle{layer.forward(c, add(c, in[0], in[1]))};
                 }}));
  net.cuts = {2};
  net.sample = {{1, kWidth}, {1, kWidth}};
  return net;
}

std::vector<std::string> names(const std::vector<Port>& ports) {
  std::vector<std::string> all;
  for (const Port& p : ports) all.push_back(p.name);
  return all;
}

TEST(UnitsTest, AValueThatIsReadLaterCrossesEveryCutOnItsWay) {
  const UnitNet net = skipping();
  const std::vector<StageNet> stages = cut(net, all_cuts(net));
  ASSERT_EQ(stages.size(), 5u);
  using testing::ElementsAre;
  EXPECT_THAT(names(stages[0].body->feed_ports()), ElementsAre("x", "table"));
  EXPECT_THAT(names(stages[0].body->out_ports()), ElementsAre("s", "skip", "table"));
  EXPECT_THAT(names(stages[1].body->in_ports()), ElementsAre("s", "skip", "table"));
  EXPECT_THAT(names(stages[1].body->out_ports()), ElementsAre("s", "skip", "table"));
  EXPECT_THAT(names(stages[2].body->out_ports()), ElementsAre("s", "skip", "table", "skip2"));
  EXPECT_THAT(names(stages[3].body->out_ports()), ElementsAre("s", "skip2"));
  EXPECT_THAT(names(stages[4].body->in_ports()), ElementsAre("s", "skip2"));
  EXPECT_THAT(names(stages[4].body->feed_ports()), ElementsAre("labels"));
  EXPECT_TRUE(stages[1].body->in_ports()[1].differentiable);
  EXPECT_FALSE(stages[2].body->in_ports()[2].differentiable) << "what the feed gives gets no gradient";
  EXPECT_EQ(cut(net).size(), 2u);
  EXPECT_THAT(names(cut(net, {3})[0].body->out_ports()), ElementsAre("s", "skip", "table", "skip2"));
}

/// The loss under "", and gradients by path.
std::map<std::string, std::vector<double>> pass(const Stream& s, const std::vector<StageNet>& nets) {
  Ledger ledger;
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<Tape>> tapes;
  std::vector<Bundle> leaves, outs;
  const Tensor x = random(s, {3, kWidth}, 1), table = random(s, {3, kWidth}, 2),
               labels = random_ints(s, {3}, 4, 0, int32_t(kWidth));
  for (size_t i = 0; i < nets.size(); ++i) {
    arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
    tapes.push_back(std::make_unique<Tape>());
    Ctx c{.stream = s,
          .weights = arenas[i]->weights(),
          .arena = *arenas[i],
          .ledger = ledger,
          .tape = tapes[i].get(),
          .training = true};
    Bundle feed, in;
    for (const Port& p : nets[i].body->feed_ports())
      feed.push_back({p.name == "x" ? x : p.name == "table" ? table : labels});
    const std::vector<Port> ports = nets[i].body->in_ports();
    for (size_t k = 0; k < ports.size(); ++k)
      in.push_back(ports[k].differentiable ? tapes[i]->leaf(outs[i - 1][k].value) : Var{outs[i - 1][k].value});
    leaves.push_back(in);
    StageOutput out = nets[i].body->forward(c, feed, in, 1.0f);
    outs.push_back(i + 1 == nets.size() ? out.losses : out.out);
  }
  std::map<std::string, std::vector<double>> all{{"", to_double(s, outs.back()[0].value)}};
  std::vector<Root> roots{{outs.back()[0], {}}};
  for (size_t i = nets.size(); i-- > 0;) {
    BackwardCtx b{.stream = s, .weights = arenas[i]->weights(), .arena = *arenas[i], .ledger = ledger};
    tapes[i]->backward(roots, b);
    arenas[i]->finish_grads(s);
    roots.clear();
    for (size_t k = 0; k < leaves[i].size(); ++k)
      if (leaves[i][k].node >= 0) roots.push_back({outs[i - 1][k], tapes[i]->take_grad(leaves[i][k])});
    for (size_t p = 0; p < arenas[i]->specs().size(); ++p) {
      const ParamSpec& spec = arenas[i]->specs()[p];
      all[spec.path] = to_double(s, arenas[i]->grads().flat_view(arenas[i]->offset(int(p)), spec.shape));
    }
  }
  EXPECT_EQ(ledger.bytes(), 0);
  return all;
}

TEST_P(UnitsTest, EveryCutGivesTheSameBits) {
  const Stream s(device());
  const UnitNet net = skipping();
  const auto expected = pass(s, cut(net, {}));
  EXPECT_EQ(expected.size(), 1 + 5 * 2u);
  for (unsigned chosen = 1; chosen < 16; ++chosen) {
    std::vector<int> cuts;
    for (int u = 1; u < 5; ++u)
      if ((chosen >> (u - 1) & 1u) != 0) cuts.push_back(u);
    EXPECT_EQ(pass(s, cut(net, cuts)), expected) << chosen;
  }
}

TEST_P(UnitsTest, GradientsThroughTheSkipsAgreeWithDifferences) {
  const Stream s(device());
  const std::vector<StageNet> whole = cut(skipping(), {});
  const Tensor x = random(s, {3, kWidth}, 1), table = random(s, {3, kWidth}, 2), labels = random_ints(s, {3}, 4, 0, 5);
  check_gradients(s, whole[0].init, {}, [&](Ctx& c, const std::vector<Var>&) {
    return whole[0].body->forward(c, {{x}, {table}, {labels}}, {}, 1.0f).losses[0];
  });
}

TEST(UnitsTest, CostsComeFromShapes) {
  const std::vector<UnitCost> costs = unit_costs(skipping(), 7);
  ASSERT_EQ(costs.size(), 5u);
  for (const UnitCost& c : costs) EXPECT_EQ(c.parameters, kWidth * kWidth + kWidth) << c.name;
  EXPECT_GE(costs[1].flops, 2 * 7 * kWidth * kWidth);  // a product, bias and activation
  EXPECT_EQ(costs[2].flops, 2 * costs[1].flops);
  EXPECT_EQ(costs[3].name, "d");
  ASSERT_EQ(costs[2].handed_on.size(), 4u);
  EXPECT_EQ(costs[2].handed_on[3].port.name, "skip2");
  EXPECT_EQ(costs[2].handed_on[3].shape, (Shape{7, kWidth}));
  EXPECT_THAT(costs[4].handed_on, testing::IsEmpty());
}

TEST(UnitsTest, CutsThatAreNoneAreRefused) {
  const UnitNet net = skipping();
  EXPECT_THROW(cut(net, {0}), ConfigError);
  EXPECT_THROW(cut(net, {5}), ConfigError);
  EXPECT_THROW(cut(net, {2, 2}), ConfigError);
  EXPECT_THROW(cut(net, {3, 2}), ConfigError);
  EXPECT_THROW(cut(net, {-1}), ConfigError);
  EXPECT_THROW(cut(UnitNet{}, {}), ConfigError);
}

}  // namespace
}  // namespace sluice::test::units_test
