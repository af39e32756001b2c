// A build without CUDA has no GPUs to join.
#include "engine/error.h"
#include "pipeline/transport_nccl.h"

namespace sluice {
namespace {

[[noreturn]] void refuse() { throw TransportError("this build has no NCCL: it was configured without CUDA"); }

}  // namespace

bool has_nccl() { return false; }
std::string make_line_id() { refuse(); }
std::string gpu_identity(const Device&) { refuse(); }

NcclLine::NcclLine(const std::string&, End end, Device device, const std::function<bool()>&)
    : end_(end), lane_(device) {
  refuse();
}
NcclLine::~NcclLine() = default;
void NcclLine::send(const std::vector<Tensor>&, const Stream&) { refuse(); }
void NcclLine::recv(const std::vector<Tensor>&) { refuse(); }
void NcclLine::finish() {}
void NcclLine::abort() {}
void NcclLine::move(const std::vector<Tensor>&) {}
void NcclLine::await(const std::function<bool()>&) {}

}  // namespace sluice
