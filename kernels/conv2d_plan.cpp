// Descriptors of cuDNN's graph API: tensors, one convolution, its graph, the engines proposed for it, the plan.
#include "kernels/conv2d_plan.h"

#include <algorithm>
#include <array>

#include "kernels/common/cudnn_check.cuh"

namespace sluice::kernels {

void CudnnDescriptorDeleter::operator()(void* descriptor) const noexcept { cudnnBackendDestroyDescriptor(descriptor); }

namespace {

using Name = cudnnBackendAttributeName_t;
using Type = cudnnBackendAttributeType_t;

constexpr int64_t kMostWorkspace = int64_t{1} << 30;  // bytes: what no plan may exceed
constexpr int64_t kX = 1, kW = 2, kY = 3;             // cuDNN's ids of the tensors

CudnnDescriptor make(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t raw = nullptr;
  check(cudnnBackendCreateDescriptor(type, &raw), "cudnnBackendCreateDescriptor");
  return CudnnDescriptor(raw);
}
void finalize(const CudnnDescriptor& d) { check(cudnnBackendFinalize(d.get()), "cudnnBackendFinalize"); }

void set(const CudnnDescriptor& d, Name name, Type type, int64_t count, const void* values) {
  check(cudnnBackendSetAttribute(d.get(), name, type, count, values), "cudnnBackendSetAttribute");
}
void set_i64(const CudnnDescriptor& d, Name name, const std::vector<int64_t>& values) {
  set(d, name, CUDNN_TYPE_INT64, int64_t(values.size()), values.data());
}
template <class Enum>
void set_enum(const CudnnDescriptor& d, Name name, Type type, Enum value) {
  set(d, name, type, 1, &value);
}
void set_descriptor(const CudnnDescriptor& d, Name name, const CudnnDescriptor& value) {
  void* raw = value.get();
  set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
}

cudnnDataType_t data_type(DType t) { return t == DType::kBF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

/// cuDNN names dimensions N, C, H, W (filters K, C, R, S); the strides say that channels lie innermost.
CudnnDescriptor make_tensor(int64_t id, const Shape& s, DType dtype, int64_t alignment) {
  CudnnDescriptor d = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set_enum(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, data_type(dtype));
  set_i64(d, CUDNN_ATTR_TENSOR_DIMENSIONS, {s[0], s[3], s[1], s[2]});
  set_i64(d, CUDNN_ATTR_TENSOR_STRIDES, {s[1] * s[2] * s[3], 1, s[2] * s[3], s[3]});
  set_i64(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, {id});
  set_i64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {alignment});
  finalize(d);
  return d;
}

CudnnDescriptor make_convolution(const Conv2dGeometry& g) {
  CudnnDescriptor d = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  set_enum(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  set_enum(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  set_i64(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2});
  set_i64(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {g.padding.rows, g.padding.columns});
  set_i64(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {g.padding.rows, g.padding.columns});
  set_i64(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {g.stride, g.stride});
  set_i64(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1});
  finalize(d);
  return d;
}

/// The names of one direction's operation and of its attributes.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  Name convolution, x, w, y, alpha, beta;
};
OperationNames names_of(ConvDirection direction) {
  switch (direction) {
    case ConvDirection::kForward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvDirection::kGradInput:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvDirection::kGradWeight:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

CudnnDescriptor make_operation(const ConvProblem& p) {
  const OperationNames n = names_of(p.direction);
  CudnnDescriptor d = make(n.type);
  set_descriptor(d, n.convolution, make_convolution(p.geometry));
  set_descriptor(d, n.x, make_tensor(kX, p.x, p.image, p.alignment));
  set_descriptor(d, n.w, make_tensor(kW, p.w, p.filter, p.alignment));
  set_descriptor(d, n.y, make_tensor(kY, p.y, p.image, p.alignment));
  const float one = 1.0f, zero = 0.0f;
  set(d, n.alpha, CUDNN_TYPE_FLOAT, 1, &one);
  set(d, n.beta, CUDNN_TYPE_FLOAT, 1, &zero);
  finalize(d);
  return d;
}

CudnnDescriptor make_graph(const CudnnDescriptor& operation, const ConvTarget& target) {
  CudnnDescriptor d = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set_descriptor(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  if (target.handle != nullptr) set(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  finalize(d);
  return d;
}

/// Undefined when the target is a handle.
CudnnDescriptor make_device(const ConvTarget& target) {
  if (target.handle != nullptr) return nullptr;
  CudnnDescriptor d = make(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  set(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, int64_t(target.device_json.size()),
      target.device_json.data());
  finalize(d);
  return d;
}

/// The engine configurations that cuDNN proposes, best first. Its two modes answer for different engines.
std::vector<CudnnDescriptor> proposals(const CudnnDescriptor& graph, const CudnnDescriptor& device) {
  std::vector<CudnnDescriptor> all;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    CudnnDescriptor d = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set_enum(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    if (device) set_descriptor(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    if (cudnnBackendFinalize(d.get()) != CUDNN_STATUS_SUCCESS) continue;  // nothing to propose in this mode
    int64_t count = 0;
    check(cudnnBackendGetAttribute(d.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count,
                                   nullptr),
          "cudnnBackendGetAttribute");
    std::vector<CudnnDescriptor> found;
    std::vector<void*> raw;
    for (int64_t i = 0; i < count; ++i) {
      found.push_back(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
      raw.push_back(found.back().get());
    }
    check(cudnnBackendGetAttribute(d.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count,
                                   raw.data()),
          "cudnnBackendGetAttribute");
    for (int64_t i = 0; i < count; ++i) all.push_back(std::move(found[size_t(i)]));
  }
  return all;
}

CudnnDescriptor engine_of(const CudnnDescriptor& config) {
  CudnnDescriptor engine = make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  void* raw = engine.get();
  int64_t count = 0;
  check(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                 &raw),
        "cudnnBackendGetAttribute");
  return engine;
}

/// Whether results of the engine repeat and are what the dtypes promise: f32 is not rounded to TF32 on the way.
bool is_exact(const CudnnDescriptor& engine, DType image) {
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  int64_t count = 0;
  check(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                 int64_t(notes.size()), &count, notes.data()),
        "cudnnBackendGetAttribute");
  return std::none_of(notes.begin(), notes.begin() + count, [&](cudnnBackendNumericalNote_t note) {
    if (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE) return image == DType::kF32;
    return note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
           note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || note == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13;
  });
}

/// The plan of a configuration, or none where cuDNN cannot build it here.
CudnnDescriptor try_plan(const CudnnDescriptor& config, const ConvTarget& target, const CudnnDescriptor& device) {
  CudnnDescriptor d = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  set_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (target.handle != nullptr) set(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  if (device) set_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
  if (cudnnBackendFinalize(d.get()) != CUDNN_STATUS_SUCCESS) return nullptr;
  return d;
}

int64_t number(const CudnnDescriptor& d, Name name) {
  int64_t value = 0, count = 0;
  check(cudnnBackendGetAttribute(d.get(), name, CUDNN_TYPE_INT64, 1, &count, &value), "cudnnBackendGetAttribute");
  return value;
}

}  // namespace

std::vector<int64_t> ConvProblem::key() const {
  std::vector<int64_t> k{int64_t(direction),    int64_t(image),           int64_t(filter), geometry.stride,
                         geometry.padding.rows, geometry.padding.columns, geometry.groups, alignment};
  for (const Shape& s : {x, w, y})
    for (int i = 0; i < s.rank(); ++i) k.push_back(s[i]);
  return k;
}

std::string ConvProblem::text() const {
  constexpr std::array<const char*, 3> kNames{"forward", "input gradient", "weight gradient"};
  return str(kNames[size_t(direction)], " x ", x.text(), " w ", w.text(), " y ", y.text(), " ", name(image), " filter ",
             name(filter), " stride ", geometry.stride, " padding ", sluice::text(geometry.padding), " groups ",
             geometry.groups);
}

ConvPlan make_conv_plan(const ConvProblem& problem, const ConvTarget& target) {
  const CudnnDescriptor device = make_device(target);
  const CudnnDescriptor graph = make_graph(make_operation(problem), target);
  for (const CudnnDescriptor& config : proposals(graph, device)) {
    const CudnnDescriptor engine = engine_of(config);
    if (!is_exact(engine, problem.image)) continue;
    CudnnDescriptor plan = try_plan(config, target, device);
    if (!plan) continue;
    const int64_t workspace = number(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    if (workspace <= kMostWorkspace)
      return {std::move(plan), workspace, number(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX)};
  }
  throw DeviceError(str("cuDNN ", cudnnGetVersion(), " has no plan for convolution, ", problem.text()));
}

void run_conv(const ConvPlan& plan, const ConvOperands& operands, void* workspace, cudnnContext* handle) {
  const CudnnDescriptor pack = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const std::array<const void*, 3> pointers{operands.x, operands.w, operands.y};
  set_i64(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {kX, kW, kY});
  set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, int64_t(pointers.size()), pointers.data());
  set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  finalize(pack);
  check(cudnnBackendExecute(handle, plan.plan.get(), pack.get()), "cudnnBackendExecute");
}

}  // namespace sluice::kernels
