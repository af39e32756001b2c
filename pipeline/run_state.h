// What the workers of a run share: the end that is common to all, meetings, losses. With others in other processes too.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <vector>

#include "pipeline/executor.h"
#include "pipeline/peers.h"
#include "pipeline/transport.h"

namespace sluice {

class RunState {
 public:
  /// All outlive it; with options.peers, every process makes its own at the same point.
  RunState(Pipeline& pipeline, const RunOptions& options, Transport& net);

  /// Keeps the first error and wakes everybody.
  void fail(std::exception_ptr error);
  std::exception_ptr error();
  /// Whether a worker may begin a period after which `mbs` micro-batches are its whole run. After a request to stop,
  /// only as far as somebody has begun already: so all end alike. Throws Aborted when the run has failed.
  bool begin_period(int64_t mbs);
  /// Micro-batches of the run as it stands.
  int64_t mbs();
  /// Passes an instance's losses of a step on: those of a stage with several, added up, when all have come.
  void report(int instance, StepLosses losses);
  /// The k-th arrival of each worker makes meeting k. It may bring values, f32.
  void arrive(int worker, const Stream& stream, const Tensor& values = {});
  /// Blocks the host until every worker has arrived at the meeting that `worker` arrived at last; then the stream waits
  /// for all of them. By worker, the values that they brought, for which the host waits, too. Throws Aborted when the
  /// run has failed.
  std::vector<std::vector<float>> await(int worker, const Stream& stream);

  /// What a process did, for all to know.
  struct Done {
    std::vector<double> busy_s;  // by worker, 0 where it is another process's
    std::vector<Sent> sent;
  };
  /// Waits until all processes have done their parts, unless the run fails. All of it, summed up.
  Done finish(Done own);

  Pipeline& pipeline;
  const RunOptions& options;
  Transport& net;

 private:
  /// What an instance of a stage trained on.
  struct Part {
    int instance = 0;
    StepLosses losses{};
  };
  void report_part(Part part);
  void report_heard();
  void hear(int from, const Mail& mail);
  void ask_to_stop();
  void hold();
  void agree(int from, int64_t begun);
  void end_at(int64_t mbs);
  void tell(int to, const std::string& message);
  void tell_all(const std::string& message);

  std::mutex mutex_, report_mutex_;
  std::map<std::pair<int, int64_t>, std::map<int, std::vector<float>>> partial_;  // by stage and step, then instance
  std::condition_variable met_;
  struct Arrival {
    Event reached;  // of another process: by the time that it is known
    Mail mail;      // as processes tell it to each other; its values are there once the event is reached
  };
  std::vector<std::vector<Arrival>> arrivals_;  // by worker and meeting
  int64_t limit_ = 0, begun_ = 0;
  std::exception_ptr error_;
  // Between processes.
  bool asked_ = false, held_ = false;  // to stop; until it is known where
  std::vector<int64_t> begun_by_;      // process 0: by process, -1: not known
  std::vector<Done> done_;
  std::deque<Part> heard_;  // process 0: of the others, told by its own worker, since that may block
  Peers::Topic topic_;      // last: it ends before what its listener uses
};

}  // namespace sluice
