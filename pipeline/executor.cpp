// Starts the workers, keeps the first failure, joins all, and rethrows the cause.
#include "pipeline/executor.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/error.h"
#include "pipeline/transfers.h"
#include "pipeline/transport_local.h"
#include "pipeline/transport_remote.h"
#include "pipeline/worker.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

void expect_streams(const Pipeline& p) {
  const Placement& placement = p.report.placement;
  for (size_t a = 0; a < placement.size(); ++a)
    for (size_t b = a + 1; b < placement.size(); ++b) {
      if (!p.stages[a] || !p.stages[b]) continue;
      const bool together = placement[a] == placement[b];
      if ((p.stages[a]->stream == p.stages[b]->stream) != together)
        throw ScheduleError(str("stages ", a, " and ", b, " are on ", together ? "one worker" : "two workers",
                                ", expected ", together ? "one stream" : "a stream for each"));
    }
}

void expect_modes(const Pipeline& p) {
  for (const StagePtr& s : p.stages)
    if (s && s->mode != StageMode::kTrain && p.wiring.error_crosses)
      throw ScheduleError(str(s->name, ": its error comes from later stages, so it can be neither frozen nor idle"));
}

/// Worker w is process w's. Throws ScheduleError.
void expect_here(const Pipeline& p, const Peers* peers) {
  const size_t processes = peers == nullptr ? 1 : size_t(peers->count());
  if (peers != nullptr && processes != p.plan.size())
    throw ScheduleError(
        str("a plan for ", p.plan.size(), " workers, expected one for each of ", processes, " processes"));
  for (size_t i = 0; i < p.stages.size(); ++i) {
    const bool mine = peers == nullptr || p.report.placement[i] == peers->rank();
    if (mine != (p.stages[i] != nullptr))
      throw ScheduleError(str("stage ", i, " is ", mine ? "not here, where its worker is" : "here, its worker is not"));
  }
}

void expect_replicas(const Pipeline& p) {
  if (p.wiring.instances.stage_of.empty()) return;
  if (!p.wiring.synchronous)
    throw ScheduleError(str("rule '", p.rule->name, "': stages with replicas, expected a synchronous rule"));
  for (size_t i = 0; i < p.stages.size(); ++i) {
    if (!p.stages[i]) continue;  // its own process compares it
    const Stage &one = *p.instances_of(p.wiring.instances.stage(int(i)))[0], &other = *p.stages[i];
    const std::vector<ParamSpec>&a = one.arena.specs(), &b = other.arena.specs();
    const auto same = [](const ParamSpec& x, const ParamSpec& y) { return x.path == y.path && x.shape == y.shape; };
    if (!std::equal(a.begin(), a.end(), b.begin(), b.end(), same))
      throw ScheduleError(
          str("instance ", i, ": its parameters are not those of '", one.name, "', which it replicates"));
  }
}

/// One run: what is made before the first action and taken down after the last.
class Session {
 public:
  Session(Pipeline& p, const RunOptions& options)
      : pipeline_(p), streams_(streams_of(p, options)), net_(connect(p, options, streams_)), run_(p, options, *net_) {
    expect_modes(p);
    for (size_t i = 0; i < p.stages.size(); ++i) {
      const StagePtr& s = p.stages[i];
      if (!s) continue;
      Tensor flag = s->finite;
      const int32_t one[] = {1};
      flag.assign<int32_t>(s->stream, one);
      s->arena.begin_step();  // a run that failed may have left half a step
      s->versions.begin({.first_step = options.first_step,
                         .kept = p.report.versions_held[i],
                         .forecasts = std::max(1, p.report.forecasts_held[i].forward),
                         .lookahead = p.rule->lookahead.value_or(Lookahead::kDirection),
                         .late = p.report.forecasts_late[i]});
    }
    workers_.resize(p.plan.size());
    busy_.resize(p.plan.size());
    for (size_t i = 0; i < p.stages.size(); ++i) {
      const auto w = size_t(p.report.placement[i]);
      if (!p.stages[i] || workers_[w]) continue;
      workers_[w] = std::make_unique<Worker>(run_, int(w));
      busy_[w] = stream_of(int(w)).stats().busy_s;
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
  /// Those that are here.
  std::vector<int> workers() const {
    std::vector<int> here;
    for (size_t w = 0; w < workers_.size(); ++w)
      if (workers_[w]) here.push_back(int(w));
    return here;
  }

  RunResult finish() {
    for (const int w : workers()) guard([&] { stream_of(w).sync(); });  // queued work points into the workers
    RunState::Done done{std::vector<double>(workers_.size()), {}};
    for (const int w : workers()) {
      done.busy_s[size_t(w)] = stream_of(w).stats().busy_s - busy_[size_t(w)];
      worker(w).add_sent(done.sent);
    }
    done = run_.finish(std::move(done));
    const double wall_s = std::chrono::duration<double>(Clock::now() - begin_).count();
    workers_.clear();
    if (const std::exception_ptr error = run_.error()) std::rethrow_exception(error);
    return {run_.mbs() / pipeline_.report.mbs_per_step, wall_s, std::move(done.busy_s), std::move(done.sent)};
  }

 private:
  /// By stage; some stream of this process for those of others, where nobody uses it.
  static std::vector<Stream> streams_of(const Pipeline& p, const RunOptions& options) {
    expect_here(p, options.peers);
    const StagePtr& some =
        *std::find_if(p.stages.begin(), p.stages.end(), [](const StagePtr& s) { return s != nullptr; });
    std::vector<Stream> streams;
    for (const StagePtr& s : p.stages) streams.push_back(s ? s->stream : some->stream);
    return streams;
  }
  static std::unique_ptr<Transport> connect(const Pipeline& p, const RunOptions& options,
                                            const std::vector<Stream>& streams) {
    if (options.peers == nullptr) return std::make_unique<LocalTransport>(p.report.channels, streams);
    return std::make_unique<RemoteTransport>(*options.peers, p.report.channels, p.report.placement, streams);
  }
  const Stream& stream_of(int worker) const {
    const Placement& placement = pipeline_.report.placement;
    return streams_[size_t(std::find(placement.begin(), placement.end(), worker) - placement.begin())];
  }

  Pipeline& pipeline_;
  std::vector<Stream> streams_;  // by stage
  std::unique_ptr<Transport> net_;
  RunState run_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<double> busy_;
  Clock::time_point begin_;
};

}  // namespace

Stages Pipeline::firsts() const {
  size_t count = 0;
  while (count < stages.size() && wiring.instances.is_first(int(count))) ++count;
  return {stages.data(), count};
}

std::vector<Stage*> Pipeline::instances_of(int stage) const {
  std::vector<Stage*> here;
  for (size_t i = 0; i < stages.size(); ++i)
    if (stages[i] && wiring.instances.stage(int(i)) == stage) here.push_back(stages[i].get());
  return here;
}

Pipeline make_pipeline(std::vector<StagePtr> stages, const LearningRule& rule, const Plan& compute,
                       const PipelineSettings& settings) {
  std::vector<StagePorts> ports;
  for (const StagePtr& s : stages) ports.push_back({s->body->in_ports(), s->body->out_ports()});
  return make_pipeline(std::move(stages), ports, rule, compute, settings);
}

Pipeline make_pipeline(std::vector<StagePtr> stages, const std::vector<StagePorts>& ports, const LearningRule& rule,
                       const Plan& compute, const PipelineSettings& settings) {
  Pipeline p;
  p.rule = &rule;
  p.stages = std::move(stages);
  if (placement_of(compute).size() != p.stages.size())
    throw ScheduleError(str("plan: ", placement_of(compute).size(), " stages, the network has ", p.stages.size()));
  p.wiring = {.stages = int(p.stages.size()),
              .edges = {},
              .error_crosses = rule.error_crosses,
              .synchronous = rule.synchronous,
              .forward = rule.forward,
              .backward = rule.backward,
              .recompute = settings.recompute,
              .depth = settings.depth};
  if (!settings.stage_of.empty()) p.wiring.instances = share_out(settings.stage_of, compute);
  expect_instances(p.wiring, p.stages.size());
  expect_replicas(p);
  p.ports.assign(ports.begin(), ports.begin() + ptrdiff_t(p.firsts().size()));
  p.wiring.edges = between(p.wiring.instances, route(p.ports));
  p.plan = add_transfers(compute, p.wiring);
  p.report = validate(p.plan, p.wiring);
  expect_streams(p);
  return p;
}

RunResult execute(Pipeline& pipeline, const RunOptions& options) {
  Session session(pipeline, options);
  std::vector<std::thread> threads;
  for (const int w : session.workers())
    threads.emplace_back([&session, w] { session.guard([&] { session.worker(w).run(); }); });
  for (std::thread& t : threads) t.join();
  return session.finish();
}

RunResult execute_serial(Pipeline& pipeline, const RunOptions& options) {
  if (options.peers != nullptr) throw ScheduleError("execute_serial: expected all workers in this process");
  Session session(pipeline, options);
  session.guard([&] {
    const int64_t mbs = options.steps * pipeline.report.mbs_per_step;
    if (mbs > 0)
      for (const Placed& p : validate(pipeline.plan, pipeline.wiring, mbs).order)
        session.worker(p.worker).step(p.action);
    for (const int w : session.workers()) session.worker(w).drain();
  });
  return session.finish();
}

}  // namespace sluice
