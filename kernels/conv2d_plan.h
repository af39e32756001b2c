// cuDNN execution plans for convolution and its two gradients, made by the graph API from shapes alone. Internal to the
// CUDA half of conv2d. A plan can also be made from a description of a GPU, so that a machine without one can check it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/conv2d.h"

namespace sluice::kernels {

enum class ConvDirection : uint8_t { kForward, kGradInput, kGradWeight };

/// What a plan depends on. Shapes as in conv2d.h: x [N, H, W, C], w [K, R, S, C / groups], y [N, P, Q, K].
struct ConvProblem {
  ConvDirection direction = ConvDirection::kForward;
  Shape x, w, y;
  DType image = DType::kF32;   // of x and y
  DType filter = DType::kF32;  // of w
  Conv2dGeometry geometry;
  int alignment = 16;  // bytes, a power of two that divides the addresses of all three

  std::vector<int64_t> key() const;
  std::string text() const;
};

/// Where a plan will run: a GPU through a cuDNN handle, or one that is described by cuDNN's JSON of device properties.
struct ConvTarget {
  cudnnContext* handle = nullptr;
  std::string device_json;
};

struct CudnnDescriptorDeleter {
  void operator()(void* descriptor) const noexcept;
};
using CudnnDescriptor = std::unique_ptr<void, CudnnDescriptorDeleter>;

/// A finished plan: run it with run_conv(). f32 products are summed in f32, without TF32; sums keep their order.
struct ConvPlan {
  CudnnDescriptor plan;
  int64_t workspace = 0;  // bytes
  int64_t engine = -1;    // cuDNN's number of the engine it proposed
};

/// The first plan that cuDNN proposes, supports, and that repeats bit for bit. Throws DeviceError when there is none.
ConvPlan make_conv_plan(const ConvProblem& problem, const ConvTarget& target);

/// Addresses in the order of the problem's shapes; the output of the direction is written.
struct ConvOperands {
  const void *x, *w, *y;
};
/// Queues the plan on the handle's stream. `workspace` has plan.workspace bytes.
void run_conv(const ConvPlan& plan, const ConvOperands& operands, void* workspace, cudnnContext* handle);

}  // namespace sluice::kernels
