// Processes among each other: order, what each gives to all, and the end that reaches everybody.
#include "pipeline/peers.h"

#include <gmock/gmock.h>

#include <future>

#include "pipeline/gather.h"
#include "tests/engine/gate.h"
#include "tests/pipeline/loop_courier.h"

namespace sluice::test::peers_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr Peers::Options kQuick{.silence_s = 0.2, .farewell_s = 0.05};

/// Listens to a topic and counts.
class Heard {
 public:
  explicit Heard(Peers& peers)
      : topic(peers.open({.message = [this](int from, const Mail& m) { add(str(from, ":", text_of(m))); },
                          .failed = [this] { add("failed"); }})) {}
  std::vector<std::string> wait_for(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return all_.size() >= count; });
    return all_;
  }

 private:
  void add(std::string text) {
    const std::lock_guard lock(mutex_);
    all_.push_back(std::move(text));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> all_;

 public:
  Peers::Topic topic;  // ends first
};

std::string failure_of(Peers& peers) {
  try {
    for (;;) peers.all_gather("");
  } catch (const TransportError& e) {
    return e.what();
  }
}

TEST(Peers, EachHasANameAndKnowsTheOthers) {
  Company company(3);
  for (int r = 0; r < 3; ++r) {
    EXPECT_EQ(company[r].rank(), r);
    EXPECT_EQ(company[r].count(), 3);
    EXPECT_THAT(company[r].name(2), StartsWith("rank 2 ("));
  }
}

TEST(Peers, OneAloneWorksToo) {
  Company company(1);
  EXPECT_EQ(company[0].all_gather("x"), std::vector<std::string>{"x"});
}

TEST(Peers, WhatEachGivesReachesAllInTheOrderOfRanks) {
  Company company(4);
  company.each([&](int r) {
    for (int turn = 0; turn < 20; ++turn) {
      const std::vector<std::string> all = company[r].all_gather(str(turn, "/", r));
      ASSERT_EQ(all.size(), 4u);
      for (int from = 0; from < 4; ++from) EXPECT_EQ(all[size_t(from)], str(turn, "/", from));
    }
  });
}

TEST(Peers, MessagesOfATopicArriveInOrderEvenBeforeItIsOpened) {
  Company company(2);
  std::promise<void> sent;
  company.each([&](int r) {
    if (r == 0) {
      const Peers::Topic first = company[0].open({}), second = company[0].open({});
      for (int i = 0; i < 50; ++i) company[0].post(1, second, make_mail(std::to_string(i)));
      company[0].all_gather("");
      sent.set_value();
    } else {
      company[1].all_gather("");
      sent.get_future().wait();
      Heard first(company[1]), second(company[1]);
      const std::vector<std::string> all = second.wait_for(50);
      for (int i = 0; i < 50; ++i) EXPECT_EQ(all[size_t(i)], str("0:", i));
    }
  });
}

TEST(Peers, MessagesArriveInOrderWhileTheirTopicIsOpened) {
  Company company(2);
  constexpr int kTurns = 200, kMessages = 20;
  company.each([&](int r) {
    for (int turn = 0; turn < kTurns; ++turn) {
      Heard heard(company[r]);
      for (int i = 0; i < kMessages; ++i) company[r].post(1 - r, heard.topic, make_mail(std::to_string(i)));
      const std::vector<std::string> all = heard.wait_for(kMessages);
      for (int i = 0; i < kMessages; ++i) ASSERT_EQ(all[size_t(i)], str(1 - r, ":", i));
    }
  });
}

TEST(Peers, AMessageWaitsForItsPointAndThoseBehindItWaitToo) {
  Company company(2);
  Heard heard(company[1]);
  const Peers::Topic topic = company[0].open({});
  const Stream stream(Device{DeviceKind::kCpu, 0});
  Gate gate;
  gate.hold(stream);
  std::atomic<bool> reached{false};
  stream.enqueue([&](CpuContext&) { reached = true; });
  company[0].post(1, topic, make_mail("after"), {stream.record()});
  company[0].post(1, topic, make_mail("behind"));
  EXPECT_FALSE(reached);
  gate.open();
  EXPECT_EQ(heard.wait_for(2), (std::vector<std::string>{"0:after", "0:behind"}));
  EXPECT_TRUE(reached);
}

TEST(Peers, AFailureReachesAllWithItsCauseAndTheNameOfItsRank) {
  Company company(3);
  std::vector<std::unique_ptr<Heard>> heard;
  for (int r = 0; r < 3; ++r) heard.push_back(std::make_unique<Heard>(company[r]));
  company[1].fail("the loss is nan");
  company[1].fail("later");
  for (int r = 0; r < 3; ++r) {
    EXPECT_EQ(heard[size_t(r)]->wait_for(1), std::vector<std::string>{"failed"});
    EXPECT_THAT(company[r].failure(), testing::AllOf(StartsWith("rank 1 ("), HasSubstr("): the loss is nan")));
    EXPECT_EQ(failure_of(company[r]), company[r].failure());
  }
  const Heard late(company[2]);  // who comes after it is told as well
  EXPECT_EQ(const_cast<Heard&>(late).wait_for(1).front(), "failed");
}

TEST(Peers, MuchOfEachIsGatheredAtTheFirst) {
  Company company(3);
  company.each([&](int r) {
    for (int turn = 0; turn < 3; ++turn) {
      std::vector<Mail> own;
      for (int i = 0; i < r * turn; ++i) own.push_back(make_mail(str(r, ".", i, " of turn ", turn)));
      const auto all = gather(company[r], std::move(own));
      if (r != 0) {
        EXPECT_TRUE(all.empty());
        continue;
      }
      ASSERT_EQ(all.size(), 3u);
      for (int from = 0; from < 3; ++from) {
        ASSERT_EQ(all[size_t(from)].size(), size_t(from * turn));
        for (int i = 0; i < from * turn; ++i)
          EXPECT_EQ(text_of(all[size_t(from)][size_t(i)]), str(from, ".", i, " of turn ", turn));
      }
    }
  });
}

TEST(Peers, AGatherThatIsCompleteOutlivesTheFailureBehindIt) {
  for (int turn = 0; turn < 50; ++turn) {
    Company company(2, kQuick);
    std::thread other([&] {
      EXPECT_EQ(company[1].all_gather("b"), (std::vector<std::string>{"a", "b"}));
      company[1].fail("planted");
    });
    EXPECT_EQ(company[0].all_gather("a"), (std::vector<std::string>{"a", "b"}));
    other.join();
  }
}

TEST(Peers, WhoGathersLearnsOfAFailure) {
  Company company(3);
  std::thread fails([&] { company[2].fail("planted"); });
  EXPECT_THROW(gather(company[0], {}), TransportError);  // rank 1 gives nothing, not even that
  fails.join();
}

TEST(Peers, AnErrorOnADeviceFailsAll) {
  Company company(2);
  const Peers::Topic topic = company[0].open({});
  const Stream stream(Device{DeviceKind::kCpu, 0});
  stream.enqueue([](CpuContext&) { throw DeviceError("planted"); });
  company[0].post(1, topic, make_mail("never"), {stream.record()});
  EXPECT_THAT(failure_of(company[1]), testing::AllOf(StartsWith("rank 0 ("), HasSubstr("planted")));
}

TEST(Peers, ARankThatFallsSilentIsNamedByAll) {
  Company company(3, kQuick);
  company.hub().cut_off(2);
  for (int r : {0, 1}) EXPECT_THAT(failure_of(company[r]), testing::AllOf(StartsWith("rank 2 ("), HasSubstr("0.2 s")));
  EXPECT_THAT(failure_of(company[2]), HasSubstr("has not been heard of"));  // and it does not stay behind
}

TEST(Peers, RanksThatOnlyWaitAreNotTakenForDead) {
  Company company(2, {.silence_s = 0.1, .farewell_s = 0.05});
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_EQ(company[0].failure(), "");
  EXPECT_EQ(company[1].failure(), "");
}

TEST(Peers, ABrokenNetworkIsAFailureThatTheOthersNotice) {
  Company company(2, kQuick);
  Heard heard(company[1]);
  company.hub().break_courier(1);
  EXPECT_EQ(heard.wait_for(1), std::vector<std::string>{"failed"});
  EXPECT_THAT(company[1].failure(), HasSubstr("planted"));
  EXPECT_THAT(failure_of(company[0]), HasSubstr("rank 1"));
}

TEST(Peers, ANetworkThatCannotBeMadeIsAnError) {
  EXPECT_THROW(Peers([]() -> CourierPtr { throw TransportError("no network"); }, Peers::Options{}), TransportError);
}

}  // namespace
}  // namespace sluice::test::peers_test
