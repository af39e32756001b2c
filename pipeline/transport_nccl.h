// Values from a GPU of one process to a GPU of another, without the host between them: NCCL.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/tensor.h"

struct ncclComm;

namespace sluice {

/// Whether this build has NCCL.
bool has_nccl();
/// What both ends of a line are made with; from one of them.
std::string make_line_id();
/// The same for two devices that are one, on whatever machine; no line joins them.
std::string gpu_identity(const Device& device);

/// One end of a one-way line between two GPUs. One thread uses it, but for abort(). In a build without NCCL every call
/// throws TransportError.
class NcclLine {
 public:
  enum class End : int { kSender = 0, kReceiver = 1 };

  /// Waits for the other end until `ended` says yes, then throws Aborted. Throws TransportError.
  NcclLine(const std::string& id, End end, Device device, const std::function<bool()>& ended);
  /// What is still queued ends without its values: wait for it before, where it counts.
  ~NcclLine();
  NcclLine(const NcclLine&) = delete;
  NcclLine& operator=(const NcclLine&) = delete;

  /// Queues the transfer of the defined values behind what `from` has queued; they may be dropped then. The other end
  /// receives as many bytes of each, in this order.
  void send(const std::vector<Tensor>& values, const Stream& from);
  /// The other side of it, into memory of the lane's.
  void recv(const std::vector<Tensor>& values);
  /// The line's own stream: what it has queued is done when the values have left, or arrived.
  const Stream& lane() const { return lane_; }
  /// Blocks the host until then; not after an abort.
  void finish();
  /// From any thread: what is queued ends without its values, and send() and recv() throw Aborted.
  void abort();

 private:
  void move(const std::vector<Tensor>& values);
  void await(const std::function<bool()>& ended);

  const End end_;
  const Stream lane_;
  std::mutex mutex_;  // of comm_'s calls
  ncclComm* comm_ = nullptr;
  std::atomic<bool> aborted_{false};
};

}  // namespace sluice
