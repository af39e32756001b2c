// Contexts, copies between devices, and what stages hand on to each other when nothing is trained.
#include "pipeline/inference.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice {

Ctx inference_ctx(Stage& s) {
  return {.stream = s.stream, .weights = s.arena.weights(), .arena = s.arena, .ledger = s.ledger};
}

/// The copy runs on the stream that can reach both ends.
Tensor moved(const Tensor& t, const Stream& from, const Stream& to) {
  if (from == to) return t;
  Tensor out = Tensor::empty(to, t.shape(), t.dtype());
  const Stream& mover = to.is_cpu() && !from.is_cpu() ? from : to;  // a CPU stream reaches CPU memory only
  mover.wait(mover == to ? from.record() : to.record());
  t.storage()->record_use(mover);
  copy(mover, t, out);
  if (mover == from) {
    out.storage()->record_use(mover);
    to.wait(from.record());
  }
  return out;
}

std::vector<Port> inference_ports(const StageBody& first, bool weighted) {
  // What is not looked at is what training compares with: of mixed samples there are two labels.
  const auto is_target = [](const Port& p) {
    return p.name == "labels" || p.name == "labels2" || p.name == "share" || p.name == "weights";
  };
  std::vector<Port> ports;
  for (const Port& p : first.feed_ports())
    if (!is_target(p)) ports.push_back(p);
  if (ports.empty()) throw ScheduleError("inference: stage 0 reads nothing from the data");
  ports.push_back({.name = "labels", .dtype = DType::kI32, .differentiable = false});
  if (weighted) ports.push_back({.name = "weights", .dtype = DType::kF32, .differentiable = false});
  return ports;
}

InferenceBatch fetch_batch(const Stage& first, const Feed& feed, int64_t batch, bool weighted) {
  const std::vector<Port> ports = inference_ports(*first.body, weighted);
  std::vector<Tensor> values = feed({0, batch, ports, first.stream}).claim(first.stream);
  if (values.size() != ports.size())
    throw DataError(str("feed for evaluation: ", values.size(), " values, expected ", ports.size()));
  const auto last = [&] {
    Tensor t = std::move(values.back());
    values.pop_back();
    return t;
  };
  InferenceBatch b;
  if (weighted) b.weights = last();
  b.labels = last();
  for (Tensor& t : values) b.x.push_back({std::move(t)});
  return b;
}

Bundle handed_on(const StageBody& from, const StageBody& to, const Bundle& values) {
  return handed_on(from.out_ports(), to.in_ports(), values);
}

Bundle handed_on(const std::vector<Port>& given, const std::vector<Port>& wanted, const Bundle& values) {
  Bundle taken;
  for (const Port& p : wanted) {
    const auto it = std::find_if(given.begin(), given.end(), [&](const Port& g) { return g.name == p.name; });
    if (it == given.end()) throw ScheduleError(str("inference: the stage before does not hand on '", p.name, "'"));
    if (it - given.begin() < int64_t(values.size()))
      taken.push_back(values[size_t(it - given.begin())]);  // else training's
  }
  return taken;
}

Var decoded(Stages stages, size_t k, Var z) {
  for (size_t j = k + 1; j-- > 0;) {
    Stage& s = *stages[j];
    if (j < k) z = {moved(z.value, stages[j + 1]->stream, s.stream)};
    Ctx c = inference_ctx(s);
    z = s.body->decode(c, z);
  }
  return z;
}

}  // namespace sluice
