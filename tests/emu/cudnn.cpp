// A stand-in for cuDNN: handles, errors, and the entry points of its graph API. What it computes is convolution and its
// two gradients; other operations are refused, as are graphs of several.
#include <cudnn.h>

#include "emu/cudnn_store.h"

using namespace emu;
using namespace emu::lib;

namespace {

/// Runs f on the object behind a handle.
template <class T, class Handle, class F>
cudnnStatus_t with(Handle handle, F&& f) {
  const rt::Lock lock;
  T* const t = rt::object<T>(handle);
  if (t != nullptr) return f(*t);
  const bool null = handle == nullptr;
  if (!null) report(Report::kMisuse, "cuDNN: a handle or descriptor that was destroyed or never made");
  return refuse(null ? CUDNN_STATUS_BAD_PARAM_NULL_POINTER : CUDNN_STATUS_BAD_PARAM, "no such handle or descriptor");
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return CUDNN_VERSION; }
size_t cudnnGetMaxDeviceVersion() { return 0; }
size_t cudnnGetCudartVersion() { return CUDART_VERSION; }
cudnnStatus_t cudnnGetProperty(libraryPropertyType type, int* value) {
  *value = type == MAJOR_VERSION ? CUDNN_MAJOR : type == MINOR_VERSION ? CUDNN_MINOR : CUDNN_PATCHLEVEL;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGraphVersionCheck() { return CUDNN_STATUS_SUCCESS; }

void cudnnGetLastErrorString(char* message, size_t size) {
  if (message == nullptr || size == 0) return;
  std::strncpy(message, last_refusal().c_str(), size - 1);
  message[size - 1] = '\0';
}
const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
      return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER:
      return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER:
      return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED:
      return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES:
      return "CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES";
    case CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE:
      return "CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE";
    case CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE:
      return "CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE";
    case CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH:
      return "CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN:
      return "CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return "CUDNN_STATUS of the stand-in";
  }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  const rt::Lock lock;
  if (handle == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "cudnnCreate: null");
  const int device = rt::current_device();
  rt::make_object<cudnnContext>(*handle, "a cuDNN handle of cuda:" + std::to_string(device)).device = device;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  const rt::Lock lock;
  if (handle == nullptr || rt::destroy_object<cudnnContext>(handle)) return CUDNN_STATUS_SUCCESS;
  report(Report::kMisuse, "cudnnDestroy: the handle was destroyed or never made");
  return refuse(CUDNN_STATUS_BAD_PARAM, "no such handle");
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (handle == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM, "cudnnSetStream: null");
  return with<cudnnContext>(handle, [=](cudnnContext& c) {
    const rt::Stream* const s = rt::find_stream(stream, "cudnnSetStream");
    if (s == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM, "no such stream");
    if (stream != nullptr && rt::device_of(*s) != c.device) {
      report(Report::kWrongDevice, "cudnnSetStream: a stream of cuda:" + std::to_string(rt::device_of(*s)) +
                                       " for a handle of cuda:" + std::to_string(c.device));
      return refuse(CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH, "the stream is of another device");
    }
    c.stream = stream;
    return CUDNN_STATUS_SUCCESS;
  });
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  return with<cudnnContext>(handle, [=](const cudnnContext& c) {
    *stream = c.stream;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* out) {
  const rt::Lock lock;
  if (out == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "cudnnBackendCreateDescriptor: null");
  if (!is_emulated(type)) {
    report(Report::kMisuse, "cuDNN: descriptor type " + std::to_string(int(type)) + " is not emulated");
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "this descriptor is not emulated");
  }
  const auto node = std::make_shared<Node>();
  node->type = type;
  rt::make_object<Descriptor>(*out, "a cuDNN descriptor of type " + std::to_string(int(type)), node);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return with<Descriptor>(descriptor, [=](Descriptor&) {
    rt::destroy_object<Descriptor>(descriptor);
    return CUDNN_STATUS_SUCCESS;
  });
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return with<Descriptor>(descriptor, [](Descriptor& d) { return finish(d.node); });
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* data) {
  return with<Descriptor>(descriptor, [=](Descriptor& d) { return set_attribute(*d.node, name, type, count, data); });
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room, int64_t* count, void* data) {
  return with<Descriptor>(descriptor,
                          [=](const Descriptor& d) { return get_attribute(*d.node, name, type, room, count, data); });
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  const rt::Lock lock;
  const auto* const context = rt::object<cudnnContext>(handle);
  const auto *const p = rt::object<Descriptor>(plan), *const v = rt::object<Descriptor>(pack);
  if (context == nullptr || p == nullptr || v == nullptr)
    return refuse(CUDNN_STATUS_BAD_PARAM, "cudnnBackendExecute: no such handle or descriptor");
  if (p->node->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ||
      v->node->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
    return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "cudnnBackendExecute takes a plan and a variant pack");
  if (!p->node->finished || !v->node->finished)
    return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the plan or the variant pack is not finalized");
  return run_convolution(*context, *p->node, *v->node);
}
}
