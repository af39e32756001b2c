// A stand-in for the classic cuBLAS API: handles and matrix products, refused where the library refuses them.
#include <cublasLt.h>
#include <cublas_v2.h>

#include "emu/gemm.h"
#include "emu/rt.h"

struct cublasContext {
  static constexpr emu::rt::Made kMade = emu::rt::Made::kCublas;
  int device = 0;
  cudaStream_t stream = nullptr;
  cublasPointerMode_t pointers = CUBLAS_POINTER_MODE_HOST;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace emu::lib {
namespace {

/// One argument list for all products.
struct Call {
  const char* name;
  cublasOperation_t transpose_a, transpose_b;
  int64_t m, n, k;
  const void *alpha, *beta;
  cudaDataType_t scalar;
  Matrix a, b, c;
  int64_t stride_a = 0, stride_b = 0, stride_c = 0, batch = 1;
};

bool is_operation(cublasOperation_t t) { return t == CUBLAS_OP_N || t == CUBLAS_OP_T || t == CUBLAS_OP_C; }

bool good_sizes(const Call& c) {
  const int64_t a_rows = c.transpose_a == CUBLAS_OP_N ? c.m : c.k, b_rows = c.transpose_b == CUBLAS_OP_N ? c.k : c.n;
  return c.m >= 0 && c.n >= 0 && c.k >= 0 && c.batch >= 0 && c.a.ld >= std::max<int64_t>(1, a_rows) &&
         c.b.ld >= std::max<int64_t>(1, b_rows) && c.c.ld >= std::max<int64_t>(1, c.m);
}

const void* advanced(const void* data, int64_t elements, cudaDataType_t type) {
  return static_cast<const std::byte*>(data) + elements * int64_t(size_of(type));
}

Gemm problem(const Call& c, int64_t batch, double alpha, double beta) {
  Gemm g;
  g.transpose_a = c.transpose_a != CUBLAS_OP_N;
  g.transpose_b = c.transpose_b != CUBLAS_OP_N;
  g.a = {advanced(c.a.data, batch * c.stride_a, c.a.type), g.transpose_a ? c.k : c.m, g.transpose_a ? c.m : c.k, c.a.ld,
         c.a.type};
  g.b = {advanced(c.b.data, batch * c.stride_b, c.b.type), g.transpose_b ? c.n : c.k, g.transpose_b ? c.k : c.n, c.b.ld,
         c.b.type};
  g.c = g.d = {advanced(c.c.data, batch * c.stride_c, c.c.type), c.m, c.n, c.c.ld, c.c.type};
  g.alpha = alpha;
  g.beta = beta;
  return g;
}

/// Host scalars are read during the call, device scalars when it runs.
cublasStatus_t multiply(cublasHandle_t handle, const Call& c) {
  const rt::Lock lock;
  const cublasContext* const context = rt::object<cublasContext>(handle);
  if (context == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!is_operation(c.transpose_a) || !is_operation(c.transpose_b) || !good_sizes(c))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (c.alpha == nullptr || c.beta == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (size_of(c.a.type) == 0 || size_of(c.c.type) == 0 || c.a.type != c.b.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  rt::Stream* const s = rt::find_stream(context->stream, c.name);
  if (s == nullptr) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (rt::device_of(*s) != context->device || rt::current_device() != context->device) {
    report(Report::kWrongDevice, std::string(c.name) + ": the handle is of cuda:" + std::to_string(context->device) +
                                     ", its stream of cuda:" + std::to_string(rt::device_of(*s)) +
                                     ", cuda:" + std::to_string(rt::current_device()) + " is current");
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  if (c.m == 0 || c.n == 0 || c.batch == 0) return CUBLAS_STATUS_SUCCESS;
  const bool host = context->pointers == CUBLAS_POINTER_MODE_HOST;
  const double alpha = host ? load(c.alpha, 0, c.scalar) : 0, beta = host ? load(c.beta, 0, c.scalar) : 0;
  const int device = context->device;
  rt::push(*s, c.name, {.run = [=](OpId op) {
    double scale[2] = {alpha, beta};
    const void* const scalars[2] = {c.alpha, c.beta};
    for (int i = 0; i < 2 && !host; ++i) {
      if (!rt::is_usable(scalars[i], size_of(c.scalar), device, c.name)) return;
      touch(scalars[i], size_of(c.scalar), false, op, c.name);
      scale[i] = load(scalars[i], 0, c.scalar);
    }
    for (int64_t i = 0; i < c.batch; ++i) run_gemm(problem(c, i, scale[0], scale[1]), device, op, c.name);
  }});
  return rt::sticky_error() == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

/// The type of the scalars, or of nothing where the combination is not emulated.
cudaDataType_t scalar_type(cublasComputeType_t compute) {
  return compute == CUBLAS_COMPUTE_64F ? CUDA_R_64F : CUDA_R_32F;
}
bool is_emulated(cublasComputeType_t compute, cudaDataType_t type) {
  if (compute == CUBLAS_COMPUTE_64F) return type == CUDA_R_64F;
  return (compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC) && type != CUDA_R_64F;
}

/// Runs f on the handle's object.
template <class F>
cublasStatus_t with(cublasHandle_t handle, F&& f) {
  const rt::Lock lock;
  auto* const context = rt::object<cublasContext>(handle);
  if (context == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  f(*context);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace
}  // namespace emu::lib

using namespace emu;
using namespace emu::lib;

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  const rt::Lock lock;
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  const int device = rt::current_device();
  rt::make_object<cublasContext>(*handle, "a cuBLAS handle of cuda:" + std::to_string(device)).device = device;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  const rt::Lock lock;
  return rt::destroy_object<cublasContext>(handle) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) {
  *version = CUBLAS_VERSION;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  return with(handle, [=](cublasContext& c) { c.stream = stream; });
}
cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  return with(handle, [=](const cublasContext& c) { *stream = c.stream; });
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void*, size_t) {
  return with(handle, [](cublasContext&) {});
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
  return with(handle, [=](cublasContext& c) { c.pointers = mode; });
}
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) {
  return with(handle, [=](const cublasContext& c) { *mode = c.pointers; });
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  return with(handle, [=](cublasContext& c) { c.math = mode; });
}
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  return with(handle, [=](const cublasContext& c) { *mode = c.math; });
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                              const float* alpha, const float* a, int lda, const float* b, int ldb, const float* beta,
                              float* c, int ldc) {
  return multiply(handle, {"cublasSgemm",
                           ta,
                           tb,
                           m,
                           n,
                           k,
                           alpha,
                           beta,
                           CUDA_R_32F,
                           {a, 0, 0, lda, CUDA_R_32F},
                           {b, 0, 0, ldb, CUDA_R_32F},
                           {c, 0, 0, ldc, CUDA_R_32F}});
}
cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                         int n, int k, const float* alpha, const float* a, int lda, long long stride_a,
                                         const float* b, int ldb, long long stride_b, const float* beta, float* c,
                                         int ldc, long long stride_c, int batch) {
  return multiply(handle, {"cublasSgemmStridedBatched",
                           ta,
                           tb,
                           m,
                           n,
                           k,
                           alpha,
                           beta,
                           CUDA_R_32F,
                           {a, 0, 0, lda, CUDA_R_32F},
                           {b, 0, 0, ldb, CUDA_R_32F},
                           {c, 0, 0, ldc, CUDA_R_32F},
                           stride_a,
                           stride_b,
                           stride_c,
                           batch});
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType type_a, int lda, const void* b,
                            cudaDataType type_b, int ldb, const void* beta, void* c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (!is_emulated(compute, type_a)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return multiply(handle, {"cublasGemmEx",
                           ta,
                           tb,
                           m,
                           n,
                           k,
                           alpha,
                           beta,
                           scalar_type(compute),
                           {a, 0, 0, lda, type_a},
                           {b, 0, 0, ldb, type_b},
                           {c, 0, 0, ldc, type_c}});
}
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                          int n, int k, const void* alpha, const void* a, cudaDataType type_a, int lda,
                                          long long stride_a, const void* b, cudaDataType type_b, int ldb,
                                          long long stride_b, const void* beta, void* c, cudaDataType type_c, int ldc,
                                          long long stride_c, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
  if (!is_emulated(compute, type_a)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return multiply(handle, {"cublasGemmStridedBatchedEx",
                           ta,
                           tb,
                           m,
                           n,
                           k,
                           alpha,
                           beta,
                           scalar_type(compute),
                           {a, 0, 0, lda, type_a},
                           {b, 0, 0, ldb, type_b},
                           {c, 0, 0, ldc, type_c},
                           stride_a,
                           stride_b,
                           stride_c,
                           batch});
}

const char* cublasGetStatusName(cublasStatus_t status) { return cublasLtGetStatusName(status); }
const char* cublasGetStatusString(cublasStatus_t status) { return cublasLtGetStatusString(status); }
}
