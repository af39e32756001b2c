// The configuration table: text and JSON in, one clear line for what does not fit.
#include "apps/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/catalog.h"
#include "kernels/common/error.h"

namespace sluice::config_test {
namespace {

using testing::HasSubstr;

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "(no error)";
}

RunConfig valid() {
  RunConfig c;
  c.data_dir = "somewhere";
  return c;
}

TEST(ConfigTest, EveryFieldSurvivesJsonAndText) {
  RunConfig c = valid();
  c.width = 0.125;
  c.trace = false;
  c.epochs = 7;
  c.devices = "cpu:0,cpu:1";
  RunConfig back;
  read_config_text(back, to_json(c), "test");
  RunConfig by_text;
  for (const ConfigField& f : config_fields()) set_field(by_text, f.key, field_text(c, f));
  for (const ConfigField& f : config_fields()) {
    EXPECT_EQ(field_text(back, f), field_text(c, f)) << f.key;
    EXPECT_EQ(field_text(by_text, f), field_text(c, f)) << f.key;
  }
}

TEST(ConfigTest, DashesAndUnderscoresAreTheSameKey) {
  RunConfig c;
  set_field(c, "data-dir", "d");
  EXPECT_EQ(c.data_dir, "d");
}

/// The files of the pipelined associated-learning codes, with their defaults.
TEST(ConfigTest, ReadsTheOriginalsFiles) {
  RunConfig cv;
  read_config_file(cv, SLUICE_SOURCE_DIR "/examples/configs/pal_cv.json");
  EXPECT_EQ(cv.batch, 128);
  EXPECT_EQ(cv.test_batch_size, 512);
  EXPECT_EQ(cv.lr, 1e-4);
  EXPECT_EQ(cv.end_lr, 1e-5);
  EXPECT_EQ(cv.out, "./result");
  EXPECT_EQ(cv.bp_gpu_list, "cuda:0,cuda:0,cuda:1,cuda:2,cuda:3,cuda:3");
  cv.rule = "bp";
  EXPECT_EQ(with_stage_devices(cv).devices, "cuda:0,cuda:1,cuda:2,cuda:3");
  EXPECT_EQ(with_stage_devices(cv).placement, "0,0,1,2,3,3");
  cv.rule = "al";
  EXPECT_EQ(with_stage_devices(cv).placement, "0,1,2,3");
  RunConfig nlp;
  read_config_file(nlp, SLUICE_SOURCE_DIR "/examples/configs/pal_nlp.json");
  EXPECT_EQ(nlp.batch, 256);
  EXPECT_EQ(nlp.word_vec, "glove");
  EXPECT_EQ(nlp.lr, 0.00025);
  EXPECT_EQ(nlp.act, "tanh");
  RunConfig acts;
  read_config_text(acts, R"({"act": {"f": "relu", "b": "tanh"}})", "run.json");
  EXPECT_EQ(acts.act, "f=relu,b=tanh");
}

TEST(ConfigTest, EveryOtherNameIsOfAFieldAndNotOneItself) {
  for (const ConfigAlias& a : config_aliases()) {
    const auto called = [](const char* key) {
      return std::any_of(config_fields().begin(), config_fields().end(),
                         [&](const ConfigField& f) { return std::string(f.key) == key; });
    };
    EXPECT_TRUE(called(a.key)) << a.key;
    EXPECT_FALSE(called(a.name)) << a.name;
  }
}

TEST(ConfigTest, AnUnknownKeyNamesTheNearestOne) {
  RunConfig c;
  EXPECT_EQ(message_of([&] { set_field(c, "epoch", "3"); }), "unknown key 'epoch'; did you mean 'epochs'?");
}

TEST(ConfigTest, ABadValueSaysWhatIsExpected) {
  RunConfig c;
  EXPECT_EQ(message_of([&] { set_field(c, "epochs", "three"); }), "epochs='three': expected a whole number");
  EXPECT_EQ(message_of([&] { set_field(c, "epochs", "3x"); }), "epochs='3x': expected a whole number");
  EXPECT_EQ(message_of([&] { set_field(c, "faithful", "yes"); }), "faithful='yes': expected true or false");
  EXPECT_EQ(message_of([&] { set_field(c, "width", ""); }), "width='': expected a number");
}

TEST(ConfigTest, JsonErrorsNameFileAndKey) {
  RunConfig c;
  EXPECT_EQ(message_of([&] { read_config_text(c, "{\"epochs\": \"3\"}", "run.json"); }),
            "run.json: epochs='\"3\"': expected a whole number");
  EXPECT_THAT(message_of([&] { read_config_text(c, "[1]", "run.json"); }), HasSubstr("run.json: not a JSON object"));
  EXPECT_THAT(message_of([&] { read_config_text(c, "{", "run.json"); }), HasSubstr("run.json: not a JSON object"));
  EXPECT_THAT(message_of([&] { read_config_file(c, "/nowhere/run.json"); }), HasSubstr("cannot be read"));
}

TEST(ConfigTest, RangesAreCheckedBeforeAnythingRuns) {
  check_config(valid());
  EXPECT_THAT(message_of([] { check_config({}); }), HasSubstr("data_dir is not set"));
  const std::vector<std::pair<std::string, std::string>> bad{
      {"batch", "0"},        {"micro_batches", "3"},  {"epochs", "0"},       {"width", "0"},      {"lr", "nan"},
      {"lr", "-1"},          {"momentum", "1"},       {"max_steps", "-1"},   {"dampening", "1"},  {"rms_alpha", "1"},
      {"auxiliary", "asa5"}, {"epsilon", "-1"},       {"auxiliary", "asa2"},  // not of VGG
      {"scheduler", "cos"},  {"warmup_epoch", "5"},                           // by steps unless told otherwise
      {"beta1", "1"},        {"gamma", "2"},          {"smoothing", "1.1"},  {"step_every", "0"}, {"cutmix_prob", "2"},
      {"cutmix_beta", "0"},  {"augmentation", "weak"}};
  for (const auto& [key, value] : bad) {
    RunConfig c = valid();
    set_field(c, key, value);
    EXPECT_THROW(check_config(c), ConfigError) << key << "=" << value;
  }
  RunConfig small = valid();
  small.image_size = 64;
  EXPECT_NO_THROW(check_config(small));
  small.data = "cifar10";
  EXPECT_THAT(message_of([&] { check_config(small); }), HasSubstr("has images of 32"));
  RunConfig both = valid();
  both.mixup = both.cutmix = true;
  EXPECT_THAT(message_of([&] { check_config(both); }), HasSubstr("cutmix and mixup"));
  RunConfig named = valid();
  named.dtype = "f16";
  EXPECT_EQ(message_of([&] { check_config(named); }), "dtype='f16': expected f32 or bf16");
}

TEST(ConfigTest, NetworksHaveNumbersOfTheirOwn) {
  RunConfig c = valid();
  for (const auto& [model, layers, heads, dropout] : {std::tuple{"transformer", 1, 6, 0.3},
                                                      {"vit", 7, 12, 0.0},
                                                      {"mlp_mixer", 8, 6, 0.0},
                                                      {"alexnet", 1, 6, 0.5},
                                                      {"inception_v3", 1, 6, 0.5}}) {
    c.model = model;
    const RunConfig own = with_network_defaults(c);
    EXPECT_EQ(own.n_layers, layers);
    EXPECT_EQ(own.n_heads, heads);
    EXPECT_EQ(own.dropout, dropout);
    RunConfig said = c;
    set_field(said, "num-layers", "3");
    set_field(said, "head", "4");
    set_field(said, "dropout", "0.1");
    set_field(said, "max-len", "64");
    EXPECT_EQ(to_json(with_network_defaults(said)), to_json(said));
  }
}

TEST(ConfigTest, PairsOfSentencesAreChecked) {
  RunConfig c = valid();
  EXPECT_EQ(with_network_defaults(c).max_len, 128);
  c.data = "debian-pairs";
  EXPECT_EQ(with_network_defaults(c).max_len, 100);
  c.batch_tokens = 1500;
  c.micro_batches = 3;
  check_config(c);
  EXPECT_EQ(micro_batch_size(c), 500);
  const auto message = [&](const char* key, const char* value) {
    RunConfig bad = c;
    set_field(bad, key, value);
    return message_of([&] { check_config(bad); });
  };
  EXPECT_EQ(message("pieces", "7"), "pieces=7: expected 8 to 1000000");
  EXPECT_EQ(message("pieces", "0"), "(no error)");
  EXPECT_EQ(message("language_direction", "D2E"), "language_direction='D2E': expected E2G or G2E");
  EXPECT_EQ(message("micro_batches", "7"), "batch_tokens=1500 does not split into micro_batches=7 equal parts");
  EXPECT_THAT(message("max_len", "499"), HasSubstr("500 tokens of a micro-batch, expected room for one sample"));
  EXPECT_THAT(message("validation", "0.1"), HasSubstr("has sentences of its own to validate with"));
  EXPECT_THAT(message("batch_tokens", "-1"), HasSubstr("batch_tokens=-1"));
}

TEST(ConfigTest, SizesOfNetworksOverPatchesAreChecked) {
  RunConfig c = valid();
  c.model = "vit";
  check_config(c);
  c.auxiliary = "asa4";
  check_config(c);
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"patch", "0"},
                                                                                   {"hidden", "100"},
                                                                                   {"head", "2"},
                                                                                   {"num_layers", "-1"},
                                                                                   {"width", "0.1"},
                                                                                   {"stage_layers", "0"},
                                                                                   {"hidden_s", "0"}}) {
    RunConfig bad = c;
    set_field(bad, key, value);
    EXPECT_THROW(check_config(bad), ConfigError) << key << "=" << value;
  }
  c.width = 0.1;
  EXPECT_EQ(message_of([&] { check_config(c); }),
            "hidden=384 times width=0.1 is 38, expected n_heads=12 heads of at most 128");
  c.model = "mlp_mixer";
  check_config(c);
}

TEST(ConfigTest, ARuleOfAuxiliaryActivationsIsBackpropWithThem) {
  RunConfig c = valid();
  c.model = "resnet152";
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"rule", "ara"}, {"ara_stride", "3,4,2,2"}, {"gcp", "true"}})
    set_field(c, key, value);
  check_config(c);
  const RunConfig plain = with_network_defaults(c);
  EXPECT_EQ(plain.rule, "bp");
  EXPECT_EQ(plain.auxiliary, "ara");
  EXPECT_EQ(find_model(plain).rule_kind, std::string("backprop"));
  for (const char* bad : {"3,4,2", "0,1,1,1", "3,4,2,x", "", "1,1,1,1,1"}) {
    RunConfig other = c;
    other.ara_stride = bad;
    EXPECT_THAT(message_of([&] { check_config(other); }), HasSubstr("four positive numbers")) << bad;
  }
  c.auxiliary = "asa";
  EXPECT_EQ(message_of([&] { check_config(c); }), "rule=ara with auxiliary=asa: expected one of them");
  c.rule = "bp";
  check_config(c);
  c.auxiliary = "asa2";
  EXPECT_THAT(message_of([&] { check_config(c); }), HasSubstr("take ara, aba or asa"));
  c.auxiliary = "none";
  c.get_li = true;
  EXPECT_THAT(message_of([&] { check_config(c); }), HasSubstr("nothing to indicate"));
}

TEST(ConfigTest, AResumedRunMustHaveTheSameNumerics) {
  RunConfig saved = valid(), now = valid();
  now.devices = "cpu:0,cpu:1";  // where it runs is free
  expect_same_numerics(saved, now, "runs/a");
  now.seed = 2;
  EXPECT_EQ(message_of([&] { expect_same_numerics(saved, now, "runs/a"); }),
            "runs/a: the saved run has seed=1, this one 2; resume with the same value or choose another --out");
}

}  // namespace
}  // namespace sluice::config_test
