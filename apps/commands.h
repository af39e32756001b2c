// The subcommands of `sluice`: each adds its options to the parser and runs when it was chosen.
#pragma once

#include <CLI/App.hpp>

namespace sluice {

struct SearchOptions;  // pipeline/beam_search.h

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_info(CLI::App& app);
void add_demo(CLI::App& app);
void add_data(CLI::App& app);
void add_plot(CLI::App& app);
void add_plan(CLI::App& app);
void add_partition(CLI::App& app);
void add_translate(CLI::App& app);

/// How a translator searches: --beam and what goes with it.
void add_search_options(CLI::App& command, SearchOptions& options);

}  // namespace sluice
