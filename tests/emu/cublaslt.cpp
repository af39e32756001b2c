// A stand-in for cuBLASLt: descriptions as attribute stores, a heuristic with one algorithm, and products with bias and
// activation. Strict about descriptions, leading dimensions, alignments that were promised, and workspaces.
#include <cublasLt.h>

#include <cstring>
#include <map>

#include "emu/gemm.h"
#include "emu/rt.h"

namespace emu::lib {
namespace {

using rt::Made;

struct Handle {
  static constexpr Made kMade = Made::kCublasLt;
  int device = 0;
};

/// Attributes by number, each of a size that must be named right.
template <Made kind>
struct Attributes {
  static constexpr Made kMade = kind;
  std::map<int, std::vector<std::byte>> values;

  template <class T>
  void define(int name, T value) {
    values[name].resize(sizeof value);
    std::memcpy(values[name].data(), &value, sizeof value);
  }
  template <class T>
  T get(int name) const {
    T value;
    std::memcpy(&value, values.at(name).data(), sizeof value);
    return value;
  }
  cublasStatus_t set(int name, const void* data, size_t bytes) {
    const auto it = values.find(name);
    if (it == values.end()) {
      report(Report::kMisuse, "cuBLASLt: attribute " + std::to_string(name) + " does not exist or is not emulated");
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (data == nullptr || bytes != it->second.size()) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(it->second.data(), data, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  cublasStatus_t read(int name, void* data, size_t bytes, size_t* written) const {
    const auto it = values.find(name);
    if (it == values.end()) return CUBLAS_STATUS_INVALID_VALUE;
    if (bytes == 0 ? written == nullptr : data == nullptr || bytes != it->second.size())
      return CUBLAS_STATUS_INVALID_VALUE;
    if (bytes != 0) std::memcpy(data, it->second.data(), bytes);
    if (written != nullptr) *written = it->second.size();
    return CUBLAS_STATUS_SUCCESS;
  }
};
using Description = Attributes<Made::kMatmul>;
using Layout = Attributes<Made::kLayout>;
using Preference = Attributes<Made::kPreference>;

Matrix matrix_of(const Layout& l, const void* data) {
  return {data, int64_t(l.get<uint64_t>(CUBLASLT_MATRIX_LAYOUT_ROWS)),
          int64_t(l.get<uint64_t>(CUBLASLT_MATRIX_LAYOUT_COLS)), l.get<int64_t>(CUBLASLT_MATRIX_LAYOUT_LD),
          cudaDataType_t(l.get<uint32_t>(CUBLASLT_MATRIX_LAYOUT_TYPE))};
}

/// All descriptions of a call.
struct Problem {
  const Handle* handle;
  const Description* description;
  const Layout *a, *b, *c, *d;
};

bool is_whole(const Problem& p) {
  return p.description != nullptr && p.a != nullptr && p.b != nullptr && p.c != nullptr && p.d != nullptr;
}

bool good_layout(const Matrix& m) { return m.rows > 0 && m.cols > 0 && m.ld >= m.rows; }
bool same_shape(const Matrix& a, const Matrix& b) { return a.rows == b.rows && a.cols == b.cols && a.type == b.type; }

bool has_bias(uint32_t epilogue) { return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0; }

/// The product without addresses; a status other than success says that the library would not take it.
cublasStatus_t product_of(const Problem& p, Gemm& g) {
  const Description& description = *p.description;
  const auto ta = description.get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSA);
  const auto tb = description.get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSB);
  g.transpose_a = ta != CUBLAS_OP_N;
  g.transpose_b = tb != CUBLAS_OP_N;
  g.a = matrix_of(*p.a, nullptr);
  g.b = matrix_of(*p.b, nullptr);
  g.c = matrix_of(*p.c, nullptr);
  g.d = matrix_of(*p.d, nullptr);
  for (const Matrix& m : {g.a, g.b, g.c, g.d})
    if (!good_layout(m)) return CUBLAS_STATUS_INVALID_VALUE;
  const int64_t m = g.transpose_a ? g.a.cols : g.a.rows, k = g.transpose_a ? g.a.rows : g.a.cols;
  const int64_t k_of_b = g.transpose_b ? g.b.cols : g.b.rows, n = g.transpose_b ? g.b.rows : g.b.cols;
  if (k != k_of_b || g.d.rows != m || g.d.cols != n || !same_shape(g.c, g.d)) return CUBLAS_STATUS_INVALID_VALUE;

  for (const Layout* l : {p.a, p.b, p.c, p.d})
    if (l->get<int32_t>(CUBLASLT_MATRIX_LAYOUT_ORDER) != CUBLASLT_ORDER_COL ||
        l->get<int32_t>(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) != 1)
      return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool narrow = g.a.type == CUDA_R_16BF || g.a.type == CUDA_R_16F;
  const bool types = g.a.type == g.b.type && (g.a.type == CUDA_R_32F || narrow) &&
                     (g.d.type == CUDA_R_32F || (narrow && g.d.type == g.a.type));
  const auto compute = description.get<int32_t>(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
  const auto scale = description.get<int32_t>(CUBLASLT_MATMUL_DESC_SCALE_TYPE);
  const auto pointers = description.get<int32_t>(CUBLASLT_MATMUL_DESC_POINTER_MODE);
  if (!types || (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC) || scale != CUDA_R_32F ||
      pointers != CUBLASLT_POINTER_MODE_HOST)
    return CUBLAS_STATUS_NOT_SUPPORTED;

  const auto epilogue = description.get<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE);
  constexpr uint32_t kEmulated =
      CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_GELU;
  if (epilogue == 0 || (epilogue & ~kEmulated) != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  g.act = (epilogue & CUBLASLT_EPILOGUE_RELU) != 0   ? Epilogue::kRelu
          : (epilogue & CUBLASLT_EPILOGUE_GELU) != 0 ? Epilogue::kGelu
                                                     : Epilogue::kNone;
  const auto bias_type = description.get<int32_t>(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
  g.bias_type = bias_type < 0 ? g.d.type : cudaDataType_t(bias_type);
  if (has_bias(epilogue)) {
    if (g.bias_type != g.d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    g.bias = description.get<const void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
  }
  return CUBLAS_STATUS_SUCCESS;
}

/// What the heuristic puts into cublasLtMatmulAlgo_t and a product finds there again.
struct Algorithm {
  uint64_t mark, workspace;
  uint32_t alignment[4];  // of A, B, C, D, as promised
  int64_t m, n, k;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));
constexpr uint64_t kMark = 0x51ce01'9a37;

/// Parts of a long k are summed in the workspace, so that programs which share one between streams are found.
size_t workspace_of(const Gemm& g, size_t most) {
  const int64_t k = g.transpose_a ? g.a.rows : g.a.cols;
  const auto parts = size_t(g.d.rows * g.d.cols) * sizeof(float);
  return k >= 64 && parts <= most ? parts : 0;
}

bool is_aligned(const void* p, uint32_t to) { return to == 0 || reinterpret_cast<uintptr_t>(p) % to == 0; }

cublasStatus_t check_device(const Handle& handle, const rt::Stream& stream) {
  const int device = rt::device_of(stream);
  if (handle.device == device && rt::current_device() == device) return CUBLAS_STATUS_SUCCESS;
  report(Report::kWrongDevice, "cublasLtMatmul: the handle is of cuda:" + std::to_string(handle.device) +
                                   ", the stream of cuda:" + std::to_string(device) +
                                   ", cuda:" + std::to_string(rt::current_device()) + " is current");
  return CUBLAS_STATUS_EXECUTION_FAILED;
}

struct StatusText {
  const char *name, *text;
};
StatusText text_of(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return {"CUBLAS_STATUS_SUCCESS", "success"};
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return {"CUBLAS_STATUS_NOT_INITIALIZED", "the library was not initialized"};
    case CUBLAS_STATUS_INVALID_VALUE:
      return {"CUBLAS_STATUS_INVALID_VALUE", "an unsupported value or parameter was passed to the function"};
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return {"CUBLAS_STATUS_EXECUTION_FAILED", "the function failed to launch on the GPU"};
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return {"CUBLAS_STATUS_NOT_SUPPORTED", "the requested functionality is not supported"};
    default:
      return {"unrecognized status", "unrecognized status"};
  }
}

/// Runs f on a description, if it is one.
template <class T, class Opaque, class F>
cublasStatus_t with(Opaque opaque, F&& f) {
  const rt::Lock lock;
  T* const t = rt::object<T>(opaque);
  return t == nullptr ? CUBLAS_STATUS_INVALID_VALUE : f(*t);
}
template <class T, class Opaque>
cublasStatus_t destroy(Opaque opaque) {
  const rt::Lock lock;
  return opaque == nullptr || rt::destroy_object<T>(opaque) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

Problem problem_of(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                   cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  return {rt::object<Handle>(handle), rt::object<Description>(description),
          rt::object<Layout>(a),      rt::object<Layout>(b),
          rt::object<Layout>(c),      rt::object<Layout>(d)};
}

/// Whether the algorithm is the heuristic's for this product, and the call keeps what was promised it.
cublasStatus_t check_algorithm(const cublasLtMatmulAlgo_t* algo, const Gemm& g, size_t workspace_bytes) {
  if (algo == nullptr) return CUBLAS_STATUS_SUCCESS;
  Algorithm a;
  std::memcpy(&a, algo, sizeof a);
  const int64_t k = g.transpose_a ? g.a.rows : g.a.cols;
  if (a.mark != kMark || a.m != g.d.rows || a.n != g.d.cols || a.k != k || workspace_bytes < a.workspace)
    return CUBLAS_STATUS_INVALID_VALUE;
  const void* const operands[4] = {g.a.data, g.b.data, g.c.data, g.d.data};
  for (int i = 0; i < 4; ++i)
    if (!is_aligned(operands[i], a.alignment[i])) {
      report(Report::kMisaligned, std::string("cublasLtMatmul: operand ") + "ABCD"[i] + " is not on the " +
                                      std::to_string(a.alignment[i]) + " bytes that the heuristic was promised");
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace
}  // namespace emu::lib

using namespace emu;
using namespace emu::lib;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  const rt::Lock lock;
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  const int device = rt::current_device();
  rt::make_object<Handle>(*handle, "a cuBLASLt handle of cuda:" + std::to_string(device)).device = device;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  const rt::Lock lock;
  return rt::destroy_object<Handle>(handle) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
size_t cublasLtGetCudartVersion() { return CUDART_VERSION; }
const char* cublasLtGetStatusName(cublasStatus_t status) { return text_of(status).name; }
const char* cublasLtGetStatusString(cublasStatus_t status) { return text_of(status).text; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out, cublasComputeType_t compute, cudaDataType_t scale) {
  const rt::Lock lock;
  if (out == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Description& d = rt::make_object<Description>(*out, "a description of a cuBLASLt product");
  d.define(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, int32_t(compute));
  d.define(CUBLASLT_MATMUL_DESC_SCALE_TYPE, int32_t(scale));
  d.define(CUBLASLT_MATMUL_DESC_POINTER_MODE, int32_t(CUBLASLT_POINTER_MODE_HOST));
  for (const int name : {CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB})
    d.define(name, int32_t(CUBLAS_OP_N));
  d.define(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t(CUBLASLT_EPILOGUE_DEFAULT));
  d.define(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(nullptr));
  d.define(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t(-1));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return destroy<Description>(d); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name,
                                              const void* data, size_t bytes) {
  return with<Description>(d, [=](Description& x) { return x.set(name, data, bytes); });
}
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, void* data,
                                              size_t bytes, size_t* written) {
  return with<Description>(d, [=](Description& x) { return x.read(name, data, bytes, written); });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  const rt::Lock lock;
  if (out == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Layout& l = rt::make_object<Layout>(*out, "a layout of a cuBLASLt matrix");
  l.define(CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(type));
  l.define(CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_COL));
  l.define(CUBLASLT_MATRIX_LAYOUT_ROWS, rows);
  l.define(CUBLASLT_MATRIX_LAYOUT_COLS, cols);
  l.define(CUBLASLT_MATRIX_LAYOUT_LD, ld);
  l.define(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(1));
  l.define(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t(0));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return destroy<Layout>(l); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t name,
                                                const void* data, size_t bytes) {
  return with<Layout>(l, [=](Layout& x) { return x.set(name, data, bytes); });
}
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t name,
                                                void* data, size_t bytes, size_t* written) {
  return with<Layout>(l, [=](Layout& x) { return x.read(name, data, bytes, written); });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
  const rt::Lock lock;
  if (out == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Preference& p = rt::make_object<Preference>(*out, "a preference for cuBLASLt's heuristic");
  p.define(CUBLASLT_MATMUL_PREF_SEARCH_MODE, uint32_t(CUBLASLT_SEARCH_BEST_FIT));
  p.define(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(0));
  p.define(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_MASK));
  for (const int name : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                         CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    p.define(name, uint32_t(256));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return destroy<Preference>(p); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void* data,
                                                    size_t bytes) {
  return with<Preference>(p, [=](Preference& x) { return x.set(name, data, bytes); });
}
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t name, void* data, size_t bytes,
                                                    size_t* written) {
  return with<Preference>(p, [=](Preference& x) { return x.read(name, data, bytes, written); });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  const rt::Lock lock;
  const Problem p = problem_of(handle, description, a, b, c, d);
  const Preference* const wanted = rt::object<Preference>(preference);
  if (p.handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!is_whole(p) || wanted == nullptr || requested < 1 || results == nullptr || count == nullptr)
    return CUBLAS_STATUS_INVALID_VALUE;
  *count = 0;
  Gemm g;
  if (const cublasStatus_t code = product_of(p, g)) return code;
  Algorithm found{};
  found.mark = kMark;
  found.workspace = workspace_of(g, wanted->get<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
  for (int i = 0; i < 4; ++i)
    found.alignment[i] = wanted->get<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i);
  found.m = g.d.rows;
  found.n = g.d.cols;
  found.k = g.transpose_a ? g.a.rows : g.a.cols;
  results[0] = {};
  std::memcpy(&results[0].algo, &found, sizeof found);
  results[0].workspaceSize = found.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].wavesCount = 1;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  const rt::Lock lock;
  const Problem p = problem_of(handle, description, a_layout, b_layout, c_layout, d_layout);
  if (p.handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!is_whole(p) || alpha == nullptr || beta == nullptr || a == nullptr || b == nullptr || d == nullptr)
    return CUBLAS_STATUS_INVALID_VALUE;
  Gemm g;
  if (const cublasStatus_t code = product_of(p, g)) return code;
  g.alpha = load(alpha, 0, CUDA_R_32F);
  g.beta = load(beta, 0, CUDA_R_32F);
  g.a.data = a;
  g.b.data = b;
  g.c.data = c;
  g.d.data = d;
  const auto epilogue = p.description->get<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE);
  if ((has_bias(epilogue) && g.bias == nullptr) || (g.beta != 0 && c == nullptr) || !is_aligned(workspace, 16) ||
      (workspace == nullptr && workspace_bytes != 0))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (const cublasStatus_t code = check_algorithm(algo, g, workspace_bytes)) return code;
  rt::Stream* const s = rt::find_stream(stream, "cublasLtMatmul");
  if (s == nullptr) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (const cublasStatus_t code = check_device(*p.handle, *s)) return code;
  const size_t used = workspace_of(g, workspace_bytes);
  rt::push(*s, "cublasLtMatmul", {.run = [g, used, workspace, device = p.handle->device](OpId op) {
    if (used != 0 && !rt::is_usable(workspace, used, device, "cublasLtMatmul workspace")) return;
    if (used != 0) {
      touch(workspace, used, true, op, "cublasLtMatmul workspace");
      std::memset(workspace, 0xff, used);
    }
    run_gemm(g, device, op, "cublasLtMatmul");
  }});
  return rt::sticky_error() == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
}
