// `mpirun -n N sluice train`: the weights of one process, checkpoints for any number of ranks, and no rank that is left
// behind when another is gone.
#include "engine/safetensors.h"
#include "tests/mpi/ranks.h"

namespace sluice::test::mpi_train_test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

constexpr double kEndS = 10;   // all ranks are gone so long after one is
constexpr double kHangS = 60;  // a job that was not hurt

void expect_same_arrays(const std::string& a, const std::string& b) {
  const TensorFile one = read_safetensors(a), other = read_safetensors(b);
  ASSERT_EQ(one.arrays.size(), other.arrays.size());
  for (const auto& [key, array] : one.arrays) EXPECT_EQ(array.bytes, other.arrays.at(key).bytes) << key;
  EXPECT_EQ(one.metadata.at("step"), other.metadata.at("step"));
}

std::string devices(int ranks) {
  std::string list = "--devices cpu:0";
  for (int r = 1; r < ranks; ++r) list += ",cpu:" + std::to_string(r);
  return list + " ";
}

/// Losses and accuracies, without rates.
std::vector<std::string> results(const Outcome& o) {
  std::vector<std::string> lines;
  for (const std::string& line : o.lines())
    if (line.starts_with("epoch ")) lines.push_back(line.substr(0, line.rfind(',')));
  return lines;
}

/// Whether a process is gone in time; it may be a while until someone has asked for its exit code.
bool ends(pid_t pid) {
  for (int i = 0; i < int(100 * kEndS); ++i) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string stat;
    if (!std::getline(in, stat) || stat.find(") Z") != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

/// A rank that dies while it shakes hands with Open MPI 4.1's mpirun can leave a lock taken in there (PMIx), for which
/// mpirun then waits at its own end. It says so, and its ranks are gone.
bool mpirun_waits_for_itself(const Job& job) {
  return job.ranks().empty() && job.text().find("PMIX ERROR: UNREACHABLE") != std::string::npos;
}

class MpiTrain : public RanksTest {
 protected:
  std::string long_run(const std::string& name, int64_t steps) const {
    return small(
        "--rule bp --micro-batches 4 --placement blocks --epochs 100000 --checkpoint-every 20 --trace false "
        "--lr-schedule constant --max-steps " +
        std::to_string(steps) + " --out " + run_dir(name));
  }
  void wait_for_checkpoint(const std::string& run, const Job& job) const {
    for (int i = 0; i < int(100 * kHangS) && !fs::exists(checkpoint(run)); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(fs::exists(checkpoint(run))) << job.text();
  }
};

TEST_F(MpiTrain, RanksTrainToTheWeightsOfOneProcess) {
  int number = 0;
  for (const auto& [ranks, more] : std::vector<std::pair<int, std::string>>{
           {2, "--rule ara --model resnet18 --micro-batches 2 --ara-stride 2,2,2,2 --get-li true"},
           {4, "--rule bp --micro-batches 4 --schedule zb_h1 --validation 0.2"},
           {2, "--rule bp --micro-batches 4 --schedule gpipe --train-accuracy true"},
           {4, "--rule pipeoptim --micro-batches 2"},
           {3, "--rule bp --micro-batches 4 --clip-grad 0.5"},
           {2, "--rule pipedream"},
           {4, "--rule al"},
           {2, "--rule al --accumulate prefix"},
           {4, "--rule bp --model vgg --cuts 1,4 --replicas 2,1,1 --micro-batches 8 --train-accuracy true"},
           {4, "--rule bp --model vgg --cuts 2 --replicas 1,3 --micro-batches 4 --clip-grad 0.5"},
           {3,
            "--rule asa --model resnet18 --cuts 3 --replicas 2,1 --micro-batches 4 --ara-stride 2,2,2,2 --get-li true"},
           {4, "--rule bp --model vgg --schedule chimera --micro-batches 8 --validation 0.2"},
           {2, "--rule al --schedule dual_pipe --micro-batches 4"}}) {
    SCOPED_TRACE(more + ", ranks: " + std::to_string(ranks));
    const std::string one = "one" + std::to_string(++number), many = "many" + std::to_string(number);
    const bool places_itself = more.find("--replicas") != std::string::npos;
    const std::string arguments = more + (places_itself ? "" : " --placement blocks") + " --epochs 2 --out ";
    const Outcome alone = sluice(small(devices(ranks) + arguments + run_dir(one)));
    ASSERT_EQ(alone.status, 0) << alone.text;
    const Outcome together = sluice_ranks(ranks, small(arguments + run_dir(many)));
    ASSERT_EQ(together.status, 0) << together.text;
    EXPECT_EQ(results(together), results(alone));
    EXPECT_EQ(results(together).size(), 2u);
    expect_same_arrays(checkpoint(one), checkpoint(many));
    if (more.find("--get-li") != std::string::npos) {
      EXPECT_TRUE(fs::exists(run_dir(one) + "/indicators.npy"));
      std::ifstream a(run_dir(one) + "/indicators.npy"), b(run_dir(many) + "/indicators.npy");
      EXPECT_EQ(std::string(std::istreambuf_iterator<char>(a), {}), std::string(std::istreambuf_iterator<char>(b), {}));
    }
    std::ifstream metrics(run_dir(many) + "/metrics.csv");
    int rows = 0;
    for (std::string line; std::getline(metrics, line);) ++rows;
    EXPECT_EQ(rows, 3);  // a head and the epochs, of one writer
  }
}

/// Micro-batches differ in shape, several stages of a rank hand the sentence on as it is, and so does evaluation.
TEST_F(MpiTrain, SentencesOfAnyLengthGiveTheWeightsOfOneProcess) {
  write_pairs();
  const std::string run = " --rule bp --micro-batches 2 --epochs 2 --placement blocks --out ";
  const Outcome alone = sluice(translator(devices(2) + run + run_dir("one"), 2));
  ASSERT_EQ(alone.status, 0) << alone.text;
  EXPECT_THAT(alone.text, HasSubstr("2 on cpu:0, 3 on cpu:1"));
  const Outcome together = sluice_ranks(2, translator(run + run_dir("many"), 2));
  ASSERT_EQ(together.status, 0) << together.text;
  EXPECT_EQ(results(together), results(alone));
  expect_same_arrays(checkpoint("one"), checkpoint("many"));
  EXPECT_THAT(sluice_ranks(2, "eval --run " + run_dir("many")).text, HasSubstr("BLEU: 2 processes, expected one"));
  EXPECT_THAT(sluice("eval --run " + run_dir("many")).text, HasSubstr("BLEU"));
}

TEST_F(MpiTrain, RanksEvaluateWhatTheyTrained) {
  const std::string run = small("--rule al --epochs 1 --out " + run_dir());
  Outcome o = sluice_ranks(3, run);
  ASSERT_EQ(o.status, 0) << o.text;
  for (const char* more : {"", " --exits"}) {
    const std::string eval = "eval --run " + run_dir() + more;
    const Outcome alone = sluice(eval), together = sluice_ranks(3, eval);
    EXPECT_EQ(alone.status, 0) << alone.text;
    EXPECT_EQ(together.status, 0) << together.text;
    EXPECT_EQ(together.text, alone.text);
  }
  EXPECT_THAT(sluice_ranks(2, "eval --run " + run_dir()).text, HasSubstr("names 3 devices for 2 processes"));
  EXPECT_THAT(sluice_ranks(3, "eval --adaptive 0.9 --run " + run_dir()).text, HasSubstr("3 processes, expected one"));
}

TEST_F(MpiTrain, AnyNumberOfRanksAndStagesGoesOnFromACheckpoint) {
  const auto run = [&](const std::string& name, const std::string& more) {
    return small("--rule bp --micro-batches 4 --placement blocks --epochs 4 --out " + run_dir(name) + " " + more);
  };
  ASSERT_EQ(sluice(run("whole", "--cuts balanced:2 " + devices(2))).status, 0);
  Outcome o = sluice_ranks(2, run("parts", "--cuts balanced:2 --max-steps 10"));
  ASSERT_EQ(o.status, 0) << o.text;
  o = sluice_ranks(4, run("parts", "--cuts balanced:4 --max-steps 20"));
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("resuming " + run_dir("parts") + " at step 10"));
  o = sluice(run("parts", "--cuts balanced:3 --max-steps 30"));
  ASSERT_EQ(o.status, 0) << o.text;
  o = sluice_ranks(3, run("parts", "--cuts all"));
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("at step 30"));
  expect_same_arrays(checkpoint("whole"), checkpoint("parts"));
}

TEST_F(MpiTrain, ReplicasGoOnFromACheckpointWhereverTheyLie) {
  for (const std::string more : {"--cuts 1,4 --replicas 2,1,1 ", "--placement blocks --schedule chimera "}) {
    SCOPED_TRACE(more);
    const std::string whole = "whole" + more.substr(2, 4), parts = "parts" + more.substr(2, 4);
    const auto run = [&](const std::string& name, const std::string& all) {
      return small("--rule bp --model vgg --micro-batches 8 --epochs 3 --out " + run_dir(name) + " " + all);
    };
    Outcome o = sluice(run(whole, more + devices(4)));
    ASSERT_EQ(o.status, 0) << o.text;
    for (const char* steps : {"--max-steps 10", "--max-steps 14"}) {
      o = sluice_ranks(4, run(parts, more + steps));
      ASSERT_EQ(o.status, 0) << o.text;
    }
    o = sluice(run(parts, more + devices(4) + "--max-steps 20"));
    ASSERT_EQ(o.status, 0) << o.text;
    o = sluice_ranks(4, run(parts, more));
    ASSERT_EQ(o.status, 0) << o.text;
    EXPECT_THAT(o.text, HasSubstr("at step 20"));
    expect_same_arrays(checkpoint(whole), checkpoint(parts));
  }
}

TEST_F(MpiTrain, AnErrorOfOneRankEndsAllWithItsName) {
  Outcome o = sluice_ranks(2, small("--rule bp --devices cpu:0"));  // stands for one each
  EXPECT_EQ(o.status, 0) << o.text;
  o = sluice_ranks(2, small("--rule bp --devices cpu:0,cpu:1,cpu:2"));
  EXPECT_EQ(o.status, 1) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("sluice: rank "), HasSubstr("names 3 devices for 2 processes")));
  o = sluice_ranks(2, small("--rule bp --devices cpu:0,cuda:7"));
  EXPECT_EQ(o.status, 1) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("sluice: rank 1 ("), HasSubstr("cuda:7 does not exist")));
  o = sluice_ranks(2, small("--rule bp --max-steps 2 --out /proc/none"));
  EXPECT_EQ(o.status, 1) << o.text;
  EXPECT_THAT(o.text, HasSubstr("/proc/none"));
}

/// Kills of random ranks at random moments, from before they know each other to the midst of training.
TEST_F(MpiTrain, AKilledRankEndsAllAndTheRunGoesOn) {
  const std::string whole = long_run("whole", 800);
  ASSERT_EQ(sluice(whole).status, 0);
  const std::string run = long_run("killed", 800);
  constexpr int kRanks = 3, kKills = 8;
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    const Philox4 draw = philox({uint32_t(i), 4711}, 0, 0);
    const int victim = int(draw.v[0] % kRanks);
    Job job(under_mpirun(kRanks, SLUICE_BINARY " " + run), run_dir("log"));
    if (i > 0 && i % 2 == 0) wait_for_checkpoint("killed", job);
    std::this_thread::sleep_for(std::chrono::milliseconds(draw.v[1] % 800));
    for (int k = 0; k < 500 && job.ranks().count(victim) == 0; ++k)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto ranks = job.ranks();
    if (const auto it = ranks.find(victim); it != ranks.end()) killed += kill(it->second, SIGKILL) == 0;
    const auto status = job.wait(kEndS);
    for (const auto& entry : ranks) EXPECT_TRUE(ends(entry.second)) << "rank " << entry.first << " is left";
    ASSERT_TRUE(status || mpirun_waits_for_itself(job)) << "kill " << i << " of rank " << victim << ":\n" << job.text();
    if (status && *status != 0 &&
        job.text().find("stages: ") != std::string::npos) {  // else mpirun may not know it by its rank
      EXPECT_THAT(job.text(), HasSubstr("rank " + std::to_string(victim)));
    }
  }
  EXPECT_GT(killed, 0);
  const Outcome o = sluice_ranks(2, run);
  ASSERT_EQ(o.status, 0) << o.text;
  expect_same_arrays(checkpoint("whole"), checkpoint("killed"));
}

TEST_F(MpiTrain, ARankThatHangsEndsAllWithItsName) {
  for (const int victim : {0, 2}) {
    const std::string name = "hung" + std::to_string(victim);
    Job job(under_mpirun(3, SLUICE_BINARY " " + long_run(name, 1'000'000)), run_dir("log"));
    wait_for_checkpoint(name, job);
    const auto ranks = job.ranks();
    ASSERT_EQ(ranks.size(), 3u);
    kill(ranks.at(victim), SIGSTOP);
    const auto status = job.wait(kEndS);
    ASSERT_TRUE(status.has_value()) << job.text();
    EXPECT_NE(*status, 0);
    EXPECT_THAT(job.text(), AllOf(HasSubstr("sluice: rank " + std::to_string(victim) + " ("),
                                  HasSubstr("has not been heard of for 5 s")));
    for (const auto& entry : ranks) EXPECT_TRUE(ends(entry.second)) << "rank " << entry.first << " is left";
  }
}

TEST_F(MpiTrain, ARankThatNeverStartsEndsAll) {
  Job job(under_mpirun(3, SLUICE_BINARY " " + long_run("never", 1'000'000)), run_dir("log"));
  for (int i = 0; i < int(500 * kEndS) && job.ranks().count(1) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const auto ranks = job.ranks();
  ASSERT_EQ(ranks.count(1), 1u) << job.text();
  kill(ranks.at(1), SIGSTOP);  // as a rule before it has called MPI
  const auto status = job.wait(20 + kEndS);
  ASSERT_TRUE(status.has_value()) << job.text();
  EXPECT_NE(*status, 0);
  EXPECT_THAT(job.text(), AnyOf(HasSubstr("not all ranks have come to MPI_Init_thread within 20 s"),
                                HasSubstr("sluice: rank 1 (")));
  for (const auto& entry : ranks) EXPECT_TRUE(ends(entry.second)) << "rank " << entry.first << " is left";
}

}  // namespace
}  // namespace sluice::test::mpi_train_test
