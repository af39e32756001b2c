// Passes over memory that several CUDA halves need around their library calls and reductions. Defined in passes.cu.
#pragma once

#include "kernels/activation.h"
#include "kernels/common/context.h"

namespace sluice::passes {

/// A stretch of workspace starts on such a boundary.
inline size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }
/// The largest power of two up to `most` that divides all of the addresses.
inline int common_alignment(int most, std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    while (reinterpret_cast<uintptr_t>(p) % uintptr_t(most) != 0) most /= 2;
  return most;
}

/// All bytes 0.
void zero(CudaContext& c, const Ref& r);

/// *out = factor * sum of partial[0, n): one block, in fixed order.
void sum(CudaContext& c, const char* name, const float* partial, int64_t n, float factor, float* out);

/// y = act(y + bias) in place, bias broadcast over rows; bias may be undefined.
void bias_act(CudaContext& c, const char* name, const Ref& y, const ConstRef& bias, Act act);

/// Bytes of workspace that column_sums needs.
size_t column_sums_workspace(const ConstRef& x);
/// sums (+)= column sums of x, seen as [rows, cols]; f32, in fixed order.
void column_sums(CudaContext& c, const char* name, const ConstRef& x, const Ref& sums, bool accumulate,
                 void* workspace);

/// to = from, element by element, f32 to bf16 (rounded to nearest even) or bf16 to f32.
void convert(CudaContext& c, const char* name, const ConstRef& from, const Ref& to);
/// to += from, f32 += f32 or bf16.
void accumulate(CudaContext& c, const char* name, const ConstRef& from, const Ref& to);

}  // namespace sluice::passes
