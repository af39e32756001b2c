// A run directory: what a killed run goes on from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/config.h"

namespace sluice {

/// Rows of metrics.csv.
struct MetricsRow {
  int64_t step = 0, epoch = 0;
  double loss = 0;
  double samples_per_s = 0;
  double train_seconds = 0;                                                        // cumulative, evaluation left out
  std::optional<double> test_accuracy{}, train_accuracy{}, validation_accuracy{};  // at the end of an epoch
  std::optional<double> test_loss{};                                               // of sequences: nats a token
};

class RunDir {
 public:
  /// Makes the folder where needed. Throws DataError with the path and the system's reason.
  explicit RunDir(std::filesystem::path dir);

  std::string checkpoint() const { return (dir_ / "checkpoint.safetensors").string(); }
  std::string best() const { return (dir_ / "best.safetensors").string(); }  // by accuracy on validation samples
  std::string trace(int rank) const;  // trace.json; of ranks but the first trace-rank1.json
  std::string schedule() const { return (dir_ / "schedule.txt").string(); }  // where it came from a file
  std::string config() const { return (dir_ / "config.json").string(); }
  bool has_checkpoint() const { return std::filesystem::exists(checkpoint()); }

  void write_config(const RunConfig& c) const;
  /// Starts metrics.csv, or keeps its rows up to `step` when a run goes on from there. Returns those rows, of which
  /// step, train_seconds and accuracies are read.
  std::vector<MetricsRow> open_metrics(int64_t step) const;
  void append(const MetricsRow& row) const;

 private:
  std::string metrics() const { return (dir_ / "metrics.csv").string(); }
  std::filesystem::path dir_;
};

/// The configuration of a saved run, on other data or other devices where they are named; those are placed anew. Throws
/// ConfigError where there is no such run.
RunConfig saved_config(const std::string& run, const std::string& data_dir, const std::string& devices);

/// One epoch of one of several runs, in the columns of the original's result files: turn, train_acc, test_acc (both in
/// percent, train_acc empty where it was not asked for) and train_time, the cumulative seconds of training.
struct ResultRow {
  int64_t turn = 0;
  std::optional<double> train_accuracy{};
  double test_accuracy = 0, train_seconds = 0;
};
std::string results_csv(const std::vector<ResultRow>& rows);

/// Where data sets are kept, and what is made of them once: SLUICE_DATA_DIR, or `sluice` in the user's cache.
std::filesystem::path data_home();

/// A whole file. Throws DataError with the path where it cannot be read.
std::string read_text(const std::string& path);
/// Writes a whole file under a temporary name, then renames it. Throws DataError with the path and the reason.
void write_file(const std::string& path, const std::string& content);

}  // namespace sluice
