// What a loader feeds from: numbered, labelled samples, some of which become the host tensors of a micro-batch.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace sluice {

struct Augmentation;  // data/augment.h

/// One tensor of a micro-batch; stages ask for it by its name.
struct BatchPort {
  std::string name;
  Shape shape;
  DType dtype = DType::kF32;
};

/// Which samples a micro-batch holds, and what random changes of training samples depend on.
struct BatchDraw {
  std::span<const int32_t> samples;  // indices in [0, size())
  int64_t epoch = 0;
  uint64_t seed = 0;
  const Augmentation& augmentation;  // of images
};

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  virtual int64_t classes() const = 0;
  /// What a sample costs of a budget of tokens (LoaderOptions::tokens).
  virtual int64_t length(int64_t /*sample*/) const { return 1; }
  /// Throws DataError, starting with `where`, when counts do not fit together or a value is out of range.
  virtual void expect_sound(const std::string& where) const = 0;
  /// Throws ConfigError for random changes that the samples cannot take.
  virtual void expect_fits(const Augmentation&) const {}
  /// The tensors of a micro-batch. Cheap: the caller's thread asks when it queues the filling.
  virtual std::vector<BatchPort> ports(const BatchDraw& draw) const = 0;
  /// Fills tensors of ports(draw), in that order. What it writes depends on the draw alone. The loader calls it
  /// on its stream's worker.
  virtual void fill(const BatchDraw& draw, std::span<const Ref> out) const = 0;
};

}  // namespace sluice
