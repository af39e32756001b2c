// A tensor: shape, dtype and shared storage on one device. Knows nothing of gradients.
#pragma once

#include <span>
#include <vector>

#include "engine/storage.h"
#include "kernels/common/ref.h"

namespace sluice {

class Tensor {
 public:
  Tensor() = default;
  /// Contents undefined. Memory comes from the stream's pool and goes back to it in stream order.
  static Tensor empty(const Stream& s, Shape shape, DType dtype = DType::kF32, MemoryTag tag = MemoryTag::kActivations);
  /// A copy of host values, queued on the stream; `values` is read before the call returns.
  template <class T>
  static Tensor from(const Stream& s, std::span<const T> values, Shape shape, MemoryTag tag = MemoryTag::kActivations);
  Tensor(Shape shape, DType dtype, StoragePtr storage, int64_t offset_bytes = 0);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i]; }
  DType dtype() const { return dtype_; }
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return numel() * size_of(dtype_); }
  Device device() const { return storage_->device(); }
  const StoragePtr& storage() const { return storage_; }

  ConstRef cref() const;  // an undefined tensor gives an undefined reference
  Ref ref() const;
  /// The same elements under another shape. Throws ShapeError when the counts differ.
  Tensor reshape(Shape shape) const;
  /// Rows [begin, begin + count) of the first dimension; shares the storage.
  Tensor rows(int64_t begin, int64_t count) const;
  /// Elements [begin, begin + shape.numel()) of the flat tensor, seen as `shape`; shares the storage.
  Tensor flat_view(int64_t begin, Shape shape) const;
  /// No other tensor shares the storage and only its own stream ever used it, so its holder may overwrite it there.
  bool unique() const { return storage_.use_count() == 1 && !storage_->has_other_users(); }

  /// Overwrites with host values, queued on the stream; `values` is read before the call returns.
  template <class T>
  void assign(const Stream& s, std::span<const T> values);
  /// Copies to the host. Waits for the stream.
  template <class T>
  std::vector<T> to_vector(const Stream& s) const;

 private:
  Shape shape_;
  DType dtype_ = DType::kF32;
  StoragePtr storage_;
  int64_t offset_ = 0;  // bytes
};

/// Copies `src` into `dst` (equal shape and dtype) on the stream; both may be on any device the stream can reach.
/// The stream must already be ordered after the writer of `src`.
void copy(const Stream& s, const Tensor& src, const Tensor& dst);
/// Host bytes to a tensor and back, queued on the stream. The host range must stay valid until the stream has run.
void copy_from_host(const Stream& s, const void* src, const Tensor& dst);
void copy_to_host(const Stream& s, const Tensor& src, void* dst);

}  // namespace sluice
