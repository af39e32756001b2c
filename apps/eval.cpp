// `sluice eval`.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "apps/commands.h"
#include "apps/ranks.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "apps/training.h"
#include "apps/translation.h"
#include "data/bleu.h"
#include "engine/error.h"

namespace sluice {
namespace {

struct EvalOptions {
  std::string run, data_dir, devices;
  bool best = false, exits = false;
  std::optional<double> adaptive;
  bool entropy = false;
  SearchOptions search{};
  std::string translations;
};

void print_exits(Training& training) {
  Table table({"exit behind", "right", "test acc."});
  const size_t stages = training.placement().size();
  for (size_t k = 1; k <= stages; ++k) {
    const Evaluation e = training.evaluate_exit(k);
    table.add({fmt::format("stage {}", k - 1), std::to_string(e.correct), fmt::format("{:.2f} %", 100 * e.accuracy())});
  }
  if (training.ranks().leads()) fmt::print("{}", table.text());
}

void print_adaptive(Training& training, double threshold, Confidence by) {
  training.evaluate_adaptively(threshold, by);  // first use makes plans and memory
  const AdaptiveResult r = training.evaluate_adaptively(threshold, by);
  Table table({"exit behind", "samples", "test acc.", "ms until known", ""});
  for (size_t k = 0; k < r.exits.size(); ++k) {
    const Exit& e = r.exits[k];
    const double share = double(e.samples) / double(std::max<int64_t>(1, r.samples()));
    table.add({fmt::format("stage {}", k), std::to_string(e.samples),
               e.samples > 0 ? fmt::format("{:.2f} %", 100 * double(e.correct) / double(e.samples)) : "-",
               e.samples > 0 ? fmt::format("{:.1f}", 1e3 * e.mean_latency()) : "-",
               std::string(size_t(std::lround(40 * share)), '#')});
  }
  fmt::print("{}all: {:.2f} %, {:.1f} ms a sample's batch on average\n", table.text(), 100 * r.accuracy(),
             1e3 * r.mean_latency());
}

/// Loss and BLEU on the test sentences.
void print_translation(Training& training, const EvalOptions& o) {
  const Evaluation e = training.evaluate();
  fmt::print("test loss {:.4f} nats a token (perplexity {:.1f}), {:.2f} % of {} tokens right\n", e.loss,
             std::exp(e.loss), 100 * e.accuracy(), e.samples);
  const std::vector<std::string> texts = translate_test_set(training, o.search);
  const BleuScore bleu = bleu_of(texts, training.text()->test);
  const auto p = bleu.precisions();
  fmt::print("BLEU {:.2f} = {:.1f}/{:.1f}/{:.1f}/{:.1f}, brevity {:.3f}, {} words of {}; {}\n", bleu.score(), p[0],
             p[1], p[2], p[3], bleu.brevity_penalty(), bleu.hypothesis_words(), bleu.reference_words(),
             o.search.beam == 1 ? "greedy" : fmt::format("beam {}", o.search.beam));
  if (o.translations.empty()) return;
  std::string lines;
  for (const std::string& t : texts) lines += t + "\n";
  write_file(o.translations, lines);
}

void eval(const EvalOptions& o, const Ranks& ranks) {
  RunConfig config = saved_config(o.run, o.data_dir, o.devices);
  if ((o.exits || o.adaptive) && config.rule != "al")
    throw ConfigError(str(o.run, ": rule=", config.rule, " has no early exits, only al has"));
  const char* alone = o.adaptive ? "--adaptive" : is_translator(config) ? "a translator's BLEU" : nullptr;
  if (ranks.many() && alone != nullptr) throw ConfigError(str(alone, ": ", ranks.count(), " processes, expected one"));
  if (ranks.many()) config = with_rank_devices(with_stage_devices(config), ranks.count());
  Training training(config, load_data(config, ranks), ranks);
  training.load_trained(o.run + (o.best ? "/best.safetensors" : "/checkpoint.safetensors"));
  if (o.exits) return print_exits(training);
  if (o.adaptive) return print_adaptive(training, *o.adaptive, o.entropy ? Confidence::kEntropy : Confidence::kMaximum);
  if (training.text() != nullptr) return print_translation(training, o);
  const Evaluation e = training.evaluate();
  if (ranks.leads()) fmt::print("{} of {} test samples right: {:.2f} %\n", e.correct, e.samples, 100 * e.accuracy());
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<EvalOptions>();
  CLI::App* command =
      app.add_subcommand("eval", "Accuracy of a saved run on the whole test set; of a translator, loss and BLEU");
  command->add_option("--run", o->run, "run directory of `sluice train --out`")->required();
  command->add_option("--data-dir", o->data_dir, "folder with the data set's files [that of the run]");
  command->add_option("--devices", o->devices, "devices to evaluate on [those of the run]");
  command->add_flag("--best", o->best, "the epoch with the best accuracy on the samples of --validation, not the last");
  command->add_flag("--exits", o->exits, "al: the accuracy of leaving behind each stage");
  command->add_option("--adaptive", o->adaptive,
                      "al: each sample leaves behind the first stage whose confidence reaches this, e.g. 0.9");
  command->add_flag("--entropy", o->entropy, "with --adaptive: confidence is 1 - entropy, not the largest probability");
  add_search_options(*command, o->search);
  command->add_option("--translations", o->translations, "translators: file to write the test set's translations to");
  command->callback([o] { among_ranks([&](const Ranks& ranks) { eval(*o, ranks); }); });
}

}  // namespace sluice
