// Joins the ranks of a job, and splits hosts among them.
#include "apps/ranks.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "engine/error.h"
#include "pipeline/packing.h"
#include "pipeline/transport_mpi.h"

namespace sluice {
namespace {

/// A rank that is not heard of for so long is taken for dead; all others have ended a few seconds later.
constexpr double kSilenceS = 5;

/// Launchers say so in the environment: Open MPI's, those with the process managers of MPICH and Intel, and Slurm's.
bool started_together() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (const char* value = std::getenv(variable); value != nullptr && *value != 0)
      return std::string(variable) == "PMIX_RANK" || std::atoi(value) > 1;
  return false;
}

std::string host_name() {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return host;
}

}  // namespace

std::vector<std::string> Ranks::all(const std::string& own) const {
  return many() ? peers_->all_gather(own) : std::vector<std::string>{own};
}

bool Ranks::any(bool own) const {
  const std::vector<std::string> all_of_them = all(own ? "1" : "");
  return std::find(all_of_them.begin(), all_of_them.end(), "1") != all_of_them.end();
}

void among_ranks(const std::function<void(const Ranks&)>& f) {
  if (!started_together()) return f(Ranks());
  Peers peers(connect_mpi, {.silence_s = kSilenceS, .farewell_s = 1});
  if (peers.count() == 1) return f(Ranks());
  try {
    f(Ranks(&peers));
  } catch (const std::exception& e) {
    peers.fail(e.what());  // before the others are waited for: the launcher ends whoever is left
    const std::string why = peers.failure();
    std::cerr << str("sluice: ", why, "\n") << std::flush;
    throw ToldError(why);
  }
}

TrainingData load_data(const RunConfig& config, const Ranks& ranks) {
  TrainingData data;
  if (ranks.leads()) data = load_data(config);
  ranks.of_leader(true);
  return ranks.leads() ? data : load_data(config);
}

RunConfig with_rank_devices(RunConfig c, int ranks) {
  if (c.devices == "cpu:0" || c.devices == "cpu") {
    c.devices.clear();
    for (int r = 0; r < ranks; ++r) c.devices += str(r == 0 ? "" : ",", "cpu:", r);
  }
  const size_t named = list_items(c.devices).size();
  if (named != size_t(ranks))
    throw ConfigError(
        str("devices=", c.devices, " names ", named, " devices for ", ranks, " processes; expected one each"));
  return c;
}

std::vector<Device> rank_devices(const std::string& list) {
  std::vector<Device> devices;
  for (const std::string& item : list_items(list)) devices.push_back(parse_device(item));
  return devices;
}

std::vector<CpuShare> share_among(const std::vector<RankCores>& ranks, int cores_each) {
  // Of the CPU ranks that have a rank's cores as well: how many there are, and how many come before it.
  const auto sharing = [&](size_t rank, size_t end) {
    return std::count_if(ranks.begin(), ranks.begin() + ptrdiff_t(end), [&](const RankCores& r) {
      return r.device.is_cpu() && r.host == ranks[rank].host && r.cores == ranks[rank].cores;
    });
  };
  int64_t team = cores_each;
  for (size_t r = 0; r < ranks.size() && cores_each == 0; ++r) {
    if (!ranks[r].device.is_cpu()) continue;
    const int64_t mine = std::max<int64_t>(1, int64_t(ranks[r].cores.size()) / sharing(r, ranks.size()));
    team = team == 0 ? mine : std::min(team, mine);
  }
  std::vector<CpuShare> shares(ranks.size());
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (!ranks[r].device.is_cpu()) continue;
    const std::vector<int>& cores = ranks[r].cores;
    const auto have = int64_t(cores.size());
    if (team > 1 && team * sharing(r, ranks.size()) > have)
      throw DeviceError(str("rank ", r, " on ", ranks[r].host, ": ", team, " cores for each of ",
                            sharing(r, ranks.size()), " processes on ", have, " cores; give fewer --cores-per-device"));
    shares[r].team = int(team);
    for (int64_t i = 0; i < team; ++i) shares[r].cores.push_back(cores[size_t((sharing(r, r) * team + i) % have)]);
  }
  return shares;
}

std::vector<CpuShare> share_among(const Ranks& ranks, const std::vector<Device>& devices, int cores_each) {
  std::vector<RankCores> all;
  for (const std::string& one : ranks.all(Packer().add(available_cores()).bytes() + host_name())) {
    Unpacker in(one);
    RankCores& r = all.emplace_back();
    r.device = devices[all.size() - 1];
    r.cores = in.take_all<int>();
    r.host = in.rest();
  }
  return share_among(all, cores_each);
}

}  // namespace sluice
