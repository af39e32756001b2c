// Processes that are threads: couriers through memory, which can be cut off as a process that stops or dies.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <vector>

#include "engine/error.h"
#include "pipeline/peers.h"

namespace sluice::test {

/// What connects them all.
class LoopHub {
 public:
  explicit LoopHub(int ranks) : boxes_(size_t(ranks)), mute_(size_t(ranks)) {}

  CourierPtr courier(int rank) { return std::make_unique<LoopCourier>(*this, rank); }
  /// From now on nothing leaves this process and nothing reaches it.
  void cut_off(int rank) { mute_[size_t(rank)] = true; }
  /// Of all messages so far.
  int64_t bytes() const { return bytes_; }
  /// Its next call of the courier throws, as when the network breaks.
  void break_courier(int rank) { broken_ = rank; }

 private:
  class LoopCourier final : public Courier {
   public:
    LoopCourier(LoopHub& hub, int rank) : hub_(hub), rank_(rank) {}
    int rank() const override { return rank_; }
    int ranks() const override { return int(hub_.boxes_.size()); }
    void send(Envelope e) override { hub_.put(rank_, std::move(e)); }
    bool all_sent() override { return true; }
    std::optional<Envelope> receive(const Room& room) override {
      std::optional<Envelope> e = hub_.take(rank_);
      if (!e) return e;
      const Mail mine = room(e->topic, e->mail.bytes);
      std::memcpy(mine.data.get(), e->mail.data.get(), mine.bytes);
      e->mail = mine;
      return e;
    }
    void close(bool) override {}

   private:
    LoopHub& hub_;
    int rank_;
  };

  void put(int from, Envelope e) {
    if (broken_ == from) throw TransportError("planted");
    if (mute_[size_t(from)] || mute_[size_t(e.peer)]) return;
    bytes_ += int64_t(e.mail.bytes);
    const std::lock_guard lock(mutex_);
    std::deque<Envelope>& box = boxes_[size_t(e.peer)];
    e.peer = from;
    box.push_back(std::move(e));
  }
  std::optional<Envelope> take(int rank) {
    if (broken_ == rank) throw TransportError("planted");
    const std::lock_guard lock(mutex_);
    std::deque<Envelope>& box = boxes_[size_t(rank)];
    if (box.empty() || mute_[size_t(rank)]) return {};
    Envelope e = std::move(box.front());
    box.pop_front();
    return e;
  }

  std::mutex mutex_;
  std::vector<std::deque<Envelope>> boxes_;
  std::vector<std::atomic<bool>> mute_;
  std::atomic<int> broken_{-1};
  std::atomic<int64_t> bytes_{0};
};

/// All processes of a hub.
class Company {
 public:
  explicit Company(int ranks, const Peers::Options& options = {.silence_s = 30, .farewell_s = 0.05}) : hub_(ranks) {
    peers_.resize(size_t(ranks));
    each([&](int r) { peers_[size_t(r)] = std::make_unique<Peers>([&, r] { return hub_.courier(r); }, options); });
  }
  ~Company() {
    each([&](int r) { peers_[size_t(r)].reset(); });  // at once: each waits for the others
  }
  Company(const Company&) = delete;
  Company& operator=(const Company&) = delete;

  Peers& operator[](int rank) { return *peers_[size_t(rank)]; }
  LoopHub& hub() { return hub_; }
  int count() const { return int(peers_.size()); }
  /// f(rank) in a thread of its own for each.
  template <class F>
  void each(F&& f) {
    std::vector<std::thread> threads;
    for (int r = 0; r < count(); ++r) threads.emplace_back([&f, r] { f(r); });
    for (std::thread& t : threads) t.join();
  }

 private:
  LoopHub hub_;
  std::vector<std::unique_ptr<Peers>> peers_;
};

}  // namespace sluice::test
