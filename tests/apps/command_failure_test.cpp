// The `sluice` command when something goes wrong: how it fails, and how it goes on after it was stopped.
#include "engine/safetensors.h"
#include "tests/apps/command.h"

namespace sluice::test::command_failure_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using CommandFailureTest = CommandTest;

TEST_F(CommandFailureTest, ARunThatIsKilledOrStoppedGoesOnBitForBit) {
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

TEST_F(CommandFailureTest, BadArgumentsGiveOneLine) {
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

TEST_F(CommandFailureTest, BadDataGivesOneLine) {
  expect_one_error(sluice("train --data-dir " + run_dir("nowhere")), HasSubstr(run_dir("nowhere")));
  const std::string images = data() + "/train-images-idx3-ubyte";
  fs::resize_file(images, 1000);
  expect_one_error(sluice(small("")), AllOf(HasSubstr(images), HasSubstr("expected")));
  write_images("train", 160);
  std::fstream(images) << "PK";
  expect_one_error(sluice(small("")), AllOf(HasSubstr(images), HasSubstr("expected")));
}

TEST_F(CommandFailureTest, ALossThatIsNotANumberEndsTheRunAndKeepsTheCheckpoint) {
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

TEST_F(CommandFailureTest, ACheckpointOfAnotherRunIsRefusedAndKept) {
  ASSERT_EQ(sluice(small("--rule bp --max-steps 2 --out " + run_dir())).status, 0);
  const auto size = fs::file_size(checkpoint());
  expect_one_error(
      sluice(small("--rule al --max-steps 4 --out " + run_dir())),
      HasSubstr("the saved run has rule=bp, this one al; resume with the same value or choose another --out"));
  expect_one_error(sluice(small("--rule bp --seed 2 --max-steps 4 --out " + run_dir())),
                   HasSubstr("seed=1, this one 2"));
  EXPECT_EQ(fs::file_size(checkpoint()), size);
}

TEST_F(CommandFailureTest, AFullDiskKeepsTheOldCheckpoint) {
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

TEST_F(CommandFailureTest, AModelOfImagesRefusesTexts) {
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
}  // namespace sluice::test::command_failure_test
