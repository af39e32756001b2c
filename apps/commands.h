// The subcommands of `sluice`: each adds its options to the parser and runs when it was chosen.
#pragma once

#include <CLI/App.hpp>

namespace sluice {

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_info(CLI::App& app);
void add_demo(CLI::App& app);
void add_data(CLI::App& app);
void add_plot(CLI::App& app);

}  // namespace sluice
