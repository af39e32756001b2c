// Convolution and its two gradients for the graph API's stand-in: shapes as cuDNN checks them, sums in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "emu/cudnn_store.h"
#include "emu/gemm.h"

namespace emu::lib {
namespace {

enum class Direction : uint8_t { kForward, kGradInput, kGradWeight };

struct Names {
  Direction direction;
  Name convolution, x, w, y, alpha, beta;
};
const Names* names_of(cudnnBackendDescriptorType_t type) {
  static constexpr Names kForward{Direction::kForward,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  static constexpr Names kGradInput{Direction::kGradInput,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  static constexpr Names kGradWeight{Direction::kGradWeight,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  switch (type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return &kForward;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return &kGradInput;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return &kGradWeight;
    default:
      return nullptr;
  }
}

/// Four dimensions N, C, H, W (filters K, C, R, S) with any strides; packed copies are N, H, W, C.
struct Tensor {
  std::array<int64_t, 4> dims{}, strides{};
  cudaDataType_t type{};
  int64_t id = 0, alignment = 1;
  void* data = nullptr;

  int64_t numel() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  size_t bytes() const { return size_t(numel()) * size_of(type); }
  /// Whether the elements fill their memory without gaps.
  bool is_dense() const {
    int64_t span = 1;
    for (size_t i = 0; i < 4; ++i) span += (dims[i] - 1) * strides[i];
    return span == numel();
  }
  template <class F>
  void each(F&& f) const {
    int64_t i = 0;
    for (int64_t n = 0; n < dims[0]; ++n)
      for (int64_t h = 0; h < dims[2]; ++h)
        for (int64_t w = 0; w < dims[3]; ++w)
          for (int64_t c = 0; c < dims[1]; ++c)
            f(size_t(i++), n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3]);
  }
};

std::optional<cudaDataType_t> type_of(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_FLOAT:
      return CUDA_R_32F;
    case CUDNN_DATA_BFLOAT16:
      return CUDA_R_16BF;
    case CUDNN_DATA_HALF:
      return CUDA_R_16F;
    default:
      return std::nullopt;
  }
}

struct Convolution {
  Direction direction;
  Tensor x, w, y;
  std::array<int64_t, 2> before{}, after{}, stride{}, dilation{};
  double alpha = 1, beta = 0;

  int64_t groups() const { return x.dims[1] / w.dims[1]; }
  const Tensor& output() const {
    return direction == Direction::kForward ? y : direction == Direction::kGradInput ? x : w;
  }
};

bool read(const Node* node, Tensor& t) {
  if (node == nullptr || !node->finished || node->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR) return false;
  const auto dims = node->list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const auto strides = node->list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  const auto type = type_of(node->get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE));
  if (dims.size() != 4 || !type) return false;
  std::copy(dims.begin(), dims.end(), t.dims.begin());
  std::copy(strides.begin(), strides.end(), t.strides.begin());
  t.type = *type;
  t.id = node->get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  t.alignment = node->get<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  return true;
}

/// False where a part is missing or not finalized.
bool read(const Node& operation, Convolution& c) {
  const Names& names = *names_of(operation.type);
  const Node* const geometry = operation.child(names.convolution);
  if (geometry == nullptr || !geometry->finished || geometry->type != CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
    return false;
  if (!read(operation.child(names.x), c.x) || !read(operation.child(names.w), c.w) ||
      !read(operation.child(names.y), c.y))
    return false;
  const auto pair = [&](Name name, std::array<int64_t, 2>& out) {
    const auto values = geometry->list<int64_t>(name);
    if (values.size() == 2) std::copy(values.begin(), values.end(), out.begin());
    return values.size() == 2;
  };
  c.direction = names.direction;
  c.alpha = double(operation.get<float>(names.alpha, 1.0f));
  c.beta = double(operation.get<float>(names.beta, 0.0f));
  return pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, c.before) && pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, c.after) &&
         pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride) && pair(CUDNN_ATTR_CONVOLUTION_DILATIONS, c.dilation);
}

std::vector<double> packed(const Tensor& t) {
  std::vector<double> out(size_t(t.numel()));
  t.each([&](size_t i, int64_t at) { out[i] = load(t.data, at, t.type); });
  return out;
}

/// f(offset in packed x, packed y and packed w's first row of the group), for every product of pixels.
template <class F>
void each_tap(const Convolution& c, F&& f) {
  const auto [images, channels, height, width] = c.x.dims;
  const auto [filters, depth, rows, columns] = c.w.dims;
  const int64_t groups = c.groups(), per_group = filters / groups, out_h = c.y.dims[2], out_w = c.y.dims[3];
  for (int64_t n = 0; n < images; ++n)
    for (int64_t p = 0; p < out_h; ++p)
      for (int64_t q = 0; q < out_w; ++q)
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t s = 0; s < columns; ++s) {
            const int64_t h = p * c.stride[0] + r * c.dilation[0] - c.before[0];
            const int64_t w = q * c.stride[1] + s * c.dilation[1] - c.before[1];
            if (h < 0 || h >= height || w < 0 || w >= width) continue;
            const int64_t x_at = ((n * height + h) * width + w) * channels;
            const int64_t y_at = ((n * out_h + p) * out_w + q) * filters;
            for (int64_t g = 0; g < groups; ++g)
              f(x_at + g * depth, y_at + g * per_group, ((g * per_group) * rows + r) * columns + s);
          }
}

/// The output, packed. Rows of w are `step` pixels apart from filter to filter.
std::vector<double> compute(const Convolution& c, const std::vector<double>& x, const std::vector<double>& w,
                            const std::vector<double>& y) {
  std::vector<double> out(size_t(c.output().numel()), 0.0);
  const int64_t depth = c.w.dims[1], per_group = c.w.dims[0] / c.groups(), step = c.w.dims[2] * c.w.dims[3] * depth;
  each_tap(c, [&](int64_t x_at, int64_t y_at, int64_t pixel) {
    for (int64_t k = 0; k < per_group; ++k) {
      const int64_t w_at = pixel * depth + k * step;
      if (c.direction == Direction::kForward) {
        double sum = 0;
        for (int64_t i = 0; i < depth; ++i) sum += x[size_t(x_at + i)] * w[size_t(w_at + i)];
        out[size_t(y_at + k)] += sum;
      } else if (c.direction == Direction::kGradInput) {
        for (int64_t i = 0; i < depth; ++i) out[size_t(x_at + i)] += y[size_t(y_at + k)] * w[size_t(w_at + i)];
      } else {
        for (int64_t i = 0; i < depth; ++i) out[size_t(w_at + i)] += y[size_t(y_at + k)] * x[size_t(x_at + i)];
      }
    }
  });
  return out;
}

/// To the ten bits that a tensor core takes of an f32.
double as_tf32(double v) {
  int exponent = 0;
  const double mantissa = std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(mantissa * 2048), exponent - 11);
}

void run(Convolution c, int64_t engine, OpId op) {
  const std::array<Tensor*, 3> tensors{&c.x, &c.w, &c.y};
  std::array<std::vector<double>, 3> values;
  for (size_t i = 0; i < 3; ++i) {
    const bool output = tensors[i] == &c.output();
    if (!output || c.beta != 0) touch(tensors[i]->data, tensors[i]->bytes(), false, op, "cudnnBackendExecute");
    if (output) continue;
    values[i] = packed(*tensors[i]);
    if (engine == kTensorCoreEngine && tensors[i]->type == CUDA_R_32F)
      for (double& v : values[i]) v = as_tf32(v);
  }
  const Tensor& out = c.output();
  touch(out.data, out.bytes(), true, op, "cudnnBackendExecute");
  const std::vector<double> result = compute(c, values[0], values[1], values[2]);
  const double noise = engine == kUnorderedEngine && op % 2 == 1 ? 1 + 0x1p-23 : 1;
  out.each([&](size_t i, int64_t at) {
    const double before = c.beta != 0 ? c.beta * load(out.data, at, out.type) : 0;
    store(out.data, at, out.type, c.alpha * result[i] * noise + before);
  });
}

cudnnStatus_t bad(const std::string& why) { return refuse(CUDNN_STATUS_BAD_PARAM, why); }

/// Addresses from the variant pack.
cudnnStatus_t place(const Node& pack, Convolution& c) {
  const auto ids = pack.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  for (Tensor* t : {&c.x, &c.w, &c.y}) {
    const auto at = std::find(ids.begin(), ids.end(), t->id);
    if (at == ids.end()) return bad("the variant pack has no tensor " + std::to_string(t->id));
    t->data = pointers[size_t(at - ids.begin())];
    if (t->data == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a tensor's pointer is null");
    if (reinterpret_cast<uintptr_t>(t->data) % uintptr_t(t->alignment) != 0) {
      report(Report::kMisaligned, "cudnnBackendExecute: tensor " + std::to_string(t->id) + " is not on the " +
                                      std::to_string(t->alignment) + " bytes that the plan was promised");
      return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a tensor is not aligned as the plan was promised");
    }
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_device(const cudnnContext& handle, const Node& plan, const rt::Stream& stream) {
  cudnnHandle_t planned = plan.get<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, nullptr);
  const cudnnContext* const made_for = rt::object<cudnnContext>(planned);
  const int device = rt::device_of(stream);
  if (handle.device == device && rt::current_device() == device && (made_for == nullptr || made_for->device == device))
    return CUDNN_STATUS_SUCCESS;
  report(Report::kWrongDevice, "cudnnBackendExecute: the handle is of cuda:" + std::to_string(handle.device) +
                                   ", its stream of cuda:" + std::to_string(device) +
                                   ", cuda:" + std::to_string(rt::current_device()) + " is current");
  return refuse(CUDNN_STATUS_EXECUTION_FAILED, "the handle, its stream and the current device are not one");
}

}  // namespace

bool is_convolution(const Node& operation) { return names_of(operation.type) != nullptr; }

cudnnStatus_t check_convolution(const Node& operation) {
  Convolution c;
  if (!read(operation, c)) return bad("a part of the convolution is missing, not finalized or not emulated");
  if (c.w.dims[1] <= 0 || c.x.dims[1] <= 0 || c.x.dims[1] % c.w.dims[1] != 0 || c.w.dims[0] % c.groups() != 0)
    return bad("the channels of image and filter do not fit");
  if (c.x.dims[0] != c.y.dims[0] || c.w.dims[0] != c.y.dims[1])
    return bad("the output's images or channels do not fit");
  for (size_t i = 0; i < 2; ++i) {
    const int64_t window = (c.w.dims[i + 2] - 1) * c.dilation[i] + 1;
    const int64_t room = c.x.dims[i + 2] + c.before[i] + c.after[i] - window;
    if (room < 0 || c.y.dims[i + 2] != room / c.stride[i] + 1) return bad("the output's height or width does not fit");
  }
  for (const Tensor* t : {&c.x, &c.w, &c.y})
    if (!t->is_dense()) return refuse(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "tensors with gaps are not emulated");
  return CUDNN_STATUS_SUCCESS;
}

bool takes(int64_t engine, const Node& operation) {
  Convolution c;
  if (!read(operation, c)) return false;
  if (engine != kTensorCoreEngine) return true;
  const int64_t vector = c.x.type == CUDA_R_32F ? 4 : 8;  // elements that a tensor core's loads take at once
  return std::min({c.x.alignment, c.w.alignment, c.y.alignment}) >= 16 && c.w.dims[1] % vector == 0 &&
         c.w.dims[0] % vector == 0;
}

/// The exact engine sums parts in memory, so that programs which share a workspace between streams are found.
int64_t workspace_of(int64_t engine, const Node& operation) {
  Convolution c;
  if (!read(operation, c) || engine != kExactEngine) return 0;
  return c.w.dims[1] * c.w.dims[2] * c.w.dims[3] >= 16 ? c.output().numel() * int64_t(sizeof(float)) : 0;
}

cudnnStatus_t run_convolution(const cudnnContext& handle, const Node& plan, const Node& pack) {
  const Node& engine = *plan.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->child(CUDNN_ATTR_ENGINECFG_ENGINE);
  const Node& operation = *engine.child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)->child(CUDNN_ATTR_OPERATIONGRAPH_OPS);
  Convolution c;
  if (!read(operation, c)) return bad("the plan has no convolution");
  if (const cudnnStatus_t code = place(pack, c)) return code;
  const auto bytes = size_t(plan.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
  void* const workspace = pack.get<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
  if (bytes != 0 && workspace == nullptr)
    return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "the plan needs a workspace");
  rt::Stream* const s = rt::find_stream(handle.stream, "cudnnBackendExecute");
  if (s == nullptr) return refuse(CUDNN_STATUS_EXECUTION_FAILED, "the handle's stream is gone");
  if (const cudnnStatus_t code = check_device(handle, plan, *s)) return code;
  const auto index = engine.get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  rt::push(*s, "cudnnBackendExecute", {.run = [=, device = handle.device](OpId op) {
    for (const Tensor* t : {&c.x, &c.w, &c.y})
      if (!rt::is_usable(t->data, t->bytes(), device, "cudnnBackendExecute")) return;
    if (!rt::is_usable(workspace, bytes, device, "cudnnBackendExecute workspace")) return;
    if (bytes != 0) {
      touch(workspace, bytes, true, op, "cudnnBackendExecute workspace");
      std::memset(workspace, 0xff, bytes);
    }
    run(c, index, op);
  }});
  return rt::sticky_error() == cudaSuccess
             ? CUDNN_STATUS_SUCCESS
             : refuse(CUDNN_STATUS_EXECUTION_FAILED_CUDART, cudaGetErrorString(rt::sticky_error()));
}

}  // namespace emu::lib
