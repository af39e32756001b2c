// What tests see of the device emulator: how a world of virtual GPUs is set up, what was found wrong, bytes moved.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace emu {

/// In which of the orders that CUDA allows things run: threads between two barriers, blocks of a grid, and operations
/// of different streams.
enum class Order : uint8_t { kFifo, kLifo, kRandom };

/// Outside a Session the world is set by the environment: SLUICE_EMU_ORDER (fifo, lifo, random), SLUICE_EMU_SEED,
/// SLUICE_EMU_DEVICES and SLUICE_EMU_LAZY (0 or 1); what is not set has the defaults below.
struct Options {
  Order order = Order::kFifo;
  uint64_t seed = 1;
  int devices = 2;
  bool lazy = true;  // operations run as late as CUDA allows; false: when they are queued, if they are ready
};

/// A broken rule. Each place in the code is reported once for each kind.
struct Report {
  enum Kind : uint8_t {
    kOutOfBounds,        // an access outside every live allocation, shared object and the thread's own stack
    kUseAfterFree,       // an access to an allocation that was freed
    kMisaligned,         // an address that is no multiple of the type's alignment
    kUninitialised,      // a read of bytes that nobody wrote
    kBlockRace,          // two threads of a block
    kGridRace,           // two blocks of a launch
    kStreamRace,         // two operations that no event, stream or host wait orders
    kBarrierDivergence,  // threads of a block wait at different barriers, or some have left
    kWarpMask,           // a warp operation whose mask and lanes do not fit together
    kDeadlock,           // threads, streams or collectives that wait for ever
    kHostTouch,          // the host used device memory
    kWrongDevice,        // a stream, a handle or memory of a device that is not the one in use
    kLeak,               // something was made and not destroyed
    kMisuse,             // a call that is accepted but cannot be meant: a wait for an event that was never recorded
  };
  Kind kind;
  std::string text;
};
const char* name(Report::Kind kind);

/// Bytes that kernels and library calls moved. `read` and `written` count a byte once for each launch that touches it,
/// as the cost of a call does; `loads` and `stores` count every access.
struct Traffic {
  int64_t read = 0, written = 0;
  int64_t loads = 0, stores = 0;
};

/// A world of its own: no streams, no allocations, no reports. It must be left as it was found; what is left over is
/// reported before it ends only if the test asks with finish(). At its end the world around it is as before.
class Session {
 public:
  explicit Session(const Options& options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Reports leaks and returns everything found since the last call.
  std::vector<Report> finish();
};

/// What was found since the last call, in the world of now.
std::vector<Report> take_reports();
/// The same with leaks added; for the end of a test that has no Session.
std::vector<Report> finish_test();

/// Traffic since the last reset of all kernels (demangled) and library calls whose name contains `part`.
Traffic traffic(std::string_view part = "");
void reset_traffic();

/// The options of the world of now.
const Options& options();

}  // namespace emu
