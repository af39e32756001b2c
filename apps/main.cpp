// The `sluice` command.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "apps/commands.h"
#include "apps/ranks.h"
#include "engine/build_config.h"

namespace {

/// An idle OpenMP team that spins costs its neighbour 10 %, and libgomp reads its policy when it is loaded: so the
/// command starts itself once more with the policy set. LLVM's runtime, in builds with clang, would move the workers
/// off their cores.
void restart_with_passive_waiting(char** argv) {
  setenv("KMP_AFFINITY", "disabled", 0);
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // returns only when it fails; then the teams spin and the rest still works
}

}  // namespace

int main(int argc, char** argv) {
  restart_with_passive_waiting(argv);
  CLI::App app{"Sluice trains networks cut into stages whose backward passes do not wait for each other.", "sluice"};
  app.set_version_flag("--version", std::string("sluice ") + sluice::kVersion);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Start with `sluice info`, or train in seconds:\n"
      "  sluice train --data-dir DIR --width 0.125 --devices cpu:0,cpu:1 --out runs/first");
  sluice::add_train(app);
  sluice::add_eval(app);
  sluice::add_translate(app);
  sluice::add_plan(app);
  sluice::add_partition(app);
  sluice::add_demo(app);
  sluice::add_data(app);
  sluice::add_plot(app);
  sluice::add_info(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 1;
  } catch (const sluice::ToldError&) {
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "sluice: " << e.what() << '\n';
    return 1;
  }
}
