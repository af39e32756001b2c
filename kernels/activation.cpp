// CPU halves of the activations: one pass, blocks of 16 Ki elements.
#include "kernels/activation.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void Activation::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    visit_act(act, [&]<Act A>() {
      parallel_blocks(c, x.numel(), 16384, [in = x.as<T>(), out = y.as<T>()](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) out[i] = T(math::act<A>(float(in[i])));
      });
    });
  });
}

template <>
void ActivationGrad::cpu<kIsa>(CpuContext& c) const {
  visit_float(dy.dtype, [&]<class T>() {
    visit_act(act, [&]<Act A>() {
      parallel_blocks(c, dy.numel(), 16384,
                      [k = kept.as<T>(), in = dy.as<T>(), out = dx.as<T>()](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i)
                          out[i] = T(float(in[i]) * math::act_slope<A>(float(k[i])));
                      });
    });
  });
}

}  // namespace sluice::kernels
