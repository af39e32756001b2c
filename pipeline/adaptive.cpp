// The loop is the host's: how many samples go on is known only when a stage's outputs are.
#include "pipeline/adaptive.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/error.h"
#include "engine/ops.h"
#include "pipeline/inference.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

class AdaptiveBatch {
 public:
  AdaptiveBatch(Stages stages, InferenceBatch batch)
      : stages_(stages),
        x_(std::move(batch.x)),
        labels_(batch.labels.to_vector<int32_t>(stages[0]->stream)),
        begin_(Clock::now()) {}

  /// Passes the samples that are left through stage k and takes out those that leave behind it.
  void pass(size_t k, const AdaptiveOptions& options, Exit& exit) {
    Stage& s = *stages_[k];
    if (k > 0) {
      x_ = handed_on(*stages_[k - 1]->body, *s.body, x_);
      for (Var& v : x_) v = {moved(v.value, stages_[k - 1]->stream, s.stream)};
    }
    Ctx c = inference_ctx(s);
    x_ = s.body->infer(c, x_);
    const Var z = decoded(stages_, k, s.body->head(c, x_));
    const std::vector<float> outputs = z.value.to_vector<float>(stages_[0]->stream);
    const int64_t classes = int64_t(outputs.size() / labels_.size());
    const std::vector<double> sure = confidence(outputs, classes, options);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    const bool last = k + 1 == stages_.size();
    std::vector<int32_t> stay;
    for (size_t row = 0; row < sure.size(); ++row) {
      if (!last && !(sure[row] >= options.threshold)) {  // what is not a number goes on
        stay.push_back(int32_t(row));
        continue;
      }
      const auto first = outputs.begin() + int64_t(row) * classes;
      ++exit.samples;
      exit.correct += std::max_element(first, first + classes) - first == labels_[row];
      exit.seconds += seconds;
    }
    if (!last && stay.size() < labels_.size()) compact(c, k, stay);
  }
  bool empty() const { return labels_.empty(); }

 private:
  void compact(Ctx& c, size_t k, const std::vector<int32_t>& stay) {
    std::vector<int32_t> labels;
    for (const int32_t row : stay) labels.push_back(labels_[size_t(row)]);
    labels_ = std::move(labels);
    if (stay.empty()) return;
    const Tensor index = Tensor::from<int32_t>(c.stream, stay, {int64_t(stay.size())});
    const std::vector<Port> ports = stages_[k]->body->out_ports();
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = {select_rows(c, x_[i].value, index, ports[i].batch_axis)};
  }

  const Stages stages_;
  Bundle x_;
  std::vector<int32_t> labels_;  // of the samples that are left
  Clock::time_point begin_;
};

}  // namespace

int64_t AdaptiveResult::samples() const {
  int64_t n = 0;
  for (const Exit& e : exits) n += e.samples;
  return n;
}
int64_t AdaptiveResult::correct() const {
  int64_t n = 0;
  for (const Exit& e : exits) n += e.correct;
  return n;
}
double AdaptiveResult::mean_latency() const {
  double sum = 0;
  for (const Exit& e : exits) sum += e.seconds;
  return samples() > 0 ? sum / double(samples()) : 0.0;
}

std::vector<double> confidence(const std::vector<float>& outputs, int64_t classes, const AdaptiveOptions& options) {
  std::vector<double> sure;
  for (size_t first = 0; first < outputs.size(); first += size_t(classes)) {
    std::vector<double> p(outputs.begin() + int64_t(first), outputs.begin() + int64_t(first) + classes);
    const double most = *std::max_element(p.begin(), p.end());
    if (options.logits)
      for (double& v : p) v = std::exp(v - most);
    double sum = 0, entropy = 0;
    for (const double v : p) sum += v;
    if (options.by == Confidence::kMaximum) {
      sure.push_back(options.logits ? 1.0 / sum : most);
      continue;
    }
    for (const double v : p)
      if (v > 0) entropy -= v / sum * std::log(v / sum);
    sure.push_back(1.0 - entropy / std::log(double(classes)));
  }
  return sure;
}

AdaptiveResult infer_adaptively(Stages stages, const Feed& feed, int64_t batches, const AdaptiveOptions& options) {
  if (std::isnan(options.threshold)) throw ConfigError("adaptive inference: the threshold is not a number");
  AdaptiveResult result;
  result.exits.resize(stages.size());
  for (int64_t b = 0; b < batches; ++b) {
    AdaptiveBatch batch(stages, fetch_batch(*stages[0], feed, b));
    for (size_t k = 0; k < stages.size() && !batch.empty(); ++k) batch.pass(k, options, result.exits[k]);
  }
  return result;
}

}  // namespace sluice
