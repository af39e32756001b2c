// CUDA halves of convolution: cuDNN plans, one per problem and kept; bias, its gradient and accumulation in own passes.
#include "kernels/common/passes.cuh"
#include "kernels/conv2d_plan.h"

namespace sluice::kernels {
namespace {

constexpr char kPlans[] = "conv2d";  // its address is the plans' tag

const ConvPlan& plan_for(CudaContext& c, const ConvProblem& p) {
  return c.plans.get<ConvPlan>(kPlans, p.key(), [&] { return make_conv_plan(p, {c.cudnn, {}}); });
}

/// Queues a forward pass or an input gradient. An f32 filter of bf16 images is rounded into the workspace first.
void run(CudaContext& c, const char* name, ConvProblem p, ConvOperands operands, const ConstRef& w) {
  const size_t rounded = w.dtype == p.image ? 0 : passes::padded(size_t(w.numel() * size_of(p.image)));
  p.filter = p.image;
  p.alignment = passes::common_alignment(16, {operands.x, rounded > 0 ? nullptr : w.data, operands.y});
  const ConvPlan& plan = plan_for(c, p);
  auto* scratch = static_cast<std::byte*>(c.workspace(rounded + size_t(plan.workspace)));
  operands.w = w.data;
  if (rounded > 0) {
    passes::convert(c, name, w, Ref{{scratch, w.shape, p.image}});
    operands.w = scratch;
  }
  run_conv(plan, operands, scratch + rounded, c.cudnn);
}

}  // namespace

void Conv2d::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const ConvProblem p{ConvDirection::kForward, x.shape, w.shape, y.shape, x.dtype, x.dtype, geometry};
  run(c, kName, p, {x.data, nullptr, y.data}, w);
  passes::bias_act(c, kName, y, bias, Act::kNone);
}

void Conv2dGradInput::cuda(CudaContext& c) const {
  if (dx.numel() == 0) return;
  const ConvProblem p{ConvDirection::kGradInput, dx.shape, w.shape, dy.shape, dy.dtype, dy.dtype, geometry};
  run(c, kName, p, {dx.data, nullptr, dy.data}, w);
}

/// cuDNN writes dw in the images' dtype. It goes through the workspace where it must be widened or added.
void Conv2dGradWeight::cuda(CudaContext& c) const {
  const bool direct = x.dtype == DType::kF32 && !accumulate_w, empty = x.numel() == 0;
  const ConvProblem p{ConvDirection::kGradWeight,
                      x.shape,
                      dw.shape,
                      dy.shape,
                      x.dtype,
                      x.dtype,
                      geometry,
                      passes::common_alignment(16, {x.data, direct ? dw.data : nullptr, dy.data})};
  const ConvPlan* plan = empty ? nullptr : &plan_for(c, p);
  const size_t product = direct ? 0 : passes::padded(size_t(dw.numel() * size_of(x.dtype)));
  const size_t library = plan == nullptr ? 0 : passes::padded(size_t(plan->workspace));
  const size_t sums = db.defined() ? passes::column_sums_workspace(dy) : 0;
  auto* scratch = static_cast<std::byte*>(c.workspace(product + library + sums));

  if (empty) {
    if (!accumulate_w) passes::zero(c, dw);
  } else {
    const Ref target{{direct ? dw.data : scratch, dw.shape, x.dtype}};
    run_conv(*plan, {x.data, target.data, dy.data}, scratch + product, c.cudnn);
    if (accumulate_w)
      passes::accumulate(c, kName, target, dw);
    else if (!direct)
      passes::convert(c, kName, target, dw);
  }
  if (db.defined()) passes::column_sums(c, kName, dy, db, accumulate_b, scratch + product + library);
}

}  // namespace sluice::kernels
