// Helpers of the tests. References in double are written in each test; nothing here computes an op.
#include "tests/support/support.h"

#include <cmath>
#include <limits>

#include "kernels/matmul.h"

namespace sluice::test {
namespace {

constexpr int64_t kGuard = 256;  // bytes on each side
constexpr uint8_t kPattern = 0xA5;

Tensor as_dtype(const Stream& s, const std::vector<float>& values, Shape shape, DType dtype) {
  if (dtype == DType::kF32) return Tensor::from<float>(s, values, shape);
  std::vector<bf16> narrow;
  narrow.reserve(values.size());
  for (const float v : values) narrow.emplace_back(v);
  return Tensor::from<bf16>(s, narrow, shape);
}

template <class T>
std::vector<double> widened(const Stream& s, const Tensor& t) {
  std::vector<double> out;
  for (const T v : t.to_vector<T>(s)) {
    if constexpr (std::is_same_v<T, bf16>)
      out.push_back(double(float(v)));
    else
      out.push_back(double(v));
  }
  return out;
}

/// One forward pass over copies of the inputs; the arena is the caller's.
struct Pass {
  Ledger ledger;
  Tape tape;
  std::vector<Var> leaves;
  Var out;
};

void forward(Pass& p, const Stream& s, Arena& arena, const std::vector<Tensor>& inputs,
             const std::function<Var(Ctx&, const std::vector<Var>&)>& f, bool training) {
  Ctx c{.stream = s,
        .weights = arena.weights(),
        .arena = arena,
        .ledger = p.ledger,
        .tape = &p.tape,
        .rng = {.seed = 7},
        .training = training};
  for (const Tensor& t : inputs) p.leaves.push_back(t.dtype() == DType::kF32 ? p.tape.leaf(t) : Var{t});
  p.out = f(c, p.leaves);
}

double dot(const std::vector<double>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * double(b[i]);
  return sum;
}

/// What gradient_error compares: the gradient of one tensor and how to change the tensor.
struct Probe {
  std::vector<double> gradient;
  std::vector<float> values;
  std::function<void(const std::vector<float>&)> assign;
};

double probe_error(const Probe& p, const GradCheck& o, uint64_t seed, const std::function<double()>& value) {
  const auto n = int64_t(p.values.size());
  double worst = 0, largest = 1e-3;
  for (const double g : p.gradient) largest = std::max(largest, std::abs(g));
  for (int k = 0; k < std::min<int64_t>(o.probes, n); ++k) {
    const int64_t i = n <= o.probes ? k : int64_t(philox({uint32_t(seed), 5}, uint64_t(k), 0).v[0] % uint64_t(n));
    std::vector<float> changed = p.values;
    changed[size_t(i)] = p.values[size_t(i)] + float(o.step);
    const double up = changed[size_t(i)];
    p.assign(changed);
    const double above = value();
    changed[size_t(i)] = p.values[size_t(i)] - float(o.step);
    const double width = up - double(changed[size_t(i)]);
    p.assign(changed);
    const double below = value();
    worst = std::max(worst, std::abs((above - below) / width - p.gradient[size_t(i)]));
  }
  p.assign(p.values);
  return worst / largest;
}

}  // namespace

std::vector<Device> test_devices() {
  std::vector<Device> devices{{DeviceKind::kCpu, 0}};
  for (int i = 0; i < cuda_status().devices; ++i) devices.push_back({DeviceKind::kCuda, i});
  return devices;
}

std::string device_label(const testing::TestParamInfo<Device>& info) {
  return str(info.param.is_cpu() ? "cpu_" : "cuda_", info.param.index);
}

std::vector<DType> product_dtypes(const Stream& s) {
  const Tensor one = random(s, {1, 1}, 1, 1, 1, DType::kBF16), y = Tensor::empty(s, {1, 1}, DType::kBF16);
  launch(kernels::Matmul{.x = one.cref(), .w = one.cref(), .bias = {}, .y = y.ref()}, s);
  try {
    s.sync();
  } catch (const DTypeError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("bf16"));
    return {DType::kF32};
  }
  return {DType::kF32, DType::kBF16};
}

std::vector<float> random_values(int64_t n, uint64_t seed, float low, float high) {
  std::vector<float> v(size_t(n), 0.0f);
  for (int64_t i = 0; i < n; ++i) {
    const Philox4 words = philox({uint32_t(seed), uint32_t(seed >> 32)}, uint64_t(i), 1);
    v[size_t(i)] = low + (high - low) * uniform(words.v[0]);
  }
  return v;
}

Tensor random(const Stream& s, Shape shape, uint64_t seed, float low, float high, DType dtype) {
  return as_dtype(s, random_values(shape.numel(), seed, low, high), shape, dtype);
}

Tensor random_ints(const Stream& s, Shape shape, uint64_t seed, int32_t low, int32_t high) {
  std::vector<int32_t> v(size_t(shape.numel()));
  for (size_t i = 0; i < v.size(); ++i)
    v[i] = low + int32_t(philox({uint32_t(seed), 3}, i, 2).v[0] % uint32_t(high - low));
  return Tensor::from<int32_t>(s, v, shape);
}

Guarded::Guarded(const Stream& s, Shape shape, DType dtype) : stream_(s) {
  const int64_t inner = shape.numel() * size_of(dtype);
  initial_.assign(size_t(inner + 2 * kGuard), kPattern);
  whole_ = Tensor::from<uint8_t>(s, initial_, {int64_t(initial_.size())});
  view_ = Tensor(shape, dtype, whole_.storage(), kGuard);
}

void Guarded::check() const {
  const std::vector<uint8_t> now = whole_.to_vector<uint8_t>(stream_);
  for (size_t i = 0; i < size_t(kGuard); ++i) {
    ASSERT_EQ(now[i], kPattern) << "byte " << int64_t(i) - kGuard << " before the output was written";
    ASSERT_EQ(now[now.size() - 1 - i], kPattern) << "byte " << kGuard - int64_t(i) << " behind the output was written";
  }
}

std::vector<double> to_double(const Stream& s, const Tensor& t) {
  switch (t.dtype()) {
    case DType::kF32:
      return widened<float>(s, t);
    case DType::kBF16:
      return widened<bf16>(s, t);
    case DType::kI32:
      return widened<int32_t>(s, t);
    case DType::kI64:
      return widened<int64_t>(s, t);
    case DType::kU8:
      return widened<uint8_t>(s, t);
  }
  return {};
}

double normalised_error(const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double worst = 0, largest = 1e-6;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i])) return std::numeric_limits<double>::infinity();
    if (std::isnan(expected[i]) || got[i] == expected[i]) continue;  // equal infinities have no difference
    worst = std::max(worst, std::abs(got[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return worst / largest;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& expected, double bound) {
  ASSERT_EQ(got.size(), expected.size());
  EXPECT_LT(normalised_error(got, expected), bound);
}

double bound(DType t) { return t == DType::kBF16 ? 1e-2 : 2e-5; }

double gradient_error(const Stream& s, const Init& init, const std::vector<Tensor>& inputs,
                      const std::function<Var(Ctx&, const std::vector<Var>&)>& f, const GradCheck& o) {
  Arena arena(s, init, 11);
  Pass p;
  forward(p, s, arena, inputs, f, o.training);
  const std::vector<float> direction = random_values(p.out.value.numel(), 99);
  const bool is_loss = p.out.value.numel() == 1;
  BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = p.ledger};
  Tensor seed = is_loss ? Tensor() : Tensor::from<float>(s, direction, p.out.shape());
  p.tape.backward({{p.out, seed}}, b);
  arena.finish_grads(s);

  const auto value = [&] {
    Pass again;
    forward(again, s, arena, inputs, f, o.training);
    const std::vector<double> out = to_double(s, again.out.value);
    return is_loss ? out[0] : dot(out, direction);
  };
  double worst = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (p.leaves[i].node < 0 || inputs[i].numel() == 0) continue;
    Tensor t = inputs[i];
    const Tensor g = p.tape.take_grad(p.leaves[i]);
    Probe probe{g.defined() ? to_double(s, g) : std::vector<double>(size_t(t.numel()), 0.0), t.to_vector<float>(s),
                [&](const std::vector<float>& v) { t.assign<float>(s, v); }};
    worst = std::max(worst, probe_error(probe, o, i, value));
  }
  for (size_t i = 0; i < init.params().size(); ++i) {
    const Shape shape = init.params()[i].shape;
    if (init.params()[i].path.find(o.params) == std::string::npos) continue;
    Tensor t = arena.values().flat_view(arena.offset(int(i)), shape);
    Probe probe{to_double(s, arena.grads().flat_view(arena.offset(int(i)), shape)), t.to_vector<float>(s),
                [&](const std::vector<float>& v) {
                  t.assign<float>(s, v);
                  arena.bump_version();
                }};
    worst = std::max(worst, probe_error(probe, o, 100 + i, value));
  }
  return worst;
}

void check_gradients(const Stream& s, const Init& init, const std::vector<Tensor>& inputs,
                     const std::function<Var(Ctx&, const std::vector<Var>&)>& f, const GradCheck& options) {
  EXPECT_LT(gradient_error(s, init, inputs, f, options), options.bound);
}

}  // namespace sluice::test
