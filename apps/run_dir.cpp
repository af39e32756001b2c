// Files of a run directory.
#include "apps/run_dir.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "apps/schedule_file.h"
#include "engine/error.h"

namespace sluice {
namespace {

constexpr const char* kHeader =
    "step,epoch,loss,samples_per_s,train_seconds,test_accuracy,train_accuracy,validation_accuracy,test_loss";

/// The number in column `index` of a row, or nothing when it is not one.
std::optional<double> column(const std::string& row, int index) {
  size_t begin = 0;
  for (int i = 0; i < index; ++i) {
    begin = row.find(',', begin);
    if (begin == std::string::npos) return {};
    ++begin;
  }
  char* end = nullptr;
  const double value = std::strtod(row.c_str() + begin, &end);
  if (end == row.c_str() + begin) return {};
  return value;
}

}  // namespace

void write_file(const std::string& path, const std::string& content) {
  const std::string temporary = path + ".tmp";
  std::ofstream out(temporary, std::ios::trunc);
  out << content << std::flush;
  if (!out) throw DataError(str(path, ": cannot be written: ", std::strerror(errno)));
  out.close();
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw DataError(str(path, ": cannot be written: ", error.message()));
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw DataError(str(path, ": cannot be read"));
  return text;
}

std::filesystem::path data_home() {
  for (const auto& [variable, below] :
       {std::pair{"SLUICE_DATA_DIR", ""}, {"XDG_CACHE_HOME", "sluice"}, {"HOME", ".cache/sluice"}})
    if (const char* path = std::getenv(variable); path != nullptr && *path != 0)
      return std::filesystem::path(path) / below;
  return ".cache/sluice";
}

std::string results_csv(const std::vector<ResultRow>& rows) {
  std::string text = "turn,train_acc,test_acc,train_time\n";
  for (const ResultRow& r : rows)
    text += fmt::format("{},{},{:.4f},{:.3f}\n", r.turn,
                        r.train_accuracy ? fmt::format("{:.4f}", 100 * *r.train_accuracy) : "", 100 * r.test_accuracy,
                        r.train_seconds);
  return text;
}

RunConfig saved_config(const std::string& run, const std::string& data_dir, const std::string& devices) {
  RunConfig config;
  read_config_file(config, run + "/config.json");
  if (!data_dir.empty()) config.data_dir = data_dir;
  if (is_schedule_file(config.schedule)) config.schedule = run + "/schedule.txt";  // the run may have been moved
  if (devices.empty()) return config;
  config.devices = devices;
  config.placement = config.schedule = "auto";
  config.replicas.clear();
  return config;
}

RunDir::RunDir(std::filesystem::path dir) : dir_(std::move(dir)) {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error) throw DataError(str(dir_.string(), ": cannot be made: ", error.message()));
}

std::string RunDir::trace(int rank) const {
  return (dir_ / (rank == 0 ? "trace.json" : str("trace-rank", rank, ".json"))).string();
}

void RunDir::write_config(const RunConfig& c) const { write_file(config(), to_json(c) + "\n"); }

std::vector<MetricsRow> RunDir::open_metrics(int64_t step) const {
  std::string text = std::string(kHeader) + "\n";
  std::vector<MetricsRow> rows;
  std::ifstream in(metrics());
  std::string row;
  while (step > 0 && std::getline(in, row)) {
    const std::optional<double> at = column(row, 0), epoch = column(row, 1), spent = column(row, 4);
    if (!at || !epoch || !spent || *at > double(step)) continue;
    text += row + "\n";
    rows.push_back({.step = int64_t(*at),
                    .epoch = int64_t(*epoch),
                    .train_seconds = *spent,
                    .test_accuracy = column(row, 5),
                    .train_accuracy = column(row, 6),
                    .validation_accuracy = column(row, 7),
                    .test_loss = column(row, 8)});
  }
  write_file(metrics(), text);
  return rows;
}

void RunDir::append(const MetricsRow& r) const {
  std::ofstream out(metrics(), std::ios::app);
  const auto optional = [](const std::optional<double>& v) { return v ? fmt::format("{:.4f}", *v) : ""; };
  out << fmt::format("{},{},{:.6g},{:.1f},{:.3f},{},{},{},{}\n", r.step, r.epoch, r.loss, r.samples_per_s,
                     r.train_seconds, optional(r.test_accuracy), optional(r.train_accuracy),
                     optional(r.validation_accuracy), optional(r.test_loss))
      << std::flush;
  if (!out) throw DataError(str(metrics(), ": cannot be written: ", std::strerror(errno)));
}

}  // namespace sluice
