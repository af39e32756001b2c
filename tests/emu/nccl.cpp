// A stand-in for NCCL in one process: a group of calls is one operation, which runs when all of its partners are at the
// heads of their streams, together with them. Ranks that do not agree are reported; ranks that miss each other wait for
// ever, which the runtime reports as a deadlock.
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "emu/nccl_calls.h"
#include "emu/world.h"

struct ncclComm {
  static constexpr emu::rt::Made kMade = emu::rt::Made::kCommunicator;
  std::shared_ptr<emu::lib::Clique> clique;
  int rank = 0, device = 0;
};

namespace emu::lib {
namespace {

struct Group {
  int depth = 0;
  std::vector<CallPtr> calls;
  std::vector<std::function<ncclResult_t()>> joins;  // communicators that begin at the end of the group
};
Group& group() {
  static thread_local Group g;
  return g;
}

ncclResult_t end_group() {
  std::vector<CallPtr> calls = std::exchange(group().calls, {});
  while (!calls.empty()) {
    const CallPtr first = calls.front();
    const auto split = std::stable_partition(calls.begin(), calls.end(), [&](const CallPtr& c) {
      return c->clique == first->clique && c->rank == first->rank;
    });
    launch({calls.begin(), split}, first->clique->shared_from_this());
    calls.erase(calls.begin(), split);
  }
  ncclResult_t code = rt::sticky_error() == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
  for (const auto& wait : std::exchange(group().joins, {}))
    if (const ncclResult_t failed = wait()) code = failed;
  return code;
}

ncclResult_t check(const Call& c) {
  const bool root = c.kind != Kind::kAllReduce && c.kind != Kind::kAllGather && c.kind != Kind::kReduceScatter;
  if (size_of(c.type) == 0 || c.reduction < ncclSum || c.reduction > ncclAvg) return ncclInvalidArgument;
  if (root && (c.other < 0 || c.other >= c.clique->ranks)) return ncclInvalidArgument;
  if ((given(c) != 0 && c.in == nullptr) || (got(c) != 0 && c.out == nullptr)) return ncclInvalidArgument;
  const rt::Stream* const s = rt::find_stream(c.stream, c.name());
  if (s == nullptr) return ncclInvalidArgument;
  if (c.stream != nullptr && rt::device_of(*s) != c.device) {
    report(Report::kWrongDevice, std::string(c.name()) + ": a stream of cuda:" + std::to_string(rt::device_of(*s)) +
                                     " for a communicator of cuda:" + std::to_string(c.device));
    return ncclInvalidUsage;
  }
  return rt::sticky_error() == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t add(Call call, ncclComm_t handle, cudaStream_t stream) {
  const rt::Lock lock;
  const ncclComm* const comm = rt::object<ncclComm>(handle);
  if (comm == nullptr) return ncclInvalidArgument;
  call.clique = comm->clique.get();
  call.rank = comm->rank;
  call.device = comm->device;
  call.stream = stream;
  if (const ncclResult_t code = check(call)) return code;
  const auto c = std::make_shared<Call>(std::move(call));
  Clique& clique = *c->clique;
  auto& line = c->kind == Kind::kSend   ? clique.sends[{c->rank, c->other}]
               : c->kind == Kind::kRecv ? clique.recvs[{c->other, c->rank}]
                                        : clique.collectives[size_t(c->rank)];
  c->number = line.size();
  line.push_back(c);
  group().calls.push_back(c);
  return group().depth == 0 ? end_group() : ncclSuccess;
}

std::map<std::string, std::shared_ptr<Clique>>& cliques() {
  static auto* all = new std::map<std::string, std::shared_ptr<Clique>>;
  return *all;
}

ncclComm_t make_communicator(const std::shared_ptr<Clique>& clique, int rank, int device) {
  clique->taken[size_t(rank)] = true;
  ++clique->joined;
  ncclComm_t out = nullptr;
  auto& comm =
      rt::make_object<ncclComm>(out, "NCCL rank " + std::to_string(rank) + " on cuda:" + std::to_string(device));
  comm.clique = clique;
  comm.rank = rank;
  comm.device = device;
  return out;
}
std::shared_ptr<Clique> make_clique(int ranks) {
  const auto clique = std::make_shared<Clique>();
  clique->ranks = ranks;
  clique->taken.resize(size_t(ranks));
  clique->ended.resize(size_t(ranks));
  clique->collectives.resize(size_t(ranks));
  return clique;
}

/// All ranks must come: other host threads have a while to do so.
ncclResult_t wait_for_ranks(const Clique& clique) {
  using Steady = std::chrono::steady_clock;
  const auto end = Steady::now() + std::chrono::seconds(2);
  while (clique.joined < clique.ranks) {
    if (Steady::now() > end) {
      report(Report::kDeadlock, "ncclCommInitRank waits for ever: " + std::to_string(clique.joined) + " of " +
                                    std::to_string(clique.ranks) + " ranks have come");
      return ncclInternalError;
    }
    rt::pause_locked();
  }
  return ncclSuccess;
}

template <class F>
ncclResult_t with(const ncclComm_t handle, F&& f) {
  const rt::Lock lock;
  const ncclComm* const comm = rt::object<ncclComm>(handle);
  if (comm == nullptr) return ncclInvalidArgument;
  f(*comm);
  return ncclSuccess;
}
ncclResult_t destroy(ncclComm_t comm) {
  const rt::Lock lock;
  return comm == nullptr || rt::destroy_object<ncclComm>(comm) ? ncclSuccess : ncclInvalidArgument;
}

}  // namespace
}  // namespace emu::lib

using namespace emu;
using namespace emu::lib;

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t code) {
  constexpr const char* kTexts[] = {"no error",
                                    "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
                                    "unhandled system error (run with NCCL_DEBUG=INFO for details)",
                                    "internal error - please report this issue to the NCCL developers",
                                    "invalid argument (run with NCCL_DEBUG=WARN for details)",
                                    "invalid usage (run with NCCL_DEBUG=WARN for details)",
                                    "remote process exited or there was a network error",
                                    "NCCL operation in progress"};
  return code >= 0 && code < ncclNumResults ? kTexts[code] : "unknown result code";
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<uint64_t> ids{0};
  if (id == nullptr) return ncclInvalidArgument;
  const uint64_t n = ++ids;
  *id = {};
  std::memcpy(id->internal, &n, sizeof n);
  return ncclSuccess;
}
ncclResult_t ncclCommInitAll(ncclComm_t* out, int count, const int* list) {
  const rt::Lock lock;
  if (out == nullptr || count < 1) return ncclInvalidArgument;
  std::vector<int> where(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) where[size_t(i)] = list == nullptr ? i : list[i];
  std::vector<int> sorted = where;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() < 0 || sorted.back() >= rt::devices()) return ncclInvalidArgument;
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return ncclInvalidUsage;
  const auto clique = make_clique(count);
  for (int i = 0; i < count; ++i) out[i] = make_communicator(clique, i, where[size_t(i)]);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const rt::Lock lock;
  if (out == nullptr || ranks < 1 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  auto& clique = cliques()[std::string(id.internal, sizeof id.internal)];
  if (!clique) clique = make_clique(ranks);
  if (clique->ranks != ranks || clique->taken[size_t(rank)]) return ncclInvalidUsage;
  *out = make_communicator(clique, rank, rt::current_device());
  if (config != nullptr && config->blocking == 0) return ncclInProgress;
  if (group().depth == 0) return wait_for_ranks(*clique);
  group().joins.push_back([kept = clique] { return wait_for_ranks(*kept); });
  return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* out, int ranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(out, ranks, id, rank, nullptr);
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return with(comm, [](const ncclComm&) {});
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return destroy(comm); }
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  with(comm, [](const ncclComm& c) {
    c.clique->ended[size_t(c.rank)] = true;
    while (!rt::world().options.lazy && rt::world().run_one()) continue;
  });
  return destroy(comm);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* code) {
  return with(comm, [=](const ncclComm& c) {
    *code = rt::sticky_error() != cudaSuccess    ? ncclUnhandledCudaError
            : c.clique->joined < c.clique->ranks ? ncclInProgress
                                                 : ncclSuccess;
  });
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return with(comm, [=](const ncclComm& c) { *count = c.clique->ranks; });
}
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return with(comm, [=](const ncclComm& c) { *device = c.device; });
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return with(comm, [=](const ncclComm& c) { *rank = c.rank; });
}

ncclResult_t ncclGroupStart() {
  ++group().depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  const rt::Lock lock;
  if (group().depth == 0) return ncclInvalidUsage;
  return --group().depth == 0 ? end_group() : ncclSuccess;
}

ncclResult_t ncclSend(const void* in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add({.kind = Kind::kSend, .in = in, .out = nullptr, .count = count, .type = type, .other = peer}, comm,
             stream);
}
ncclResult_t ncclRecv(void* out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add({.kind = Kind::kRecv, .in = nullptr, .out = out, .count = count, .type = type, .other = peer}, comm,
             stream);
}
ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t reduction,
                           ncclComm_t comm, cudaStream_t stream) {
  return add({.kind = Kind::kAllReduce, .in = in, .out = out, .count = count, .type = type, .reduction = reduction},
             comm, stream);
}
ncclResult_t ncclReduce(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t reduction, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return add({.kind = Kind::kReduce,
              .in = in,
              .out = out,
              .count = count,
              .type = type,
              .reduction = reduction,
              .other = root},
             comm, stream);
}
ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return add({.kind = Kind::kBroadcast, .in = in, .out = out, .count = count, .type = type, .other = root}, comm,
             stream);
}
ncclResult_t ncclBcast(void* data, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) {
  return ncclBroadcast(data, data, count, type, root, comm, stream);
}
ncclResult_t ncclAllGather(const void* in, void* out, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return add({.kind = Kind::kAllGather, .in = in, .out = out, .count = count, .type = type}, comm, stream);
}
ncclResult_t ncclReduceScatter(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t reduction,
                               ncclComm_t comm, cudaStream_t stream) {
  return add({.kind = Kind::kReduceScatter, .in = in, .out = out, .count = count, .type = type, .reduction = reduction},
             comm, stream);
}
}
