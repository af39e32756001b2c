// The rows of the demo's comparison, and what is said about them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/training.h"

namespace sluice {

/// One way to train, measured in several stretches of one run.
class DemoRow {
 public:
  DemoRow(std::string key, std::string title, bool trained, std::unique_ptr<Training> training);

  /// Trains `steps` steps behind a progress bar; a stretch that counts adds a rate, busy time and trace spans.
  void run(int64_t steps, const std::string& label, bool counts);
  void evaluate();

  const std::string& key() const { return key_; }
  const std::string& title() const { return title_; }
  bool trained() const { return trained_; }  // for whole epochs, not only for its speed
  const Training& training() const { return *training_; }
  const std::vector<double>& rates() const { return rates_; }  // samples per second, by stretch

  double samples_per_s() const;  // median over stretches
  double test_accuracy() const { return accuracy_; }
  std::vector<double> idle_shares() const;    // per device
  double idle_share() const;                  // over all devices
  std::vector<double> stage_seconds() const;  // per stage: what a step takes of its device, from medians over steps
  double busy_per_step() const;               // their sum
  std::string trace_json() const;
  const std::vector<StepReport>& steps() const { return steps_; }
  int64_t bytes_stored() const { return training_->stored_peak(); }
  int64_t peak_memory() const { return training_->peak_memory(); }

 private:
  double steady_rate(size_t begin) const;

  std::string key_, title_;
  bool trained_;
  std::unique_ptr<Training> training_;
  std::unique_ptr<Trace> trace_;
  std::vector<double> rates_;          // by stretch
  std::vector<double> device_busy_s_;  // by device, over all stretches
  std::vector<StepReport> steps_;
  double wall_s_ = 0, accuracy_ = 0;
};

const DemoRow& find_row(const std::vector<DemoRow>& rows, const std::string& key);
DemoRow& find_row(std::vector<DemoRow>& rows, const std::string& key);

/// Two independent runs of one configuration at once, each on one of its first two devices: what two devices of this
/// machine can do at most.
class Pair {
 public:
  Pair(const RunConfig& config, const TrainingData& data);
  /// Samples per second of both together.
  double rate(int64_t steps);

 private:
  std::vector<std::unique_ptr<Training>> runs_;
};

/// What streaming can reach on this machine: stages cannot be cut further, and two devices share memory and clocks.
struct Ceiling {
  std::vector<double> stage_costs;  // seconds of a step, measured on one device
  int devices = 2;
  std::vector<double> pair_over_two;  // two independent runs at once over twice one, per round

  double stage_sum() const;
  double largest_load() const;  // under the best placement
  double pair() const;          // median
  double speedup() const { return stage_sum() / largest_load() * pair(); }
};

std::string table_text(const std::vector<DemoRow>& rows);
std::string summary_text(const std::vector<DemoRow>& rows, const Ceiling& ceiling);
std::string json_text(const std::vector<DemoRow>& rows, const Ceiling& ceiling);
std::string metrics_csv(const std::vector<DemoRow>& rows);

}  // namespace sluice
