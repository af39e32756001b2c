// Every process tells all others which GPUs its ends are on; senders add what their lines are made with.
#include "pipeline/lines.h"

#include <array>
#include <cstring>

namespace sluice {
namespace {

struct ToldEnd {
  int32_t channel = 0, receives = 0;
  char gpu[16] = {}, id[128] = {};
};

}  // namespace

std::map<int, std::string> agree_on_lines(Peers& peers, const std::vector<LineEnd>& own) {
  std::string mine;
  for (const LineEnd& e : own) {
    if (!has_nccl() || e.device.is_cpu()) continue;
    ToldEnd told{.channel = e.channel, .receives = e.sends ? 0 : 1};
    gpu_identity(e.device).copy(told.gpu, sizeof told.gpu);
    if (e.sends) make_line_id().copy(told.id, sizeof told.id);
    mine.append(reinterpret_cast<const char*>(&told), sizeof told);
  }
  std::map<int, std::array<ToldEnd, 2>> ends;
  std::map<int, int> count;
  for (const std::string& told : peers.all_gather(mine))
    for (size_t at = 0; at + sizeof(ToldEnd) <= told.size(); at += sizeof(ToldEnd)) {
      ToldEnd end;
      std::memcpy(&end, told.data() + at, sizeof end);
      ends[end.channel].at(size_t(end.receives)) = end;
      ++count[end.channel];
    }
  std::map<int, std::string> lines;
  for (const auto& [channel, both] : ends)
    if (count[channel] == 2 && std::memcmp(both[0].gpu, both[1].gpu, sizeof both[0].gpu) != 0)
      lines[channel] = {both[0].id, sizeof both[0].id};
  return lines;
}

}  // namespace sluice
