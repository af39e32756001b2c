// How ranks split the cores of their hosts, and what their devices may be.
#include "apps/ranks.h"

#include <gmock/gmock.h>

#include "engine/error.h"

namespace sluice::test::ranks_test {
namespace {

using testing::HasSubstr;
using Cores = std::vector<int>;

RankCores on(const std::string& host, Cores cores, Device device = {}) { return {host, device, std::move(cores)}; }

TEST(Ranks, OneProcessIsItsOwnLeader) {
  const Ranks alone;
  EXPECT_FALSE(alone.many());
  EXPECT_TRUE(alone.leads());
  EXPECT_EQ(alone.all("x"), std::vector<std::string>{"x"});
  EXPECT_TRUE(alone.any(true));
  EXPECT_FALSE(alone.any(false));
  EXPECT_TRUE(alone.of_leader(true));
}

TEST(Ranks, ThoseOfOneHostSplitTheCoresThatAllOfThemMayUse) {
  const auto shares = share_among({on("a", {0, 1, 2, 3}), on("a", {0, 1, 2, 3})}, 0);
  EXPECT_EQ(shares[0].team, 2);
  EXPECT_EQ(shares[0].cores, (Cores{0, 1}));
  EXPECT_EQ(shares[1].cores, (Cores{2, 3}));
}

TEST(Ranks, ThoseOnOtherHostsOrWithOtherCoresHaveThemToThemselves) {
  const auto shares = share_among({on("a", {0, 1}), on("b", {0, 1}), on("a", {4, 5})}, 0);
  for (const CpuShare& s : shares) EXPECT_EQ(s.team, 2);
  EXPECT_EQ(shares[1].cores, (Cores{0, 1}));
  EXPECT_EQ(shares[2].cores, (Cores{4, 5}));
}

TEST(Ranks, TeamsAreAlikeSinceTheyArePartOfTheNumerics) {
  const auto shares = share_among({on("a", {0, 1, 2, 3}), on("b", {0})}, 0);
  EXPECT_EQ(shares[0].team, 1);
  EXPECT_EQ(shares[1].team, 1);
}

TEST(Ranks, MoreRanksThanCoresShareThem) {
  const auto shares = share_among({on("a", {0, 1}), on("a", {0, 1}), on("a", {0, 1})}, 0);
  EXPECT_EQ(shares[0].cores, Cores{0});
  EXPECT_EQ(shares[1].cores, Cores{1});
  EXPECT_EQ(shares[2].cores, Cores{0});
}

TEST(Ranks, TooManyCoresForEachAreRefused) {
  try {
    share_among({on("a", {0, 1, 2}), on("a", {0, 1, 2})}, 2);
    FAIL() << "expected DeviceError";
  } catch (const DeviceError& e) {
    EXPECT_THAT(e.what(), HasSubstr("rank 0 on a: 2 cores for each of 2 processes on 3 cores"));
  }
}

TEST(Ranks, GpusHaveNoShareOfTheCores) {
  const auto shares = share_among({on("a", {0, 1}, {DeviceKind::kCuda, 0}), on("a", {0, 1})}, 0);
  EXPECT_TRUE(shares[0].cores.empty());
  EXPECT_EQ(shares[1].cores, (Cores{0, 1}));
}

TEST(Ranks, ADeviceForEach) {
  RunConfig c;
  EXPECT_EQ(with_rank_devices(c, 3).devices, "cpu:0,cpu:1,cpu:2");
  c.devices = "cuda:0,cuda:0";  // of two hosts
  EXPECT_EQ(with_rank_devices(c, 2).devices, c.devices);
  EXPECT_EQ(rank_devices(c.devices).size(), 2u);
  EXPECT_THROW(with_rank_devices(c, 3), ConfigError);
}

}  // namespace
}  // namespace sluice::test::ranks_test
