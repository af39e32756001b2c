// What tests of a kernel's traffic share: the bytes that a call really moves on a GPU against those that its cost()
// claims.
#pragma once

#include "emu/emu.h"
#include "tests/support/support.h"

namespace sluice::test {

/// What a call moves beyond its cost, in bytes, and how often it loads a byte that it reads, on average at most.
struct Halo {
  int64_t read = 0, written = 0;
  double loads = 1;
  const char* why = "";
};

class Traffic : public testing::TestWithParam<DType> {
 protected:
  template <class K>
  void expect_traffic(const K& call, const Halo& halo = {}) {
    s.sync();
    emu::reset_traffic();
    launch(call, s);
    s.sync();
    const emu::Traffic moved = emu::traffic(), scratch = emu::traffic(" workspace");  // a library's own affair
    const Cost cost = call.cost();
    SCOPED_TRACE(str(K::kName, "; ", halo.why));
    EXPECT_EQ(moved.read, cost.read + halo.read);
    EXPECT_EQ(moved.written - scratch.written, cost.written + halo.written);
    EXPECT_LE(double(moved.loads), halo.loads * double(moved.read));
    EXPECT_EQ(moved.stores, moved.written) << "a byte was stored twice";
  }
  Tensor random(Shape shape, uint64_t seed = 1) const { return test::random(s, shape, seed, -1, 1, type); }
  Tensor floats(Shape shape, uint64_t seed = 1) const { return test::random(s, shape, seed); }
  Tensor empty(Shape shape) const { return Tensor::empty(s, shape, type); }

  const DType type = GetParam();
  const int64_t size = size_of(type);
  const Stream s{Device{DeviceKind::kCuda, 0}};
};

}  // namespace sluice::test
