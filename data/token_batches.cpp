// One pass over the sorted samples: a batch ends where one more would break the budget.
#include "data/token_batches.h"

#include <algorithm>

#include "data/loader.h"

namespace sluice {

std::vector<std::vector<int32_t>> token_batches(const SampleSource& source, const std::vector<int32_t>& samples,
                                                int64_t tokens, uint64_t seed) {
  std::vector<int32_t> sorted = epoch_order(int64_t(samples.size()), seed, -1);  // no epoch's own order
  for (int32_t& i : sorted) i = samples[size_t(i)];
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](int32_t a, int32_t b) { return source.length(a) < source.length(b); });
  std::vector<std::vector<int32_t>> batches;
  for (const int32_t i : sorted) {
    const int64_t length = source.length(i);
    if (length > tokens)
      throw ConfigError(
          str("loader: sample ", i, " has a length of ", length, ", expected at most the budget of ", tokens));
    if (batches.empty() || (int64_t(batches.back().size()) + 1) * length > tokens) batches.emplace_back();
    batches.back().push_back(i);
  }
  return batches;
}

}  // namespace sluice
