// The supervised contrastive loss of a batch from the products of its rows, and what the gradient is made of.
// dproducts may be products.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// With s = products / temperature and n(a) the rows of a's label, a itself among them:
///   loss = -weight / B sum_a 1 / n(a) sum_{p != a, y_p = y_a} (s_ap - log sum_{c != a} e^{s_ac}).
/// A label that one row alone has contributes 0. The mean over no rows is 0. Safe for any finite products (log-sum-exp
/// about the row's maximum). Products are taken as symmetric: dproducts is G + G^T for the gradient G towards
/// products, so that dz = dproducts z where products = z z^T.
struct SupervisedContrastive {
  static constexpr const char* kName = "supervised_contrastive";
  ConstRef products;  // [B, B] f32: z z^T
  ConstRef labels;    // [B] i32; compared only
  Ref loss;           // [1] f32
  Ref dproducts{};    // [B, B] f32, its diagonal 0; undefined: not wanted
  float temperature = 0.1f;
  float weight = 1.0f;

  void check() const {
    expect_dtype(kName, "products", products.dtype, DType::kF32);
    expect_rank(kName, "products", products.shape, 2);
    expect_shape(kName, "products", products.shape, {products.dim(0), products.dim(0)});
    expect_dtype(kName, "labels", labels.dtype, DType::kI32);
    expect_shape(kName, "labels", labels.shape, {products.dim(0)});
    expect_dtype(kName, "loss", loss.dtype, DType::kF32);
    expect_shape(kName, "loss", loss.shape, {1});
    if (!(temperature > 0.0f))
      throw ConfigError(str(kName, ": temperature is ", temperature, ", expected a positive number"));
    if (!dproducts.defined()) return;
    expect_dtype(kName, "dproducts", dproducts.dtype, DType::kF32);
    expect_shape(kName, "dproducts", dproducts.shape, products.shape);
  }
  Operands operands() const { return {{products, labels}, {loss, dproducts}}; }
  Cost cost() const { return operands().once(products.numel() * (dproducts.defined() ? 60 : 22)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// What the gradient needs of a row: log sum_{c != a} e^{s_ac}, weight / (B temperature n(a)), and that times the
/// row's positives.
struct ContrastiveRow {
  float log_sum, pull, push;
};

}  // namespace sluice::kernels
