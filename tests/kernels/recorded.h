// A forward pass with a tape and a ledger, for tests that look at what an op keeps.
#pragma once

#include "tests/support/support.h"

namespace sluice::test {

struct Recorded {
  explicit Recorded(const Stream& s, const Init& init = Init()) : stream(s), arena(s, init, 11) {}
  Ctx ctx(bool training = true) {
    return {.stream = stream,
            .weights = arena.weights(),
            .arena = arena,
            .ledger = ledger,
            .tape = &tape,
            .rng = {.seed = 7},
            .training = training};
  }
  BackwardCtx backward_ctx() {
    return {.stream = stream, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  }

  Stream stream;
  Arena arena;
  Ledger ledger;
  Tape tape;
};

}  // namespace sluice::test
