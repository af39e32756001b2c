// Matching, reading what each rank gives, and writing what each gets: all read before one writes.
#include "emu/nccl_calls.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "emu/gemm.h"
#include "emu/world.h"

namespace emu::lib {

size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      return 0;
  }
}

size_t given(const Call& c) {
  if (c.kind == Kind::kRecv || (c.kind == Kind::kBroadcast && c.rank != c.other)) return 0;
  return c.kind == Kind::kReduceScatter ? c.count * size_t(c.clique->ranks) : c.count;
}
size_t got(const Call& c) {
  if (c.kind == Kind::kSend || (c.kind == Kind::kReduce && c.rank != c.other)) return 0;
  return c.kind == Kind::kAllGather ? c.count * size_t(c.clique->ranks) : c.count;
}

namespace {

template <class T>
double read_as(const void* p, size_t i) {
  T v;
  std::memcpy(&v, static_cast<const std::byte*>(p) + i * sizeof v, sizeof v);
  return double(v);
}
template <class T>
void write_as(void* p, size_t i, double value) {
  const T v = T(value);
  std::memcpy(static_cast<std::byte*>(p) + i * sizeof v, &v, sizeof v);
}

double element(const void* p, size_t i, ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
      return read_as<int8_t>(p, i);
    case ncclUint8:
      return read_as<uint8_t>(p, i);
    case ncclInt32:
      return read_as<int32_t>(p, i);
    case ncclUint32:
      return read_as<uint32_t>(p, i);
    case ncclInt64:
      return read_as<int64_t>(p, i);
    case ncclUint64:
      return read_as<uint64_t>(p, i);
    case ncclFloat16:
      return load(p, int64_t(i), CUDA_R_16F);
    case ncclBfloat16:
      return load(p, int64_t(i), CUDA_R_16BF);
    case ncclFloat64:
      return load(p, int64_t(i), CUDA_R_64F);
    default:
      return load(p, int64_t(i), CUDA_R_32F);
  }
}
void set_element(void* p, size_t i, ncclDataType_t type, double v) {
  switch (type) {
    case ncclInt8:
      return write_as<int8_t>(p, i, v);
    case ncclUint8:
      return write_as<uint8_t>(p, i, v);
    case ncclInt32:
      return write_as<int32_t>(p, i, v);
    case ncclUint32:
      return write_as<uint32_t>(p, i, v);
    case ncclInt64:
      return write_as<int64_t>(p, i, v);
    case ncclUint64:
      return write_as<uint64_t>(p, i, v);
    case ncclFloat16:
      return store(p, int64_t(i), CUDA_R_16F, v);
    case ncclBfloat16:
      return store(p, int64_t(i), CUDA_R_16BF, v);
    case ncclFloat64:
      return store(p, int64_t(i), CUDA_R_64F, v);
    default:
      return store(p, int64_t(i), CUDA_R_32F, v);
  }
}

double combined(double a, double b, ncclRedOp_t op) {
  switch (op) {
    case ncclProd:
      return a * b;
    case ncclMax:
      return std::max(a, b);
    case ncclMin:
      return std::min(a, b);
    default:
      return a + b;
  }
}

/// The calls that this one is matched with, itself first; empty while one of them has not been made.
std::vector<Call*> partners(Call& c) {
  std::vector<Call*> all{&c};
  if (!c.op) return {};
  if (c.is_pair()) {
    const auto pair = c.kind == Kind::kSend ? std::pair(c.rank, c.other) : std::pair(c.other, c.rank);
    const auto& others = (c.kind == Kind::kSend ? c.clique->recvs : c.clique->sends)[pair];
    if (others.size() <= c.number || !others[c.number]->op) return {};
    all.push_back(others[c.number].get());
    return all;
  }
  for (const auto& calls : c.clique->collectives) {
    if (calls.size() <= c.number || !calls[c.number]->op) return {};
    if (calls[c.number].get() != &c) all.push_back(calls[c.number].get());
  }
  return all;
}

bool agree(const Call& a, const Call& b) {
  const bool kinds = a.is_pair() ? b.is_pair() : a.kind == b.kind && a.other == b.other && a.reduction == b.reduction;
  return kinds && a.count == b.count && a.type == b.type;
}
void report_disagreement(const Call& a, const Call& b) {
  const auto text = [](const Call& c) {
    return std::string(c.name()) + " of rank " + std::to_string(c.rank) + " (" + std::to_string(c.count) +
           " elements of type " + std::to_string(int(c.type)) + ", operator " + std::to_string(int(c.reduction)) +
           (c.other >= 0 ? ", peer or root " + std::to_string(c.other) : std::string()) + ")";
  };
  if (a.rank < b.rank || a.kind == Kind::kRecv) report(Report::kMisuse, text(a) + " meets " + text(b));
}

/// Reads what the rank gives.
void gather(Call& c, OpId op) {
  const size_t bytes = given(c) * size_of(c.type);
  if (bytes != 0 && rt::is_usable(c.in, bytes, c.device, c.name())) {
    touch(c.in, bytes, false, op, c.name());
    const auto* const from = static_cast<const std::byte*>(c.in);
    c.sent.assign(from, from + bytes);
  }
  for (const Call* p : partners(c)) {
    const bool sees = c.kind == Kind::kBroadcast ? p->rank == c.other
                      : c.kind == Kind::kReduce  ? c.rank == c.other
                                                 : c.kind != Kind::kSend;
    if (p != &c && sees) rt::follow(*c.op, *p->op);
  }
}

/// What this rank gets of what all have given.
std::vector<std::byte> result(Call& c) {
  std::vector<Call*> all = partners(c);
  std::sort(all.begin(), all.end(), [](const Call* a, const Call* b) { return a->rank < b->rank; });
  if (c.kind == Kind::kRecv) return (all[0] == &c ? all[1] : all[0])->sent;
  if (c.kind == Kind::kBroadcast) return all[size_t(c.other)]->sent;
  std::vector<std::byte> out(got(c) * size_of(c.type));
  if (c.kind == Kind::kAllGather) {
    out.clear();
    for (const Call* p : all) out.insert(out.end(), p->sent.begin(), p->sent.end());
    return out;
  }
  const size_t first = c.kind == Kind::kReduceScatter ? c.count * size_t(c.rank) : 0;
  for (size_t i = 0; i < c.count; ++i) {
    std::optional<double> sum;
    for (const Call* p : all) {
      if (p->sent.size() < (first + i + 1) * size_of(c.type)) continue;
      const double v = element(p->sent.data(), first + i, c.type);
      sum = sum ? combined(*sum, v, c.reduction) : v;
    }
    const double scale = c.reduction == ncclAvg ? 1.0 / double(all.size()) : 1.0;
    set_element(out.data(), i, c.type, sum.value_or(0) * scale);
  }
  return out;
}

void run(Call& c, OpId op) {
  bool sound = true;
  for (const Call* p : partners(c))
    if (!agree(c, *p)) {
      report_disagreement(c, *p);
      sound = false;
    }
  const size_t bytes = got(c) * size_of(c.type);
  if (!sound || bytes == 0 || !rt::is_usable(c.out, bytes, c.device, c.name())) return;
  touch(c.out, bytes, true, op, c.name());
  const std::vector<std::byte> values = result(c);
  std::memcpy(c.out, values.data(), std::min(bytes, values.size()));
}

}  // namespace

void launch(const std::vector<CallPtr>& calls, const std::shared_ptr<Clique>& clique) {
  std::vector<rt::Stream*> streams;
  for (const CallPtr& c : calls) {
    rt::Stream* const s = rt::find_stream(c->stream, c->name());
    if (std::find(streams.begin(), streams.end(), s) == streams.end()) streams.push_back(s);
  }
  rt::Work work;
  work.gather = [calls, clique](OpId op) {
    for (const CallPtr& c : calls)
      if (!c->clique->ended[size_t(c->rank)]) gather(*c, op);
  };
  work.run = [calls](OpId op) {
    for (const CallPtr& c : calls)
      if (!c->clique->ended[size_t(c->rank)]) run(*c, op);
  };
  work.ready = [calls](rt::OpSet& set) {
    for (const CallPtr& c : calls) {
      if (c->op && c->clique->ended[size_t(c->rank)]) {
        set.push_back(c->op);
        continue;
      }
      const std::vector<Call*> all = partners(*c);
      if (all.empty()) return false;
      for (const Call* p : all) set.push_back(p->op);
    }
    return true;
  };
  for (size_t i = 1; i < streams.size(); ++i)
    if (streams[i]->last) work.after.push_back(streams[i]->last);
  const rt::OpPtr op = rt::push(*streams.front(), calls.front()->name(), std::move(work));
  for (const CallPtr& c : calls) c->op = op;
  for (size_t i = 1; i < streams.size(); ++i) rt::push(*streams[i], calls.front()->name(), {.run = {}, .after = {op}});
  while (!rt::world().options.lazy && rt::world().run_one()) continue;  // it was not ready while it was pushed
}

}  // namespace emu::lib
