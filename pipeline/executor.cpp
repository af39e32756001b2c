// Starts the workers, keeps the first failure, joins all, and rethrows the cause.
#include "pipeline/executor.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/error.h"
#include "pipeline/transfers.h"
#include "pipeline/transport_local.h"
#include "pipeline/worker.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

void expect_streams(const Pipeline& p) {
  const Placement& placement = p.report.placement;
  for (size_t a = 0; a < placement.size(); ++a)
    for (size_t b = a + 1; b < placement.size(); ++b) {
      const bool together = placement[a] == placement[b];
      if ((p.stages[a]->stream == p.stages[b]->stream) != together)
        throw ScheduleError(str("stages ", a, " and ", b, " are on ", together ? "one worker" : "two workers",
                                ", expected ", together ? "one stream" : "a stream for each"));
    }
}

void expect_modes(const Pipeline& p) {
  for (const StagePtr& s : p.stages)
    if (s->mode != StageMode::kTrain && p.wiring.error_crosses)
      throw ScheduleError(str(s->name, ": its error comes from later stages, so it can be neither frozen nor idle"));
}

/// One run: what is made before the first action and taken down after the last.
class Session {
 public:
  Session(Pipeline& p, const RunOptions& options)
      : pipeline_(p), streams_(streams_of(p)), net_(p.report.channels, streams_), run_(p, options, net_) {
    expect_modes(p);
    for (const StagePtr& s : p.stages) {
      Tensor flag = s->finite;
      const int32_t one[] = {1};
      flag.assign<int32_t>(s->stream, one);
      s->arena.begin_step();  // a run that failed may have left half a step
    }
    for (size_t i = 0; i < p.stages.size(); ++i)
      p.stages[i]->versions.begin({.first_step = options.first_step,
                                   .kept = p.report.versions_held[i],
                                   .forecasts = std::max(1, p.report.forecasts_held[i].forward),
                                   .lookahead = p.rule->lookahead.value_or(Lookahead::kDirection),
                                   .late = p.report.forecasts_late[i]});
    for (int w = 0; w < int(p.plan.size()); ++w) {
      workers_.push_back(std::make_unique<Worker>(run_, w));
      busy_.push_back(stream_of(w).stats().busy_s);
    }
    begin_ = Clock::now();
  }

  /// Runs f, which may fail at any point, on behalf of a worker.
  template <class F>
  void guard(F&& f) {
    try {
      f();
    } catch (...) {
      run_.fail(std::current_exception());
    }
  }
  Worker& worker(int w) { return *workers_[size_t(w)]; }
  int workers() const { return int(workers_.size()); }

  RunResult finish() {
    for (int w = 0; w < workers(); ++w) guard([&] { stream_of(w).sync(); });  // queued work points into the workers
    RunResult result{run_.mbs() / pipeline_.report.mbs_per_step, 0, busy_, {}};
    result.wall_s = std::chrono::duration<double>(Clock::now() - begin_).count();
    for (int w = 0; w < workers(); ++w) result.busy_s[size_t(w)] = stream_of(w).stats().busy_s - busy_[size_t(w)];
    for (const auto& w : workers_) w->add_sent(result.sent);
    workers_.clear();
    if (const std::exception_ptr error = run_.error()) std::rethrow_exception(error);
    return result;
  }

 private:
  static std::vector<Stream> streams_of(const Pipeline& p) {
    std::vector<Stream> streams;
    for (const StagePtr& s : p.stages) streams.push_back(s->stream);
    return streams;
  }
  const Stream& stream_of(int worker) const {
    const Placement& placement = pipeline_.report.placement;
    return streams_[size_t(std::find(placement.begin(), placement.end(), worker) - placement.begin())];
  }

  Pipeline& pipeline_;
  std::vector<Stream> streams_;  // by stage
  LocalTransport net_;
  RunState run_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<double> busy_;
  Clock::time_point begin_;
};

}  // namespace

Pipeline make_pipeline(std::vector<StagePtr> stages, const LearningRule& rule, const Plan& compute,
                       const PipelineSettings& settings) {
  Pipeline p;
  std::vector<StagePorts> ports;
  for (const StagePtr& s : stages) ports.push_back({s->body->in_ports(), s->body->out_ports()});
  p.rule = &rule;
  p.stages = std::move(stages);
  p.wiring = {.stages = int(ports.size()),
              .edges = route(ports),
              .error_crosses = rule.error_crosses,
              .synchronous = rule.synchronous,
              .forward = rule.forward,
              .backward = rule.backward,
              .recompute = settings.recompute,
              .depth = settings.depth};
  if (int(placement_of(compute).size()) != p.wiring.stages)
    throw ScheduleError(str("plan: ", placement_of(compute).size(), " stages, the network has ", ports.size()));
  p.plan = add_transfers(compute, p.wiring);
  p.report = validate(p.plan, p.wiring);
  expect_streams(p);
  return p;
}

RunResult execute(Pipeline& pipeline, const RunOptions& options) {
  Session session(pipeline, options);
  std::vector<std::thread> threads;
  for (int w = 0; w < session.workers(); ++w)
    threads.emplace_back([&session, w] { session.guard([&] { session.worker(w).run(); }); });
  for (std::thread& t : threads) t.join();
  return session.finish();
}

RunResult execute_serial(Pipeline& pipeline, const RunOptions& options) {
  Session session(pipeline, options);
  session.guard([&] {
    const int64_t mbs = options.steps * pipeline.report.mbs_per_step;
    if (mbs > 0)
      for (const Placed& p : validate(pipeline.plan, pipeline.wiring, mbs).order)
        session.worker(p.worker).step(p.action);
    for (int w = 0; w < session.workers(); ++w) session.worker(w).drain();
  });
  return session.finish();
}

}  // namespace sluice
