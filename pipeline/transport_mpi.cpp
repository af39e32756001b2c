// A message is an MPI message: its topic is the tag, and MPI keeps those of one sender in order.
#include "pipeline/transport_mpi.h"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>

#include "engine/error.h"

namespace sluice {
namespace {

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw TransportError(str(call, ": ", text));
}

constexpr std::chrono::seconds kTogether{20};

/// Calls that wait for all ranks cannot be broken off when one of these never comes: then the process ends, and the
/// launcher ends the others.
class Together {
 public:
  explicit Together(const char* call)
      : thread_([this, call] {
          std::unique_lock lock(mutex_);
          if (done_.wait_for(lock, kTogether, [this] { return over_; })) return;
          std::fprintf(stderr, "sluice: process %d: not all ranks have come to %s within %d s\n", int(getpid()), call,
                       int(kTogether.count()));
          _exit(1);
        }) {}
  ~Together() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    done_.notify_one();
    thread_.join();
  }
  Together(const Together&) = delete;
  Together& operator=(const Together&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  bool over_ = false;
  std::thread thread_;
};

class MpiCourier final : public Courier {
 public:
  MpiCourier() {
    const Together start("MPI_Init_thread");
    int level = MPI_THREAD_SINGLE;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread");
    if (level < MPI_THREAD_FUNNELED) throw TransportError("MPI: this library serves programs without threads only");
    check(MPI_Comm_dup(MPI_COMM_WORLD, &world_), "MPI_Comm_dup");
    check(MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(world_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(world_, &ranks_), "MPI_Comm_size");
    int* largest = nullptr;
    int known = 0;
    check(MPI_Comm_get_attr(world_, MPI_TAG_UB, &largest, &known), "MPI_Comm_get_attr");
    if (known != 0) largest_topic_ = uint32_t(*largest);
  }

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  void send(Envelope e) override {
    if (e.mail.bytes > size_t(std::numeric_limits<int>::max()))
      throw TransportError(str("a message of ", e.mail.bytes, " bytes; MPI takes less than 2 GiB"));
    if (e.topic > largest_topic_) throw TransportError(str("topic ", e.topic, "; MPI has ", largest_topic_, " tags"));
    Under& u = sending_.emplace_back(Under{std::move(e), MPI_REQUEST_NULL});
    const Mail& mail = u.envelope.mail;
    check(MPI_Isend(mail.data.get(), int(mail.bytes), MPI_BYTE, u.envelope.peer, int(u.envelope.topic), world_,
                    &u.request),
          "MPI_Isend");
  }

  bool all_sent() override {
    drop_sent();
    return sending_.empty();
  }

  std::optional<Envelope> receive(const Room& room) override {
    drop_sent();
    while (begin_next(room)) {
    }
    for (auto u = receiving_.begin(); u != receiving_.end(); ++u) {
      const bool overtakes = std::any_of(receiving_.begin(), u,
                                         [&](const Under& before) { return before.envelope.peer == u->envelope.peer; });
      if (overtakes || !done(*u)) continue;
      Envelope e = std::move(u->envelope);
      receiving_.erase(u);
      return e;
    }
    return {};
  }

  void close(bool together) override {
    if (!together) {  // MPI may still hold these, and waits for the lost ones if it is asked to end
      new std::deque<Under>(std::move(sending_));
      new std::deque<Under>(std::move(receiving_));
      return;
    }
    const Together end("MPI_Finalize");
    check(MPI_Comm_free(&world_), "MPI_Comm_free");
    check(MPI_Finalize(), "MPI_Finalize");
  }

 private:
  struct Under {  // way
    Envelope envelope;
    MPI_Request request;
  };

  static bool done(Under& u) {
    int flag = 0;
    check(MPI_Test(&u.request, &flag, MPI_STATUS_IGNORE), "MPI_Test");
    return flag != 0;
  }
  void drop_sent() {
    for (auto u = sending_.begin(); u != sending_.end();) u = done(*u) ? sending_.erase(u) : std::next(u);
  }
  bool begin_next(const Room& room) {
    int flag = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, world_, &flag, &message, &status), "MPI_Improbe");
    if (flag == 0) return false;
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    Under& u = receiving_.emplace_back();
    u.envelope = {status.MPI_SOURCE, uint32_t(status.MPI_TAG), room(uint32_t(status.MPI_TAG), size_t(bytes))};
    check(MPI_Imrecv(u.envelope.mail.data.get(), bytes, MPI_BYTE, &message, &u.request), "MPI_Imrecv");
    return true;
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0, ranks_ = 0;
  uint32_t largest_topic_ = 32767;  // what every MPI has
  std::deque<Under> sending_, receiving_;
};

}  // namespace

CourierPtr connect_mpi() { return std::make_unique<MpiCourier>(); }

}  // namespace sluice
