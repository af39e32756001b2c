// A channel is a topic: parcels go one way, and for each that the receiver has let go of, on the host and on its
// device, an empty message comes back. A message is a head (PackedHead) and the values behind it, so one receive brings
// all. Where a line joins two GPUs, the values go by that, and at the end each tells the other when it is done with it:
// the receiver first, with how many parcels it has taken.
#include "pipeline/transport_remote.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

#include "engine/error.h"
#include "pipeline/lines.h"
#include "pipeline/packed_parcel.h"
#include "pipeline/transport_nccl.h"

namespace sluice {
namespace {

constexpr const char* kClosed = "closed";  // shorter than any head

}  // namespace

/// A line that another thread may abort while it is made, used or dropped.
class RemoteTransport::LineOf {
 public:
  void set(std::unique_ptr<NcclLine> line) {
    const std::lock_guard lock(mutex_);
    std::swap(line_, line);
  }
  NcclLine* get() const { return line_.get(); }
  void abort() {
    const std::lock_guard lock(mutex_);
    if (line_) line_->abort();
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<NcclLine> line_;
};

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
  /// The same, but says whether it came to pass.
  template <class F>
  bool comes(F&& until) {
    std::unique_lock lock(mutex);
    changed_.wait(lock, [&] { return aborted_ || !failure_.empty() || until(); });
    return !aborted_ && failure_.empty();
  }
  bool over() {
    const std::lock_guard lock(mutex);
    return aborted_ || !failure_.empty();
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
      : peers_(peers), to_(to), memory_(std::make_shared<HostMemory>(stream)), free_(c.slots), slots_(size_t(c.slots)) {
    topic_ = peers.open({.message = [this](int, const Mail& mail) { answered(mail); },
                         .failed =
                             [this] {
                               waiting_.fail(peers_.failure());
                               lines_.abort();
                             }});
  }
  ~Sender() {
    if (lines_.get() == nullptr || !waiting_.comes([this] { return taken_ >= 0; })) return;
    if (taken_ == sent_) lines_.get()->finish();
    peers_.post(to_, topic_, make_mail(kClosed));
  }
  void join(const std::string& id, const Device& device) {
    lines_.set(std::make_unique<NcclLine>(id, NcclLine::End::kSender, device, [this] { return waiting_.over(); }));
  }

  void send(const Action& a, const Parcel& parcel, const Stream& from) {
    {
      std::unique_lock lock(waiting_.mutex);
      waiting_.wait(lock, "send", a, [&] { return free_ > 0; });
      --free_;
    }
    NcclLine* const line = lines_.get();
    Mail mail = memory_->take(line != nullptr ? head_bytes(parcel.values.size()) : packed_bytes(parcel));
    const std::vector<PackedValue> values = write_head(a, parcel, mail.data.get());
    if (line != nullptr) {
      const std::vector<Tensor> slot = fill_slot(parcel, values, from);
      peers_.post(to_, topic_, std::move(mail));
      return line->send(slot, from);
    }
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i].offset >= 0) copy_to_host(from, parcel.values[i], mail.data.get() + values[i].offset);
    peers_.post(to_, topic_, std::move(mail), {from.record()});
    if (from.is_cpu()) from.enqueue([peers = &peers_](CpuContext&) { peers->nudge(); });
  }
  void abort() {
    waiting_.abort();
    lines_.abort();
  }

 private:
  /// What goes by the line is copied: it leaves when the receiver comes for it, and no memory of the stage may wait for
  /// that. A slot's last parcel has arrived, for parcels arrive in order and as many as there are slots are on their
  /// way at most.
  std::vector<Tensor> fill_slot(const Parcel& parcel, const std::vector<PackedValue>& values, const Stream& from) {
    StoragePtr& slot = slots_[size_t(sent_++) % slots_.size()];
    const size_t bytes = packed_bytes(parcel);
    if (!slot || slot->bytes() < bytes) slot = from.pool().allocate(from, bytes, MemoryTag::kIo);
    std::vector<Tensor> copies;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i].offset < 0) continue;
      const Tensor& t = parcel.values[i];
      copies.emplace_back(t.shape(), t.dtype(), slot, values[i].offset);
      copy(from, t, copies.back());
    }
    return copies;
  }
  /// A slot is free, or the receiver has ended and says how many parcels it took.
  void answered(const Mail& mail) {
    const std::lock_guard lock(waiting_.mutex);
    if (mail.bytes == 0)
      ++free_;
    else
      taken_ = std::stoll(text_of(mail));
    waiting_.notify();
  }

  Peers& peers_;
  const int to_;
  const std::shared_ptr<HostMemory> memory_;
  Waiting waiting_;
  int free_;            // slots; guarded
  int64_t taken_ = -1;  // by a receiver that has ended; guarded
  int64_t sent_ = 0;    // by the line
  std::vector<StoragePtr> slots_;
  LineOf lines_;
  Peers::Topic topic_;
};

class RemoteTransport::Receiver : public std::enable_shared_from_this<Receiver> {
 public:
  Receiver(Peers& peers, int from, Stream stream)
      : peers_(&peers), from_(from), stream_(std::move(stream)), memory_(std::make_shared<HostMemory>(stream_)) {}
  void listen() {
    topic_ = peers_->open({.message = [this](int, Mail mail) { arrive(std::move(mail)); },
                           .failed =
                               [this, peers = peers_] {
                                 waiting_.fail(peers->failure());
                                 lines_.abort();
                               },
                           .room = [this](size_t bytes) { return memory_->take(bytes); }});
  }

  void join(const std::string& id) {
    lines_.set(
        std::make_unique<NcclLine>(id, NcclLine::End::kReceiver, stream_.device(), [this] { return waiting_.over(); }));
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

  void abort() {
    waiting_.abort();
    lines_.abort();
  }
  /// Tells the sender what it took by the line, all of which is here.
  void finish() {
    NcclLine* const line = lines_.get();
    if (line == nullptr || waiting_.over()) return;
    line->finish();
    peers_->post(from_, topic_, make_mail(std::to_string(taken_)));
  }
  /// The transport ends; parcels may go on.
  void detach() {
    if (lines_.get() != nullptr) waiting_.comes([this] { return closed_; });
    lines_.set(nullptr);
    topic_.end();
    const std::lock_guard lock(waiting_.mutex);
    letters_.clear();
    peers_ = nullptr;
  }

 private:
  void arrive(Mail mail) {
    const std::lock_guard lock(waiting_.mutex);
    if (mail.bytes == std::strlen(kClosed))
      closed_ = true;
    else
      letters_.push_back(std::move(mail));
    waiting_.notify();
  }

  /// On a CPU the values are the message itself, else copies of it, or what comes by the line.
  Parcel unpack(const Mail& mail, const std::vector<PackedValue>& values) {
    StoragePtr memory;
    void* data = mail.data.get();
    const size_t bytes = packed_bytes(values);
    NcclLine* const line = lines_.get();
    if (!stream_.is_cpu()) {  // a line's memory is its own: what arrives need not wait for the stage
      const Stream& owner = line != nullptr ? line->lane() : stream_;
      memory = owner.pool().allocate(owner, bytes, MemoryTag::kIo);
      data = memory->data();
    }
    const auto lease =
        std::make_shared<Storage>(data, bytes, MemoryTag::kIo, stream_,
                                  [self = shared_from_this(), mail, memory](Storage& s) { self->let_go(mail, s); });
    Parcel out;
    for (const PackedValue& v : values) {
      if (v.offset < 0) {
        out.values.emplace_back();
        continue;
      }
      out.values.emplace_back(v.shape(), v.dtype, lease, v.offset);
      if (memory && line == nullptr) copy_from_host(stream_, mail.data.get() + v.offset, out.values.back());
    }
    if (line != nullptr) {
      memory->record_use(stream_);
      line->recv(out.values);
      ++taken_;
    }
    if (memory) out.ready = line != nullptr ? line->lane().record() : stream_.record();
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
  bool closed_ = false;       // by the sender; guarded
  int64_t taken_ = 0;         // by the line
  LineOf lines_;
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
  join_gpus(peers, channels, streams);
}

/// In the order of the channels, which is the same everywhere: making a line waits for its other end.
void RemoteTransport::join_gpus(Peers& peers, const std::vector<ChannelUse>& channels,
                                const std::vector<Stream>& streams) {
  std::vector<LineEnd> own;
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::pair key(channels[i].from, channels[i].to);
    const bool sends = senders_.count(key) != 0;
    if (!sends && receivers_.count(key) == 0) continue;
    own.push_back({int(i), sends, streams.at(size_t(sends ? key.first : key.second)).device()});
  }
  for (const auto& [channel, id] : agree_on_lines(peers, own)) {
    const std::pair key(channels[size_t(channel)].from, channels[size_t(channel)].to);
    try {
      if (const auto s = senders_.find(key); s != senders_.end())
        s->second->join(id, streams[size_t(key.first)].device());
      if (const auto r = receivers_.find(key); r != receivers_.end()) r->second->join(id);
    } catch (const Aborted&) {
      throw TransportError(peers.failure());
    }
  }
}

RemoteTransport::~RemoteTransport() {
  for (const auto& entry : receivers_) entry.second->finish();
  senders_.clear();
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
