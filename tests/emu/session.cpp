// Worlds: their options, from a test or from the environment, and what was found wrong in each.
#include <cstdlib>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "emu/grid.h"

namespace emu {
namespace {

constexpr size_t kMostReports = 50;  // of a world: a broken kernel breaks in many places

struct World {
  Options options;
  std::vector<Report> reports;
  std::set<std::pair<Report::Kind, std::string>> places;
};

int number_from(const char* variable, const char* text) {
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || n < 0 || n > 1'000'000)
    throw std::runtime_error(std::string(variable) + "='" + text + "': expected a number");
  return int(n);
}

Order order_from(const char* variable, const std::string& text) {
  if (text == "fifo") return Order::kFifo;
  if (text == "lifo") return Order::kLifo;
  if (text == "random") return Order::kRandom;
  throw std::runtime_error(std::string(variable) + "='" + text + "': expected fifo, lifo or random");
}

Options options_from_environment() {
  Options o;
  const auto read = [](const char* variable, auto use) {
    if (const char* text = std::getenv(variable)) use(variable, text);
  };
  read("SLUICE_EMU_ORDER", [&](auto name, auto text) { o.order = order_from(name, text); });
  read("SLUICE_EMU_SEED", [&](auto name, auto text) { o.seed = uint64_t(number_from(name, text)); });
  read("SLUICE_EMU_DEVICES", [&](auto name, auto text) { o.devices = number_from(name, text); });
  read("SLUICE_EMU_LAZY", [&](auto name, auto text) { o.lazy = number_from(name, text) != 0; });
  return o;
}

struct State {
  std::mutex mutex;
  std::vector<std::unique_ptr<World>> worlds;  // the last is that of now

  State() { worlds.push_back(std::make_unique<World>(World{options_from_environment(), {}, {}})); }
  World& now() { return *worlds.back(); }
};
State& state() {
  static auto& s = *new State;  // used until the process ends
  return s;
}

}  // namespace

const char* name(Report::Kind kind) {
  constexpr const char* kNames[] = {"out of bounds", "use after free", "misaligned",  "uninitialised read",
                                    "block race",    "grid race",      "stream race", "barrier divergence",
                                    "warp mask",     "deadlock",       "host touch",  "wrong device",
                                    "leak",          "misuse"};
  return kNames[kind];
}

const Options& options() { return state().now().options; }

void report(Report::Kind kind, std::string text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.now().reports.size() < kMostReports) s.now().reports.push_back({kind, std::move(text)});
}

bool is_first(Report::Kind kind, const std::string& place) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.now().places.emplace(kind, place).second;
}

void report_once(Report::Kind kind, const std::string& place, std::string text) {
  if (is_first(kind, place)) report(kind, std::move(text));
}

std::vector<Report> take_reports() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.now().places.clear();
  return std::exchange(s.now().reports, {});
}

std::vector<Report> finish_test() {
  report_leaks();
  return take_reports();
}

Session::Session(const Options& options) {
  State& s = state();
  {
    const std::lock_guard lock(s.mutex);
    s.worlds.push_back(std::make_unique<World>(World{options, {}, {}}));
  }
  reset_traffic();
  begin_world(options);
}

/// What nobody took is the business of the world around.
Session::~Session() {
  end_world();
  std::vector<Report> left = take_reports();
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.worlds.pop_back();
  for (Report& r : left) s.now().reports.push_back(std::move(r));
}

std::vector<Report> Session::finish() { return finish_test(); }

}  // namespace emu
