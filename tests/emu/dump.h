// Launches written to files for a replay elsewhere: `kernels_test --dump DIR` of an emulated build.
#pragma once

#include <map>
#include <string>

#include "emu/grid.h"

namespace emu {

/// From now on every launch is written to DIR: NNNNNN.json, NNNNNN.memoryK.before.npy and .after.npy, where memory K is
/// a whole allocation that an argument, or a pointer inside it, leads to. Throws std::filesystem::filesystem_error.
void dump_launches_to(const std::string& path);

/// The dump of one launch: memory before it runs at construction, memory after it and the JSON file at destruction.
class LaunchDump {
 public:
  explicit LaunchDump(const Launch& launch);
  ~LaunchDump();
  LaunchDump(const LaunchDump&) = delete;
  LaunchDump& operator=(const LaunchDump&) = delete;

 private:
  template <class F>
  void for_pointers(F&& f) const;
  int64_t index_of(uintptr_t begin) const;
  std::string name_of(uintptr_t begin, const char* when) const;
  void write_json() const;

  const Launch& launch_;
  std::string path_;  // without the ending; empty: not dumped
  std::map<uintptr_t, Allocation> memory_;
};

}  // namespace emu
