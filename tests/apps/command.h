// The `sluice` command run as a user runs it, in a folder of its own.
#pragma once

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

#include "kernels/common/philox.h"
#include "tests/support/temp_dir.h"

namespace sluice::test {

namespace fs = std::filesystem;

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

inline int status_of(int raw) { return WIFEXITED(raw) ? WEXITSTATUS(raw) : -WTERMSIG(raw); }

/// A folder of its own with a small data set in Fashion-MNIST's format.
class CommandTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("SLUICE_DATA_DIR", dir_.path().c_str(), 1);  // caches
    fs::create_directory(data());
    write_images("train", 160);
    write_images("t10k", 40);
  }

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
  /// Numbers in words, one to four of them, in the layout of IWSLT's cache files.
  void write_pairs() const {
    const std::vector<std::pair<std::string, std::string>> words{{"one", "eins"},  {"two", "zwei"},  {"three", "drei"},
                                                                 {"four", "vier"}, {"five", "fünf"}, {"six", "sechs"}};
    uint64_t drawn = 0;
    for (const auto& [half, count] : {std::pair<std::string, int>{"train", 400}, {"val", 20}, {"test", 30}}) {
      std::ofstream out(dir_ / ("en_de_iwslt_" + half + "_cache.csv"));
      for (int i = 0; i < count; ++i) {
        std::string english, german;
        for (int k = 0; k <= i % 4; ++k) {
          const auto& [en, de] = words[philox({3, 4}, drawn++, 0).v[0] % 6];
          english += (k == 0 ? "" : " ") + en;
          german += (k == 0 ? "" : " ") + de;
        }
        out << english << "\n" << german << "\n";
      }
    }
  }
  /// A training on these.
  std::string translator(const std::string& more, int layers = 1) const {
    return "train --model transformer_base --data iwslt --pieces 0 --data-dir " + dir_.path().string() +
           " --width 0.0625 --n-layers " + std::to_string(layers) +
           " --dropout 0 --batch 20 --lr-schedule constant --lr 0.003 --beta2 0.98 "
           "--adam-eps 1e-9 --cores-per-device 1 " +
           more;
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
    EXPECT_THAT(o.lines()[0], testing::AllOf(testing::StartsWith("sluice: "), message));
  }

  TempDir dir_;
};

}  // namespace sluice::test
