// memory_bench [--json FILE]: bytes kept for the backward pass and the step's time, with backprop and every rule of
// auxiliary activations, and with the inputs of the same layers in 8 bits (q8), with and without gradient
// checkpointing. Bytes come from a dry run at full size, which records without computing; times from real steps of
// smaller images, all rows of a network in turn and in reverse order every other round, so that ratios are of
// neighbours. Data are random.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/median.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "bench/ceilings.h"
#include "bench/network_step.h"
#include "kernels/common/error.h"
#include "models/paper_bytes.h"
#include "models/text.h"
#include "models/translation.h"
#include "models/vision.h"

namespace {

using namespace sluice;
using bench::NetworkStep;
using bench::StepBytes;

struct Options {
  std::vector<std::string> models{"resnet18",  "resnet50",    "resnet152",       "vit",
                                  "mlp_mixer", "transformer", "transformer_base"};
  std::vector<std::string> rules;  // none: all
  std::string json;
  int64_t batch = 16, rounds = 5;
  bool bytes_only = false;
};

/// One row: a rule, with or without checkpointing.
struct Variant {
  std::string rule;  // "bp", "ara", "asa2", ...
  bool gcp = false;
  std::string key() const { return rule + (gcp ? "+gcp" : ""); }
};

/// How a network is measured: made for the dry run at full size, or for real steps.
struct Network {
  std::string name;
  std::vector<Variant> variants;
  std::function<std::vector<StageNet>(const Variant&, bool full)> make;
  std::function<std::vector<Tensor>(const Stream&, int64_t batch, bool full)> feed;
  std::function<std::optional<int64_t>(const Variant&, int64_t batch)> formula;  // of the paper
};

std::vector<Variant> variants(const std::vector<std::string>& rules, bool checkpoints = true) {
  std::vector<Variant> all;
  for (const std::string& r : rules) all.push_back({r, false});
  for (const std::string& r : rules)
    if (checkpoints) all.push_back({r, true});
  return all;
}

AuxiliaryCoverage coverage(const Variant& v) {
  if (v.rule == "bp") return {};
  if (v.rule == "q8") return {.from = Auxiliary::kEightBits, .level = 4};
  return {.from = v.rule[1] == 's' ? Auxiliary::kSign : Auxiliary::kBias, .level = v.rule[3] - '0'};
}

Tensor images(const Stream& s, int64_t batch, int64_t side) { return bench::filled(s, {batch, side, side, 3}); }
Tensor labels(const Stream& s, int64_t batch) {
  std::vector<int32_t> v(static_cast<size_t>(batch));
  for (size_t i = 0; i < v.size(); ++i) v[i] = int32_t(i % 10);
  return Tensor::from<int32_t>(s, v, {batch});
}

/// Of 224 x 224 images in the dry run, of 32 x 32 in steps. "bp" is the same network with every unit its own group.
Network resnet(int depth) {
  const auto config = [depth](const Variant& v, bool full) {
    AuxiliaryResnetConfig c{.depth = depth,
                            .stem = full ? ResnetStem::k7x7Pooled : ResnetStem::k3x3,
                            .image = full ? 224 : 32,
                            .classes = full ? 1000 : 10,
                            .recompute = v.gcp};
    c.rule = v.rule.starts_with("asa")   ? ResnetRule::kSign
             : v.rule.starts_with("aba") ? ResnetRule::kBias
             : v.rule == "q8"            ? ResnetRule::kEightBits
                                         : ResnetRule::kResidual;
    if (v.rule != "bp" && v.rule != "q8")
      c.stride = v.rule == "ara" ? std::array<int, 4>{3, 4, 2, 2} : std::array<int, 4>{2, 2, 2, 2};
    return c;
  };
  return {str("resnet", depth), variants({"bp", "ara", "ara2222", "asa", "aba", "q8"}),
          [config](const Variant& v, bool full) { return auxiliary_resnet_backprop(config(v, full)); },
          [](const Stream& s, int64_t batch, bool full) {
            return std::vector<Tensor>{images(s, batch, full ? 224 : 32), labels(s, batch)};
          },
          [config](const Variant& v, int64_t batch) {
            if (v.rule == "q8") return std::optional<int64_t>();
            return std::optional<int64_t>(paper_bytes(config(v, true)).of(batch));
          }};
}

const std::vector<std::string> kLevels{"bp", "asa1", "asa2", "asa3", "asa4", "aba1", "aba2", "aba3", "aba4", "q8"};

std::vector<Tensor> small_images(const Stream& s, int64_t batch, bool) {
  return {images(s, batch, 32), labels(s, batch)};
}

Network vit() {
  return {"vit", variants(kLevels),
          [](const Variant& v, bool) { return vit_backprop({.recompute = v.gcp, .auxiliary = coverage(v)}); },
          small_images,
          [](const Variant& v, int64_t batch) -> std::optional<int64_t> {
            const AuxiliaryCoverage a = coverage(v);
            if (!v.gcp || v.rule == "q8") return std::nullopt;
            return batch * vit_paper_bytes({}, {a.from, a.level});
          }};
}

Network mixer() {
  return {"mlp_mixer", variants(kLevels, false),
          [](const Variant& v, bool) { return mixer_backprop({.auxiliary = coverage(v)}); }, small_images,
          [](const Variant& v, int64_t batch) -> std::optional<int64_t> {
            const AuxiliaryCoverage a = coverage(v);
            if (v.rule == "q8") return std::nullopt;
            return batch * mixer_paper_bytes({}, {a.from, a.level});
          }};
}

/// The text classifier: 64 tokens, width 300.
Network transformer() {
  return {"transformer", variants(kLevels),
          [](const Variant& v, bool) {
            return transformer_backprop({.dropout = 0.1f, .recompute = v.gcp, .auxiliary = coverage(v)});
          },
          [](const Stream& s, int64_t batch, bool) {
            std::vector<int32_t> ids(static_cast<size_t>(batch * 64));
            for (size_t i = 0; i < ids.size(); ++i) ids[i] = int32_t(1 + i * 7919 % 29'999);
            return std::vector<Tensor>{Tensor::from<int32_t>(s, ids, {batch, 64}), labels(s, batch)};
          },
          [](const Variant&, int64_t) { return std::optional<int64_t>(); }};
}

/// Encoder and decoder of the published base size, 8000 words: 32 tokens of either side in the dry run; in steps 16, a
/// quarter of the width and two layers.
Network translator() {
  constexpr int64_t kWords = 8000;
  const auto ids = [](const Stream& s, int64_t batch, int64_t length, int64_t step) {
    std::vector<int32_t> v(static_cast<size_t>(batch * length));
    for (size_t i = 0; i < v.size(); ++i) v[i] = int32_t(4 + int64_t(i) * step % (kWords - 4));
    return Tensor::from<int32_t>(s, v, {batch, length});
  };
  return {"transformer_base", variants(kLevels),
          [](const Variant& v, bool full) {
            return translation_backprop({.source_vocabulary = kWords,
                                         .target_vocabulary = kWords,
                                         .width = full ? 512 : 128,
                                         .inner = full ? 2048 : 512,
                                         .layers = full ? 6 : 2,
                                         .recompute = v.gcp,
                                         .auxiliary = coverage(v)});
          },
          [ids](const Stream& s, int64_t batch, bool full) {
            const int64_t length = full ? 32 : 16;
            const std::vector<float> weights(size_t(batch * length), 1.0f / float(batch * length));
            return std::vector<Tensor>{ids(s, batch, length, 7919), ids(s, batch, length, 104729),
                                       Tensor::from<float>(s, weights, {batch, length}),
                                       ids(s, batch, length, 15485863)};
          },
          [](const Variant& v, int64_t batch) -> std::optional<int64_t> {
            const AuxiliaryCoverage a = coverage(v);
            if (!v.gcp || v.rule == "q8") return std::nullopt;
            return int64_t(transformer_paper_bytes({32 * batch, 32 * batch, 512, kWords}, {a.from, a.level}));
          }};
}

std::vector<Network> networks() {
  return {resnet(18), resnet(34), resnet(50), resnet(101), resnet(152), vit(), mixer(), transformer(), translator()};
}

struct Figures {
  StepBytes bytes;
  std::optional<int64_t> formula;
  std::vector<double> seconds;  // of real steps, by round
};

/// CPU time of the worker, a team of one: other programs hardly disturb it.
double step_seconds(NetworkStep& step) {
  double begin = 0, end = 0;
  step.stream().enqueue([&](CpuContext& c) { begin = bench::now(c); });
  step.run();
  step.stream().enqueue([&](CpuContext& c) { end = bench::now(c); });
  step.stream().sync();
  return end - begin;
}

std::vector<Figures> measure(const Network& n, const Options& o) {
  std::vector<Figures> rows;
  for (const Variant& v : n.variants) {
    const Stream dry(Device{}, CpuShare{.dry = true});
    rows.push_back({.bytes = NetworkStep(dry, n.make(v, true), n.feed(dry, o.batch, true)).run(),
                    .formula = n.formula(v, o.batch),
                    .seconds = {}});
  }
  if (o.bytes_only) return rows;
  const Stream s(Device{}, CpuShare{.team = 1, .cores = {available_cores().front()}});
  std::vector<std::unique_ptr<NetworkStep>> steps;
  for (const Variant& v : n.variants) {
    steps.push_back(std::make_unique<NetworkStep>(s, n.make(v, false), n.feed(s, o.batch, false)));
    step_seconds(*steps.back());  // plans are made, pages touched
  }
  for (int64_t round = 0; round < o.rounds; ++round)
    for (size_t k = 0; k < rows.size(); ++k) {
      const size_t i = round % 2 == 0 ? k : rows.size() - 1 - k;
      rows[i].seconds.push_back(step_seconds(*steps[i]));
      std::cerr << fmt::format("\r{}: round {} of {}, {:<12}", n.name, round + 1, o.rounds, n.variants[i].key());
    }
  std::cerr << "\r" << std::string(60, ' ') << "\r";
  return rows;
}

double saving(int64_t bytes, int64_t of) { return 1.0 - double(bytes) / double(of); }

/// Prints the network's table and gives its figures.
nlohmann::ordered_json report(const Network& n, const Options& o) {
  const std::vector<Figures> rows = measure(n, o);
  const auto base = [&](bool gcp) {
    for (size_t i = 0; i < rows.size(); ++i)
      if (n.variants[i].rule == "bp" && n.variants[i].gcp == gcp) return i;
    return size_t(0);
  };
  const size_t plain = base(false), again = base(true);
  Table table({n.name, "kept", "paper's form", "saves of bp", "of bp+gcp", "peak", "step/bp", "step/bp, same gcp"});
  nlohmann::ordered_json all;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Figures& r = rows[i];
    const double of_plain = saving(r.bytes.stored, rows[plain].bytes.stored),
                 of_again = saving(r.bytes.stored, rows[again].bytes.stored);
    nlohmann::ordered_json j{{"stored_bytes", r.bytes.stored}, {"peak_bytes", r.bytes.peak}};
    if (r.formula) j["formula_bytes"] = *r.formula;
    j["saving_over_bp"] = of_plain;
    if (n.variants[again].gcp) j["saving_over_bp_gcp"] = of_again;
    std::string over = "", twin = "";
    if (!o.bytes_only) {
      const double ratio = paired(r.seconds, rows[plain].seconds);
      j["step_over_bp"] = ratio;
      j["step_s"] = median(r.seconds);
      over = fmt::format("{:.3f}", ratio);
      twin = fmt::format("{:.3f}", paired(r.seconds, rows[n.variants[i].gcp ? again : plain].seconds));
    }
    for (size_t k = 0; k < r.bytes.by_kind.size(); ++k) j["kept"][name(SaveKind(k))] = r.bytes.by_kind[k];
    j["kept_by_stage"] = r.bytes.by_stage;
    all[n.variants[i].key()] = std::move(j);
    table.add({n.variants[i].key(), bytes_text(r.bytes.stored), r.formula ? bytes_text(*r.formula) : "",
               fmt::format("{:.1f} %", 100 * of_plain),
               n.variants[again].gcp ? fmt::format("{:.1f} %", 100 * of_again) : "", bytes_text(r.bytes.peak), over,
               twin});
  }
  fmt::print("{}\n", table.text());
  return all;
}

void run(const Options& o) {
  nlohmann::ordered_json all;
  const std::vector<Network> known = networks();
  for (const std::string& name : o.models) {
    const auto found = std::find_if(known.begin(), known.end(), [&](const Network& n) { return n.name == name; });
    if (found == known.end()) throw ConfigError(str("--models ", name, ": no such network"));
    Network n = *found;
    std::erase_if(n.variants, [&](const Variant& v) {
      return !o.rules.empty() && v.rule != "bp" && std::find(o.rules.begin(), o.rules.end(), v.rule) == o.rules.end();
    });
    const nlohmann::ordered_json rows = report(n, o);
    for (const auto& [key, figures] : rows.items()) all[str(name, ".", key)] = figures;
    if (!o.json.empty()) write_file(o.json, all.dump(2) + "\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Bytes kept for the backward pass, and step times, of backprop and of auxiliary activations."};
  app.add_option("--models", o.models, "networks to measure")->delimiter(',')->capture_default_str();
  app.add_option("--rules", o.rules, "besides bp, the rules to measure; all where none is named")->delimiter(',');
  app.add_option("--batch", o.batch, "samples of a step")->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--rounds", o.rounds, "timed steps of each row")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_flag("--bytes-only", o.bytes_only, "dry runs alone");
  app.add_option("--json", o.json, "write all figures to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "memory_bench: " << e.what() << '\n';
    return 1;
  }
}
