// What tests share: devices, random and guarded tensors, comparison with double references, gradient checks.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice::test {

/// cpu:0 and every GPU there is.
std::vector<Device> test_devices();
std::string device_label(const testing::TestParamInfo<Device>& info);  // "cpu_0"

/// Each test file gives it a name of its own: `using XTest = OnEachDevice;`, then TEST_P(XTest, ...) and
/// INSTANTIATE_TEST_SUITE_P(Devices, XTest, testing::ValuesIn(test_devices()), device_label).
class OnEachDevice : public testing::TestWithParam<Device> {
 public:
  static Device device() { return GetParam(); }
};

/// f32, and bf16 where the device multiplies it. Waits for the stream.
std::vector<DType> product_dtypes(const Stream& s);

/// U[low, high), the same for a seed on every device.
std::vector<float> random_values(int64_t n, uint64_t seed, float low = -1, float high = 1);
Tensor random(const Stream& s, Shape shape, uint64_t seed, float low = -1, float high = 1, DType dtype = DType::kF32);
/// i32 in [low, high).
Tensor random_ints(const Stream& s, Shape shape, uint64_t seed, int32_t low, int32_t high);

/// An output with guard bytes on both sides, filled with a signalling pattern.
class Guarded {
 public:
  Guarded(const Stream& s, Shape shape, DType dtype = DType::kF32);
  Ref ref() const { return view_.ref(); }
  const Tensor& tensor() const { return view_; }
  /// Fails the test when a guard byte changed. Waits for the stream.
  void check() const;

 private:
  Stream stream_;
  Tensor whole_, view_;
  std::vector<uint8_t> initial_;
};

/// Any float or integer tensor as doubles. Waits for the stream.
std::vector<double> to_double(const Stream& s, const Tensor& t);
/// Largest difference over the largest expected magnitude; infinite when sizes differ or a NaN stands on one side only.
double normalised_error(const std::vector<double>& got, const std::vector<double>& expected);
void expect_close(const std::vector<double>& got, const std::vector<double>& expected, double bound);
/// The one bound per dtype: f32 2e-5, bf16 1e-2.
double bound(DType t);

inline const std::vector<std::pair<int64_t, int64_t>> kAwkward2d{{1, 1}, {3, 31}, {7, 129}, {64, 1024}, {0, 8}};

struct GradCheck {
  double step = 1e-2;   // of the central difference
  double bound = 2e-2;  // normalised error of the directional gradients
  int probes = 6;       // elements of each tensor that are perturbed
  bool training = true;
  std::string params{};  // only parameters whose path contains this
};
/// Compares the tape's gradients of sum(f * direction) with central differences, for `probes` elements of every f32
/// input and every parameter of `init`. f must be a deterministic function of its inputs and parameters.
void check_gradients(const Stream& s, const Init& init, const std::vector<Tensor>& inputs,
                     const std::function<Var(Ctx&, const std::vector<Var>&)>& f, const GradCheck& options = {});
/// The largest normalised error that check_gradients would compare with its bound.
double gradient_error(const Stream& s, const Init& init, const std::vector<Tensor>& inputs,
                      const std::function<Var(Ctx&, const std::vector<Var>&)>& f, const GradCheck& options = {});

}  // namespace sluice::test
