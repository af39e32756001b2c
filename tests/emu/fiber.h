// Stacks that device threads run on, and the switch from one to another within a host thread.
#pragma once

#include <cstddef>
#include <memory>

namespace emu {

class Fiber {
 public:
  Fiber();                          // the stack of whoever switches away from it
  explicit Fiber(void (*entry)());  // a stack of its own; entry() must never return
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to it enters entry() anew; what stood on it is dropped. Nobody may stand on it now.
  void restart();
  /// Leaves this fiber, on which the caller stands, until somebody switches back.
  void switch_to(Fiber& to);

  const std::byte* begin() const { return begin_; }
  const std::byte* end() const { return end_; }

 private:
  struct Context;
  void (*entry_)() = nullptr;
  std::byte *begin_ = nullptr, *end_ = nullptr;
  std::unique_ptr<Context> context_;
};

}  // namespace emu
