// The processes that mpirun starts for one training: the first leads, it alone talks and writes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/catalog.h"
#include "engine/device.h"
#include "pipeline/peers.h"

namespace sluice {

/// Handles to them; empty where this process is alone.
class Ranks {
 public:
  Ranks() = default;
  explicit Ranks(Peers* peers) : peers_(peers) {}

  Peers* peers() const { return peers_; }
  bool many() const { return peers_ != nullptr; }
  int rank() const { return many() ? peers_->rank() : 0; }
  int count() const { return many() ? peers_->count() : 1; }
  bool leads() const { return rank() == 0; }

  // All ranks call these, in the same order. Throw TransportError with the cause when the ranks fail.

  /// What each gives, by rank.
  std::vector<std::string> all(const std::string& own) const;
  /// What the leader gave.
  std::string of_leader(const std::string& own) const { return all(own)[0]; }
  bool of_leader(bool own) const { return of_leader(std::string(own ? "1" : "")) == "1"; }
  bool any(bool own) const;

 private:
  Peers* peers_ = nullptr;
};

/// The same error was printed already.
class ToldError : public Error {
 public:
  using Error::Error;
};

/// Runs f among the processes that were started together, or alone. Where f throws, all ranks end: each prints the
/// cause with the name of the rank that it comes from, and throws ToldError. A rank that nothing is heard of for 5 s is
/// such a cause, too.
void among_ranks(const std::function<void(const Ranks&)>& f);

/// load_data() of every rank, first of the leader: what is made of data once is there for the others then.
TrainingData load_data(const RunConfig& config, const Ranks& ranks);

/// devices=cpu:0 stands for a CPU device of each rank; otherwise the list has one device a rank. Throws ConfigError.
RunConfig with_rank_devices(RunConfig c, int ranks);
/// The devices of the ranks. Those on different hosts may have the same name.
std::vector<Device> rank_devices(const std::string& list);

/// What a rank may use.
struct RankCores {
  std::string host;
  Device device;
  std::vector<int> cores;
  bool operator==(const RankCores&) const = default;
};
/// The share of each rank: ranks of one host with the same cores split them, others have what their launcher gave them.
/// All teams are alike, since they are part of the numerics: `cores_each`, or with 0 as many as are there for every
/// rank. Throws DeviceError where there are too few.
std::vector<CpuShare> share_among(const std::vector<RankCores>& ranks, int cores_each);
/// The same for the ranks as they are.
std::vector<CpuShare> share_among(const Ranks& ranks, const std::vector<Device>& devices, int cores_each);

}  // namespace sluice
