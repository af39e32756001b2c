// What the forward pass keeps for the backward pass, in bytes, by kind. Exact: a byte kept twice counts once, under the
// kind of its earliest holder.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/tensor.h"

namespace sluice {

enum class SaveKind : uint8_t { kActivation, kAux, kBits, kMask, kStats, kDeferred };
inline constexpr int kSaveKinds = 6;
const char* name(SaveKind k);

class Ledger;

/// A kept tensor: the ledger counts it until this is dropped.
class Saved {
 public:
  Saved() = default;
  Saved(Tensor t, SaveKind kind, Ledger* ledger);
  ~Saved();
  Saved(Saved&& o) noexcept;
  Saved& operator=(Saved&& o) noexcept;

  const Tensor& tensor() const { return tensor_; }
  ConstRef cref() const { return tensor_.cref(); }
  bool defined() const { return tensor_.defined(); }
  void reset();

 private:
  Tensor tensor_;
  SaveKind kind_ = SaveKind::kActivation;
  Ledger* ledger_ = nullptr;
};

/// Counts of one stage. Owned by the stage's worker and outlives its tapes.
class Ledger {
 public:
  int64_t bytes(SaveKind k) const { return bytes_[size_t(k)]; }
  int64_t bytes() const;
  int64_t peak() const { return peak_; }
  void reset_peak() { peak_ = bytes(); }

 private:
  friend class Saved;
  void add(const Tensor& t, SaveKind k);
  void remove(const Tensor& t, SaveKind k);

  struct Holder {
    uintptr_t begin, end;  // addresses: views of one storage may overlap
    SaveKind kind;
    bool operator==(const Holder&) const = default;
  };
  using Holders = std::vector<Holder>;  // of one storage, in the order of add()
  static Holder holder(const Tensor& t, SaveKind k);
  static int64_t uncovered(const Holder* first, const Holder* last, uintptr_t begin, uintptr_t end);
  void count(const Holders& h, int64_t sign);

  std::map<const Storage*, Holders> storages_;
  std::array<int64_t, kSaveKinds> bytes_{};
  int64_t peak_ = 0;
};

}  // namespace sluice
