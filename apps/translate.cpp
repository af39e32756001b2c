// `sluice translate`: lines in, their translations out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "apps/commands.h"
#include "apps/ranks.h"
#include "apps/run_dir.h"
#include "apps/translation.h"
#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {
namespace {

struct TranslateOptions {
  std::string run, data_dir, devices;
  bool best = false;
  SearchOptions search{.beam = 4};
};

void translate(const TranslateOptions& o) {
  const RunConfig config = saved_config(o.run, o.data_dir, o.devices);
  if (!is_translator(config))
    throw ConfigError(str(o.run, ": model=", config.model, " does not translate; expected a run of a translator"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) {
    if (find_invalid_utf8(line) != std::string::npos)
      throw DataError(str("standard input: line ", lines.size() + 1, " is no UTF-8"));
    lines.push_back(line);
  }
  Training training(config, load_data(config));
  training.load_trained(o.run + (o.best ? "/best.safetensors" : "/checkpoint.safetensors"));
  for (const std::string& t : translate_texts(training, lines, o.search)) fmt::print("{}\n", t);
}

}  // namespace

void add_search_options(CLI::App& command, SearchOptions& o) {
  command.add_option("--beam", o.beam, "translators: sentences that are followed at once; 1: greedy")
      ->capture_default_str();
  command.add_option("--most-tokens", o.max_len, "translators: tokens of a translation, at most")
      ->capture_default_str();
  command.add_option("--length-penalty", o.length_penalty, "translators: of the beam; 0 prefers short sentences")
      ->capture_default_str();
  command
      .add_option("--coverage-penalty", o.coverage_penalty,
                  "gnmt: of the beam, for source words that got little attention; 0.1 as published")
      ->capture_default_str();
}

void add_translate(CLI::App& app) {
  auto o = std::make_shared<TranslateOptions>();
  CLI::App* command = app.add_subcommand("translate", "Translate the lines of the standard input with a saved run");
  command
      ->add_option("--run", o->run, "run directory of `sluice train --out` with a translator, such as transformer_base")
      ->required();
  command->add_option("--data-dir", o->data_dir, "folder with the data set's files [that of the run]");
  command->add_option("--devices", o->devices, "devices to run on [those of the run]");
  command->add_flag("--best", o->best, "the epoch that is best on the validation sentences, not the last");
  add_search_options(*command, o->search);
  command->callback([o] {
    among_ranks([&](const Ranks& ranks) {
      if (ranks.many()) throw ConfigError(str("translate: ", ranks.count(), " processes, expected one"));
      translate(*o);
    });
  });
}

}  // namespace sluice
