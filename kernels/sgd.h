// One SGD step over a whole arena: d = g + decay w; b = momentum b + d; w -= lr (nesterov ? d + momentum b : b). In
// place.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/segments.h"

namespace sluice::kernels {

/// As torch.optim.SGD without dampening (Sutskever et al., ICML 2013). A zero `buffer` gives PyTorch's first step,
/// b = d. lr and decay are those of the segment's group.
struct Sgd {
  static constexpr const char* kName = "sgd";
  Ref w;              // [n] f32
  ConstRef g;         // [n] f32
  Ref buffer;         // [n] f32, zero before the first step; undefined: no momentum
  Ref view;           // [n] bf16 copy of w, written in the same pass; may be undefined
  ConstRef segments;  // [segments, 3] i64
  ConstRef scalars;   // kStepScalarsShape, u8
  ConstRef finite;    // [1] i32: 0 leaves everything as it is; may be undefined
  float momentum = 0;
  bool nesterov = false;

  void check() const {
    const int64_t n = w.numel();
    expect_flat(kName, "w", w, n, DType::kF32);
    expect_flat(kName, "g", g, n, DType::kF32);
    if (buffer.defined()) expect_flat(kName, "buffer", buffer, n, DType::kF32);
    if (view.defined()) expect_flat(kName, "view", view, n, DType::kBF16);
    expect_update(kName, n, segments, scalars, finite);
  }
  Operands operands() const { return {{g, segments, scalars, finite}, {w, buffer, view}}; }
  Cost cost() const {
    Cost c = operands().once(w.numel() * 7);
    c.read += w.bytes() + buffer.bytes();  // both read and written
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// What is the same for all elements of a segment.
struct SgdConstants {
  float lr, decay, momentum;
  bool nesterov;
};

namespace detail {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD SgdConstants sgd_constants(const Sgd& call, const StepScalars& s, int64_t group) {
  return {.lr = s.lr[group], .decay = s.weight_decay[group], .momentum = call.momentum, .nesterov = call.nesterov};
}
/// The new weight; `b` is updated. One text for both devices.
template <bool kMomentum>
SLUICE_HD float sgd_update(float w, float g, float& b, const SgdConstants& c) {
  const float d = g + c.decay * w;
  if constexpr (kMomentum) {
    b = c.momentum * b + d;
    return w - c.lr * (c.nesterov ? d + c.momentum * b : b);
  } else {
    return w - c.lr * d;
  }
}

}  // namespace SLUICE_ISA or host
}  // namespace detail

}  // namespace sluice::kernels
