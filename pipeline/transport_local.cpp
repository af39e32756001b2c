// Channels of reused slots. A received tensor views its slot; dropping the last view gives the slot back together with
// the point in the receiver's stream behind which the sender may write again.
#include "pipeline/transport_local.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr int64_t kAlign = 256;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

class LocalTransport::Channel : public std::enable_shared_from_this<Channel> {
 public:
  Channel(int slots, Stream receiver) : slots_(size_t(slots)), receiver_(std::move(receiver)) {}

  void send(const Action& a, const Parcel& parcel, const Stream& from) {
    const size_t index = size_t(sent_++) % slots_.size();
    Slot& slot = slots_[index];
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return aborted_ || !slot.taken; });
      if (aborted_) throw Aborted(str("send ", to_text(a), ": the run was ended"));
      slot.taken = true;
    }
    Letter letter{fill(slot, index, parcel, from), a.mb, a.view};
    const std::lock_guard lock(mutex_);
    letters_.push_back(std::move(letter));
    changed_.notify_all();
  }

  Parcel recv(const Action& a, const Stream& to) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return aborted_ || !letters_.empty(); });
    if (aborted_) throw Aborted(str("receive ", to_text(a), ": the run was ended"));
    Letter letter = std::move(letters_.front());
    letters_.pop_front();
    lock.unlock();
    if (letter.mb != a.mb || letter.view != a.view)
      throw TransportError(
          str("receive ", to_text(a), ": the next parcel is micro-batch ", letter.mb, ", view ", int(letter.view)));
    return {std::move(letter.parcel).claim(to)};
  }

  void abort() {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }

  /// Letters that nobody fetched hold slots, and slots hold this. Dropped outside the lock, since that frees slots.
  void drop_letters() {
    std::deque<Letter> letters;
    {
      const std::lock_guard lock(mutex_);
      letters.swap(letters_);
    }
  }

 private:
  struct Slot {
    StoragePtr memory;            // of the receiver's pool; grows to the largest parcel
    size_t bytes = 0;             // asked for; the block may be larger, but the rest of it is nobody's
    bool taken = false;           // guarded by mutex_
    std::vector<Event> released;  // the last readers' ends; guarded by mutex_
  };
  struct Letter {
    Parcel parcel;
    int32_t mb = 0;
    int8_t view = 0;
  };

  /// Queues the copies into the slot and returns the views of it.
  Parcel fill(Slot& slot, size_t index, const Parcel& parcel, const Stream& from) {
    int64_t bytes = 0;
    for (const Tensor& t : parcel.values) bytes += t.defined() ? aligned(t.bytes()) : 0;
    // A CPU stream reaches CPU memory only, so a parcel from a CPU to a GPU is fetched by the GPU.
    const bool fetched = from.is_cpu() && !receiver_.is_cpu();
    const Stream& mover = fetched ? receiver_ : from;
    reserve(slot, size_t(std::max(bytes, kAlign)), mover);
    for (const Event& e : slot.released) mover.wait(e);  // ours until the slot is given back
    if (fetched) mover.wait(from.record());
    const auto lease =
        std::make_shared<Storage>(slot.memory->data(), slot.memory->bytes(), MemoryTag::kIo, receiver_,
                                  [self = shared_from_this(), index](Storage& s) { self->give_back(index, s); });
    Parcel out;
    int64_t offset = 0;
    for (const Tensor& t : parcel.values) {
      if (!t.defined()) {
        out.values.emplace_back();
        continue;
      }
      out.values.emplace_back(t.shape(), t.dtype(), lease, offset);
      offset += aligned(t.bytes());
      t.storage()->record_use(mover);
      copy(mover, t, out.values.back());
    }
    out.ready = mover.record();
    return out;
  }

  /// Memory for the slot. The allocation is ordered on the receiver's stream, so the first write waits for it.
  void reserve(Slot& slot, size_t bytes, const Stream& mover) {
    if (!slot.memory || slot.bytes < bytes) {
      slot.memory.reset();
      slot.memory = receiver_.pool().allocate(receiver_, bytes, MemoryTag::kIo);
      slot.bytes = bytes;
      mover.wait(receiver_.record());
    }
    slot.memory->record_use(mover);
  }

  void give_back(size_t index, Storage& lease) {
    std::vector<Event> ends{receiver_.record()};
    for (const Stream& user : lease.other_users()) ends.push_back(user.record());
    const std::lock_guard lock(mutex_);
    slots_[index].released = std::move(ends);
    slots_[index].taken = false;
    changed_.notify_all();
  }

  std::vector<Slot> slots_;
  Stream receiver_;
  int64_t sent_ = 0;  // the sender's
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Letter> letters_;
  bool aborted_ = false;
};

LocalTransport::LocalTransport(const std::vector<ChannelUse>& channels, const std::vector<Stream>& streams) {
  for (const ChannelUse& c : channels) {
    if (c.slots < 1)
      throw TransportError(str("channel ", c.from, ">", c.to, ": ", c.slots, " slots, expected 1 or more"));
    channels_.emplace(std::pair(c.from, c.to), std::make_shared<Channel>(c.slots, streams.at(size_t(c.to))));
  }
}

LocalTransport::~LocalTransport() {
  for (const auto& entry : channels_) entry.second->drop_letters();
}

LocalTransport::Channel& LocalTransport::channel(const Action& a, int from, int to) {
  const auto it = channels_.find({from, to});
  if (it == channels_.end()) throw TransportError(str(to_text(a), ": there is no channel ", from, ">", to));
  return *it->second;
}

void LocalTransport::send(const Action& a, const Parcel& parcel, const Stream& from) {
  channel(a, a.stage, a.peer).send(a, parcel, from);
}
Parcel LocalTransport::recv(const Action& a, const Stream& to) { return channel(a, a.peer, a.stage).recv(a, to); }
void LocalTransport::abort() {
  for (const auto& entry : channels_) entry.second->abort();
}

}  // namespace sluice
