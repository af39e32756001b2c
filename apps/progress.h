// A progress bar on one line of a terminal; on anything else a line now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace sluice {

class Progress {
 public:
  /// `total` in units. Draws to `out`.
  Progress(std::string title, int64_t total, std::FILE* out = stderr, std::string unit = "samples");
  /// `done` units of the total; draws at most ten times a second on a terminal, at every tenth elsewhere.
  void update(int64_t done, std::optional<double> loss = {});
  /// Draws the last state and ends the line.
  void finish();

  /// One line of at most `width` columns, such as "al 2 cores |#####.....|  50 %  1200 samples/s  loss 0.512  0:25
  /// left". `figures` is what stands between the share and the time.
  static std::string line(const std::string& title, double share, const std::string& figures, double seconds_left,
                          int width);
  static std::string figures(double rate, const std::string& unit, std::optional<double> loss);

 private:
  void draw();
  std::string title_;
  int64_t total_;
  std::FILE* out_;
  std::string unit_;
  bool terminal_;
  std::chrono::steady_clock::time_point begin_, drawn_;
  int64_t done_ = 0;
  int64_t first_ = -1;
  std::optional<double> loss_;
  int tenth_ = -1;
  bool finished_ = false;
};

}  // namespace sluice
