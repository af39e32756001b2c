// Routes ports by name.
#include "pipeline/wiring.h"

#include <algorithm>

namespace sluice {
namespace {

int find_port(const std::vector<Port>& ports, const std::string& name) {
  for (size_t i = 0; i < ports.size(); ++i)
    if (ports[i].name == name) return int(i);
  return -1;
}

Edge& edge_between(std::vector<Edge>& edges, int from, int to) {
  for (Edge& e : edges)
    if (e.from == from && e.to == to) return e;
  edges.push_back({from, to, {}});
  return edges.back();
}

}  // namespace

WeightRead newest_weights(const PassAt& at) { return {.version = at.updates}; }
WeightRead forward_weights(const PassAt& at) { return at.forward; }

std::vector<Edge> route(const std::vector<StagePorts>& stages) {
  std::vector<Edge> edges;
  for (int to = 0; to < int(stages.size()); ++to) {
    const std::vector<Port>& in = stages[size_t(to)].in;
    for (size_t i = 0; i < in.size(); ++i) {
      int from = to - 1, out = -1;
      for (; from >= 0; --from)
        if (out = find_port(stages[size_t(from)].out, in[i].name); out >= 0) break;
      if (out < 0)
        throw ScheduleError(str("stage ", to, ": no earlier stage has an output for its input '", in[i].name, "'"));
      const Port& source = stages[size_t(from)].out[size_t(out)];
      if (source.dtype != in[i].dtype)
        throw ScheduleError(str("stage ", to, ": input '", in[i].name, "' is ", name(in[i].dtype), ", stage ", from,
                                " gives ", name(source.dtype)));
      const bool is_float = source.dtype == DType::kF32 || source.dtype == DType::kBF16;
      edge_between(edges, from, to)
          .links.push_back({out, int(i), is_float && source.differentiable && in[i].differentiable});
    }
  }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.to != b.to ? a.to < b.to : a.from < b.from; });
  return edges;
}

void expect_instances(const Wiring& wiring, size_t count) {
  const size_t known = wiring.instances.stage_of.size();
  if (known != 0 && known != count)
    throw ScheduleError(str("plan: ", count, " stages, the wiring has ", known, " instances"));
}

std::vector<Edge> chain(int stages) {
  std::vector<Edge> edges;
  for (int s = 1; s < stages; ++s) edges.push_back({s - 1, s, {PortLink{}}});
  return edges;
}

}  // namespace sluice
