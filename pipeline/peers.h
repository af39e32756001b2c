// The processes of a run: messages by topic, moved by one thread, and the certainty that all end when one does.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/stream.h"
#include "pipeline/courier.h"

namespace sluice {

/// This process among the others. One thread moves the messages, looks after the others' signs of life, and sleeps ever
/// longer while nothing happens. Calls are thread-safe unless they say otherwise.
class Peers {
 public:
  struct Options {
    double silence_s = 5;   // a process that nothing is heard of for so long is taken for dead
    double farewell_s = 2;  // after a failure: how long the others are given to learn of it
  };
  /// What is done with a topic's messages, on the thread that moves them: nothing that blocks.
  struct Listener {
    std::function<void(int from, Mail mail)> message{};
    std::function<void()> failed{};            // once, when the processes have failed
    std::function<Mail(size_t bytes)> room{};  // for a message that is about to arrive; none: the heap
  };
  /// A listener's subscription. After its end the listener is not called and messages that come are dropped.
  class Topic {
   public:
    Topic() = default;
    Topic(Peers& peers, uint32_t id) : peers_(&peers), id_(id) {}
    Topic(Topic&& o) noexcept : peers_(std::exchange(o.peers_, nullptr)), id_(o.id_) {}
    Topic& operator=(Topic&& o) noexcept;
    ~Topic() { end(); }
    void end();
    uint32_t id() const { return id_; }

   private:
    Peers* peers_ = nullptr;
    uint32_t id_ = 0;
  };

  /// `connect` and all calls of its courier happen on the thread that moves the messages. Waits until every process is
  /// there. Throws TransportError with what `connect` threw, or when a process is lost.
  Peers(std::function<CourierPtr()> connect, const Options& options);
  /// Waits for the others to leave as well; after a failure, only for so long.
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  int rank() const { return rank_; }
  int count() const { return int(names_.size()); }
  /// "rank 2 (host, process 4711)".
  const std::string& name(int rank) const { return names_[size_t(rank)]; }

  /// The next topic: processes that open theirs in the same order talk of the same things. Messages that came before
  /// are handed over.
  Topic open(Listener listener);
  /// Sends behind what was posted to the topic before, once all points are reached. A point with an error fails all.
  void post(int to, const Topic& topic, Mail mail, std::vector<Event> after = {});
  /// Looks for something to do at once, as when a point that a message waits for is reached.
  void nudge();
  /// What each process gives, by rank. All processes call it, from one thread and in the same order among such calls.
  /// Throws TransportError with the cause when the processes fail.
  std::vector<std::string> all_gather(const std::string& own);

  /// Ends the work of all: each process learns that this one failed, and why. The first failure counts.
  void fail(const std::string& why);
  /// "rank 2 (host, process 4711): the loss is nan"; empty while there is none.
  std::string failure() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Post {
    int to = 0;
    Mail mail{};
    std::vector<Event> after{};
  };
  struct Other {
    Clock::time_point heard{};
    bool present = false, left = false;
    std::deque<std::string> gathered{};  // guarded by mutex_
  };

  void serve(const std::function<CourierPtr()>& connect);
  void meet();
  bool send_due();
  bool receive_all();
  void hand_over();
  void control(int from, const std::string& text);
  void look_after(Clock::time_point now);
  void tell_listeners();
  void keep_failure(const std::string& why, bool spread);
  void tell_all(char kind, const std::string& text = {});
  bool may_end();
  void pause(bool moved);
  void end(uint32_t topic);

  const Options options_;
  int rank_ = 0;  // these two are set before the constructor returns
  std::vector<std::string> names_;

  // The moving thread's own.
  CourierPtr courier_;
  std::vector<Other> others_;     // by rank, this process's own among them
  std::deque<Envelope> arrived_;  // in order, those of topics that are not opened yet among them
  Clock::time_point beat_{}, looked_{};
  std::chrono::microseconds nap_{0};
  bool said_bye_ = false;

  mutable std::mutex mutex_;
  std::condition_variable wake_, changed_;
  bool nudged_ = false, leaving_ = false, complete_ = false;
  Clock::time_point give_up_{};  // waiting for the others, once failed and leaving
  std::map<uint32_t, std::deque<Post>> posts_;
  std::string failure_;

  std::mutex listening_;     // held while a listener is called
  uint32_t next_topic_ = 1;  // 0 is the processes' own
  std::map<uint32_t, Listener> listeners_;
  bool listeners_told_ = false;

  std::thread thread_;
};

}  // namespace sluice
