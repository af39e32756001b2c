// What a kernel sees of a tensor: plain data, no ownership. Also the dtypes, shapes and the cost of a call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>

#include "kernels/common/error.h"
#include "kernels/common/hd.h"

namespace sluice {

/// bfloat16 for storage: the upper half of a float, rounded to nearest even. Arithmetic is done in float.
struct bf16 {
  uint16_t bits;

  bf16() = default;
  SLUICE_HD explicit bf16(float v) {
    uint32_t u;
    memcpy(&u, &v, 4);
    const uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1u);
    bits = (u & 0x7fffffffu) > 0x7f800000u ? uint16_t((u >> 16) | 0x40u) : uint16_t(rounded >> 16);  // NaN stays NaN
  }
  SLUICE_HD explicit operator float() const {
    const uint32_t u = uint32_t(bits) << 16;
    float v;
    memcpy(&v, &u, 4);
    return v;
  }
};
static_assert(sizeof(bf16) == 2);

enum class DType : uint8_t { kF32, kBF16, kI32, kI64, kU8 };

constexpr int64_t size_of(DType t) {
  switch (t) {
    case DType::kF32:
      return 4;
    case DType::kBF16:
      return 2;
    case DType::kI32:
      return 4;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}
constexpr const char* name(DType t) {
  switch (t) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kU8:
      return "u8";
  }
  return "?";
}

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct dtype_of<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct dtype_of<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct dtype_of<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct dtype_of<uint8_t> {
  static constexpr DType value = DType::kU8;
};

/// Up to five dimensions, row-major, outermost first. A rank of 0 is a scalar (one element).
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }

  constexpr int rank() const { return rank_; }
  constexpr int64_t operator[](int i) const { return dims_[size_t(i)]; }
  constexpr int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[size_t(i)];
    return n;
  }
  /// Product of all dimensions but the last: the rows of the tensor seen as a matrix.
  constexpr int64_t rows() const { return rank_ == 0 || cols() == 0 ? (rank_ == 0 ? 1 : dims_[0]) : numel() / cols(); }
  constexpr int64_t cols() const { return rank_ == 0 ? 1 : dims_[size_t(rank_ - 1)]; }
  constexpr void push_back(int64_t d) {
    if (rank_ == kMaxRank) throw ShapeError("a shape has at most 5 dimensions");
    if (d < 0) throw ShapeError("a dimension is negative");
    dims_[size_t(rank_++)] = d;
  }
  constexpr bool operator==(const Shape& o) const {
    if (rank_ != o.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[size_t(i)] != o.dims_[size_t(i)]) return false;
    return true;
  }
  std::string text() const {  // "[2, 3]"
    std::string s = "[";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[size_t(i)]);
    return s + "]";
  }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

namespace detail {
template <class Pointer>
struct BasicRef {
  Pointer data = nullptr;
  Shape shape;
  DType dtype = DType::kF32;

  int64_t numel() const { return shape.numel(); }
  int64_t dim(int i) const { return shape[i]; }
  int64_t bytes() const { return data == nullptr ? 0 : numel() * size_of(dtype); }
  bool defined() const { return data != nullptr; }
};
}  // namespace detail

/// A tensor to read: pointer, shape, dtype. Does not own; valid while the stream's work that uses it runs.
struct ConstRef : detail::BasicRef<const void*> {
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};
/// A tensor to write.
struct Ref : detail::BasicRef<void*> {
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  operator ConstRef() const { return ConstRef{{data, shape, dtype}}; }
};

/// What a call must move and compute: the two numbers that a kernel's speed is judged by.
struct Cost {
  int64_t read = 0;     // bytes
  int64_t written = 0;  // bytes
  int64_t flops = 0;
  int64_t bytes() const { return read + written; }
};

/// The tensors a call reads and writes; what is written may be read too. Undefined ones are left out.
struct Operands {
  static constexpr int kMax = 10;
  std::array<ConstRef, kMax> reads;
  std::array<Ref, kMax> writes;
  int read_count = 0;
  int write_count = 0;

  Operands(std::initializer_list<ConstRef> r, std::initializer_list<Ref> w) {
    for (const ConstRef& x : r)
      if (x.defined()) reads[size_t(read_count++)] = x;
    for (const Ref& x : w)
      if (x.defined()) writes[size_t(write_count++)] = x;
  }
  /// Bytes of all operands, each moved once.
  Cost once(int64_t flops) const {
    Cost c{0, 0, flops};
    for (int i = 0; i < read_count; ++i) c.read += reads[size_t(i)].bytes();
    for (int i = 0; i < write_count; ++i) c.written += writes[size_t(i)].bytes();
    return c;
  }
};

// ---- what check() says: one line, the op first, then what was expected and what came ----

inline void expect_shape(const char* op, const char* what, const Shape& got, const Shape& expected) {
  if (!(got == expected))
    throw ShapeError(str(op, ": ", what, " has shape ", got.text(), ", expected ", expected.text()));
}
inline void expect_rank(const char* op, const char* what, const Shape& got, int rank) {
  if (got.rank() != rank)
    throw ShapeError(str(op, ": ", what, " has shape ", got.text(), ", expected ", rank, " dimensions"));
}
inline void expect_dtype(const char* op, const char* what, DType got, DType expected) {
  if (got != expected) throw DTypeError(str(op, ": ", what, " is ", name(got), ", expected ", name(expected)));
}
/// f32 or bf16.
inline void expect_float(const char* op, const char* what, DType got) {
  if (got != DType::kF32 && got != DType::kBF16)
    throw DTypeError(str(op, ": ", what, " is ", name(got), ", expected f32 or bf16"));
}

}  // namespace sluice
