// Sends every class once through the label encoders, and from each stage back through the decoders.
#include "pipeline/code_health.h"

#include <algorithm>
#include <cmath>

#include "engine/ops.h"
#include "pipeline/inference.h"

namespace sluice {
namespace {

double spread(const std::vector<float>& codes, int64_t classes) {
  const size_t units = codes.size() / size_t(classes);
  double sum = 0;
  for (size_t u = 0; u < units; ++u) {
    double mean = 0, square = 0;
    for (size_t k = 0; k < size_t(classes); ++k) mean += double(codes[k * units + u]) / double(classes);
    for (size_t k = 0; k < size_t(classes); ++k) {
      const double d = double(codes[k * units + u]) - mean;
      square += d * d / double(classes);
    }
    sum += square / double(units);
  }
  return std::sqrt(sum);
}

double found(const std::vector<float>& outputs, int64_t classes) {
  int64_t right = 0;
  for (int64_t k = 0; k < classes; ++k) {
    const auto row = outputs.begin() + k * classes;
    right += std::max_element(row, row + classes) - row == k;
  }
  return double(right) / double(classes);
}

}  // namespace

std::vector<CodeHealth> code_health(Stages stages, int64_t classes) {
  std::vector<CodeHealth> all;
  Ctx first = inference_ctx(*stages[0]);
  Var t{identity(first, classes)};
  for (size_t k = 0; k < stages.size(); ++k) {
    if (k > 0) t = {moved(t.value, stages[k - 1]->stream, stages[k]->stream)};
    Ctx c = inference_ctx(*stages[k]);
    t = stages[k]->body->encode(c, t);
    CodeHealth& health = all.emplace_back();
    health.spread = spread(t.value.to_vector<float>(c.stream), classes);
    health.decoded = found(decoded(stages, k, t).value.to_vector<float>(first.stream), classes);
  }
  return all;
}

}  // namespace sluice
