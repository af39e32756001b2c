// Tensors: views of storage, and the copies between host and devices.
#include "engine/tensor.h"

#include "engine/stream_core.h"

namespace sluice {

Tensor::Tensor(Shape shape, DType dtype, StoragePtr storage, int64_t offset_bytes)
    : shape_(shape), dtype_(dtype), storage_(std::move(storage)), offset_(offset_bytes) {
  if (offset_ < 0 || offset_ + bytes() > int64_t(storage_->bytes()))
    throw ShapeError(str("a view of ", bytes(), " bytes at ", offset_, " of a storage of ", storage_->bytes()));
  if (offset_ % size_of(dtype_) != 0)
    throw ShapeError(
        str("a view of ", name(dtype_), " at ", offset_, " bytes: expected a multiple of ", size_of(dtype_)));
}

Tensor Tensor::empty(const Stream& s, Shape shape, DType dtype, MemoryTag tag) {
  return {shape, dtype, s.pool().allocate(s, size_t(shape.numel() * size_of(dtype)), tag)};
}

template <class T>
Tensor Tensor::from(const Stream& s, std::span<const T> values, Shape shape, MemoryTag tag) {
  Tensor t = empty(s, shape, dtype_of<T>::value, tag);
  t.assign(s, values);
  return t;
}

ConstRef Tensor::cref() const { return ref(); }
Ref Tensor::ref() const {
  if (!defined()) return {};
  return {{static_cast<std::byte*>(storage_->data()) + offset_, shape_, dtype_}};
}

Tensor Tensor::reshape(Shape shape) const {
  if (shape.numel() != numel())
    throw ShapeError(str("reshape of ", shape_.text(), " to ", shape.text(), ": the element counts differ"));
  return {shape, dtype_, storage_, offset_};
}

Tensor Tensor::rows(int64_t begin, int64_t count) const {
  if (shape_.rank() == 0 || begin < 0 || count < 0 || begin + count > shape_[0])
    throw ShapeError(str("rows [", begin, ", ", begin + count, ") of a tensor of shape ", shape_.text()));
  Shape part{count};
  for (int i = 1; i < shape_.rank(); ++i) part.push_back(shape_[i]);
  const int64_t row_bytes = shape_[0] == 0 ? 0 : bytes() / shape_[0];
  return {part, dtype_, storage_, offset_ + begin * row_bytes};
}

Tensor Tensor::flat_view(int64_t begin, Shape shape) const {
  if (begin < 0 || begin + shape.numel() > numel())
    throw ShapeError(str("elements [", begin, ", ", begin + shape.numel(), ") of a tensor of ", numel()));
  return {shape, dtype_, storage_, offset_ + begin * size_of(dtype_)};
}

template <class T>
void Tensor::assign(const Stream& s, std::span<const T> values) {
  expect_dtype("assign", "tensor", dtype_, dtype_of<T>::value);
  if (int64_t(values.size()) != numel())
    throw ShapeError(str("assign: ", values.size(), " values for a tensor of shape ", shape_.text()));
  s.core()->upload(values.data(), ref().data, values.size_bytes(), true);
}

template <class T>
std::vector<T> Tensor::to_vector(const Stream& s) const {
  expect_dtype("to_vector", "tensor", dtype_, dtype_of<T>::value);
  std::vector<T> values(static_cast<size_t>(numel()));
  copy_to_host(s, *this, values.data());
  s.sync();
  return values;
}

void copy(const Stream& s, const Tensor& src, const Tensor& dst) {
  expect_shape("copy", "dst", dst.shape(), src.shape());
  expect_dtype("copy", "dst", dst.dtype(), src.dtype());
  s.core()->copy(src.cref().data, src.device(), dst.ref().data, dst.device(), size_t(src.bytes()));
}
void copy_from_host(const Stream& s, const void* src, const Tensor& dst) {
  s.core()->upload(src, dst.ref().data, size_t(dst.bytes()), false);
}
void copy_to_host(const Stream& s, const Tensor& src, void* dst) {
  s.core()->download(src.cref().data, dst, size_t(src.bytes()));
}

template Tensor Tensor::from(const Stream&, std::span<const float>, Shape, MemoryTag);
template Tensor Tensor::from(const Stream&, std::span<const bf16>, Shape, MemoryTag);
template Tensor Tensor::from(const Stream&, std::span<const int32_t>, Shape, MemoryTag);
template Tensor Tensor::from(const Stream&, std::span<const int64_t>, Shape, MemoryTag);
template Tensor Tensor::from(const Stream&, std::span<const uint8_t>, Shape, MemoryTag);
template void Tensor::assign(const Stream&, std::span<const float>);
template void Tensor::assign(const Stream&, std::span<const bf16>);
template void Tensor::assign(const Stream&, std::span<const int32_t>);
template void Tensor::assign(const Stream&, std::span<const int64_t>);
template void Tensor::assign(const Stream&, std::span<const uint8_t>);
template std::vector<float> Tensor::to_vector(const Stream&) const;
template std::vector<bf16> Tensor::to_vector(const Stream&) const;
template std::vector<int32_t> Tensor::to_vector(const Stream&) const;
template std::vector<int64_t> Tensor::to_vector(const Stream&) const;
template std::vector<uint8_t> Tensor::to_vector(const Stream&) const;

}  // namespace sluice
