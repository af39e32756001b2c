// dw (+)= scale dz^T s and db (+)= column sums of dz, where s is 1 or `zero` by the bits that forward packed: the
// weight gradient of auxiliary sign activation (Woo and Jeon, ICLR 2023). The bits are expanded inside the product.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

struct SignGradWeight {
  static constexpr const char* kName = "sign_grad_weight";
  ConstRef bits;  // [packed_bytes(rows x in)] u8, of x [rows, in]
  ConstRef dz;    // [rows, out], f32 or bf16
  Ref dw;         // [out, in], f32
  Ref db;         // [out], f32; or undefined
  float scale = 1.0f;
  float zero = -1.0f;         // what a bit that is not set stands for
  bool accumulate_w = false;  // add to what is there
  bool accumulate_b = false;

  void check() const {
    expect_float(kName, "dz", dz.dtype);
    expect_rank(kName, "dz", dz.shape, 2);
    expect_dtype(kName, "dw", dw.dtype, DType::kF32);
    expect_rank(kName, "dw", dw.shape, 2);
    expect_shape(kName, "dw", dw.shape, {dz.dim(1), dw.dim(1)});
    expect_bits(kName, bits, dz.dim(0) * dw.dim(1));
    if (!db.defined()) return;
    expect_dtype(kName, "db", db.dtype, DType::kF32);
    expect_shape(kName, "db", db.shape, {dz.dim(1)});
  }
  Operands operands() const { return {{bits, dz}, {dw, db}}; }
  Cost cost() const {
    Cost c = operands().once(2 * dz.numel() * dw.dim(1) + (db.defined() ? dz.numel() : 0));
    c.read += (accumulate_w ? dw.bytes() : 0) + (accumulate_b ? db.bytes() : 0);
    return c;
  }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
