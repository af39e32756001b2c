// Every network of text and of patches, with auxiliary activations too, ResNet-18 and the translators train to the same
// weights in every mode of associated learning and under every synchronous schedule, bit for bit, dropout on, in f32
// and bf16.
#include <map>

#include "models/auxiliary_resnet.h"
#include "models/gnmt.h"
#include "models/residual_lstm.h"
#include "models/resnet.h"
#include "models/text.h"
#include "models/translation.h"
#include "models/vision.h"
#include "pipeline/executor.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::networks_test {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kFewNetworks = true;  // what threads share does not depend on the layers, and each takes a minute there
#else
constexpr bool kFewNetworks = false;
#endif
constexpr int64_t kSamples = 4, kImage = 8;
constexpr int32_t kClasses = 3;

enum class Input { kText, kImages, kPairs };

struct Network {
  const char* name;
  std::function<std::vector<StageNet>()> backprop, associated, contrastive;  // the last two may be missing
  Input input = Input::kText;
};

void add_patch_networks(std::vector<Network>& all, DType dtype) {
  for (const Auxiliary from : {Auxiliary::kNone, Auxiliary::kSign, Auxiliary::kBias}) {
    const VisionTransformerConfig vit{.in_channels = 1,
                                      .image = kImage,
                                      .classes = kClasses,
                                      .patches = 2,
                                      .hidden = 12,
                                      .mlp_hidden = 8,
                                      .heads = 2,
                                      .layers = 3,
                                      .stage_layers = 2,
                                      .dropout = 0.3f,
                                      .bridge = 10,
                                      .code = 6,
                                      .dtype = dtype,
                                      .auxiliary = {.from = from, .level = 4}};
    const MixerConfig mixer{.in_channels = 1,
                            .image = kImage,
                            .classes = kClasses,
                            .patch = 4,
                            .hidden = 12,
                            .hidden_c = 8,
                            .hidden_s = 5,
                            .layers = 3,
                            .stage_layers = 2,
                            .dropout = 0.3f,
                            .bridge = 10,
                            .code = 6,
                            .dtype = dtype,
                            .auxiliary = vit.auxiliary};
    all.push_back(
        {"vit", [=] { return vit_backprop(vit); }, [=] { return vit_associated(vit); }, nullptr, Input::kImages});
    all.push_back({"mlp_mixer", [=] { return mixer_backprop(mixer); }, [=] { return mixer_associated(mixer); }, nullptr,
                   Input::kImages});
  }
}

void add_auxiliary_resnets(std::vector<Network>& all, DType dtype) {
  for (const ResnetRule rule : {ResnetRule::kResidual, ResnetRule::kSign, ResnetRule::kBias}) {
    const AuxiliaryResnetConfig resnet{.depth = 18,
                                       .in_channels = 1,
                                       .image = kImage,
                                       .classes = kClasses,
                                       .width = 1.0 / 16,
                                       .rule = rule,
                                       .stride = {3, 2, 2, 1},
                                       .recompute = rule != ResnetRule::kBias,
                                       .dtype = dtype};
    const ImageCodes codes{.classes = kClasses, .code = 6, .hidden = 10};
    all.push_back({"auxiliary resnet", [=] { return auxiliary_resnet_backprop(resnet); },
                   [=] { return auxiliary_resnet_associated(resnet, codes); }, nullptr, Input::kImages});
  }
}

void add_translators(std::vector<Network>& all, DType dtype) {
  for (const Auxiliary from : {Auxiliary::kNone, Auxiliary::kSign, Auxiliary::kBias}) {
    const TranslationConfig c{.source_vocabulary = 30,
                              .target_vocabulary = 30,
                              .width = 12,
                              .inner = 16,
                              .heads = 2,
                              .layers = 2,
                              .dropout = 0.3f,
                              .dtype = dtype,
                              .recompute = from == Auxiliary::kSign,
                              .auxiliary = {.from = from, .level = 4}};
    all.push_back({"translator", [=] { return translation_backprop(c); }, nullptr, nullptr, Input::kPairs});
  }
}

void add_recurrent_networks(std::vector<Network>& all, DType dtype) {
  const GnmtConfig translator{
      .source_vocabulary = 30, .target_vocabulary = 30, .hidden = 8, .dropout = 0.3f, .dtype = dtype};
  all.push_back({"gnmt", [=] { return cut(gnmt(translator)); }, nullptr, nullptr, Input::kPairs});
  const ResidualLstmConfig text{.vocabulary = 30, .classes = kClasses, .width = 8, .dtype = dtype};
  all.push_back({"residual lstm", [=] { return cut(residual_lstm(text)); }, nullptr, nullptr});
}

std::vector<Network> networks(Where where, DType dtype = DType::kF32) {
  const TextConfig text{.vocabulary = 30,
                        .classes = kClasses,
                        .embedding = 12,
                        .hidden = 8,
                        .code = 6,
                        .encoders = where == Where::kCpu ? 2 : 1,
                        .heads = 2,
                        .dtype = dtype};
  const ResnetConfig resnet{.in_channels = 1, .image = kImage, .classes = kClasses, .width = 1.0 / 32, .dtype = dtype};
  std::vector<Network> all{
      {"lstm", [=] { return lstm_backprop(text); }, [=] { return lstm_associated(text); },
       [=] { return lstm_contrastive(text); }},
      {"transformer", [=] { return transformer_backprop(text); }, [=] { return transformer_associated(text); },
       [=] { return transformer_contrastive(text); }}};
  if (where != Where::kCpu || kFewNetworks) return all;  // an emulated GPU takes its time
  for (const Auxiliary from : {Auxiliary::kSign, Auxiliary::kBias}) {
    TextConfig covered = text;
    covered.auxiliary = {.from = from, .level = 4};
    all.push_back({from == Auxiliary::kSign ? "transformer, signs" : "transformer, vectors",
                   [=] { return transformer_backprop(covered); }, [=] { return transformer_associated(covered); },
                   [=] { return transformer_contrastive(covered); }});
  }
  add_patch_networks(all, dtype);
  add_auxiliary_resnets(all, dtype);
  add_translators(all, dtype);
  add_recurrent_networks(all, dtype);
  all.push_back({"resnet18", [=] { return resnet18_backprop(resnet); }, [=] { return resnet18_associated(resnet); },
                 [=] { return resnet18_contrastive(resnet); }, Input::kImages});
  return all;
}

/// Documents of different lengths, or images, or pairs. Few steps on a GPU, which may be an emulated one.
Feed feed(Input input) {
  return [input](const FeedRequest& r) {
    Parcel parcel;
    const int64_t length = 5 + r.mb % 3;
    for (const Port& port : r.ports) {
      const auto seed = uint64_t(r.mb);
      if (port.name == "weights")
        parcel.values.push_back(Tensor::from<float>(
            r.stream, std::vector<float>(size_t(kSamples * length), 1.0f / float(kSamples * length)),
            {kSamples, length}));
      else if (port.name == "labels" && input != Input::kPairs)
        parcel.values.push_back(random_ints(r.stream, {kSamples}, seed, 0, kClasses));
      else if (input == Input::kImages)
        parcel.values.push_back(random(r.stream, {kSamples, kImage, kImage, 1}, seed));
      else
        parcel.values.push_back(random_ints(r.stream, {kSamples, length}, seed, 0, 30));
    }
    return parcel;
  };
}

using Losses = std::map<std::pair<int, int64_t>, std::vector<float>>;  // by stage and step

std::vector<std::vector<float>> trained(std::vector<StageNet> nets, const PlanOptions& plan, Input input,
                                        Losses* losses = nullptr) {
  Trained t = make_trained(std::move(nets), plan);
  RunOptions o = run_options(t.streams[0].is_cpu() ? 4 : 2, kSamples);
  o.feed = feed(input);
  o.on_losses = [&](const StepLosses& l) {
    if (losses != nullptr) (*losses)[{l.stage, l.step}] = l.values;
  };
  execute(t.pipeline, o);
  return t.weights();
}

class Networks : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Networks, testing::ValuesIn(test_places()), place_label);

TEST_P(Networks, EveryModeOfLocalLearningGivesTheWeightsOfSequential) {
  for (const Network& n : networks(GetParam()))
    for (const auto& make :
         GetParam() == Where::kCpu ? std::vector{n.associated, n.contrastive} : std::vector{n.associated}) {
      if (!make) continue;
      const int stages = int(make().size());
      const auto run = [&](const char* schedule, const Placement& placement) {
        return trained(
            make(), {.rule = "associated", .schedule = schedule, .placement = placement, .where = GetParam()}, n.input);
      };
      const auto expected = run("associated", all_on_one(stages));
      Placement turns, halves;
      for (int s = 0; s < stages; ++s) {
        turns.push_back(s % 2);
        halves.push_back(2 * s >= stages);
      }
      for (const char* schedule : {"associated_streaming", "associated_m", "associated_p"})
        for (const Placement& placement :
             GetParam() == Where::kCpu ? std::vector<Placement>{turns, halves} : std::vector<Placement>{turns}) {
          SCOPED_TRACE(testing::Message() << n.name << ", " << schedule << ", stage 1 on worker " << placement[1]);
          EXPECT_EQ(run(schedule, placement), expected);
        }
    }
}

TEST_P(Networks, SynchronousSchedulesGiveTheWeightsOfOneDevice) {
  for (const Network& n : networks(GetParam())) {
    const int stages = int(n.backprop().size());
    const auto run = [&](const char* schedule, const Placement& placement) {
      return trained(n.backprop(), {.schedule = schedule, .placement = placement, .mbs = 2, .where = GetParam()},
                     n.input);
    };
    const auto expected = run("one_device", all_on_one(stages));
    Placement halves;
    for (int s = 0; s < stages; ++s) halves.push_back(2 * s >= stages);
    for (const char* schedule : {"naive_split", "gpipe", "one_f_one_b", "zb_h2"}) {
      SCOPED_TRACE(testing::Message() << n.name << ", " << schedule);
      EXPECT_EQ(run(schedule, halves), expected);
      if (GetParam() == Where::kCpu) {
        EXPECT_EQ(run(schedule, one_each(stages)), expected);
      }
    }
    if (GetParam() != Where::kCpu || stages < 4) continue;
    Placement v;
    for (int s = 0; s < stages; ++s) v.push_back(4 * s >= stages && 4 * s < 3 * stages);
    SCOPED_TRACE(testing::Message() << n.name << ", zb_v");
    EXPECT_EQ(run("zb_v", v), expected);
  }
}

TEST_P(Networks, Bf16GivesNearlyTheFirstLossesOfF32AndOneSetOfBitsInEveryMode) {
  if (product_dtypes(Stream(device_of(GetParam(), 0))).size() < 2) GTEST_SKIP() << "this device has no bf16 products";
  const std::vector<Network> narrow = networks(GetParam(), DType::kBF16), wide = networks(GetParam());
  for (size_t i = 0; i < wide.size(); ++i)
    for (const auto make : {&Network::backprop, &Network::associated, &Network::contrastive}) {
      if (GetParam() != Where::kCpu && make != &Network::associated) continue;  // an emulated GPU takes its time
      if (!(wide[i].*make)) continue;
      const bool local = make != &Network::backprop;
      const int stages = int((wide[i].*make)().size());
      SCOPED_TRACE(testing::Message() << wide[i].name << ", " << stages << " stages, "
                                      << (local ? "local" : "backprop"));
      const auto run = [&](const Network& n, bool split, Losses& losses) {
        Placement turns;
        for (int s = 0; s < stages; ++s) turns.push_back(local ? s % 2 : 2 * s >= stages);
        return trained(
            (n.*make)(),
            {.rule = local ? "associated" : "backprop",
             .schedule = local ? (split ? "associated_streaming" : "associated") : (split ? "gpipe" : "one_device"),
             .placement = split ? turns : all_on_one(stages),
             .where = GetParam()},
            n.input, &losses);
      };
      Losses expected, got, streamed;
      const auto f32 = run(wide[i], false, expected), bf16 = run(narrow[i], false, got);
      EXPECT_NE(f32, bf16) << "nothing was rounded";
      EXPECT_EQ(run(narrow[i], true, streamed), bf16);
      EXPECT_EQ(streamed, got);
      ASSERT_EQ(got.size(), expected.size());
      for (const auto& [at, values] : expected) {
        if (at.second > 0) continue;  // later ones follow other weights: batch norm over four samples is chaotic
        for (size_t k = 0; k < values.size(); ++k)
          EXPECT_NEAR(got.at(at)[k], values[k], 0.02f * (1 + values[k])) << "stage " << at.first;
      }
    }
}

}  // namespace
}  // namespace sluice::test::networks_test
