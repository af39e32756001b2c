// Counts kept tensors by storage, so that two holders of one tensor are one entry.
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
  if (ledger_ && tensor_.defined()) ledger_->remove(tensor_);
  tensor_ = {};
  ledger_ = nullptr;
}

int64_t Ledger::bytes() const {
  int64_t sum = 0;
  for (const int64_t b : bytes_) sum += b;
  return sum;
}

void Ledger::add(const Tensor& t, SaveKind k) {
  Count& count = storages_[t.storage().get()];
  if (count.holders++ == 0) {
    count.kind = k;
    count.bytes = t.bytes();
    bytes_[size_t(k)] += count.bytes;
    peak_ = std::max(peak_, bytes());
  }
}

void Ledger::remove(const Tensor& t) {
  const auto it = storages_.find(t.storage().get());
  if (--it->second.holders > 0) return;
  bytes_[size_t(it->second.kind)] -= it->second.bytes;
  storages_.erase(it);
}

}  // namespace sluice
