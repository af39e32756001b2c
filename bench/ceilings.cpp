// Triad and large GEMMs, measured next to the rows that are judged by them.
#include "bench/ceilings.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "kernels/common/onednn.h"
#include "kernels/common/parallel.h"

namespace sluice::bench {
namespace {

constexpr int64_t kStagger = 272;  // elements: 1 KB and a line
constexpr int64_t kSizes[] = {1024, 1536, 2048};

Rival gemm(int64_t n) {
  using onednn::Desc;
  const auto f32 = dnnl::memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const Desc plain({n, n}, f32, onednn::Tag::ab);
  const dnnl::matmul::desc d(plain, Desc({n, n}, f32, onednn::Tag::any), plain);
  const dnnl::matmul::primitive_desc pd(d, engine);
  std::unordered_map<int, dnnl::memory> m{{DNNL_ARG_SRC, {pd.src_desc(), engine}},
                                          {DNNL_ARG_WEIGHTS, {pd.weights_desc(), engine}},
                                          {DNNL_ARG_DST, {pd.dst_desc(), engine}}};
  for (auto& entry : m) std::fill_n(static_cast<float*>(entry.second.get_data_handle()), n * n, 0.5f);
  return {pd.impl_info_str(), [engine, stream = dnnl::stream(engine), p = dnnl::matmul(pd), m](CpuContext&) mutable {
            p.execute(stream, m);
            stream.wait();
          }};
}

}  // namespace

double now(const CpuContext& c) {
  timespec t{};
  clock_gettime(c.team == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

int64_t last_level_cache() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : int64_t(32) << 20;
}

Ceilings::Ceilings(const Stream& s) {
  const int64_t memory = int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  const int64_t n = std::min(4 * last_level_cache(), memory / 12) / 4;
  // Staggered: at equal offsets within a page a load seems to wait for the store before it (measured: 12 % slower).
  a_ = filled(s, {n});
  b_ = filled(s, {n + kStagger}).flat_view(kStagger, {n});
  c_ = filled(s, {n + 2 * kStagger}).flat_view(2 * kStagger, {n});
  s.enqueue([this](CpuContext&) {
    for (const int64_t size : kSizes) gemms_.push_back(gemm(size));
  });
  s.sync();
}

Ceiling Ceilings::measure(CpuContext& c) {
  Ceiling best;
  float* out = a_.ref().as<float>();
  const float *x = b_.cref().as<float>(), *y = c_.cref().as<float>();
  for (int i = 0; i < 3; ++i) {
    const double start = now(c);
    parallel_blocks(c, a_.numel(), 1 << 16, [=](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) out[k] = x[k] + 0.5f * y[k];
    });
    best.bandwidth = std::max(best.bandwidth, 3.0 * double(a_.bytes()) / (now(c) - start));
  }
  for (size_t i = 0; i < gemms_.size(); ++i) {
    const double start = now(c), n = double(kSizes[i]);
    gemms_[i].run(c);
    best.flops = std::max(best.flops, 2 * n * n * n / (now(c) - start));
  }
  return best;
}

}  // namespace sluice::bench
