// What mpirun starts: every rank runs the same tests in the same order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "pipeline/transport_mpi.h"
#include "pipeline/transport_remote.h"
#include "tests/support/support.h"

namespace sluice::test::mpi_test {
namespace {

std::unique_ptr<Peers> g_peers;  // MPI starts once a process

class Mpi : public testing::Test {
 protected:
  static Peers& peers() { return *g_peers; }
  static int rank() { return g_peers->rank(); }
  static int count() { return g_peers->count(); }
};

TEST_F(Mpi, RanksHaveNamesOfTheirOwn) {
  ASSERT_GE(count(), 2);
  for (int r = 0; r < count(); ++r) EXPECT_THAT(peers().name(r), testing::StartsWith("rank " + std::to_string(r)));
  EXPECT_NE(peers().name(0).substr(7), peers().name(1).substr(7));
}

TEST_F(Mpi, WhatEachGivesReachesAll) {
  for (int turn = 0; turn < 10; ++turn) {
    const auto all = peers().all_gather(std::to_string(turn * rank()));
    for (int r = 0; r < count(); ++r) EXPECT_EQ(all[size_t(r)], std::to_string(turn * r));
  }
}

/// Parcels of many sizes round a ring, forwards along the stages and back from the last to the first.
TEST_F(Mpi, ParcelsGoRoundARingWholeAndInOrder) {
  const int n = count(), mine = rank(), before = (mine + n - 1) % n, next = (mine + 1) % n;
  constexpr int kParcels = 40;
  const Stream stream(Device{DeviceKind::kCpu, 0});
  std::vector<ChannelUse> channels;
  std::vector<int> ranks;
  for (int s = 0; s < n; ++s) {
    channels.push_back({s, (s + 1) % n, 2});
    ranks.push_back(s);
  }
  const auto value = [](int from, int mb) { return float(100 * from + mb); };
  const auto elements = [](int mb) { return mb % 7 == 6 ? int64_t{300'000} : int64_t{1} + mb; };
  RemoteTransport net(peers(), channels, ranks, std::vector<Stream>(size_t(n), stream));
  std::thread sender([&] {
    const Stream from(Device{DeviceKind::kCpu, 0});
    for (int mb = 0; mb < kParcels; ++mb) {
      const std::vector<float> values(size_t(elements(mb)), value(mine, mb));
      net.send(act(Do::kSend, mine, mb, next), {{Tensor::from<float>(from, values, {elements(mb)}), Tensor()}}, from);
    }
    from.sync();
  });
  for (int mb = 0; mb < kParcels; ++mb) {
    const Parcel got = net.recv(act(Do::kRecv, mine, mb, before), stream);
    ASSERT_EQ(got.values.size(), 2u);
    EXPECT_FALSE(got.values[1].defined());
    EXPECT_EQ(got.values[0].to_vector<float>(stream), std::vector<float>(size_t(elements(mb)), value(before, mb)));
  }
  sender.join();
  peers().all_gather("done");  // the transports end when nothing is under way
}

/// The last test: it ends what the ranks have together.
TEST_F(Mpi, ZAFailureReachesAll) {
  if (rank() == 1) {
    peers().all_gather("");  // all have left the test before
    peers().fail("planted");
  }
  EXPECT_THROW(for (;;) peers().all_gather(""), TransportError);
  EXPECT_THAT(peers().failure(), testing::AllOf(testing::StartsWith("rank 1 ("), testing::HasSubstr("planted")));
}

}  // namespace
}  // namespace sluice::test::mpi_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  using sluice::test::mpi_test::g_peers;
  g_peers = std::make_unique<sluice::Peers>(sluice::connect_mpi, sluice::Peers::Options{});
  const int failed = RUN_ALL_TESTS();
  g_peers.reset();
  return failed;
}
