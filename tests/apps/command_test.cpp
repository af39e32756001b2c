// The `sluice` command as a user meets it: what it prints and what it trains.
#include "tests/apps/command.h"

#include "engine/safetensors.h"

namespace sluice::test::command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(CommandTest, InfoNamesDevicesAndLibraries) {
  const Outcome o = sluice("info");
  EXPECT_EQ(o.status, 0);
  EXPECT_THAT(o.text, AllOf(HasSubstr("cpu:0"), HasSubstr("oneDNN"), HasSubstr("cuda")));
}

TEST_F(CommandTest, HelpExplainsEveryKey) {
  const Outcome o = sluice("train --help");
  EXPECT_EQ(o.status, 0);
  for (const char* flag : {"--model", "--rule", "--data-dir", "--devices", "--epochs", "--set", "--config", "--seed"})
    EXPECT_THAT(o.text, HasSubstr(flag));
}

TEST_F(CommandTest, RepeatsWithOtherSeedsAndWritesTheOriginalsColumns) {
  const Outcome o = sluice(small("--rule al --epochs 2 --repeat 2 --train-accuracy true --out " + run_dir()));
  EXPECT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("2 turns: test accuracy"));
  std::ifstream in(run_dir() + "/results.csv");
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "turn,train_acc,test_acc,train_time");
  std::vector<std::string> rows;
  while (std::getline(in, line)) rows.push_back(line);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_THAT(rows[0], StartsWith("0,"));
  EXPECT_THAT(rows[3], StartsWith("1,"));
  EXPECT_NE(read_safetensors(checkpoint("run/turn-0")).arrays.begin()->second.bytes,
            read_safetensors(checkpoint("run/turn-1")).arrays.begin()->second.bytes);
  int events = 0;
  for (const auto& entry : fs::directory_iterator(run_dir() + "/turn-0"))
    events += entry.path().filename().string().find("tfevents") != std::string::npos;
  EXPECT_EQ(events, 1);
}

TEST_F(CommandTest, SamplesLeaveBehindTheStageThatIsSure) {
  ASSERT_EQ(sluice(small("--rule al --epochs 1 --out " + run_dir())).status, 0);
  const Outcome exits = sluice("eval --exits --run " + run_dir());
  EXPECT_EQ(exits.status, 0) << exits.text;
  EXPECT_THAT(exits.text, AllOf(HasSubstr("stage 0"), HasSubstr("stage 3")));
  for (const char* more : {"--adaptive 0.2", "--adaptive 0.2 --entropy"}) {
    const Outcome adaptive = sluice("eval --run " + run_dir() + " " + more);
    EXPECT_EQ(adaptive.status, 0) << adaptive.text;
    EXPECT_THAT(adaptive.text, HasSubstr("until known"));
  }
  ASSERT_EQ(sluice(small("--rule bp --epochs 1 --out " + run_dir("ends"))).status, 0);
  expect_one_error(sluice("eval --exits --run " + run_dir("ends")), HasSubstr("no early exits"));
}

TEST_F(CommandTest, StagesTrainOneAfterTheOther) {
  for (const std::string mode : {"prefix", "fixed"}) {
    const Outcome o = sluice(small("--rule al --epochs 4 --accumulate " + mode + " --out " + run_dir(mode)));
    EXPECT_EQ(o.status, 0) << o.text;
    EXPECT_THAT(o.text, HasSubstr("epoch 4"));
  }
  expect_one_error(sluice(small("--rule bp --accumulate prefix")), HasSubstr("accumulate=prefix"));
}

TEST_F(CommandTest, TrainsOtherNetworksAndModes) {
  for (const char* more :
       {"--model resnet18 --rule al --devices cpu:0,cpu:1",
        "--model resnet18 --rule bp",
        "--rule scpl --projector l",
        "--rule al --devices cpu:0,cpu:1 --schedule associated_m",
        "--rule al --devices cpu:0,cpu:1 --schedule associated_p",
        "--rule scpl --augmentation none",
        "--model resnet18 --rule bp --act tanh",
        "--rule al --act f=tanh,b=relu,h=tanh --lr-schedule cosine_epoch",
        "--rule al --devices cpu:0,cpu:1 --placement round_robin",
        "--rule bp --devices cpu:0,cpu:1 --placement blocks",
        "--rule al --al-gpu-list cpu:0,cpu:0,cpu:1,cpu:1 --test-batch-size 7 --lr-schedule constant",
        "--model vit --rule al --auxiliary asa1 --patch 4 --num-layers 2 --head 6",
        "--model resnet34 --rule ara --ara-stride 3,4,2,2 --gcp",
        "--model resnet50 --rule al --auxiliary asa",
        "--model mlp_mixer --rule bp --auxiliary aba4 --num-layers 2 --stage-layers 2",
        "--rule bp --image-size 48 --cutmix --smoothing 0.1 --optimizer sgd --nesterov --clip-grad 1",
        "--rule bp --mixup --rcpaste --min-lr 0 --scheduler cosine_epoch --warmup-epoch 1 --beta2 0.99",
        "--rule bp --cutmix-prob 0.5 --augmentation crop_twice --devices cpu:0,cpu:1",
        "--rule bp --optimizer rmsprop --rms-alpha 0.9 --weight-decay 0.01",
        "--rule pipeoptim --devices cpu:0,cpu:1 --optimizer rmsprop --micro-batches 2",
        "--rule pipeoptim --devices cpu:0,cpu:1 --optimizer sgd --dampening 0.5 --micro-batches 2",
        "--rule al --devices cpu:0,cpu:1 --clip-grad 0.5",
        "--rule bp --devices cpu:0,cpu:1 --micro-batches 2 --clip-grad 1"}) {
    const Outcome o = sluice(small(std::string(more) + " --max-steps 3"));
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
  }
  expect_one_error(sluice(small("--optimizer sgd --nesterov --dampening 0.1")), HasSubstr("no dampening"));
  expect_one_error(sluice(small("--optimizer sgdm")), HasSubstr("rmsprop"));
  expect_one_error(sluice(small("--rule al --cutmix")), HasSubstr("expected rule bp"));
  expect_one_error(sluice(small("--rule scpl --label-smoothing 0.1")), HasSubstr("expected rule bp"));
  expect_one_error(sluice(small("--rule bp --autoaugment")), HasSubstr("channels"));
  const Outcome narrow = sluice(small("--dtype bf16 --max-steps 3"));
  if (narrow.status != 0) expect_one_error(narrow, HasSubstr("bf16 needs AVX-512"));  // says a CPU that lacks it
  expect_one_error(sluice(small("--dtype f16")), HasSubstr("expected f32 or bf16"));
  expect_one_error(sluice(small("--model lstm")), HasSubstr("takes text"));
  expect_one_error(sluice(small("--augmentation strong")), HasSubstr("channels"));
  expect_one_error(sluice(small("--act softplus")), HasSubstr("relu, sigmoid, tanh"));
  expect_one_error(sluice(small("--act q=relu")), HasSubstr("f=, b=, g= and h="));
  expect_one_error(sluice(small("--in-channels 3")), HasSubstr("have 1"));
  expect_one_error(sluice(small("--model vit --head 5")), HasSubstr("is 12, expected n_heads=5 heads of at most 128"));
  expect_one_error(sluice(small("--model vit --patch 5")), HasSubstr("32 do not split into 5 by 5 patches"));
  expect_one_error(sluice(small("--model mlp_mixer --act tanh")), HasSubstr("the layers of model=mlp_mixer take relu"));
  expect_one_error(sluice(small("--rule al --al-gpu-list cpu:0,cpu:1")), HasSubstr("names 2 stages"));
}

TEST_F(CommandTest, TrainsOnAnyTable) {
  std::ofstream file(dir_ / "train.csv");
  file << "kind,title,body\n";
  for (int i = 0; i < 60; ++i)
    file << (i % 3 == 0   ? "red,apple"
             : i % 3 == 1 ? "blue,ocean"
                          : "green,grass")
         << ",\"words of many kinds, here\"\n";
  file.close();
  const std::string table = "train --data csv --data-dir " + dir_.path().string() +
                            " --text-columns title,body --label-column kind --embedding-dim 12 --x-hid 8 --y-hid 6 "
                            "--vocab-size 50 --max-len 8 --batch 8 --cores-per-device 1 ";
  for (const char* more :
       {"--model bag_of_embeddings --rule bp --lr 0.1 --epochs 20", "--model lstm --rule al",
        "--model transformer --rule scpl --act relu", "--model residual_lstm --rule bp --cuts balanced:2",
        "--model residual_lstm --rule pipeoptim --cuts balanced:2 --recompute all --recompute-weights backward"}) {
    const Outcome o = sluice(table + more);
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
    if (std::string(more).find("bag") != std::string::npos) {
      EXPECT_THAT(o.text, HasSubstr("100.00 %"));
    }
  }
  expect_one_error(sluice(table + "--model lstm --set label_column=colour"), HasSubstr("colour"));
  const std::string halves = table + "--model residual_lstm --rule bp --cuts balanced:2 ";
  expect_one_error(sluice(halves + "--recompute 2"),
                   HasSubstr("recompute=2: expected all, or numbers of stages from 0"));
  expect_one_error(sluice(halves + "--recompute all --recompute-weights newest"),
                   HasSubstr("expected forward or back"));
}

TEST_F(CommandTest, TrainsSavesAndEvaluatesBothRules) {
  for (const std::string rule : {"bp", "al"}) {
    const Outcome trained = sluice(small("--rule " + rule + " --epochs 1 --out " + run_dir(rule)));
    EXPECT_EQ(trained.status, 0) << trained.text;
    EXPECT_THAT(trained.text, HasSubstr("test accuracy"));
    for (const char* file : {"config.json", "checkpoint.safetensors", "metrics.csv", "trace.json"})
      EXPECT_TRUE(fs::exists(run_dir(rule) + "/" + file)) << file;
    const Outcome evaluated = sluice("eval --run " + run_dir(rule));
    EXPECT_EQ(evaluated.status, 0) << evaluated.text;
    EXPECT_THAT(evaluated.text, HasSubstr("of 40 test samples right"));
  }
}

TEST_F(CommandTest, TheBestEpochByValidationIsKept) {
  const std::string run = small("--rule bp --lr 0.01 --validation 0.25 --epochs 4 --out " + run_dir());
  const Outcome trained = sluice(run);
  ASSERT_EQ(trained.status, 0) << trained.text;
  std::ifstream in(run_dir() + "/metrics.csv");
  std::string row;
  ASSERT_TRUE(std::getline(in, row));
  EXPECT_TRUE(row.ends_with("test_accuracy,train_accuracy,validation_accuracy,test_loss")) << row;
  double best = -1, validation = 0;
  std::string best_step;
  int epochs = 0;
  for (; std::getline(in, row); ++epochs) {
    ASSERT_TRUE(row.ends_with(",")) << row << ": the loss is of sequences";
    row.pop_back();
    ASSERT_EQ(std::sscanf(row.substr(row.rfind(',') + 1).c_str(), "%lf", &validation), 1) << row;
    EXPECT_NEAR(std::remainder(validation * 40, 1.0), 0, 1e-2) << "a quarter of the 160 samples";
    if (validation > best) best_step = row.substr(0, row.find(','));
    best = std::max(best, validation);
  }
  EXPECT_EQ(epochs, 4);
  EXPECT_EQ(read_safetensors(run_dir() + "/best.safetensors").metadata.at("step"), best_step);
  EXPECT_THAT(trained.text, HasSubstr("best on validation: epoch " + std::to_string(std::stoi(best_step) / 7)));
  EXPECT_EQ(sluice("eval --best --run " + run_dir()).status, 0);
  const Outcome resumed = sluice(run);  // nothing is left to train, and the best is still known
  EXPECT_THAT(resumed.text, HasSubstr("best on validation: epoch " + std::to_string(std::stoi(best_step) / 7)));
  ASSERT_EQ(sluice(small("--rule bp --max-steps 1 --out " + run_dir("none"))).status, 0);
  expect_one_error(sluice("eval --best --run " + run_dir("none")), HasSubstr("best.safetensors"));
  expect_one_error(sluice(small("--validation 0.95")), HasSubstr("validation"));
}

TEST_F(CommandTest, AConfigurationFileAndSetsAreTheSameAsFlags) {
  std::ofstream(dir_ / "run.json") << R"({"width": 0.03125, "batch": 16, "cores_per_device": 1, "rule": "bp"})";
  const std::string base = "train --data-dir " + data() + " --config " + (dir_ / "run.json").string();
  const Outcome a = sluice(base + " --set max_steps=2 --set seed=3 --out " + run_dir("a"));
  const Outcome b = sluice(small("--rule bp --max-steps 2 --seed 3 --out " + run_dir("b")));
  ASSERT_EQ(a.status, 0) << a.text;
  ASSERT_EQ(b.status, 0) << b.text;
  EXPECT_EQ(read_safetensors(checkpoint("a")).arrays.size(), read_safetensors(checkpoint("b")).arrays.size());
  for (const auto& [name, array] : read_safetensors(checkpoint("a")).arrays)
    EXPECT_EQ(array.bytes, read_safetensors(checkpoint("b")).arrays.at(name).bytes) << name;
}

/// Apt's lists as they lie on a disk, unpacked: four packages of two sections, and a release without descriptions.
void write_lists(const fs::path& dir) {
  fs::create_directory(dir);
  std::ofstream packages(dir / "deb.example_debian_dists_stable_main_binary-amd64_Packages");
  std::ofstream descriptions(dir / "deb.example_debian_dists_stable_main_i18n_Translation-en");
  for (const int i : {0, 1, 2, 3}) {
    packages << "Package: package" << i << "\nSection: " << (i % 2 == 0 ? "games" : "sound") << "\n\n";
    descriptions << "Package: package" << i << "\nDescription-en: title " << i << "\n Text " << i << ".\n\n";
  }
  std::ofstream(dir / "deb.example_other_dists_stable_main_binary-amd64_Packages")
      << "Package: alien\nSection: games\n";
}

TEST_F(CommandTest, DebianTopicsComeFromAptsLists) {
  write_lists(dir_ / "lists");
  const std::string fetch = "data fetch debian-topics --lists " + (dir_ / "lists").string() + " --out " +
                            (dir_ / "topics").string() + " --sections ";
  const Outcome o = sluice(fetch + "games,sound");
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("4 packages, 4 with a section and a long description"), HasSubstr("games")));
  const auto text_of = [&](const char* name) {
    std::ifstream in(dir_ / "topics" / name);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(text_of("classes.txt"), "games\nsound\n");
  EXPECT_EQ(text_of("train.csv") + text_of("test.csv"),
            "\"1\",\"title 0\",\"Text 0.\"\n\"2\",\"title 1\",\"Text 1.\"\n\"1\",\"title 2\",\"Text 2.\"\n"
            "\"2\",\"title 3\",\"Text 3.\"\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "topics"), {}), 3) << "nothing else is left";
  expect_one_error(sluice(fetch + "games,nosuchsection"), HasSubstr("no package of section 'nosuchsection'"));
}

}  // namespace
}  // namespace sluice::test::command_test
