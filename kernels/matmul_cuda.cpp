// CUDA halves of the matrix products: cuBLASLt, plans kept by problem. Row-major matrices are seen as the transposed
// column-major ones: y = x w^T becomes y^T = w x^T, in which the bias runs down the rows as cuBLASLt wants it.
#include <cublasLt.h>

#include <memory>
#include <optional>

#include "kernels/common/cublas_check.cuh"
#include "kernels/common/passes.cuh"
#include "kernels/matmul.h"

namespace sluice::kernels {
namespace {

constexpr char kPlans[] = "matmul";                  // its address is the plans' tag
constexpr size_t kMostWorkspace = size_t{32} << 20;  // bytes; what NVIDIA advises for Hopper

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* p) const noexcept {
    destroy(p);
  }
};
using Description = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

/// D [m, n] = op(A) op(B) (+ D), column-major with the leading dimensions of packed matrices.
struct Gemm {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  const void *a, *b;
  void* d;
  DType in, out;
  bool accumulate = false;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;  // [m], f32
};

struct GemmPlan {
  Description description;
  Layout a, b, d;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace = 0;
  bool found = false;  // cuBLASLt has an algorithm for it
};

cudaDataType_t data_type(DType t) { return t == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

template <class T>
void set(const Description& d, cublasLtMatmulDescAttributes_t name, T value) {
  check(cublasLtMatmulDescSetAttribute(d.get(), name, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
}
template <class T>
void set(const Preference& p, cublasLtMatmulPreferenceAttributes_t name, T value) {
  check(cublasLtMatmulPreferenceSetAttribute(p.get(), name, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

Layout make_layout(DType t, int64_t rows, int64_t cols) {
  cublasLtMatrixLayout_t raw = nullptr;
  check(cublasLtMatrixLayoutCreate(&raw, data_type(t), uint64_t(rows), uint64_t(cols), rows),
        "cublasLtMatrixLayoutCreate");
  return Layout(raw);
}

/// f32 is not rounded to TF32; sums of parts of k are added in f32 in the workspace, so that results repeat and the
/// product is complete before it is added to D.
GemmPlan make_plan(const CudaContext& c, const Gemm& g) {
  GemmPlan plan;
  cublasLtMatmulDesc_t raw = nullptr;
  check(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  plan.description.reset(raw);
  set(plan.description, CUBLASLT_MATMUL_DESC_TRANSA, g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan.description, CUBLASLT_MATMUL_DESC_TRANSB, g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE, g.epilogue);
  if (g.bias != nullptr) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  plan.a = make_layout(g.in, g.transpose_a ? g.k : g.m, g.transpose_a ? g.m : g.k);
  plan.b = make_layout(g.in, g.transpose_b ? g.n : g.k, g.transpose_b ? g.k : g.n);
  plan.d = make_layout(g.out, g.m, g.n);

  cublasLtMatmulPreference_t raw_preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&raw_preference), "cublasLtMatmulPreferenceCreate");
  const Preference preference(raw_preference);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  const auto alignment = [](const void* p) { return uint32_t(passes::common_alignment(256, {p})); };
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(g.a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(g.b));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(g.d));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(g.d));

  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t code =
      cublasLtMatmulAlgoGetHeuristic(c.cublaslt, plan.description.get(), plan.a.get(), plan.b.get(), plan.d.get(),
                                     plan.d.get(), preference.get(), 1, &best, &count);
  if (code != CUBLAS_STATUS_NOT_SUPPORTED) check(code, "cublasLtMatmulAlgoGetHeuristic");
  plan.found = code == CUBLAS_STATUS_SUCCESS && count > 0 && best.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = best.algo;
  plan.workspace = plan.found ? best.workspaceSize : 0;
  return plan;
}

GemmPlan& plan_for(CudaContext& c, const Gemm& g) {
  std::vector<int64_t> key{
      g.m, g.n, g.k, g.transpose_a, g.transpose_b, int64_t(g.in), int64_t(g.out), int64_t(g.epilogue)};
  for (const void* p : {g.a, g.b, static_cast<const void*>(g.d), g.bias})
    key.push_back(passes::common_alignment(256, {p}));
  return c.plans.get<GemmPlan>(kPlans, std::move(key), [&] { return make_plan(c, g); });
}

void run(CudaContext& c, const Gemm& g, const GemmPlan& plan, void* workspace) {
  if (!plan.found)
    throw DeviceError(str("cuBLASLt ", cublasLtGetVersion(), " has no product [", g.m, ", ", g.k, "] x [", g.k, ", ",
                          g.n, "] of ", name(g.in), " into ", name(g.out)));
  if (g.bias != nullptr) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  const float alpha = 1.0f, beta = g.accumulate ? 1.0f : 0.0f;
  check(cublasLtMatmul(c.cublaslt, plan.description.get(), &alpha, g.a, plan.a.get(), g.b, plan.b.get(), &beta, g.d,
                       plan.d.get(), g.d, plan.d.get(), &plan.algorithm, workspace, plan.workspace, c.stream),
        "cublasLtMatmul");
}

/// The workspace of a product whose f32 weight may have to be rounded to bf16 first.
struct RoundedWeight {
  RoundedWeight(const ConstRef& w, DType to)
      : bytes(w.dtype == to ? 0 : passes::padded(size_t(w.numel() * size_of(to)))) {}
  /// The address that a plan is made for: where the rounded weight will lie is aligned like no address at all.
  const void* expected(const ConstRef& w) const { return bytes > 0 ? nullptr : w.data; }
  const void* place(CudaContext& c, const char* name, const ConstRef& w, DType to, void* scratch) const {
    if (bytes == 0) return w.data;
    passes::convert(c, name, w, Ref{{scratch, w.shape, to}});
    return scratch;
  }
  size_t bytes;
};

/// The epilogue that does bias and activation in the product; none where cuBLASLt has none, as for an f32 bias of bf16.
std::optional<cublasLtEpilogue_t> epilogue_of(const Matmul& call) {
  const bool bias = call.bias.defined();
  if (bias && call.y.dtype != DType::kF32) return std::nullopt;
  switch (call.act) {
    case Act::kNone:
      return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    case Act::kRelu:
      return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case Act::kGelu:
      return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
      return std::nullopt;
  }
}

}  // namespace

void Matmul::cuda(CudaContext& c) const {
  const int64_t rows = x.dim(0), in = x.dim(1), out = w.dim(0);
  if (y.numel() == 0) return;
  if (in == 0) {
    if (!accumulate) passes::zero(c, y);
    return passes::bias_act(c, kName, y, bias, act);
  }
  const RoundedWeight rounded(w, x.dtype);
  Gemm g{out, rows, in, true, false, rounded.expected(w), x.data, y.data, x.dtype, y.dtype, accumulate};
  bool fused = false;
  if (const auto epilogue = epilogue_of(*this)) {
    Gemm whole = g;
    whole.epilogue = *epilogue;
    whole.bias = bias.data;
    if ((fused = plan_for(c, whole).found)) g = whole;
  }
  const GemmPlan& plan = plan_for(c, g);
  auto* scratch = static_cast<std::byte*>(c.workspace(rounded.bytes + plan.workspace));
  g.a = rounded.place(c, kName, w, x.dtype, scratch);
  run(c, g, plan, scratch + rounded.bytes);
  if (!fused) passes::bias_act(c, kName, y, bias, act);
}

void MatmulGradInput::cuda(CudaContext& c) const {
  const int64_t rows = dz.dim(0), out = dz.dim(1), in = w.dim(1);
  if (dx.numel() == 0) return;
  if (out == 0) return accumulate ? void() : passes::zero(c, dx);
  const RoundedWeight rounded(w, dz.dtype);
  Gemm g{in, rows, out, false, false, rounded.expected(w), dz.data, dx.data, dz.dtype, dx.dtype, accumulate};
  const GemmPlan& plan = plan_for(c, g);
  auto* scratch = static_cast<std::byte*>(c.workspace(rounded.bytes + plan.workspace));
  g.a = rounded.place(c, kName, w, dz.dtype, scratch);
  run(c, g, plan, scratch + rounded.bytes);
}

void MatmulGradWeight::cuda(CudaContext& c) const {
  const int64_t rows = x.dim(0), in = x.dim(1), out = dz.dim(1);
  const Gemm g{in, out, rows, false, true, x.data, dz.data, dw.data, x.dtype, DType::kF32, accumulate_w};
  const GemmPlan* plan = dw.numel() == 0 || rows == 0 ? nullptr : &plan_for(c, g);
  const size_t library = plan == nullptr ? 0 : passes::padded(plan->workspace);
  const size_t sums = db.defined() ? passes::column_sums_workspace(dz) : 0;
  auto* scratch = static_cast<std::byte*>(c.workspace(library + sums));
  if (plan != nullptr)
    run(c, g, *plan, scratch);
  else if (!accumulate_w)
    passes::zero(c, dw);
  if (db.defined()) passes::column_sums(c, kName, dz, db, accumulate_b, scratch + library);
}

}  // namespace sluice::kernels
