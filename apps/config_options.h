// The configuration as options of a subcommand: a file, a flag for each key, and --set.
#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/config.h"

namespace sluice {

/// What the command line holds before it is applied in order: file, flags, --set.
struct ConfigOptions {
  std::string config_file;
  std::vector<std::pair<std::string, std::string>> flags;
  std::vector<std::string> sets;

  /// On top of `base`. Throws ConfigError.
  RunConfig resolve(RunConfig base = {}) const;
};

/// Adds them to a command; they are filled when it is parsed.
std::shared_ptr<ConfigOptions> add_config_options(CLI::App& command);

}  // namespace sluice
