// What a training counts: memory, kernels' operations, cores.
#include "apps/recipe.h"
#include "apps/training.h"
#include "pipeline/packing.h"

namespace sluice {

int Training::cores() const {
  int n = 0;
  for (const CpuShare& s : shares_) n += s.cores.empty() ? 0 : s.team;
  return n;
}

ByteCount Training::counted_bytes() {
  const std::vector<StageNet> nets = make_nets(find_model(config_));
  int readers = 0;
  for (const StageNet& n : nets) readers += n.body->feed_ports().empty() ? 0 : 1;
  std::unique_ptr<Loader> all;  // a loader that all stages read from
  if (ranks_.many()) all = training_loader({readers});
  Loader& loader = all ? *all : *loader_;
  loader.seek(0);
  return count_bytes(nets, feed_from(loader), pipeline_.wiring.error_crosses,
                     int(make_optimizer(config_)->state_names().size()));
}
std::vector<WorkerBytes> Training::expected_memory() {
  const ByteCount count = counted_bytes();
  CostModel costs{};
  costs.edges = count.edges;
  costs.bytes = count.bytes;
  return simulate(pipeline_.report, between(pipeline_.wiring.instances, costs)).bytes;
}
std::vector<int64_t> Training::device_peaks() const {
  std::vector<int64_t> peaks;
  Packer own;
  for (const Stream& s : streams_) own.add(s.pool().peak());
  for (const std::string& of_rank : ranks_.all(own.bytes()))
    for (Unpacker in(of_rank); !in.at_end();) peaks.push_back(in.take<int64_t>());
  return peaks;
}

int64_t Training::stored_peak() const {
  int64_t bytes = 0;
  for (const StagePtr& s : pipeline_.stages) bytes += s ? s->ledger.peak() : 0;
  return bytes;
}
int64_t Training::peak_memory() const {
  int64_t bytes = 0;
  for (const Stream& s : streams_) bytes += s.pool().peak();
  return bytes;
}
int64_t Training::os_calls() const {
  int64_t calls = 0;
  for (const Stream& s : streams_) calls += s.pool().os_calls();
  return calls + loader_->stream().pool().os_calls();
}
int64_t Training::flops() const {
  int64_t n = 0;
  for (const Stream& s : streams_) n += s.stats().flops;
  return n;
}
int64_t Training::plans_created() const {
  int64_t plans = 0;
  for (const Stream& s : streams_) plans += s.plans_created();
  return plans;
}
void Training::reset_peaks() {
  for (const Stream& s : streams_) s.pool().reset_peak();
  for (const StagePtr& s : pipeline_.stages)
    if (s) s->ledger.reset_peak();
}

}  // namespace sluice
