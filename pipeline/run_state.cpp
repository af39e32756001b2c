// The state of a run. Processes agree on where it stops in two rounds: no worker begins a period from the first message
// of process 0 on until the second, which says how far anybody had begun.
#include "pipeline/run_state.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/error.h"
#include "pipeline/packing.h"

namespace sluice {
namespace {

/// What processes tell each other in a run.
enum class Word : uint8_t { kLosses, kArrived, kAskToStop, kHold, kBegun, kEndAt, kDone };

constexpr size_t kValuesAt = 64;  // in the message of an arrival: where a stream writes them

std::string message(Word word) { return Packer().add(word).bytes(); }
std::string message(Word word, int64_t value) { return Packer().add(word).add(value).bytes(); }

}  // namespace

RunState::RunState(Pipeline& p, const RunOptions& o, Transport& n) : pipeline(p), options(o), net(n) {
  limit_ = o.steps * p.report.mbs_per_step;
  for (const Program& program : p.plan) {
    repetitions(program, limit_);  // throws when the run is not a number of steps
    begun_ = std::max(begun_, mbs_outside_period(program));
  }
  arrivals_.resize(p.plan.size());
  if (o.peers == nullptr) return;
  begun_by_.assign(size_t(o.peers->count()), -1);
  done_.resize(size_t(o.peers->count()));
  topic_ =
      o.peers->open({.message = [this](int from, const Mail& mail) { hear(from, mail); },
                     .failed = [this] { fail(std::make_exception_ptr(TransportError(options.peers->failure()))); }});
}

void RunState::fail(std::exception_ptr error) {
  std::string why = "an unknown error";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    why = e.what();
  } catch (...) {  // nothing else is thrown, but a worker's thread must not end the process
  }
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  met_.notify_all();
  net.abort();
  if (options.peers != nullptr) options.peers->fail(why);
}

std::exception_ptr RunState::error() {
  const std::lock_guard lock(mutex_);
  return error_;
}

bool RunState::begin_period(int64_t mbs) {
  const bool stop = options.stop != nullptr && options.stop->load();
  if (stop && options.peers != nullptr) ask_to_stop();
  std::unique_lock lock(mutex_);
  met_.wait(lock, [&] { return error_ || !held_; });
  if (error_) throw Aborted("the run was ended");
  if (stop && options.peers == nullptr) limit_ = std::min(limit_, begun_);
  if (mbs > limit_) return false;
  begun_ = std::max(begun_, mbs);
  return true;
}

int64_t RunState::mbs() {
  const std::lock_guard lock(mutex_);
  return limit_;
}

void RunState::report(int instance, StepLosses losses) {
  if (options.peers != nullptr && options.peers->rank() != 0)
    return tell(0, Packer().add(Word::kLosses).add(instance).add(losses.step).add(losses.values).bytes());
  if (!options.on_losses) return;
  const std::lock_guard lock(report_mutex_);
  report_heard();
  report_part({instance, std::move(losses)});
}

void RunState::report_part(Part part) {
  StepLosses& losses = part.losses;
  const size_t others = pipeline.wiring.instances.replicas(part.instance).size();
  if (others > 0) {
    auto& parts = partial_[{losses.stage, losses.step}];
    parts[part.instance] = std::move(losses.values);
    if (parts.size() <= others) return;
    losses.values.clear();
    for (const auto& entry : parts) {  // ascending
      losses.values.resize(std::max(losses.values.size(), entry.second.size()));
      for (size_t i = 0; i < entry.second.size(); ++i) losses.values[i] += entry.second[i];
    }
    partial_.erase({losses.stage, losses.step});
  }
  options.on_losses(losses);
}

void RunState::report_heard() {
  std::deque<Part> heard;
  {
    const std::lock_guard lock(mutex_);
    heard.swap(heard_);
  }
  for (Part& p : heard) report_part(std::move(p));
}

void RunState::arrive(int worker, const Stream& stream, const Tensor& values) {
  const Mail mail = make_mail(kValuesAt + (values.defined() ? size_t(values.bytes()) : 0));
  const Word word = Word::kArrived;
  std::memcpy(mail.data.get(), &word, sizeof word);
  if (values.defined()) copy_to_host(stream, values, mail.data.get() + kValuesAt);
  Event here = stream.record();
  if (options.peers != nullptr)
    for (int r = 0; r < options.peers->count(); ++r)
      if (r != options.peers->rank()) options.peers->post(r, topic_, mail, {here});
  const std::lock_guard lock(mutex_);
  arrivals_[size_t(worker)].push_back({std::move(here), mail});
  met_.notify_all();
}

std::vector<std::vector<float>> RunState::await(int worker, const Stream& stream) {
  std::vector<Arrival> all;
  {
    std::unique_lock lock(mutex_);
    const size_t meeting = arrivals_[size_t(worker)].size() - 1;
    const auto complete = [&] {
      return std::all_of(arrivals_.begin(), arrivals_.end(), [&](const auto& a) { return a.size() > meeting; });
    };
    met_.wait(lock, [&] { return error_ || complete(); });
    if (error_) throw Aborted("the run was ended");
    for (const std::vector<Arrival>& a : arrivals_) all.push_back(a[meeting]);
  }
  std::vector<std::vector<float>> values;
  for (const Arrival& a : all) {
    stream.wait(a.reached);
    values.emplace_back((a.mail.bytes - kValuesAt) / sizeof(float));
    if (values.back().empty()) continue;
    a.reached.sync();
    std::memcpy(values.back().data(), a.mail.data.get() + kValuesAt, values.back().size() * sizeof(float));
  }
  return values;
}

RunState::Done RunState::finish(Done own) {
  if (options.peers == nullptr || error()) return own;
  tell_all(Packer().add(Word::kDone).add(own.busy_s).add(own.sent).bytes());
  std::unique_lock lock(mutex_);
  done_[size_t(options.peers->rank())] = std::move(own);
  met_.wait(lock, [&] {
    return error_ || std::none_of(done_.begin(), done_.end(), [](const Done& d) { return d.busy_s.empty(); });
  });
  Done all = done_[0];
  for (size_t r = 1; !error_ && r < done_.size(); ++r) {
    for (size_t w = 0; w < all.busy_s.size(); ++w) all.busy_s[w] += done_[r].busy_s[w];
    all.sent.insert(all.sent.end(), done_[r].sent.begin(), done_[r].sent.end());
  }
  lock.unlock();
  try {
    const std::lock_guard reporting(report_mutex_);
    if (options.on_losses) report_heard();
  } catch (...) {
    fail(std::current_exception());
  }
  return all;
}

// ---- between processes: on the thread that moves messages, but for ask_to_stop() ----

void RunState::hear(int from, const Mail& mail) {
  Unpacker in(mail);
  switch (in.take<Word>()) {
    case Word::kLosses: {
      Part part{.instance = in.take<int>()};
      part.losses = {pipeline.wiring.instances.stage(part.instance), in.take<int64_t>(), {}};
      part.losses.values = in.take_all<float>();
      const std::lock_guard lock(mutex_);
      heard_.push_back(std::move(part));
      return;
    }
    case Word::kArrived: {
      const std::lock_guard lock(mutex_);
      arrivals_[size_t(from)].push_back({{}, mail});
      return met_.notify_all();
    }
    case Word::kAskToStop:
      return ask_to_stop();
    case Word::kHold:
      hold();
      return;
    case Word::kBegun:
      return agree(from, in.take<int64_t>());
    case Word::kEndAt:
      return end_at(in.take<int64_t>());
    case Word::kDone: {
      Done done{in.take_all<double>(), {}};
      done.sent = in.take_all<Sent>();
      const std::lock_guard lock(mutex_);
      done_[size_t(from)] = std::move(done);
      return met_.notify_all();
    }
  }
}

void RunState::ask_to_stop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(asked_, true)) return;
    held_ = true;
  }
  if (options.peers->rank() != 0) return tell(0, message(Word::kAskToStop));
  tell_all(message(Word::kHold));
  hold();
}

void RunState::hold() {
  int64_t begun = 0;
  {
    const std::lock_guard lock(mutex_);
    asked_ = held_ = true;
    begun = begun_;
  }
  if (options.peers->rank() == 0) return agree(0, begun);
  tell(0, message(Word::kBegun, begun));
}

void RunState::agree(int from, int64_t begun) {
  int64_t most = 0;
  {
    const std::lock_guard lock(mutex_);
    begun_by_[size_t(from)] = begun;
    for (const int64_t b : begun_by_) {
      if (b < 0) return;
      most = std::max(most, b);
    }
  }
  tell_all(message(Word::kEndAt, most));
  end_at(most);
}

void RunState::end_at(int64_t mbs) {
  const std::lock_guard lock(mutex_);
  limit_ = std::min(limit_, mbs);
  held_ = false;
  met_.notify_all();
}

void RunState::tell(int to, const std::string& message) { options.peers->post(to, topic_, make_mail(message)); }
void RunState::tell_all(const std::string& message) {
  for (int r = 0; r < options.peers->count(); ++r)
    if (r != options.peers->rank()) tell(r, message);
}

}  // namespace sluice
