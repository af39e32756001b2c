// Every process tells all others which GPUs its ends are on; senders add what their lines are made with.
#include "pipeline/lines.h"

#include <array>
#include <cstring>
#include <optional>

#include "pipeline/packing.h"

namespace sluice {
namespace {

struct ToldEnd {
  int32_t channel = 0, receives = 0;
  char gpu[16] = {}, id[128] = {};
};

}  // namespace

std::map<int, std::string> agree_on_lines(Peers& peers, const std::vector<LineEnd>& own) {
  if (!has_nccl()) return {};  // nor have the others: all run this program
  Packer mine;
  for (const LineEnd& e : own) {
    if (e.device.is_cpu()) continue;
    ToldEnd told{.channel = e.channel, .receives = e.sends ? 0 : 1};
    gpu_identity(e.device).copy(told.gpu, sizeof told.gpu);
    if (e.sends) make_line_id().copy(told.id, sizeof told.id);
    mine.add(told);
  }
  std::map<int, std::array<std::optional<ToldEnd>, 2>> ends;
  for (const std::string& of_rank : peers.all_gather(mine.bytes()))
    for (Unpacker in(of_rank); !in.at_end();) {
      const auto end = in.take<ToldEnd>();
      ends[end.channel].at(size_t(end.receives)) = end;
    }
  std::map<int, std::string> lines;
  for (const auto& [channel, both] : ends)
    if (both[0] && both[1] && std::memcmp(both[0]->gpu, both[1]->gpu, sizeof both[0]->gpu) != 0)
      lines[channel] = {both[0]->id, sizeof both[0]->id};
  return lines;
}

}  // namespace sluice
