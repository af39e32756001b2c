// The contract of a transport, for every transport there is: order, back-pressure, reuse of slots, and the end.
#include "pipeline/transport.h"

#include <atomic>
#include <functional>
#include <thread>

#include "engine/error.h"
#include "kernels/fill.h"
#include "pipeline/transport_local.h"
#include "pipeline/transport_remote.h"
#include "tests/pipeline/loop_courier.h"
#include "tests/support/support.h"

namespace sluice::test::transport_test {
namespace {

constexpr int kSlots = 2;

/// A transport with one channel 0>1 of two slots, between two streams.
struct Made {
  std::unique_ptr<Company> company;  // of processes, if any
  std::vector<Stream> streams;
  std::unique_ptr<Transport> net;
};
struct Maker {
  std::string name;
  std::function<Made()> make;
};

Made make_local(Device from, Device to) {
  Made m{nullptr, {Stream(from), Stream(to)}, nullptr};
  m.net = std::make_unique<LocalTransport>(std::vector<ChannelUse>{{0, 1, kSlots}}, m.streams);
  return m;
}

/// Both ends of a remote transport.
class BothEnds final : public Transport {
 public:
  BothEnds(Company& company, const std::vector<Stream>& streams) : company_(company) {
    const std::vector<ChannelUse> channels{{0, 1, kSlots}};
    company.each([&](int r) {
      ends_[r] = std::make_unique<RemoteTransport>(company[r], channels, std::vector<int>{0, 1}, streams);
    });
  }
  ~BothEnds() override {
    company_.each([&](int r) { ends_[r].reset(); });
  }
  void send(const Action& a, const Parcel& parcel, const Stream& from) override { ends_[0]->send(a, parcel, from); }
  Parcel recv(const Action& a, const Stream& to) override { return ends_[1]->recv(a, to); }
  void abort() override {
    for (auto& end : ends_) end->abort();
  }

 private:
  Company& company_;
  std::unique_ptr<RemoteTransport> ends_[2];
};

Made make_remote(Device from, Device to) {
  Made m{std::make_unique<Company>(2), {Stream(from), Stream(to)}, nullptr};
  m.net = std::make_unique<BothEnds>(*m.company, m.streams);
  return m;
}

class TransportContract : public testing::TestWithParam<Maker> {
 protected:
  static Action send(int64_t mb) { return act(Do::kSend, 0, mb, 1); }
  static Action recv(int64_t mb) { return act(Do::kRecv, 1, mb, 0); }
  Tensor value(float v, int64_t n = 100) {
    const std::vector<float> values(size_t(n), v);
    return Tensor::from<float>(from(), values, {n});
  }
  const Stream& from() { return made_.streams[0]; }
  const Stream& to() { return made_.streams[1]; }
  Transport& net() { return *made_.net; }
  Made made_ = GetParam().make();
};

/// Every transport between every two kinds of devices that there are.
std::vector<Maker> makers() {
  const Device cpus[] = {{DeviceKind::kCpu, 0}, {DeviceKind::kCpu, 1}};
  std::vector<Maker> all{{"local", [=] { return make_local(cpus[0], cpus[1]); }},
                         {"remote", [=] { return make_remote(cpus[0], cpus[1]); }}};
  const int gpus = cuda_status().devices;
  if (gpus == 0) return all;
  const Device first{DeviceKind::kCuda, 0}, second{DeviceKind::kCuda, gpus - 1};
  all.push_back({"local_between_gpus", [=] { return make_local(first, second); }});
  all.push_back({"local_to_a_gpu", [=] { return make_local(cpus[0], second); }});
  all.push_back({"local_from_a_gpu", [=] { return make_local(second, cpus[0]); }});
  all.push_back({"remote_between_gpus", [=] { return make_remote(first, second); }});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Transports, TransportContract, testing::ValuesIn(makers()),
                         [](const testing::TestParamInfo<Maker>& i) { return i.param.name; });

TEST_P(TransportContract, AParcelArrivesWhole) {
  const Tensor ints = random_ints(from(), {3, 5}, 1, 0, 100);
  net().send(send(0), {{value(7), Tensor(), ints}}, from());
  const Parcel got = net().recv(recv(0), to());
  ASSERT_EQ(got.values.size(), 3u);
  EXPECT_EQ(got.values[0].to_vector<float>(to()), std::vector<float>(100, 7));
  EXPECT_FALSE(got.values[1].defined());
  EXPECT_EQ(got.values[2].shape(), (Shape{3, 5}));
  EXPECT_EQ(got.values[2].to_vector<int32_t>(to()), ints.to_vector<int32_t>(from()));
}

TEST_P(TransportContract, ParcelsOfOtherSizesReuseTheSlots) {
  for (int64_t mb = 0; mb < 12; ++mb) {
    const int64_t n = mb % 3 == 2 ? 100000 : mb + 1;
    net().send(send(mb), {{value(float(mb), n)}}, from());
    EXPECT_EQ(net().recv(recv(mb), to()).values[0].to_vector<float>(to()), std::vector<float>(size_t(n), float(mb)));
  }
}

TEST_P(TransportContract, AnEmptyParcelArrives) {
  net().send(send(0), {}, from());
  EXPECT_TRUE(net().recv(recv(0), to()).values.empty());
}

TEST_P(TransportContract, TheSenderWaitsForASlotThatIsStillRead) {
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int64_t mb = 0; mb < kSlots + 1; ++mb, ++sent) net().send(send(mb), {{value(float(mb))}}, from());
  });
  Parcel first = net().recv(recv(0), to());
  Parcel second = net().recv(recv(1), to());
  EXPECT_EQ(first.values[0].to_vector<float>(to())[0], 0.0f);
  EXPECT_LE(sent, kSlots);  // the third has no slot, whenever this is asked
  Tensor view = first.values[0].rows(10, 5);
  first = {};
  EXPECT_LE(sent, kSlots);  // a view holds the slot as well
  view = {};
  sender.join();
  EXPECT_EQ(sent, kSlots + 1);
  second = {};
  EXPECT_EQ(net().recv(recv(2), to()).values[0].to_vector<float>(to())[0], 2.0f);
}

TEST_P(TransportContract, ASlotIsNotOverwrittenWhileQueuedWorkReadsIt) {
  // The receiver drops each parcel long before its device has read it.
  std::vector<float> seen(40, -1);
  std::thread sender([&] {
    for (int64_t mb = 0; mb < 40; ++mb) net().send(send(mb), {{value(float(mb))}}, from());
  });
  for (int64_t mb = 0; mb < 40; ++mb) {
    const Parcel got = net().recv(recv(mb), to());
    if (to().is_cpu()) to().enqueue([](CpuContext&) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
    copy_to_host(to(), got.values[0].rows(99, 1), &seen[size_t(mb)]);
  }
  sender.join();
  to().sync();
  for (size_t mb = 0; mb < seen.size(); ++mb) EXPECT_EQ(seen[mb], float(mb));
}

TEST_P(TransportContract, AParcelMayOutliveTheTransport) {
  net().send(send(0), {{value(3)}}, from());
  net().send(send(1), {{value(4)}}, from());  // never received
  const Parcel got = net().recv(recv(0), to());
  made_.net.reset();
  EXPECT_EQ(got.values[0].to_vector<float>(to())[0], 3.0f);
}

TEST_P(TransportContract, MemoryOfAParcelThatNobodyFetchedIsReusedBehindItsCopy) {
  for (int64_t mb = 0; mb < kSlots; ++mb) net().send(send(mb), {{value(float(mb))}}, from());
  made_.net.reset();
  std::vector<Tensor> reused;
  for (int i = 0; i < kSlots; ++i) {  // the receiver's pool gives the slots out again, in its own order
    reused.push_back(Tensor::empty(to(), {100}));
    launch(kernels::FillConstant{.y = reused.back().ref(), .value = 9}, to());
  }
  from().sync();
  for (const Tensor& t : reused) EXPECT_EQ(t.to_vector<float>(to()), std::vector<float>(100, 9));
}

TEST_P(TransportContract, NothingIsLeft) {
  net().send(send(0), {{value(3)}}, from());
  net().recv(recv(0), to());
  net().send(send(1), {{value(4)}}, from());
  made_.net.reset();
  for (const Stream& s : made_.streams) EXPECT_EQ(s.pool().live_blocks(), 0);
}

TEST_P(TransportContract, AnotherParcelThanExpectedIsNamed) {
  net().send(send(3), {{value(3)}}, from());
  try {
    net().recv(recv(2), to());
    FAIL() << "no error";
  } catch (const TransportError& e) {
    EXPECT_STREQ(e.what(), "receive r1.2<0: the next parcel is micro-batch 3, view 0");
  }
}

TEST_P(TransportContract, AChannelThatDoesNotExistIsNamed) {
  EXPECT_THROW(net().send(act(Do::kSend, 1, 0, 0), {}, to()), TransportError);
  EXPECT_THROW(net().recv(act(Do::kRecv, 2, 0, 1), to()), TransportError);
}

TEST_P(TransportContract, AbortWakesWhoWaits) {
  std::thread receiver([&] { EXPECT_THROW(net().recv(recv(0), to()), Aborted); });
  net().abort();
  receiver.join();
  EXPECT_THROW(net().send(send(0), {{value(1)}}, from()), Aborted);
}

TEST_P(TransportContract, AbortWakesASenderWithoutASlot) {
  for (int64_t mb = 0; mb < kSlots; ++mb) net().send(send(mb), {{value(1)}}, from());
  std::thread sender([&] { EXPECT_THROW(net().send(send(kSlots), {{value(1)}}, from()), Aborted); });
  net().abort();
  sender.join();
}

TEST_P(TransportContract, AnErrorOnTheSendersDeviceReachesTheReceiver) {
  if (!from().is_cpu()) GTEST_SKIP() << "only a CPU's work can be made to throw";
  from().enqueue([](CpuContext&) { throw DeviceError("planted"); });
  net().send(send(0), {{value(1)}}, from());
  if (made_.company) {  // all processes fail, and who runs on them ends their transports
    Peers& receiver = (*made_.company)[1];
    EXPECT_THROW(receiver.all_gather(""), TransportError);
    EXPECT_THAT(receiver.failure(), testing::HasSubstr("planted"));
    return;
  }
  const Parcel got = net().recv(recv(0), to());
  EXPECT_THROW(to().sync(), DeviceError);
}

/// Two GPUs of two processes, if there are as many.
class Lines : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_status().devices < 2) GTEST_SKIP() << "fewer than two GPUs";
    made_ = make_remote({DeviceKind::kCuda, 0}, {DeviceKind::kCuda, 1});
  }
  void send(int64_t mb, int64_t n) {
    const std::vector<float> values(static_cast<size_t>(n), float(mb));
    made_.net->send(act(Do::kSend, 0, mb, 1), {{Tensor::from<float>(made_.streams[0], values, {n})}}, made_.streams[0]);
  }
  Made made_{};
};

TEST_F(Lines, BetweenGpusCarryTheValuesAndMessagesTheirHeadsAlone) {
  constexpr int64_t kCount = 100000;
  const int64_t before = made_.company->hub().bytes();
  for (int64_t mb = 0; mb < 4; ++mb) {
    send(mb, kCount);
    const Parcel got = made_.net->recv(act(Do::kRecv, 1, mb, 0), made_.streams[1]);
    EXPECT_EQ(got.values[0].to_vector<float>(made_.streams[1]), std::vector<float>(kCount, float(mb)));
  }
  EXPECT_LT(made_.company->hub().bytes() - before, 8192);  // signs of life among them
}

TEST_F(Lines, EndWithTheProcesses) {
  send(0, 1000);  // the other end never comes for it
  (*made_.company)[1].fail("planted");
  EXPECT_THROW((*made_.company)[0].all_gather(""), TransportError);
  EXPECT_THROW(made_.net->recv(act(Do::kRecv, 1, 0, 0), made_.streams[1]), TransportError);
  EXPECT_THROW(send(1, 1000), TransportError);
  made_.net.reset();
  for (const Stream& s : made_.streams) EXPECT_EQ(s.pool().live_blocks(), 0);
}

}  // namespace
}  // namespace sluice::test::transport_test
