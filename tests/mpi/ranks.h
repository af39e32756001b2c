// `sluice` under mpirun, and its ranks as processes that can be hurt.
#pragma once

#include <fcntl.h>

#include <map>
#include <optional>

#include "tests/apps/command.h"

namespace sluice::test {

class RanksTest : public CommandTest {
 protected:
  static std::string under_mpirun(int ranks, const std::string& command) {
    return std::string(SLUICE_MPIRUN " ") + std::to_string(ranks) + " " + command;
  }
  Outcome sluice_ranks(int ranks, const std::string& arguments) const {
    return shell(under_mpirun(ranks, SLUICE_BINARY " " + arguments));
  }
};

/// An mpirun that runs in the background, with all that it prints in a file.
class Job {
 public:
  Job(const std::string& command, std::string log) : log_(std::move(log)) {
    pid_ = fork();
    if (pid_ != 0) return;
    const int out = open(log_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", ("exec " + command).c_str(), nullptr);
    _exit(127);
  }
  ~Job() {
    if (pid_ <= 0) return;
    for (const auto& entry : ranks()) kill(entry.second, SIGKILL);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// The processes of the ranks that have started.
  std::map<int, pid_t> ranks() const {
    std::map<int, pid_t> found;
    std::error_code none;
    for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(pid_) + "/task", none)) {
      std::ifstream children(task.path() / "children");
      for (pid_t child = 0; children >> child;) {
        std::ifstream environment("/proc/" + std::to_string(child) + "/environ");
        for (std::string v; std::getline(environment, v, '\0');)
          if (const std::string key = "OMPI_COMM_WORLD_RANK="; v.starts_with(key))
            found[std::stoi(v.substr(key.size()))] = child;
      }
    }
    return found;
  }
  /// Its exit code, or minus the signal; nothing when it has not ended after `seconds`.
  std::optional<int> wait(double seconds) {
    for (int i = 0; i < int(100 * seconds); ++i) {
      int raw = 0;
      if (waitpid(pid_, &raw, WNOHANG) == pid_) {
        pid_ = -1;
        return status_of(raw);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
  }
  std::string text() const {
    std::ifstream in(log_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string log_;
  pid_t pid_ = -1;
};

}  // namespace sluice::test
