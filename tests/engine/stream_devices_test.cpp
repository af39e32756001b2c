// Streams of every two kinds of devices that there are: order, reuse of memory, events and errors, by kernels and
// copies alone, so that GPUs and emulated GPUs take part.
#include "kernels/add.h"
#include "kernels/fill.h"
#include "tests/support/support.h"

namespace sluice::stream_devices_test {
namespace {

struct Pair {
  Device a, b;
};
std::vector<Pair> pairs() {
  const Device cpu{DeviceKind::kCpu, 0}, other_cpu{DeviceKind::kCpu, 1};
  std::vector<Pair> all{{cpu, other_cpu}, {cpu, cpu}};
  if (const int gpus = cuda_status().devices; gpus > 0) {
    const Device gpu{DeviceKind::kCuda, 0}, last{DeviceKind::kCuda, gpus - 1};
    for (const Pair& p : {Pair{gpu, gpu}, Pair{last, gpu}, Pair{cpu, gpu}, Pair{gpu, cpu}}) all.push_back(p);
  }
  return all;
}
std::string label(const testing::TestParamInfo<Pair>& info) {
  std::string text = str(info.index, "_", info.param.a.text(), "_", info.param.b.text());
  std::replace(text.begin(), text.end(), ':', '_');
  return text;
}

constexpr int64_t kCount = 1000;

class StreamPair : public testing::TestWithParam<Pair> {
 protected:
  static void fill(const Stream& s, const Tensor& t, float value) {
    launch(kernels::FillConstant{.y = t.ref(), .value = value}, s);
  }
  /// The stream that can copy between the two: a CPU's reaches CPU memory only.
  const Stream& mover() const { return b.is_cpu() && !a.is_cpu() ? a : b; }
  /// Copies a's tensor into b's, in order behind what both streams have queued.
  void move(const Tensor& from, const Tensor& to) const {
    mover().wait(a.record());
    mover().wait(b.record());
    copy(mover(), from, to);
    from.storage()->record_use(mover());
    to.storage()->record_use(mover());
    b.wait(mover().record());
  }
  static std::vector<float> all(float value) { return std::vector<float>(kCount, value); }

  const Stream a{GetParam().a}, b{GetParam().b};
};
INSTANTIATE_TEST_SUITE_P(Devices, StreamPair, testing::ValuesIn(pairs()), label);

TEST_P(StreamPair, AWaitOrdersTheReaderBehindTheWriter) {
  const Tensor x = Tensor::empty(a, {kCount}), y = Tensor::empty(b, {kCount});
  for (int i = 0; i < 10; ++i) {
    fill(a, x, float(i));
    move(x, y);
    a.wait(mover().record());  // before the next fill
    EXPECT_EQ(y.to_vector<float>(b), all(float(i)));
  }
}

TEST_P(StreamPair, ReusedMemoryIsWrittenBehindItsLastReader) {
  std::vector<Tensor> copies;
  const void* block = nullptr;
  for (int i = 0; i < 8; ++i) {
    const Tensor x = Tensor::empty(a, {kCount});
    EXPECT_TRUE(i == 0 || x.ref().data == block) << "the block is given out at once";
    block = x.ref().data;
    fill(a, x, float(i));
    copies.push_back(Tensor::empty(b, {kCount}));
    move(x, copies.back());
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(copies[size_t(i)].to_vector<float>(b), all(float(i)));
}

TEST_P(StreamPair, ValuesGoRoundAndRound) {
  const Tensor x = Tensor::empty(a, {kCount}), y = Tensor::empty(b, {kCount}), one = Tensor::empty(a, {kCount});
  fill(a, x, 0);
  fill(a, one, 1);
  for (int i = 0; i < 20; ++i) {
    launch(kernels::Add{.a = x.cref(), .b = one.cref(), .y = x.ref()}, a);
    move(x, y);
    mover().wait(b.record());
    copy(mover(), y, x);
    a.wait(mover().record());
  }
  EXPECT_EQ(x.to_vector<float>(a), all(20));
}

TEST_P(StreamPair, EventsAreReadyAndAscendAlongTheirStream) {
  const Tensor x = Tensor::empty(a, {kCount}), y = Tensor::empty(b, {kCount});
  std::vector<Event> events;
  for (int i = 0; i < 10; ++i) {
    const Stream& s = i % 2 == 0 ? a : b;
    if (!events.empty()) s.wait(events.back());
    fill(s, i % 2 == 0 ? x : y, float(i));
    events.push_back(s.record());
  }
  events.back().sync();
  for (const Event& e : events) EXPECT_TRUE(e.ready());
  for (size_t i = 2; i < events.size(); ++i)  // of one stream: each sets its clock for itself, once
    EXPECT_GE(events[i].time(), events[i - 2].time() - 2e-6) << "CUDA's times are floats";
}

TEST_P(StreamPair, MemoryOutlivesItsStreamForTheLastReader) {
  const Tensor y = Tensor::empty(b, {kCount});
  {
    const Stream dead(GetParam().a);
    const Tensor x = Tensor::empty(dead, {kCount});
    fill(dead, x, 3);
    const Stream& reader = b.is_cpu() && !dead.is_cpu() ? dead : b;
    reader.wait(dead.record());
    reader.wait(b.record());
    copy(reader, x, y);
    x.storage()->record_use(reader);
    b.wait(reader.record());
  }
  EXPECT_EQ(y.to_vector<float>(b), all(3));
}

TEST_P(StreamPair, AnErrorOfACpuGoesToWhoWaits) {
  if (!a.is_cpu() || a.device() == b.device()) GTEST_SKIP() << "only a CPU's work can be made to throw";
  a.enqueue([](CpuContext&) { throw DataError("cause"); });
  b.wait(a.record());
  const Event after = b.record();
  EXPECT_THROW(after.sync(), DataError);
  EXPECT_THROW(b.sync(), DataError);
  EXPECT_THROW(b.sync(), DataError) << "it stays";
}

TEST_P(StreamPair, MoreMemoryThanThereIsIsNamed) {
  if (b.is_cpu()) GTEST_SKIP() << "an operating system promises more than it has";
  try {
    Tensor::empty(b, {int64_t{1} << 42});
    FAIL() << "no error";
  } catch (const OutOfMemory& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr(b.device().text() + ": no "));
  }
  const Tensor x = Tensor::empty(b, {kCount});  // and the stream goes on
  fill(b, x, 1);
  EXPECT_EQ(x.to_vector<float>(b), all(1));
}

}  // namespace
}  // namespace sluice::stream_devices_test
