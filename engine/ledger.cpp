// Counts kept tensors by storage and address range, so that what two holders share is counted once.
#include "engine/ledger.h"

#include <algorithm>
#include <utility>

namespace sluice {

const char* name(SaveKind k) {
  constexpr const char* kNames[] = {"activation", "aux", "bits", "mask", "stats", "deferred"};
  return kNames[size_t(k)];
}

Saved::Saved(Tensor t, SaveKind kind, Ledger* ledger) : tensor_(std::move(t)), kind_(kind), ledger_(ledger) {
  if (ledger_ && tensor_.defined()) ledger_->add(tensor_, kind_);
}
Saved::~Saved() { reset(); }
Saved::Saved(Saved&& o) noexcept
    : tensor_(std::exchange(o.tensor_, {})), kind_(o.kind_), ledger_(std::exchange(o.ledger_, nullptr)) {}
Saved& Saved::operator=(Saved&& o) noexcept {
  if (this == &o) return *this;
  reset();
  tensor_ = std::exchange(o.tensor_, {});
  kind_ = o.kind_;
  ledger_ = std::exchange(o.ledger_, nullptr);
  return *this;
}
void Saved::reset() {
  if (ledger_ && tensor_.defined()) ledger_->remove(tensor_, kind_);
  tensor_ = {};
  ledger_ = nullptr;
}

int64_t Ledger::bytes() const {
  int64_t sum = 0;
  for (const int64_t b : bytes_) sum += b;
  return sum;
}

Ledger::Holder Ledger::holder(const Tensor& t, SaveKind k) {
  const auto begin = reinterpret_cast<uintptr_t>(t.cref().data);
  return {begin, begin + uintptr_t(t.bytes()), k};
}

/// Bytes of [begin, end) that none of the holders [first, last) keeps.
int64_t Ledger::uncovered(const Holder* first, const Holder* last, uintptr_t begin, uintptr_t end) {
  if (begin >= end) return 0;
  for (; first != last; ++first)
    if (first->begin < end && begin < first->end)
      return uncovered(first + 1, last, begin, first->begin) + uncovered(first + 1, last, first->end, end);
  return int64_t(end - begin);
}

void Ledger::count(const Holders& h, int64_t sign) {
  for (const Holder& x : h) bytes_[size_t(x.kind)] += sign * uncovered(h.data(), &x, x.begin, x.end);
}

void Ledger::add(const Tensor& t, SaveKind k) {
  Holders& h = storages_[t.storage().get()];
  const Holder x = holder(t, k);
  bytes_[size_t(k)] += uncovered(h.data(), h.data() + h.size(), x.begin, x.end);
  h.push_back(x);
  peak_ = std::max(peak_, bytes());
}

void Ledger::remove(const Tensor& t, SaveKind k) {
  const auto it = storages_.find(t.storage().get());
  Holders& h = it->second;
  count(h, -1);
  h.erase(std::next(std::find(h.rbegin(), h.rend(), holder(t, k))).base());
  count(h, 1);
  if (h.empty()) storages_.erase(it);
}

}  // namespace sluice
