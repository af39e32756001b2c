// Holds CPU streams at a point of their work until the test opens it, so that an order can be forced without sleeping.
#pragma once

#include <future>

#include "engine/stream.h"

namespace sluice::test {

class Gate {
 public:
  Gate() = default;
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Work queued on `s` from now on runs after open().
  void hold(const Stream& s) const {
    s.enqueue([opened = opened_](CpuContext&) { opened.wait(); });
  }
  void open() {
    if (!open_) promise_.set_value();
    open_ = true;
  }

 private:
  std::promise<void> promise_;
  std::shared_future<void> opened_ = promise_.get_future().share();
  bool open_ = false;
};

}  // namespace sluice::test
