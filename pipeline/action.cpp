// Actions and programs: placement, unrolling and the text form.
#include "pipeline/action.h"

#include <algorithm>
#include <limits>
#include <map>
#include <sstream>

#include "engine/error.h"

namespace sluice {
namespace {

template <class T>
T narrow(const char* what, int64_t v) {
  if (v < std::numeric_limits<T>::min() || v > std::numeric_limits<T>::max())
    throw ScheduleError(
        str("action: ", what, " is ", v, ", expected at most ", int64_t(std::numeric_limits<T>::max())));
  return T(v);
}

[[noreturn]] void bad_word(int line, const std::string& word) {
  throw ScheduleError(
      str("plan text, line ", line, ": '", word, "' is no action, expected e.g. F0.3, s0.3>1, r1.3<0, U0"));
}

/// Reads the digits at `at`; false when there are none.
bool read_number(const std::string& word, size_t& at, int64_t& value) {
  const size_t begin = at;
  value = 0;
  while (at < word.size() && word[at] >= '0' && word[at] <= '9' && at - begin < 10)
    value = value * 10 + (word[at++] - '0');
  return at > begin;
}

Action parse_action(const std::string& word, int line) {
  static constexpr char kKinds[] = "FRBWDGUsraw";
  if (word.empty() || std::string(kKinds).find(word[0]) == std::string::npos) bad_word(line, word);
  const Do what = Do(word[0]);
  size_t at = 1;
  int64_t stage = 0, mb = 0, view = 0, peer = -1;
  bool ok = read_number(word, at, stage);
  if (at < word.size() && word[at] == '.')
    ok = read_number(word, ++at, mb) && ok;
  else if (what != Do::kUpdate)
    ok = false;
  if (at < word.size() && word[at] == 'v') ok = read_number(word, ++at, view) && ok;
  if (what == Do::kSend || what == Do::kRecv)
    ok = ok && at < word.size() && word[at] == (what == Do::kSend ? '>' : '<') && read_number(word, ++at, peer);
  if (!ok || at != word.size()) bad_word(line, word);
  Action a = act(what, int(stage), mb, int(peer));
  a.view = narrow<int8_t>("view", view);
  return a;
}

Program parse_program(const std::string& line, int number) {
  Program p;
  std::vector<Action>* parts[] = {&p.prologue, &p.period, &p.epilogue};
  size_t part = 0;
  bool factor = false;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    if (word == "|") {
      if (++part > 2) throw ScheduleError(str("plan text, line ", number, ": more than two '|'"));
    } else if (word == "*") {
      factor = true;
    } else if (factor) {
      size_t at = 0;
      int64_t mbs = 0;
      if (!read_number(word, at, mbs) || at != word.size() || mbs == 0) bad_word(number, word);
      p.mbs_per_period = narrow<int>("micro-batches per period", mbs);
      factor = false;
    } else {
      parts[part]->push_back(parse_action(word, number));
    }
  }
  if (part != 2)
    throw ScheduleError(str("plan text, line ", number, ": expected 'prologue | period * mbs | epilogue'"));
  return p;
}

}  // namespace

Action act(Do what, int stage, int64_t mb, int peer) {
  Action a;
  a.what = what;
  a.stage = narrow<int16_t>("stage", stage);
  a.mb = narrow<int32_t>("micro-batch", mb);
  a.peer = narrow<int8_t>("peer", peer);
  return a;
}

Placement one_each(int stages) {
  Placement p;
  for (int s = 0; s < stages; ++s) p.push_back(s);
  return p;
}

Placement all_on_one(int stages) { return Placement(size_t(stages), 0); }

int count_workers(const Placement& placement) {
  if (placement.empty()) throw ScheduleError("placement: no stages, expected at least one");
  const int workers = *std::max_element(placement.begin(), placement.end()) + 1;
  for (int w = 0; w < workers; ++w)
    if (std::find(placement.begin(), placement.end(), w) == placement.end())
      throw ScheduleError(str("placement: worker ", w, " of ", workers, " has no stage"));
  if (*std::min_element(placement.begin(), placement.end()) < 0) throw ScheduleError("placement: a worker is negative");
  return workers;
}

Placement placement_of(const Plan& plan) {
  std::map<int, int> worker_of;
  for (size_t w = 0; w < plan.size(); ++w)
    for (const auto* part : {&plan[w].prologue, &plan[w].period, &plan[w].epilogue})
      for (size_t i = 0; i < part->size(); ++i) {
        const Action& a = (*part)[i];
        const auto [it, fresh] = worker_of.emplace(a.stage, int(w));
        if (!fresh && it->second != int(w))
          throw ScheduleError(str("worker ", w, ", position ", i, ", ", to_text(a), ": stage ", a.stage,
                                  " belongs to worker ", it->second));
      }
  Placement placement;
  for (const auto& entry : worker_of) {
    if (entry.first != int(placement.size()))
      throw ScheduleError(str("plan: stage ", placement.size(), " is on no worker"));
    placement.push_back(entry.second);
  }
  if (placement.empty()) throw ScheduleError("plan: no actions");
  return placement;
}

Action shifted(Action a, int64_t by) {
  a.mb = narrow<int32_t>("micro-batch", a.mb + by);
  return a;
}

int64_t mbs_outside_period(const Program& program) {
  std::map<int, int64_t> forwards;
  for (const Action& a : program.period)
    if (a.what == Do::kForward) forwards.emplace(a.stage, 0);
  for (const auto* part : {&program.prologue, &program.epilogue})
    for (const Action& a : *part)
      if (a.what == Do::kForward) ++forwards[a.stage];
  int64_t most = 0;  // of a sound program all are equal; validate() names the action that is missing otherwise
  for (const auto& entry : forwards) most = std::max(most, entry.second);
  return most;
}

int64_t repetitions(const Program& program, int64_t mbs) {
  const int64_t outside = mbs_outside_period(program), each = program.mbs_per_period;
  if (each < 1) throw ScheduleError(str("plan: a period of ", each, " micro-batches, expected at least 1"));
  if (mbs < 0 || (mbs - outside) % each != 0)
    throw ScheduleError(
        str("plan: cannot run ", mbs, " micro-batches, expected ", outside, " plus or minus a multiple of ", each));
  return std::max<int64_t>(0, (mbs - outside) / each);
}

std::vector<Action> unroll(const Program& program, int64_t mbs) {
  const int64_t n = repetitions(program, mbs);
  const bool cut = mbs < mbs_outside_period(program);
  std::vector<Action> all;
  const auto add = [&](const std::vector<Action>& part, int64_t by) {
    for (const Action& a : part)
      if (!cut || a.mb < mbs) all.push_back(shifted(a, by));
  };
  add(program.prologue, 0);
  for (int64_t p = 0; p < n; ++p) add(program.period, p * program.mbs_per_period);
  add(program.epilogue, n * program.mbs_per_period);
  return all;
}

std::string to_text(const Action& a) {
  std::ostringstream t;
  t << char(a.what) << a.stage;
  if (a.what != Do::kUpdate || a.mb != 0) t << '.' << a.mb;
  if (a.view != 0) t << 'v' << int(a.view);
  if (a.what == Do::kSend) t << '>' << int(a.peer);
  if (a.what == Do::kRecv) t << '<' << int(a.peer);
  return t.str();
}

std::string to_text(const std::vector<Action>& actions) {
  std::ostringstream t;
  for (size_t i = 0; i < actions.size(); ++i) t << (i > 0 ? " " : "") << to_text(actions[i]);
  return t.str();
}

std::string to_text(const Plan& plan) {
  std::ostringstream t;
  for (const Program& p : plan) {
    if (!p.prologue.empty()) t << to_text(p.prologue) << ' ';
    t << "| " << to_text(p.period) << " * " << p.mbs_per_period << " |";
    if (!p.epilogue.empty()) t << ' ' << to_text(p.epilogue);
    t << '\n';
  }
  return t.str();
}

Plan parse(const std::string& text) {
  Plan plan;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string::npos) plan.push_back(parse_program(line, number));
  }
  return plan;
}

}  // namespace sluice
