// `sluice plot`: pictures of what runs wrote; curves and histograms are drawn by gnuplot.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "apps/commands.h"
#include "apps/curves.h"
#include "apps/indicators.h"
#include "apps/run_dir.h"
#include "apps/trace_file.h"
#include "kernels/common/error.h"

namespace sluice {
namespace {

struct PlotOptions {
  std::string file, out = "indicators.png";
  double range = 1.0;
  int bins = 1000;
};

void run_gnuplot(const std::string& program) {
  std::FILE* pipe = popen("gnuplot", "w");
  if (pipe == nullptr) throw Error("gnuplot could not be started");
  const size_t written = std::fwrite(program.data(), 1, program.size(), pipe);
  const int status = pclose(pipe);
  if (status != 0 || written != program.size())
    throw Error("gnuplot failed; where it is missing, install it (Debian: gnuplot-nox)");
}

void expect_picture(const std::string& out) {
  if (out.find('\'') != std::string::npos) throw ConfigError(str("--out ", out, ": a path with a quote"));
  if (!out.ends_with(".png") && !out.ends_with(".svg"))
    throw ConfigError(str("--out ", out, ": expected a name that ends in .png or .svg"));
}

struct CurvesOptions {
  std::vector<std::string> runs;
  std::string column = "loss", out = "curves.svg";
};

void plot_curves(const CurvesOptions& o) {
  expect_picture(o.out);
  std::vector<Curve> curves;
  for (const std::string& run : o.runs) {
    if (run.find('\'') != std::string::npos) throw ConfigError(str(run, ": a path with a quote"));
    curves.push_back(read_curve(run, o.column));
  }
  run_gnuplot(curves_plot(curves, o.column, o.out));
  fmt::print("{}: {} of {} runs\n", o.out, o.column, curves.size());
}

struct TimelineOptions {
  std::string run, out = "timeline.svg";
  int64_t first = 2, steps = 2;
};

void plot_timeline(const TimelineOptions& o) {
  const RunConfig config = saved_config(o.run, "", "");
  const TimelinePicture picture =
      read_trace(read_text(o.run + "/trace.json"), o.run + "/trace.json", config.micro_batches, o.first, o.steps);
  write_file(o.out, timeline_svg(picture));
  fmt::print("{}: {} actions on {} devices\n", o.out, picture.boxes.size(), picture.lanes.size());
}

void plot_indicator(const PlotOptions& o) {
  expect_picture(o.out);
  const NpyArray a = read_npy(o.file);
  int64_t positive = 0;
  double sum = 0;
  for (const double v : a.values) {
    positive += v > 0;
    sum += v;
  }
  const auto n = double(std::max<size_t>(1, a.values.size()));
  run_gnuplot(histogram_plot(histogram(a.values, o.range, o.bins), o.range, o.out));
  fmt::print("{}: {} indicators, {:.1f} % positive, mean {:.4f}\n", o.out, a.values.size(), 100 * double(positive) / n,
             sum / n);
}

}  // namespace

void add_plot(CLI::App& app) {
  CLI::App* plot = app.add_subcommand("plot", "Pictures of what runs wrote");
  plot->require_subcommand(1);
  CLI::App* indicator = plot->add_subcommand("indicator", "Histogram of learning indicators, as PNG or SVG");
  auto o = std::make_shared<PlotOptions>();
  indicator->add_option("file", o->file, "indicators.npy of a run with --get-li")->required();
  indicator->add_option("--out", o->out, "the picture, .png or .svg")->capture_default_str();
  indicator->add_option("--range", o->range, "indicators from -range to range; 0.1 shows those of aba and asa")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  indicator->add_option("--bins", o->bins, "parts of the range")->check(CLI::Range(2, 100000))->capture_default_str();
  indicator->callback([o] { plot_indicator(*o); });
  CLI::App* timeline = plot->add_subcommand("timeline", "What each device did when in a run's first steps, as SVG");
  auto t = std::make_shared<TimelineOptions>();
  timeline->add_option("run", t->run, "run directory of `sluice train --out`")->required();
  timeline->add_option("--out", t->out, "the picture")->capture_default_str();
  timeline->add_option("--first-step", t->first, "the first step drawn; those before it warm up")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  timeline->add_option("--steps", t->steps, "steps drawn")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  timeline->callback([t] { plot_timeline(*t); });
  CLI::App* curves =
      plot->add_subcommand("curves", "A column of several runs' metrics over their steps, as PNG or SVG");
  auto c = std::make_shared<CurvesOptions>();
  curves->add_option("runs", c->runs, "run directories of `sluice train --out`")->required();
  curves->add_option("--column", c->column, "of metrics.csv: loss, test_accuracy, test_loss, ...")
      ->capture_default_str();
  curves->add_option("--out", c->out, "the picture, .png or .svg")->capture_default_str();
  curves->callback([c] { plot_curves(*c); });
}

}  // namespace sluice
