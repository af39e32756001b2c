// Calls of NCCL's stand-in: who is matched with whom, what a set of matched calls computes, and how it is queued.
#pragma once

#include <nccl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emu/rt.h"

namespace emu::lib {

enum class Kind : uint8_t { kSend, kRecv, kAllReduce, kReduce, kBroadcast, kAllGather, kReduceScatter };
inline constexpr const char* kCallNames[] = {"ncclSend",      "ncclRecv",      "ncclAllReduce",    "ncclReduce",
                                             "ncclBroadcast", "ncclAllGather", "ncclReduceScatter"};

struct Call;
using CallPtr = std::shared_ptr<Call>;

/// The ranks that talk to each other, and their calls in the order of each pair (or of all).
struct Clique : std::enable_shared_from_this<Clique> {
  int ranks = 0, joined = 0;
  std::vector<bool> taken;
  std::vector<bool> ended;  // ranks that aborted: what they had queued does nothing
  std::map<std::pair<int, int>, std::vector<CallPtr>> sends, recvs;  // by (from, to)
  std::vector<std::vector<CallPtr>> collectives;                     // by rank
};

/// One rank's part in a transfer or a collective.
struct Call {
  Kind kind;
  const void* in;
  void* out;
  size_t count;
  ncclDataType_t type;
  ncclRedOp_t reduction = ncclSum;
  int other = -1;  // peer or root
  Clique* clique = nullptr;
  int rank = 0, device = 0;
  cudaStream_t stream = nullptr;
  size_t number = 0;  // among the calls it is matched with
  rt::OpPtr op{};     // of its group
  std::vector<std::byte> sent{};

  bool is_pair() const { return kind == Kind::kSend || kind == Kind::kRecv; }
  const char* name() const { return kCallNames[size_t(kind)]; }
};

/// Bytes of an element; 0 for a type that is not emulated.
size_t size_of(ncclDataType_t type);
/// Elements that a rank gives and gets.
size_t given(const Call& c);
size_t got(const Call& c);
/// Queues the calls of one rank as one operation; their streams wait for each other.
void launch(const std::vector<CallPtr>& calls, const std::shared_ptr<Clique>& clique);

}  // namespace emu::lib
