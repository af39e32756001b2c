// A channel is a topic: parcels go one way, and for each that the receiver has let go of, on the host and on its
// device, an empty message comes back. A message is a head (PackedHead) and the values behind it, so one receive brings
// all.
#include "pipeline/transport_remote.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr size_t kAlign = 256;
size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

/// One value as it stands in a message.
struct PackedValue {
  int64_t offset = -1;  // bytes from the message's begin; -1: undefined
  int64_t dims[Shape::kMaxRank] = {};
  int32_t rank = 0;
  DType dtype = DType::kF32;
};
struct PackedHead {
  int32_t mb = 0;
  int8_t view = 0;
  uint32_t values = 0;  // that many PackedValue follow
};
size_t head_bytes(size_t values) { return aligned(sizeof(PackedHead) + values * sizeof(PackedValue)); }

size_t packed_bytes(const Parcel& parcel) {
  size_t bytes = head_bytes(parcel.values.size());
  for (const Tensor& t : parcel.values) bytes += t.defined() ? aligned(size_t(t.bytes())) : 0;
  return bytes;
}

std::vector<PackedValue> write_head(const Action& a, const Parcel& parcel, std::byte* to) {
  std::vector<PackedValue> values;
  size_t offset = head_bytes(parcel.values.size());
  for (const Tensor& t : parcel.values) {
    PackedValue& v = values.emplace_back();
    if (!t.defined()) continue;
    v.offset = int64_t(offset);
    v.rank = t.shape().rank();
    v.dtype = t.dtype();
    for (int i = 0; i < v.rank; ++i) v.dims[i] = t.shape()[i];
    offset += aligned(size_t(t.bytes()));
  }
  const PackedHead head{a.mb, a.view, uint32_t(values.size())};
  std::memcpy(to, &head, sizeof head);
  if (!values.empty()) std::memcpy(to + sizeof head, values.data(), values.size() * sizeof(PackedValue));
  return values;
}

PackedHead read_head(const Mail& mail, std::vector<PackedValue>& values) {
  PackedHead head;
  if (mail.bytes >= sizeof head) std::memcpy(&head, mail.data.get(), sizeof head);
  if (mail.bytes < head_bytes(head.values))
    throw TransportError(str("a parcel of ", mail.bytes, " bytes, expected a head for ", head.values, " values"));
  values.resize(head.values);
  if (!values.empty()) std::memcpy(values.data(), mail.data.get() + sizeof head, values.size() * sizeof(PackedValue));
  return head;
}

Shape shape_of(const PackedValue& v) {
  Shape shape;
  for (int i = 0; i < v.rank; ++i) shape.push_back(v.dims[i]);
  return shape;
}

}  // namespace

/// Host memory that a stream copies to and from, used again when nobody holds it any more.
class RemoteTransport::HostMemory : public std::enable_shared_from_this<HostMemory> {
 public:
  explicit HostMemory(Stream stream) : stream_(std::move(stream)) {}

  Mail take(size_t bytes) {
    const Mail block = fitting(bytes);
    return {{block.data.get(), [self = shared_from_this(), block](std::byte*) { self->give_back(block); }}, bytes};
  }

 private:
  Mail fitting(size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      for (auto it = spare_.begin(); it != spare_.end(); ++it)
        if (it->bytes >= bytes) {
          Mail block = std::move(*it);
          spare_.erase(it);
          return block;
        }
      if (!spare_.empty()) spare_.pop_back();  // as many blocks as are used at once, each as large as the largest
    }
    return stream_.is_cpu() ? make_mail(bytes) : Mail{stream_.host_memory(bytes), bytes};
  }
  void give_back(const Mail& block) {
    const std::lock_guard lock(mutex_);
    spare_.push_back(block);
  }

  const Stream stream_;
  std::mutex mutex_;
  std::vector<Mail> spare_;
};

/// What both ends of a channel wait with.
class RemoteTransport::Waiting {
 public:
  void abort() {
    const std::lock_guard lock(mutex);
    aborted_ = true;
    changed_.notify_all();
  }
  /// The processes have failed.
  void fail(const std::string& why) {
    const std::lock_guard lock(mutex);
    failure_ = why;
    changed_.notify_all();
  }
  void notify() { changed_.notify_all(); }
  /// Throws Aborted, TransportError.
  template <class F>
  void wait(std::unique_lock<std::mutex>& lock, const char* what, const Action& a, F&& until) {
    changed_.wait(lock, [&] { return aborted_ || !failure_.empty() || until(); });
    if (!failure_.empty()) throw TransportError(failure_);
    if (aborted_) throw Aborted(str(what, " ", to_text(a), ": the run was ended"));
  }
  std::mutex mutex;

 private:
  std::condition_variable changed_;
  bool aborted_ = false;
  std::string failure_;
};

class RemoteTransport::Sender {
 public:
  Sender(Peers& peers, const ChannelUse& c, int to, const Stream& stream)
      : peers_(peers), to_(to), memory_(std::make_shared<HostMemory>(stream)), free_(c.slots) {
    topic_ = peers.open({.message = [this](int, const Mail&) { slot_is_free(); },
                         .failed = [this] { waiting_.fail(peers_.failure()); }});
  }

  void send(const Action& a, const Parcel& parcel, const Stream& from) {
    {
      std::unique_lock lock(waiting_.mutex);
      waiting_.wait(lock, "send", a, [&] { return free_ > 0; });
      --free_;
    }
    Mail mail = memory_->take(packed_bytes(parcel));
    const std::vector<PackedValue> values = write_head(a, parcel, mail.data.get());
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i].offset >= 0) copy_to_host(from, parcel.values[i], mail.data.get() + values[i].offset);
    peers_.post(to_, topic_, std::move(mail), {from.record()});
    if (from.is_cpu()) from.enqueue([peers = &peers_](CpuContext&) { peers->nudge(); });
  }
  void abort() { waiting_.abort(); }

 private:
  void slot_is_free() {
    const std::lock_guard lock(waiting_.mutex);
    ++free_;
    waiting_.notify();
  }

  Peers& peers_;
  const int to_;
  const std::shared_ptr<HostMemory> memory_;
  Waiting waiting_;
  int free_;  // slots; guarded
  Peers::Topic topic_;
};

class RemoteTransport::Receiver : public std::enable_shared_from_this<Receiver> {
 public:
  Receiver(Peers& peers, int from, Stream stream)
      : peers_(&peers), from_(from), stream_(std::move(stream)), memory_(std::make_shared<HostMemory>(stream_)) {}
  void listen() {
    topic_ = peers_->open({.message = [this](int, Mail mail) { arrive(std::move(mail)); },
                           .failed = [this, peers = peers_] { waiting_.fail(peers->failure()); },
                           .room = [this](size_t bytes) { return memory_->take(bytes); }});
  }

  Parcel recv(const Action& a, const Stream& to) {
    std::unique_lock lock(waiting_.mutex);
    waiting_.wait(lock, "receive", a, [&] { return !letters_.empty(); });
    const Mail mail = std::move(letters_.front());
    letters_.pop_front();
    lock.unlock();
    std::vector<PackedValue> values;
    const PackedHead head = read_head(mail, values);
    if (head.mb != a.mb || head.view != a.view)
      throw TransportError(
          str("receive ", to_text(a), ": the next parcel is micro-batch ", head.mb, ", view ", int(head.view)));
    return {unpack(mail, values).claim(to)};
  }

  void abort() { waiting_.abort(); }
  /// The transport ends; parcels may go on.
  void detach() {
    topic_.end();
    const std::lock_guard lock(waiting_.mutex);
    letters_.clear();
    peers_ = nullptr;
  }

 private:
  void arrive(Mail mail) {
    const std::lock_guard lock(waiting_.mutex);
    letters_.push_back(std::move(mail));
    waiting_.notify();
  }

  /// On a CPU the values are the message itself, else copies of it.
  Parcel unpack(const Mail& mail, const std::vector<PackedValue>& values) {
    StoragePtr memory;
    void* data = mail.data.get();
    if (!stream_.is_cpu()) {
      memory = stream_.pool().allocate(stream_, mail.bytes, MemoryTag::kIo);
      data = memory->data();
    }
    const auto lease =
        std::make_shared<Storage>(data, mail.bytes, MemoryTag::kIo, stream_,
                                  [self = shared_from_this(), mail, memory](Storage& s) { self->let_go(mail, s); });
    Parcel out;
    for (const PackedValue& v : values) {
      if (v.offset < 0) {
        out.values.emplace_back();
        continue;
      }
      out.values.emplace_back(shape_of(v), v.dtype, lease, v.offset);
      if (memory) copy_from_host(stream_, mail.data.get() + v.offset, out.values.back());
    }
    if (memory) out.ready = stream_.record();
    return out;
  }

  /// Gives the slot back once what is queued has read it. That post holds the message until then.
  void let_go(const Mail& mail, const Storage& lease) {
    std::vector<Event> ends{stream_.record()};
    for (const Stream& user : lease.other_users()) ends.push_back(user.record());
    const std::lock_guard lock(waiting_.mutex);
    if (peers_ != nullptr) return peers_->post(from_, topic_, {mail.data, 0}, std::move(ends));
    for (const Event& e : ends) stream_.wait(e);
    if (stream_.is_cpu())
      stream_.enqueue([mail](CpuContext&) {});
    else
      stream_.sync();
  }

  Peers* peers_;  // guarded; null when the transport is gone
  const int from_;
  const Stream stream_;
  const std::shared_ptr<HostMemory> memory_;
  Waiting waiting_;
  std::deque<Mail> letters_;  // guarded
  Peers::Topic topic_;
};

RemoteTransport::RemoteTransport(Peers& peers, const std::vector<ChannelUse>& channels, const std::vector<int>& ranks,
                                 const std::vector<Stream>& streams) {
  for (const ChannelUse& c : channels) {
    const std::string name = str("channel ", c.from, ">", c.to);
    const int from = ranks.at(size_t(c.from)), to = ranks.at(size_t(c.to));
    if (c.slots < 1) throw TransportError(str(name, ": ", c.slots, " slots, expected 1 or more"));
    if (from == to) throw TransportError(str(name, ": both stages are in process ", from, ", expected two"));
    const std::pair key(c.from, c.to);
    if (from == peers.rank()) {
      senders_.emplace(key, std::make_unique<Sender>(peers, c, to, streams.at(size_t(c.from))));
    } else if (to == peers.rank()) {
      const auto receiver = std::make_shared<Receiver>(peers, from, streams.at(size_t(c.to)));
      receivers_.emplace(key, receiver);
      receiver->listen();
    } else {
      peers.open({});  // so that topics have the same numbers everywhere
    }
  }
}

RemoteTransport::~RemoteTransport() {
  for (const auto& entry : receivers_) entry.second->detach();
}

void RemoteTransport::send(const Action& a, const Parcel& parcel, const Stream& from) {
  const auto it = senders_.find({a.stage, a.peer});
  if (it == senders_.end())
    throw TransportError(str(to_text(a), ": there is no channel ", int(a.stage), ">", int(a.peer), " from here"));
  it->second->send(a, parcel, from);
}

Parcel RemoteTransport::recv(const Action& a, const Stream& to) {
  const auto it = receivers_.find({a.peer, a.stage});
  if (it == receivers_.end())
    throw TransportError(str(to_text(a), ": there is no channel ", int(a.peer), ">", int(a.stage), " to here"));
  return it->second->recv(a, to);
}

void RemoteTransport::abort() {
  for (const auto& entry : senders_) entry.second->abort();
  for (const auto& entry : receivers_) entry.second->abort();
}

}  // namespace sluice
