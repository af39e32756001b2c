// Collectives and transfers of NCCL's stand-in against plain sums, and ranks that do not fit together.
#include <gmock/gmock.h>
#include <nccl.h>

#include <thread>

#include "emu/standin.h"

namespace emu {
namespace {

constexpr int kRanks = 3;
constexpr size_t kCount = 6;

/// A rank on each of three devices, with a stream, an input of `kRanks * kCount` floats and an output of as many.
class Ranks {
 public:
  Ranks() {
    EXPECT_EQ(ncclCommInitAll(comms_, kRanks, nullptr), ncclSuccess);
    for (int r = 0; r < kRanks; ++r) {
      ok(cudaSetDevice(r));
      streams_.push_back(std::make_unique<TestStream>());
      std::vector<float> values;
      for (size_t i = 0; i < kRanks * kCount; ++i) values.push_back(float(100 * r) + float(i));
      in_.push_back(std::make_unique<OnDevice<float>>(values));
      out_.push_back(std::make_unique<OnDevice<float>>(std::vector<float>(kRanks * kCount, -1.0f)));
    }
  }
  ~Ranks() {
    for (const ncclComm_t c : comms_) ncclCommDestroy(c);
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  ncclComm_t comm(int r) const { return comms_[r]; }
  cudaStream_t stream(int r) const { return *streams_[size_t(r)]; }
  float* in(int r) const { return in_[size_t(r)]->data(); }
  float* out(int r) const { return out_[size_t(r)]->data(); }
  cudaError_t sync() const {
    cudaError_t code = cudaSuccess;
    for (const auto& s : streams_)
      if (const cudaError_t e = cudaStreamSynchronize(*s)) code = e;
    cudaGetLastError();
    return code;
  }
  std::vector<float> result(int r) const { return out_[size_t(r)]->fetch(); }

 private:
  ncclComm_t comms_[kRanks] = {};
  std::vector<std::unique_ptr<TestStream>> streams_;
  std::vector<std::unique_ptr<OnDevice<float>>> in_, out_;
};

const Options kThree{Order::kRandom, 1, kRanks, true};

/// Calls `each(rank)` for all ranks, not grouped: one thread may do so for collectives, whose host calls do not wait.
template <class F>
void for_ranks(F&& each) {
  for (int r = 0; r < kRanks; ++r) ASSERT_EQ(each(r), ncclSuccess);
}

TEST(Nccl, AllReduceSums) {
  for (const bool lazy : {true, false}) {
    Session session({Order::kRandom, 1, kRanks, lazy});
    const Ranks n;
    for_ranks(
        [&](int r) { return ncclAllReduce(n.in(r), n.out(r), kCount, ncclFloat, ncclSum, n.comm(r), n.stream(r)); });
    ok(n.sync());
    for (int r = 0; r < kRanks; ++r) {
      const std::vector<float> got = n.result(r);
      for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(got[i], 300.0f + 3 * float(i));
      EXPECT_EQ(got[kCount], -1.0f);
    }
  }
}

TEST(Nccl, AllReduceWorksInPlaceAndWithEveryOperator) {
  Session session(kThree);
  const Ranks n;
  const std::pair<ncclRedOp_t, float> wanted[] = {{ncclMax, 201}, {ncclMin, 201}, {ncclAvg, 201}, {ncclProd, 8120601}};
  for (const auto& [op, value] : wanted) {
    for_ranks([&, reduction = op](int r) {
      return ncclAllReduce(n.in(r) + 1, n.in(r) + 1, 1, ncclFloat, reduction, n.comm(r), n.stream(r));
    });
    ok(n.sync());
    float got = 0;
    ok(cudaMemcpy(&got, n.in(1) + 1, sizeof got, cudaMemcpyDeviceToHost));
    EXPECT_EQ(got, value) << "operator " << int(op);
  }
}

TEST(Nccl, BroadcastGatherScatterAndReduce) {
  Session session(kThree);
  const Ranks n;
  for_ranks([&](int r) { return ncclBroadcast(n.in(r), n.out(r), kCount, ncclFloat, 1, n.comm(r), n.stream(r)); });
  ok(n.sync());
  for (int r = 0; r < kRanks; ++r) EXPECT_EQ(n.result(r)[2], 102.0f);
  for_ranks([&](int r) { return ncclAllGather(n.in(r), n.out(r), kCount, ncclFloat, n.comm(r), n.stream(r)); });
  ok(n.sync());
  for (int r = 0; r < kRanks; ++r) EXPECT_EQ(n.result(r)[2 * kCount + 3], 203.0f);
  for_ranks(
      [&](int r) { return ncclReduceScatter(n.in(r), n.out(r), kCount, ncclFloat, ncclSum, n.comm(r), n.stream(r)); });
  ok(n.sync());
  EXPECT_EQ(n.result(2)[1], 300.0f + 3 * float(2 * kCount + 1));
  for_ranks([&](int r) { return ncclReduce(n.in(r), n.out(r), 1, ncclFloat, ncclSum, 2, n.comm(r), n.stream(r)); });
  ok(n.sync());
  EXPECT_EQ(n.result(2)[0], 300.0f);
  EXPECT_NE(n.result(1)[0], 300.0f);
}

TEST(Nccl, AGroupOfSendsAndReceivesIsARing) {
  for (const bool lazy : {true, false}) {
    Session session({Order::kRandom, 2, kRanks, lazy});
    const Ranks n;
    ASSERT_EQ(ncclGroupStart(), ncclSuccess);
    for_ranks([&](int r) { return ncclSend(n.in(r), kCount, ncclFloat, (r + 1) % kRanks, n.comm(r), n.stream(r)); });
    for_ranks([&](int r) { return ncclRecv(n.out(r), kCount, ncclFloat, (r + 2) % kRanks, n.comm(r), n.stream(r)); });
    ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
    ok(n.sync());
    for (int r = 0; r < kRanks; ++r) EXPECT_EQ(n.result(r)[1], 100.0f * float((r + 2) % kRanks) + 1);
  }
}

TEST(Nccl, AReceiveFollowsItsSend) {
  for (const bool bug : {false, true}) {
    Session session(kThree);
    {
      const Ranks n;
      ok(cudaSetDevice(0));
      const TestStream other;
      // Written on the sender's stream, or, as the bug, on one that nothing orders before the send.
      ok(cudaMemsetAsync(n.in(0), 0, kCount * sizeof(float), bug ? static_cast<cudaStream_t>(other) : n.stream(0)));
      ASSERT_EQ(ncclSend(n.in(0), kCount, ncclFloat, 1, n.comm(0), n.stream(0)), ncclSuccess);
      ASSERT_EQ(ncclRecv(n.out(1), kCount, ncclFloat, 0, n.comm(1), n.stream(1)), ncclSuccess);
      ok(cudaSetDevice(1));
      ok(cudaMemsetAsync(n.out(1), 0, kCount * sizeof(float), n.stream(1)));
      ok(n.sync());
      ok(cudaStreamSynchronize(other));
    }
    EXPECT_EQ(kinds(session.finish()).count(Report::kStreamRace), bug ? 1u : 0u);
  }
}

TEST(Nccl, RanksInHostThreadsFindEachOther) {
  Session session(kThree);
  ncclUniqueId id;
  ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  std::vector<std::thread> hosts;
  std::vector<float> sums(kRanks);
  for (int r = 0; r < kRanks; ++r)
    hosts.emplace_back([&, r] {
      ok(cudaSetDevice(r));
      ncclComm_t comm = nullptr;
      ASSERT_EQ(ncclCommInitRank(&comm, kRanks, id, r), ncclSuccess);
      {
        OnDevice<float> x({float(r + 1)});
        const TestStream s;
        ASSERT_EQ(ncclAllReduce(x.data(), x.data(), 1, ncclFloat, ncclSum, comm, s), ncclSuccess);
        s.sync();
        sums[size_t(r)] = x.fetch()[0];
      }
      ncclCommDestroy(comm);
    });
  for (std::thread& t : hosts) t.join();
  EXPECT_THAT(sums, testing::Each(6.0f));
  EXPECT_THAT(session.finish(), testing::IsEmpty());
}

// ---- ranks that do not fit together ----

TEST(NcclPlanted, CollectivesThatDoNotAgreeAreReported) {
  for (const int bug : {0, 1, 2, 3, 4}) {
    SCOPED_TRACE(bug);
    Session session(kThree);
    {
      const Ranks n;
      for_ranks([&](int r) {
        const bool odd = r == 1;
        if (odd && bug == 4) return ncclBroadcast(n.in(r), n.out(r), kCount, ncclFloat, 0, n.comm(r), n.stream(r));
        return ncclAllReduce(n.in(r), n.out(r), odd && bug == 1 ? kCount - 1 : kCount,
                             odd && bug == 2 ? ncclInt32 : ncclFloat, odd && bug == 3 ? ncclMax : ncclSum, n.comm(r),
                             n.stream(r));
      });
      n.sync();
    }
    EXPECT_EQ(kinds(session.finish()).count(Report::kMisuse), bug == 0 ? 0u : 1u);
  }
}

TEST(NcclPlanted, ARankThatIsMissingIsADeadlock) {
  for (const bool bug : {false, true}) {
    Session session(kThree);
    {
      const Ranks n;
      for (int r = 0; r < (bug ? kRanks - 1 : kRanks); ++r)
        ASSERT_EQ(ncclAllReduce(n.in(r), n.out(r), kCount, ncclFloat, ncclSum, n.comm(r), n.stream(r)), ncclSuccess);
      EXPECT_EQ(n.sync(), bug ? cudaErrorLaunchTimeout : cudaSuccess);
    }
    EXPECT_EQ(kinds(session.finish()).count(Report::kDeadlock), bug ? 1u : 0u);
  }
}

TEST(NcclPlanted, CollectivesInAnotherOrderOnEachRankAreADeadlock) {
  for (const bool bug : {false, true}) {  // two communicators on one stream a rank, entered in opposite orders
    Session session(kThree);
    {
      const Ranks a;
      ncclComm_t second[kRanks];
      ASSERT_EQ(ncclCommInitAll(second, kRanks, nullptr), ncclSuccess);
      for (int r = 0; r < kRanks; ++r)
        for (int turn = 0; turn < 2; ++turn) {
          const bool first = (turn == 0) != (bug && r == 1);
          ASSERT_EQ(
              ncclAllReduce(a.in(r), a.in(r), kCount, ncclFloat, ncclSum, first ? a.comm(r) : second[r], a.stream(r)),
              ncclSuccess);
        }
      EXPECT_EQ(a.sync(), bug ? cudaErrorLaunchTimeout : cudaSuccess);
      for (const ncclComm_t c : second) ncclCommDestroy(c);
    }
    EXPECT_EQ(kinds(session.finish()).count(Report::kDeadlock), bug ? 1u : 0u);
  }
}

TEST(NcclPlanted, AStreamOfAnotherDeviceIsReported) {
  Session session(kThree);
  const Ranks n;
  EXPECT_EQ(ncclAllReduce(n.in(0), n.out(0), kCount, ncclFloat, ncclSum, n.comm(0), n.stream(1)), ncclInvalidUsage);
  EXPECT_THAT(kinds(session.finish()), testing::Contains(Report::kWrongDevice));
}

TEST(Nccl, RefusesWhatTheLibraryRefuses) {
  Session session(kThree);
  const Ranks n;
  const auto reduce = [&](void* in, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm) {
    return ncclAllReduce(in, n.out(0), kCount, type, op, comm, n.stream(0));
  };
  EXPECT_EQ(reduce(n.in(0), ncclFloat, ncclSum, nullptr), ncclInvalidArgument);
  EXPECT_EQ(reduce(nullptr, ncclFloat, ncclSum, n.comm(0)), ncclInvalidArgument);
  EXPECT_EQ(reduce(n.in(0), ncclNumTypes, ncclSum, n.comm(0)), ncclInvalidArgument);
  EXPECT_EQ(reduce(n.in(0), ncclFloat, ncclNumOps, n.comm(0)), ncclInvalidArgument);
  EXPECT_EQ(ncclSend(n.in(0), kCount, ncclFloat, kRanks, n.comm(0), n.stream(0)), ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  const int twice[] = {0, 0};
  ncclComm_t comms[2];
  EXPECT_EQ(ncclCommInitAll(comms, 2, twice), ncclInvalidUsage);
  int count = 0, rank = 0, device = 0;
  EXPECT_EQ(ncclCommCount(n.comm(2), &count), ncclSuccess);
  EXPECT_EQ(ncclCommUserRank(n.comm(2), &rank), ncclSuccess);
  EXPECT_EQ(ncclCommCuDevice(n.comm(2), &device), ncclSuccess);
  EXPECT_THAT((std::vector{count, rank, device}), testing::ElementsAre(3, 2, 2));
}

}  // namespace
}  // namespace emu
