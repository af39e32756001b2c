// The `sluice` command as a user meets it: what it prints, how it fails, and how it goes on after it was stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/safetensors.h"
#include "kernels/common/philox.h"

namespace sluice::command_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

struct Outcome {
  int status = -1;  // exit code, or minus the signal
  std::string text;
  /// Lines of the output that are no progress bar.
  std::vector<std::string> lines() const {
    std::vector<std::string> found;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
      if (line.find(" left") == std::string::npos) found.push_back(line);
    return found;
  }
};

int status_of(int raw) { return WIFEXITED(raw) ? WEXITSTATUS(raw) : -WTERMSIG(raw); }

/// A folder of its own with a small data set in Fashion-MNIST's format.
class CommandTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sluice-command-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    setenv("SLUICE_DATA_DIR", name.c_str(), 1);  // caches
    fs::create_directory(data());
    write_images("train", 160);
    write_images("t10k", 40);
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string data() const { return (dir_ / "data").string(); }
  std::string run_dir(const std::string& name = "run") const { return (dir_ / name).string(); }
  std::string checkpoint(const std::string& name = "run") const { return run_dir(name) + "/checkpoint.safetensors"; }

  static void put_u32(std::ofstream& out, uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) out.put(char(v >> shift & 0xff));
  }
  void write_images(const std::string& half, uint32_t n) const {
    std::ofstream images(data() + "/" + half + "-images-idx3-ubyte"),
        labels(data() + "/" + half + "-labels-idx1-ubyte");
    put_u32(images, 0x803);
    for (const uint32_t v : {n, 28u, 28u}) put_u32(images, v);
    put_u32(labels, 0x801);
    put_u32(labels, n);
    for (uint32_t i = 0; i < n; ++i) {
      labels.put(char(i % 10));
      for (uint32_t p = 0; p < 784; ++p) images.put(char(philox({i, half == "train"}, p, 0).v[0] & 0xff));
    }
  }

  Outcome shell(const std::string& command) const {
    const std::string log = (dir_ / "log").string();
    Outcome o;
    o.status = status_of(std::system(("(" + command + ") >" + log + " 2>&1").c_str()));
    std::ifstream in(log);
    o.text.assign(std::istreambuf_iterator<char>(in), {});
    return o;
  }
  Outcome sluice(const std::string& arguments) const { return shell(SLUICE_BINARY " " + arguments); }
  std::string small(const std::string& more) const {
    return "train --data-dir " + data() + " --width 0.03125 --batch 16 --cores-per-device 1 " + more;
  }
  /// Starts a training, sends it a signal when its first checkpoint is there, and waits for it.
  int start_and_signal(const std::string& arguments, const std::string& run, int signal) const {
    const pid_t pid = fork();
    if (pid == 0) {
      const std::string command = "exec " SLUICE_BINARY " " + arguments + " >/dev/null 2>&1";
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < 3000 && !fs::exists(checkpoint(run)); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(pid, signal);
    int raw = 0;
    waitpid(pid, &raw, 0);
    return status_of(raw);
  }

  void expect_one_error(const Outcome& o, const testing::Matcher<std::string>& message) const {
    EXPECT_EQ(o.status, 1) << o.text;
    ASSERT_EQ(o.lines().size(), 1u) << o.text;
    EXPECT_THAT(o.lines()[0], AllOf(StartsWith("sluice: "), message));
  }

  fs::path dir_;
};

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
       {"--model resnet18 --rule al --devices cpu:0,cpu:1", "--model resnet18 --rule bp", "--rule scpl --projector l",
        "--rule al --devices cpu:0,cpu:1 --schedule associated_m",
        "--rule al --devices cpu:0,cpu:1 --schedule associated_p", "--rule scpl --augmentation none",
        "--model resnet18 --rule bp --act tanh", "--rule al --act f=tanh,b=relu,h=tanh --lr-schedule cosine_epoch",
        "--rule al --devices cpu:0,cpu:1 --placement round_robin", "--rule bp --devices cpu:0,cpu:1 --placement blocks",
        "--rule al --al-gpu-list cpu:0,cpu:0,cpu:1,cpu:1 --test-batch-size 7 --lr-schedule constant",
        "--rule bp --image-size 48 --cutmix --smoothing 0.1 --optimizer sgd --nesterov --clip-grad 1",
        "--rule bp --mixup --rcpaste --min-lr 0 --scheduler cosine_epoch --warmup-epoch 1 --beta2 0.99",
        "--rule bp --cutmix-prob 0.5 --augmentation crop_twice --devices cpu:0,cpu:1 --faithful false",
        "--rule al --devices cpu:0,cpu:1 --clip-grad 0.5"}) {
    const Outcome o = sluice(small(std::string(more) + " --max-steps 3"));
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
  }
  expect_one_error(sluice(small("--rule bp --devices cpu:0,cpu:1 --clip-grad 1")), HasSubstr("expected one device"));
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
  const std::string table = "train --data csv --data-dir " + dir_.string() +
                            " --text-columns title,body --label-column kind --embedding-dim 12 --x-hid 8 --y-hid 6 "
                            "--vocab-size 50 --max-len 8 --batch 8 --cores-per-device 1 ";
  for (const char* more : {"--model bag_of_embeddings --rule bp --lr 0.1 --epochs 20", "--model lstm --rule al",
                           "--model transformer --rule scpl --act relu"}) {
    const Outcome o = sluice(table + more);
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
    if (std::string(more).find("bag") != std::string::npos) {
      EXPECT_THAT(o.text, HasSubstr("100.00 %"));
    }
  }
  expect_one_error(sluice(table + "--model lstm --set label_column=colour"), HasSubstr("colour"));
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
  EXPECT_TRUE(row.ends_with("test_accuracy,train_accuracy,validation_accuracy")) << row;
  double best = -1, validation = 0;
  std::string best_step;
  int epochs = 0;
  for (; std::getline(in, row); ++epochs) {
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

TEST_F(CommandTest, ARunThatIsKilledOrStoppedGoesOnBitForBit) {
  const std::string rest = "--rule al --epochs 60 --max-steps 300 --checkpoint-every 5 --trace false --out ";
  ASSERT_EQ(sluice(small(rest + run_dir("whole"))).status, 0);
  const int killed = start_and_signal(small(rest + run_dir("killed")), "killed", SIGKILL);
  const int stopped = start_and_signal(small(rest + run_dir("stopped")), "stopped", SIGINT);
  EXPECT_TRUE(killed == -SIGKILL || killed == 0);
  EXPECT_EQ(stopped, 0);
  const TensorFile whole = read_safetensors(checkpoint("whole"));
  for (const std::string name : {"killed", "stopped"}) {
    EXPECT_LT(std::stoll(read_safetensors(checkpoint(name)).metadata.at("step")), 300) << name;
    const Outcome resumed = sluice(small(rest + run_dir(name)));
    ASSERT_EQ(resumed.status, 0) << resumed.text;
    EXPECT_THAT(resumed.text, HasSubstr("resuming"));
    const TensorFile file = read_safetensors(checkpoint(name));
    EXPECT_EQ(file.metadata.at("step"), "300");
    for (const auto& [key, array] : whole.arrays)
      EXPECT_EQ(array.bytes, file.arrays.at(key).bytes) << name << " " << key;
  }
}

TEST_F(CommandTest, BadArgumentsGiveOneLine) {
  expect_one_error(sluice(small("--devices gpu:0")), HasSubstr("device 'gpu:0': expected cpu, cpu:N or cuda:N"));
  expect_one_error(sluice(small("--devices cpu:999")), HasSubstr("cpu:999 does not exist"));
  expect_one_error(sluice(small("--devices cuda:7")), HasSubstr("cuda:7 does not exist"));
  expect_one_error(sluice(small("--placement 0,0")), HasSubstr("placement=0,0 names 2 stages; vgg with rule al has 4"));
  expect_one_error(sluice(small("--placement 0,0,0,1")), HasSubstr("names device 1; devices=cpu:0 has 1"));
  expect_one_error(sluice(small("--rule ffa")), HasSubstr("expected one of vgg with bp, vgg with al"));
  expect_one_error(sluice(small("--schedule fast")), HasSubstr("schedule 'fast' does not exist"));
  expect_one_error(sluice(small("--set epoch=2")), HasSubstr("did you mean 'epochs'?"));
  expect_one_error(sluice(small("--set width")), HasSubstr("--set width: expected key=value"));
  expect_one_error(sluice("eval --run " + run_dir("none")), HasSubstr("config.json: cannot be read"));
}

TEST_F(CommandTest, BadDataGivesOneLine) {
  expect_one_error(sluice("train --data-dir " + run_dir("nowhere")), HasSubstr(run_dir("nowhere")));
  const std::string images = data() + "/train-images-idx3-ubyte";
  fs::resize_file(images, 1000);
  expect_one_error(sluice(small("")), AllOf(HasSubstr(images), HasSubstr("expected")));
  write_images("train", 160);
  std::fstream(images) << "PK";
  expect_one_error(sluice(small("")), AllOf(HasSubstr(images), HasSubstr("expected")));
}

TEST_F(CommandTest, ALossThatIsNotANumberEndsTheRunAndKeepsTheCheckpoint) {
  ASSERT_EQ(sluice(small("--rule bp --max-steps 2 --out " + run_dir())).status, 0);
  TensorFile file = read_safetensors(checkpoint());
  std::vector<std::byte>& weight = file.arrays.at("stage4.f.fc2.bias").bytes;
  std::fill(weight.begin(), weight.end(), std::byte{0xff});  // a quiet NaN in every float
  write_safetensors(checkpoint(), file);
  const Outcome o = sluice(small("--rule bp --max-steps 6 --out " + run_dir()));
  EXPECT_EQ(o.status, 1) << o.text;
  EXPECT_THAT(o.text, HasSubstr("sluice: loss of stage 4 is nan at step 2"));
  EXPECT_EQ(read_safetensors(checkpoint()).metadata.at("step"), "2");
}

TEST_F(CommandTest, ACheckpointOfAnotherRunIsRefusedAndKept) {
  ASSERT_EQ(sluice(small("--rule bp --max-steps 2 --out " + run_dir())).status, 0);
  const auto size = fs::file_size(checkpoint());
  expect_one_error(
      sluice(small("--rule al --max-steps 4 --out " + run_dir())),
      HasSubstr("the saved run has rule=bp, this one al; resume with the same value or choose another --out"));
  expect_one_error(sluice(small("--rule bp --seed 2 --max-steps 4 --out " + run_dir())),
                   HasSubstr("seed=1, this one 2"));
  EXPECT_EQ(fs::file_size(checkpoint()), size);
}

TEST_F(CommandTest, AFullDiskKeepsTheOldCheckpoint) {
  ASSERT_EQ(sluice(small("--rule bp --max-steps 2 --out " + run_dir())).status, 0);
  const TensorFile before = read_safetensors(checkpoint());
  // A limit on file sizes stands for a full disk: the write of the checkpoint fails in the middle.
  const Outcome o = shell("trap '' XFSZ; ulimit -f 40; " SLUICE_BINARY " " +
                          small("--rule bp --max-steps 4 --trace false --out " + run_dir()));
  EXPECT_EQ(o.status, 1) << o.text;
  EXPECT_THAT(o.text, HasSubstr("checkpoint.safetensors"));
  const TensorFile after = read_safetensors(checkpoint());
  EXPECT_EQ(after.metadata.at("step"), "2");
  for (const auto& [key, array] : before.arrays) EXPECT_EQ(array.bytes, after.arrays.at(key).bytes) << key;
  EXPECT_FALSE(fs::exists(checkpoint() + ".tmp"));
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

TEST_F(CommandTest, AModelOfImagesRefusesTexts) {
  fs::create_directory(dir_ / "news");
  std::ofstream train(dir_ / "news/train.csv"), test(dir_ / "news/test.csv");
  for (int i = 1; i <= 4; ++i) train << '"' << i << "\",\"some title\",\"and text\"\n";
  test << "\"1\",\"some\",\"text\"\n";
  train.close();
  test.close();
  expect_one_error(sluice("train --data ag_news --data-dir " + (dir_ / "news").string()),
                   HasSubstr("model='vgg' takes images, and data='ag_news' holds none"));
}

}  // namespace
}  // namespace sluice::command_test
