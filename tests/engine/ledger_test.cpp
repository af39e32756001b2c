// The ledger: exact bytes by kind, what several holders share counted once.
#include "tests/support/support.h"

namespace sluice::ledger_test {
namespace {

class LedgerTest : public testing::Test {
 protected:
  Saved keep(const Tensor& kept, SaveKind k = SaveKind::kActivation) { return {kept, k, &ledger}; }
  int64_t bytes(SaveKind k) const { return ledger.bytes(k); }

  const Stream stream{Device{}};
  const Tensor t = Tensor::empty(stream, {8, 4});  // 128 bytes
  Ledger ledger;
};

TEST_F(LedgerTest, CountsWhileHeld) {
  {
    const Saved a = keep(t);
    const Saved b = keep(Tensor::empty(stream, {3}, DType::kU8), SaveKind::kMask);
    EXPECT_EQ(bytes(SaveKind::kActivation), 128);
    EXPECT_EQ(bytes(SaveKind::kMask), 3) << "what was asked for, not the block";
    EXPECT_EQ(ledger.bytes(), 131);
  }
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_EQ(ledger.peak(), 131);
  ledger.reset_peak();
  EXPECT_EQ(ledger.peak(), 0);
}

TEST_F(LedgerTest, KeptTwiceCountsOnce) {
  Saved a = keep(t);
  Saved b = keep(t.reshape({32}));
  EXPECT_EQ(ledger.bytes(), 128);
  EXPECT_EQ(ledger.peak(), 128);
  a.reset();
  EXPECT_EQ(ledger.bytes(), 128);
  b.reset();
  EXPECT_EQ(ledger.bytes(), 0);
}

TEST_F(LedgerTest, ViewsCountTheBytesTheyKeep) {
  Saved head = keep(t.rows(0, 2));
  Saved tail = keep(t.rows(6, 2));
  EXPECT_EQ(ledger.bytes(), 64);
  Saved middle = keep(t.rows(1, 6));
  EXPECT_EQ(ledger.bytes(), 128);
  Saved all = keep(t);
  EXPECT_EQ(ledger.bytes(), 128);
  head.reset();
  middle.reset();
  EXPECT_EQ(ledger.bytes(), 128);
  all.reset();
  EXPECT_EQ(ledger.bytes(), 32);
}

TEST_F(LedgerTest, TheEarliestHolderGivesTheKind) {
  Saved a = keep(t);
  Saved b = keep(t, SaveKind::kDeferred);
  EXPECT_EQ(bytes(SaveKind::kActivation), 128);
  EXPECT_EQ(bytes(SaveKind::kDeferred), 0);
  a.reset();
  EXPECT_EQ(bytes(SaveKind::kActivation), 0);
  EXPECT_EQ(bytes(SaveKind::kDeferred), 128);
}

TEST_F(LedgerTest, MovesKeepTheCount) {
  Saved a = keep(t);
  Saved b = std::move(a);
  EXPECT_EQ(ledger.bytes(), 128);
  EXPECT_EQ(b.cref().data, t.cref().data);
  Saved c = keep(Tensor::empty(stream, {1}));
  c = std::move(b);
  EXPECT_EQ(ledger.bytes(), 128);
  c.reset();
  c.reset();
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_FALSE(c.defined());
}

TEST_F(LedgerTest, NothingIsKeptOfNothing) {
  const Saved none = keep(Tensor());
  const Saved empty = keep(Tensor::empty(stream, {0, 4}));
  const Saved uncounted(t, SaveKind::kAux, nullptr);
  EXPECT_TRUE(uncounted.defined());
  EXPECT_EQ(ledger.bytes(), 0);
}

}  // namespace
}  // namespace sluice::ledger_test
