// Each process sends how many messages follow, and then these.
#include "pipeline/gather.h"

#include <algorithm>

#include "engine/error.h"
#include "pipeline/packing.h"

namespace sluice {
namespace {

/// What process 0 has so far.
struct Collection {
  explicit Collection(int processes) : mail(size_t(processes)), expected(size_t(processes), -1) {}

  void add(int from, Mail m) {
    const std::lock_guard lock(mutex);
    int64_t& count = expected[size_t(from)];
    if (count < 0)
      count = Unpacker(std::move(m)).take<int64_t>();
    else
      mail[size_t(from)].push_back(std::move(m));
    changed.notify_all();
  }
  bool complete() const {
    for (size_t r = 0; r < mail.size(); ++r)
      if (int64_t(mail[r].size()) != expected[r]) return false;
    return true;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::vector<Mail>> mail;  // by rank
  std::vector<int64_t> expected;        // -1: not known
  bool failed = false;
};

}  // namespace

std::vector<std::vector<Mail>> gather(Peers& peers, std::vector<Mail> own) {
  Collection all(peers.count());
  const Peers::Topic topic = peers.open({.message = [&](int from, Mail m) { all.add(from, std::move(m)); },
                                         .failed =
                                             [&] {
                                               const std::lock_guard lock(all.mutex);
                                               all.failed = true;
                                               all.changed.notify_all();
                                             }});
  if (peers.rank() != 0) {
    peers.post(0, topic, make_mail(Packer().add(int64_t(own.size())).bytes()));
    for (Mail& m : own) peers.post(0, topic, std::move(m));
    return {};
  }
  std::unique_lock lock(all.mutex);
  all.expected[0] = int64_t(own.size());
  all.mail[0] = std::move(own);
  all.changed.wait(lock, [&] { return all.failed || all.complete(); });
  if (all.failed) throw TransportError(peers.failure());
  return std::move(all.mail);
}

}  // namespace sluice
