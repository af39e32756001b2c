// What the subcommands of `sluice data fetch` share: where they write and work.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <filesystem>

#include "apps/run_dir.h"
#include "engine/error.h"

namespace sluice {

/// The folder `given` or, where that is empty, the data set's own in data_home(). Throws DataError where it cannot be
/// made.
inline std::filesystem::path make_out_folder(const std::string& given, const char* data_set) {
  const std::filesystem::path out = given.empty() ? data_home() / data_set : std::filesystem::path(given);
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) throw DataError(str(out.string(), ": cannot be made: ", error.message()));
  return out;
}

/// A folder for the time of a command.
class WorkDir {
 public:
  explicit WorkDir(const std::filesystem::path& beside)
      : path_(std::filesystem::absolute(beside) / fmt::format("fetch-{}", getpid())) {
    std::filesystem::create_directories(path_);
  }
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;
  ~WorkDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void add_debian_pairs(CLI::App& fetch);

}  // namespace sluice
