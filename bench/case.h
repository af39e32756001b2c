// One row of the kernel benchmarks: a call on tensors of its own, its cost, and whom it is compared with.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/stream.h"
#include "engine/tensor.h"

namespace sluice::bench {

/// The same work done by the library called bare, or by our kernels one pass after another.
struct Rival {
  std::string name;
  std::function<void(CpuContext&)> run;
  int64_t bytes = 0;  // that it moves; 0: unknown
};

struct Case {
  Cost cost;
  std::function<void(CpuContext&)> run;
  std::function<std::vector<Rival>()> rivals = {};  // made on the worker; may be empty
  const char* ratio = "vs_bare";                    // the counter of the fastest one's time over ours
};

/// Tensors are made only when the row runs.
struct Row {
  std::string name;
  std::function<Case(const Stream&)> make;
};

/// A kernel call as a case; `keep` are the tensors that it refers to.
template <KernelCall K>
Case of(K call, std::vector<Tensor> keep) {
  call.check();
  return {call.cost(), [call, keep = std::move(keep)](CpuContext& c) { run_cpu(call, c); }};
}

/// `values` of the pattern i mod 61, scaled to [-1, 1): no denormals, no zero gradients.
Tensor filled(const Stream& s, Shape shape, DType dtype = DType::kF32);

// ---- the table, by concern ----
std::vector<Row> convolution_rows();
std::vector<Row> product_rows();
std::vector<Row> auxiliary_rows();
std::vector<Row> memory_rows();
std::vector<Row> update_rows();

}  // namespace sluice::bench
