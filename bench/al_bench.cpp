// al_bench [--json FILE]: associated learning on two CPU devices of one core each, for every model: sequential, the
// original's modes M and P, streaming, and backprop beside it; for text also streaming of twice the encoders (weak
// scaling) and the bag of embeddings. Rows run side by side in short rounds, in reverse order
// every other round, so that a drift of the machine's speed meets all alike; ratios are medians over rounds. Data are
// random: only time is measured.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/demo.h"
#include "apps/median.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "bench/ceilings.h"
#include "bench/random_data.h"
#include "engine/error.h"

namespace {

using namespace sluice;

struct Options {
  std::vector<std::string> models{"vgg", "resnet18", "lstm", "transformer"};
  std::string json;
  std::vector<std::string> rows;  // besides sequential and streaming; none: all
  int64_t batch = 64, length = 64, rounds = 5, steps = 16, encoders = 3;
  double width = 1.0;
};

RunConfig base(const Options& o, const std::string& model) {
  RunConfig c;
  c.model = model;
  c.data_dir = "random";
  c.batch = o.batch;
  c.max_len = o.length;
  c.width = o.width;
  c.encoders = o.encoders;
  c.cores_per_device = 1;
  c.epochs = 1'000'000;
  c.augmentation = "none";
  return c;
}

/// The runs of which two at once are the ceiling.
RunConfig sequential(const Options& o, const std::string& model) {
  RunConfig c = base(o, model);
  c.rule = "al";
  c.devices = "cpu:0,cpu:1";
  return c;
}

bool is_text(const std::string& model) { return model == "lstm" || model == "transformer"; }

struct RowKind {
  const char *key, *title, *rule, *schedule;
  bool split;
  int64_t micro_batches = 1;
  bool text_only = false;
  void (*change)(RunConfig&) = nullptr;

  /// Whether steps overlap: a short stretch then shows little of the pace.
  bool overlaps() const { return split && rule == std::string("al"); }
  bool wanted(const Options& o, const std::string& model) const {
    const std::string name = key;
    if (name == "sequential" || name == "streaming") return true;
    if (text_only && !is_text(model)) return false;
    return o.rows.empty() || std::count(o.rows.begin(), o.rows.end(), name) > 0;
  }
};
void narrow(RunConfig& c) { c.dtype = "bf16"; }
const RowKind kRows[] = {
    {"bag", "backprop, bag of embeddings", "bp", "one_device", false, 1, true,
     [](RunConfig& c) { c.model = "bag_of_embeddings"; }},
    {"bp", "backprop, one device", "bp", "one_device", false},
    {"naive_split", "backprop, naive split", "bp", "naive_split", true},
    {"gpipe", "backprop, GPipe, 4 parts", "bp", "gpipe", true, 4},
    {"sequential", "AL, one device", "al", "associated", false},
    {"m", "AL, mode M", "al", "associated_m", true},
    {"p", "AL, mode P", "al", "associated_p", true},
    {"streaming", "AL, streaming", "al", "associated_streaming", true},
    {"bp_bf16", "backprop, one device, bf16", "bp", "one_device", false, 1, false, narrow},
    {"sequential_bf16", "AL, one device, bf16", "al", "associated", false, 1, false, narrow},
    {"streaming_bf16", "AL, streaming, bf16", "al", "associated_streaming", true, 1, false, narrow},
    {"weak", "AL, streaming, twice the encoders", "al", "associated_streaming", true, 1, true,
     [](RunConfig& c) { c.encoders *= 2; }},
};

/// All rows of one model, and what they are judged by.
class ModelBench {
 public:
  ModelBench(const Options& o, const std::string& model, const TrainingData& data)
      : options_(o), pair_(sequential(o, model), data) {
    for (const RowKind& kind : kRows) {
      if (!kind.wanted(o, model)) continue;
      RunConfig c = base(o, model);
      c.rule = kind.rule;
      c.schedule = kind.schedule;
      c.micro_batches = kind.micro_batches;
      c.devices = kind.split ? "cpu:0,cpu:1" : "cpu:0";
      if (kind.change != nullptr) kind.change(c);
      rows_.emplace_back(kind.key, kind.title, false, std::make_unique<Training>(c, data));
      try {
        rows_.back().run(3, "warm-up", false);
      } catch (const DTypeError& e) {  // a CPU without bf16 products
        fmt::print("{}: left out ({})\n", kind.key, e.what());
        rows_.pop_back();
        continue;
      }
      steps_.push_back(kind.overlaps() ? o.steps : std::max<int64_t>(4, o.steps / 4));
    }
  }

  void measure(bench::Ceilings& ceilings, const Stream& one_core) {
    pair_.rate(3);
    const Training& one = find_row(rows_, "sequential").training();
    const int64_t flops = one.flops(), begin = one.step();
    for (int64_t round = 0; round < options_.rounds; ++round) {
      one_core.enqueue([&](CpuContext& c) { gemm_.push_back(ceilings.measure(c).flops); });
      one_core.sync();
      const std::string label = fmt::format("{}/{}", round + 1, options_.rounds);
      for (size_t i = 0; i < rows_.size(); ++i) {
        const size_t row = round % 2 == 0 ? i : rows_.size() - 1 - i;
        rows_[row].run(steps_[row], label, true);
      }
      ceiling_.pair_over_two.push_back(pair_.rate(options_.steps / 2) /
                                       (2 * find_row(rows_, "sequential").rates().back()));
    }
    ceiling_.stage_costs = find_row(rows_, "sequential").stage_seconds();
    flops_per_step_ = double(one.flops() - flops) / double(one.step() - begin);
  }

  /// Seconds of a step of a row, median over rounds.
  double seconds(const std::string& key) const { return double(options_.batch) / median(find_row(rows_, key).rates()); }
  double over(const std::string& a, const std::string& b) const {
    return paired(find_row(rows_, a).rates(), find_row(rows_, b).rates());
  }
  double share_of_ceiling() const { return over("streaming", "sequential") / ceiling_.speedup(); }
  double gemm() const { return median(gemm_); }
  double share_of_gemm(const std::string& key) const { return flops_per_step_ / seconds(key) / gemm(); }

  void print(const std::string& model) const {
    Table table({model, "ms a step", "over AL on one device", "idle", "placement"});
    for (const DemoRow& r : rows_) {
      std::string placement;
      for (const int d : r.training().placement()) placement += std::to_string(d);
      table.add({r.title(), fmt::format("{:.1f}", 1e3 * seconds(r.key())),
                 fmt::format("{:.2f}", over(r.key(), "sequential")), fmt::format("{:.0f} %", 100 * r.idle_share()),
                 placement});
    }
    std::string stages;
    for (const double s : ceiling_.stage_costs) stages += fmt::format(" {:.1f}", 1e3 * s);
    fmt::print(
        "\n{}stages of AL, ms:{}; ceiling {:.2f} = {:.2f} (best placement) x {:.2f} (two runs at once)\n"
        "streaming reaches {:.1f} % of it; a step's {:.2f} Gflop run at {:.1f} % of one core's GEMM rate, {:.0f} "
        "GF/s\n",
        table.text(), stages, ceiling_.speedup(), ceiling_.stage_sum() / ceiling_.largest_load(), ceiling_.pair(),
        100 * share_of_ceiling(), flops_per_step_ / 1e9, 100 * share_of_gemm("sequential"), gemm() / 1e9);
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json j;
    for (const DemoRow& r : rows_) j[r.key() + "_s"] = seconds(r.key());
    for (const DemoRow& r : rows_) {
      if (r.key() != "sequential") j[r.key() + "_over_sequential"] = over(r.key(), "sequential");
      if (r.key() != "sequential" && r.key() != "streaming")
        j["streaming_over_" + r.key()] = over("streaming", r.key());
    }
    j["ceiling"] = ceiling_.speedup();
    j["share_of_ceiling"] = share_of_ceiling();
    j["gflop_per_step"] = flops_per_step_ / 1e9;
    j["share_of_gemm"] = share_of_gemm("sequential");
    return j;
  }

 private:
  Options options_;
  std::vector<DemoRow> rows_;
  std::vector<int64_t> steps_;  // of a row in a round
  Pair pair_;
  Ceiling ceiling_;
  std::vector<double> gemm_;
  double flops_per_step_ = 0;
};

void run(const Options& o) {
  const std::vector<Device> devices = parse_devices("cpu:0,cpu:1");
  const Stream one_core(devices[0], share_cores(devices, 1)[0]);
  bench::Ceilings ceilings(one_core);
  nlohmann::ordered_json all;
  std::vector<double> gemm;
  for (const std::string& model : o.models) {
    ModelBench b(o, model, is_text(model) ? bench::random_texts(o.length) : bench::random_images());
    b.measure(ceilings, one_core);
    b.print(model);
    all[model] = b.json();
    gemm.push_back(b.gemm());
  }
  all["gemm_gflops"] = median(gemm) / 1e9;
  all["batch"] = o.batch;
  if (!o.json.empty()) write_file(o.json, all.dump(2) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Associated learning on two CPU devices: sequential, modes M and P, streaming, and backprop.",
               "al_bench"};
  app.add_option("--models", o.models, "of vgg, resnet18, lstm, transformer")->capture_default_str()->delimiter(',');
  app.add_option("--json", o.json, "write all figures to this file");
  app.add_option("--batch", o.batch, "samples of a step")->capture_default_str();
  app.add_option("--length", o.length, "tokens of a document")->capture_default_str();
  app.add_option("--encoders", o.encoders, "encoder stages of text models")->capture_default_str();
  app.add_option("--width", o.width, "width multiplier")->capture_default_str();
  app.add_option("--rounds", o.rounds, "rounds that medians are taken over")->capture_default_str();
  app.add_option("--steps", o.steps, "steps of a row in a round; a quarter of them where steps do not overlap")
      ->capture_default_str();
  app.add_option("--rows", o.rows, "rows besides sequential and streaming: bp, m, ... [all]")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "al_bench: " << e.what() << "\n";
    return 1;
  }
}
