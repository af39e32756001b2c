// The thread that moves messages between processes.
#include "pipeline/peers.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace sluice {
namespace {

// What the processes tell each other on topic 0: a letter, then text.
constexpr char kHello = 'H', kBeat = 'B', kFailure = 'F', kGather = 'G', kBye = 'X';
constexpr int kBeatsPerSilence = 5;
constexpr std::chrono::microseconds kFirstNap{20}, kLongestNap{250};

std::string own_name(int rank) {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return str("rank ", rank, " (", host, ", process ", getpid(), ")");
}

std::chrono::steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(s));
}

}  // namespace

Peers::Topic& Peers::Topic::operator=(Topic&& o) noexcept {
  end();
  peers_ = std::exchange(o.peers_, nullptr);
  id_ = o.id_;
  return *this;
}
void Peers::Topic::end() {
  if (peers_ != nullptr) std::exchange(peers_, nullptr)->end(id_);
}

Peers::Peers(std::function<CourierPtr()> connect, const Options& options) : options_(options) {
  thread_ = std::thread([this, c = std::move(connect)] { serve(c); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return complete_ || !failure_.empty(); });
  if (failure_.empty()) return;
  const std::string why = failure_;
  leaving_ = true;
  lock.unlock();
  nudge();
  thread_.join();
  throw TransportError(why);
}

Peers::~Peers() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  nudge();
  thread_.join();
}

Peers::Topic Peers::open(Listener listener) {
  const std::lock_guard lock(listening_);
  const uint32_t id = next_topic_++;
  if (listeners_told_ && listener.failed) listener.failed();
  listeners_.emplace(id, std::move(listener));
  nudge();
  return {*this, id};
}

void Peers::end(uint32_t topic) {
  const std::lock_guard lock(listening_);
  listeners_.erase(topic);
}

void Peers::post(int to, const Topic& topic, Mail mail, std::vector<Event> after) {
  const std::lock_guard lock(mutex_);
  posts_[topic.id()].push_back({to, std::move(mail), std::move(after)});
  nudged_ = true;
  wake_.notify_one();
}

void Peers::nudge() {
  const std::lock_guard lock(mutex_);
  nudged_ = true;
  wake_.notify_one();
}

std::vector<std::string> Peers::all_gather(const std::string& own) {
  std::unique_lock lock(mutex_);
  for (int r = 0; r < count(); ++r)
    if (r != rank_) posts_[0].push_back({r, make_mail(kGather + own), {}});
  others_[size_t(rank_)].gathered.push_back(own);
  nudged_ = true;
  wake_.notify_one();
  const auto all_here = [&] {
    return std::all_of(others_.begin(), others_.end(), [](const Other& o) { return !o.gathered.empty(); });
  };
  changed_.wait(lock, [&] { return !failure_.empty() || all_here(); });
  if (!all_here()) throw TransportError(failure_);  // else it is of a process that went on from here
  std::vector<std::string> all;
  for (Other& o : others_) {
    all.push_back(std::move(o.gathered.front()));
    o.gathered.pop_front();
  }
  return all;
}

void Peers::fail(const std::string& why) { keep_failure(str(name(rank_), ": ", why), true); }

std::string Peers::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

// ---- the moving thread ----

void Peers::serve(const std::function<CourierPtr()>& connect) {
  try {
    courier_ = connect();
    meet();
    for (bool moved = true; !may_end(); pause(moved)) {
      moved = send_due();
      moved |= receive_all();
      look_after(Clock::now());
      if (!failure().empty()) tell_listeners();
    }
    const bool together = std::all_of(others_.begin(), others_.end(), [](const Other& o) { return o.left; });
    courier_->close(together);
  } catch (const std::exception& e) {
    keep_failure(e.what(), false);
    tell_listeners();
  }
  courier_.reset();
}

void Peers::meet() {
  rank_ = courier_->rank();
  others_.resize(size_t(courier_->ranks()));
  for (int r = 0; r < courier_->ranks(); ++r) names_.push_back(str("rank ", r));
  names_[size_t(rank_)] = own_name(rank_);
  beat_ = looked_ = Clock::now();
  for (Other& o : others_) o.heard = beat_;
  tell_all(kHello, names_[size_t(rank_)]);
  control(rank_, kHello + names_[size_t(rank_)]);
}

bool Peers::send_due() {
  std::vector<Envelope> due;
  std::vector<Event> reached;
  {
    const std::lock_guard lock(mutex_);
    for (auto& entry : posts_) {
      if (entry.first != 0 && !failure_.empty()) break;  // what others gather with is theirs, whatever came behind
      for (std::deque<Post>& queue = entry.second; !queue.empty(); queue.pop_front()) {
        Post& p = queue.front();
        if (!std::all_of(p.after.begin(), p.after.end(), [](const Event& e) { return e.ready(); })) break;
        reached.insert(reached.end(), p.after.begin(), p.after.end());
        due.push_back({p.to, entry.first, std::move(p.mail)});
      }
    }
    std::erase_if(posts_, [](const auto& entry) { return entry.second.empty(); });
  }
  try {
    for (const Event& e : reached) e.sync();
  } catch (const std::exception& e) {
    fail(e.what());
    return true;
  }
  for (Envelope& e : due) courier_->send(std::move(e));
  return !due.empty();
}

bool Peers::receive_all() {
  const Courier::Room room = [this](uint32_t topic, size_t bytes) {
    const std::lock_guard lock(listening_);
    const auto it = listeners_.find(topic);
    return it != listeners_.end() && it->second.room ? it->second.room(bytes) : make_mail(bytes);
  };
  bool any = false;
  for (std::optional<Envelope> e; (e = courier_->receive(room)).has_value(); any = true) {
    others_[size_t(e->peer)].heard = Clock::now();
    if (e->topic == 0) {
      control(e->peer, text_of(e->mail));
      continue;
    }
    arrived_.push_back(std::move(*e));
    hand_over();  // before a word of the processes that came behind it
  }
  hand_over();  // to topics opened since
  return any;
}

void Peers::hand_over() {
  const std::lock_guard lock(listening_);
  for (auto e = arrived_.begin(); e != arrived_.end();) {
    if (e->topic >= next_topic_) {
      ++e;
      continue;
    }
    const auto it = listeners_.find(e->topic);
    if (it != listeners_.end() && it->second.message) it->second.message(e->peer, std::move(e->mail));
    e = arrived_.erase(e);
  }
}

void Peers::control(int from, const std::string& text) {
  Other& other = others_[size_t(from)];
  const std::string rest = text.substr(1);
  switch (text[0]) {
    case kHello: {
      other.present = true;
      const std::lock_guard lock(mutex_);
      names_[size_t(from)] = rest;
      complete_ = std::all_of(others_.begin(), others_.end(), [](const Other& o) { return o.present; });
      return changed_.notify_all();
    }
    case kGather: {
      const std::lock_guard lock(mutex_);
      other.gathered.push_back(rest);
      return changed_.notify_all();
    }
    case kFailure:
      return keep_failure(rest, false);
    case kBye:
      other.left = true;
      return;
    default:
      return;  // a sign of life
  }
}

/// Tells the others that this process lives, and finds those that do not. A process that was itself stopped or starved
/// has heard of nobody, and begins anew.
void Peers::look_after(Clock::time_point now) {
  const auto silence = seconds(options_.silence_s), pace = silence / kBeatsPerSilence;
  if (now - std::exchange(looked_, now) > silence / 2)
    for (Other& o : others_) o.heard = now;
  if (now - beat_ >= pace && !said_bye_) {
    beat_ = now;
    tell_all(kBeat);
  }
  for (int r = 0; r < int(others_.size()); ++r) {
    const Other& o = others_[size_t(r)];
    if (r != rank_ && !o.left && now - o.heard > silence)
      keep_failure(str(name(r), " has not been heard of for ", options_.silence_s, " s"), true);
  }
}

void Peers::keep_failure(const std::string& why, bool spread) {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) return;
  failure_ = why;
  for (int r = 0; spread && r < count(); ++r)  // behind what the others gather with
    if (r != rank_) posts_[0].push_back({r, make_mail(kFailure + why), {}});
  nudged_ = true;
  wake_.notify_one();
  changed_.notify_all();
}

void Peers::tell_listeners() {
  const std::lock_guard lock(listening_);
  if (std::exchange(listeners_told_, true)) return;
  for (const auto& entry : listeners_)
    if (entry.second.failed) entry.second.failed();
}

void Peers::tell_all(char kind, const std::string& text) {
  for (int r = 0; r < int(others_.size()); ++r)
    if (r != rank_) courier_->send({r, 0, make_mail(kind + text)});
}

/// Whether nothing is left to do: this process leaves, and so do the others.
bool Peers::may_end() {
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    failed = !failure_.empty();
    if (!leaving_ || (failed ? posts_.contains(0) || !listeners_told_ : !posts_.empty())) return false;
    if (failed && give_up_ == Clock::time_point{}) give_up_ = Clock::now() + seconds(options_.farewell_s);
  }
  if (!std::exchange(said_bye_, true)) {
    tell_all(kBye);
    others_[size_t(rank_)].left = true;
  }
  const bool all_left = std::all_of(others_.begin(), others_.end(), [](const Other& o) { return o.left; });
  return (all_left && courier_->all_sent()) || (failed && Clock::now() > give_up_);
}

void Peers::pause(bool moved) {
  if (moved) {
    nap_ = {};
    return;
  }
  nap_ = nap_.count() == 0 ? kFirstNap : std::min(2 * nap_, kLongestNap);
  std::unique_lock lock(mutex_);
  if (wake_.wait_for(lock, nap_, [&] { return nudged_; })) nap_ = {};
  nudged_ = false;
}

}  // namespace sluice
