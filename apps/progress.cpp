// Draws the bar.
#include "apps/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

int columns(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

}  // namespace

Progress::Progress(std::string title, int64_t total, std::FILE* out, std::string unit)
    : title_(std::move(title)),
      total_(std::max<int64_t>(total, 1)),
      out_(out),
      unit_(std::move(unit)),
      terminal_(isatty(fileno(out)) == 1),
      begin_(Clock::now()),
      drawn_(begin_ - std::chrono::seconds(1)) {}

std::string Progress::figures(double rate, const std::string& unit, std::optional<double> loss) {
  return fmt::format("{:7.0f} {}/s", rate, unit) + (loss ? fmt::format("  loss {:6.4f}", *loss) : "");
}

std::string Progress::line(const std::string& title, double share, const std::string& figures, double seconds_left,
                           int width) {
  const auto left = std::lround(seconds_left);
  const std::string tail = fmt::format(" {:3.0f} %  {}  {}:{:02} left", 100 * share, figures, left / 60, left % 60);
  const int bar = std::clamp(width - int(title.size()) - int(tail.size()) - 4, 5, 40);
  const int full = std::clamp(int(std::lround(share * bar)), 0, bar);
  return fmt::format("{} |{:#<{}}{:.<{}}|{}", title, "", full, "", bar - full, tail);
}

void Progress::update(int64_t done, std::optional<double> loss) {
  if (first_ < 0) first_ = done;  // a resumed run starts in the middle; the first step warms up
  done_ = done;
  loss_ = loss;
  const int tenth = int(10 * done / total_);
  if (terminal_ ? seconds_since(drawn_) >= 0.1 : tenth > tenth_) draw();
  tenth_ = tenth;
}

void Progress::draw() {
  drawn_ = Clock::now();
  const double elapsed = seconds_since(begin_);
  const double rate = elapsed > 0 ? double(done_ - std::max<int64_t>(first_, 0)) / elapsed : 0;
  const double left = rate > 0 ? double(total_ - done_) / rate : 0;
  const std::string text =
      line(title_, double(done_) / double(total_), figures(rate, unit_, loss_), left, columns(out_) - 1);
  if (terminal_)
    fmt::print(out_, "\r{}\033[K", text);
  else
    fmt::print(out_, "{}\n", text);
  std::fflush(out_);
}

void Progress::finish() {
  if (std::exchange(finished_, true)) return;
  if (!terminal_) return;
  draw();
  fmt::print(out_, "\n");
}

}  // namespace sluice
