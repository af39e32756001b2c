// Heads are copied byte for byte: all processes of a run are one program.
#include "pipeline/packed_parcel.h"

#include <cstring>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr size_t kValueAlign = 256;
size_t value_room(size_t bytes) { return (bytes + kValueAlign - 1) / kValueAlign * kValueAlign; }

}  // namespace

size_t head_bytes(size_t values) { return value_room(sizeof(PackedHead) + values * sizeof(PackedValue)); }

size_t packed_bytes(const Parcel& parcel) {
  size_t bytes = head_bytes(parcel.values.size());
  for (const Tensor& t : parcel.values) bytes += t.defined() ? value_room(size_t(t.bytes())) : 0;
  return bytes;
}

std::vector<PackedValue> write_head(const Action& a, const Parcel& parcel, std::byte* to) {
  std::vector<PackedValue> values;
  size_t offset = head_bytes(parcel.values.size());
  for (const Tensor& t : parcel.values) {
    PackedValue& v = values.emplace_back();
    if (!t.defined()) continue;
    v.offset = int64_t(offset);
    v.rank = t.shape().rank();
    v.dtype = t.dtype();
    for (int i = 0; i < v.rank; ++i) v.dims[i] = t.shape()[i];
    offset += value_room(size_t(t.bytes()));
  }
  const PackedHead head{a.mb, a.view, uint32_t(values.size())};
  std::memcpy(to, &head, sizeof head);
  if (!values.empty()) std::memcpy(to + sizeof head, values.data(), values.size() * sizeof(PackedValue));
  return values;
}

size_t packed_bytes(const std::vector<PackedValue>& values) {
  size_t bytes = head_bytes(values.size());
  for (const PackedValue& v : values) {
    if (v.offset < 0) continue;
    bytes += value_room(size_t(v.shape().numel() * size_of(v.dtype)));
  }
  return bytes;
}

PackedHead read_head(const Mail& mail, std::vector<PackedValue>& values) {
  PackedHead head;
  if (mail.bytes >= sizeof head) std::memcpy(&head, mail.data.get(), sizeof head);
  if (mail.bytes < head_bytes(head.values))
    throw TransportError(str("a parcel of ", mail.bytes, " bytes, expected a head for ", head.values, " values"));
  values.resize(head.values);
  if (!values.empty()) std::memcpy(values.data(), mail.data.get() + sizeof head, values.size() * sizeof(PackedValue));
  return head;
}

Shape PackedValue::shape() const {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(dims[i]);
  return shape;
}

}  // namespace sluice
