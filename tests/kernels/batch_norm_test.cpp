// Batch norm's passes against the formulas in double, end to end, with every fusion.
#include "kernels/batch_norm.h"

#include <cmath>

#include "tests/kernels/packed_bits.h"

namespace sluice::test::batch_norm_test {
namespace {

using BatchNormTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, BatchNormTest, testing::ValuesIn(test_devices()), device_label);

// Rows and channels: kAwkward2d, whole and broken lines of few channels, more than one block.
const std::vector<std::pair<int64_t, int64_t>> kShapes{{1, 1},     {3, 31},   {7, 129},   {64, 1024}, {0, 8},
                                                       {20001, 3}, {9000, 7}, {1030, 16}, {700, 64},  {65, 512}};
constexpr double kEps = 1e-5;

struct Fusion {
  bool relu, residual;
};
constexpr Fusion kFusions[] = {{false, false}, {true, false}, {false, true}, {true, true}};

/// The textbook in double, one channel after the other.
/// What the reference is computed from; `mean` and `var` given: evaluation.
struct Values {
  int64_t rows = 0, channels = 0;
  std::vector<double> x, dy, gamma, beta, residual;
  bool relu = false;
  const std::vector<double>* mean = nullptr;
  const std::vector<double>* var = nullptr;
};

struct Reference {
  std::vector<double> y, dx, dresidual, dgamma, dbeta, mean, var;

  explicit Reference(const Values& in) : y(in.x.size()), dx(in.x.size()), dresidual(in.x.size()) {
    const auto& [rows, channels, x, dy, gamma, beta, residual, relu, fixed_mean, fixed_var] = in;
    const double n = double(rows);
    for (int64_t c = 0; c < channels; ++c) {
      double m = 0, v = 0;
      for (int64_t r = 0; r < rows; ++r) m += x[size_t(r * channels + c)] / n;
      for (int64_t r = 0; r < rows; ++r) v += std::pow(x[size_t(r * channels + c)] - m, 2) / n;
      mean.push_back(m);
      var.push_back(v);
      if (fixed_mean) m = (*fixed_mean)[size_t(c)], v = (*fixed_var)[size_t(c)];
      const double inv = 1 / std::sqrt(v + kEps);
      double sum = 0, product = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const size_t i = size_t(r * channels + c);
        const double z = (x[i] - m) * inv * gamma[size_t(c)] + beta[size_t(c)] + (residual.empty() ? 0 : residual[i]);
        y[i] = relu ? std::max(z, 0.0) : z;
        dresidual[i] = relu && z <= 0 ? 0 : dy[i];
        sum += dresidual[i];
        product += dresidual[i] * (x[i] - m) * inv;
      }
      dbeta.push_back(sum);
      dgamma.push_back(product);
      if (fixed_mean) sum = product = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const size_t i = size_t(r * channels + c);
        dx[i] = gamma[size_t(c)] * inv * (dresidual[i] - sum / n - (x[i] - m) * inv * product / n);
      }
    }
  }
};

/// One run of all calls on guarded outputs.
struct Case {
  Case(const Stream& s, int64_t rows, int64_t channels, DType t, Fusion f)
      : x(random(s, {rows, channels}, 1, -1, 2, t)),
        dy(random(s, {rows, channels}, 2, -1, 1, t)),
        residual(random(s, {rows, channels}, 3, -1, 1, t)),
        gamma(random(s, {channels}, 4, 0.5f, 1.5f)),
        beta(random(s, {channels}, 5)),
        stats(s, {4, channels}),
        y(s, {rows, channels}, t),
        bits(s, {packed_bytes(rows * channels)}, DType::kU8),
        sums(s, {2, channels}),
        dresidual(s, {rows, channels}, t),
        dx(s, {rows, channels}, t),
        dgamma(s, {channels}),
        dbeta(s, {channels}),
        fusion(f) {}

  void forward(const Stream& s) const {
    launch(kernels::BatchNormApply{.x = x.cref(),
                                   .stats = stats.ref(),
                                   .residual = fusion.residual ? residual.cref() : ConstRef{},
                                   .y = y.ref(),
                                   .bits = packs() ? bits.ref() : Ref{},
                                   .relu = fusion.relu},
           s);
  }
  void backward(const Stream& s, bool training) const {
    using kernels::BatchNormMask;
    BatchNormMask mask = BatchNormMask::kNone;
    if (fusion.relu) mask = packs() ? BatchNormMask::kFromBits : BatchNormMask::kFromInput;
    launch(kernels::BatchNormGradSums{.x = x.cref(),
                                      .dy = dy.cref(),
                                      .bits = packs() ? bits.ref() : Ref{},
                                      .stats = stats.ref(),
                                      .sums = sums.ref(),
                                      .dresidual = fusion.residual ? dresidual.ref() : Ref{},
                                      .mask = mask},
           s);
    launch(kernels::BatchNormGradInput{.x = x.cref(),
                                       .dy = packs() ? dresidual.ref() : Ref(dy.ref()),
                                       .stats = stats.ref(),
                                       .gamma = gamma.cref(),
                                       .sums = sums.ref(),
                                       .dx = dx.ref(),
                                       .mask = packs() ? BatchNormMask::kNone : mask,
                                       .training = training},
           s);
    launch(
        kernels::BatchNormGradParams{
            .sums = sums.ref(), .stats = stats.ref(), .dgamma = dgamma.ref(), .dbeta = dbeta.ref()},
        s);
  }
  Reference reference(const Stream& s, const std::vector<double>* mean = nullptr,
                      const std::vector<double>* var = nullptr) const {
    return Reference({.rows = x.dim(0),
                      .channels = x.dim(1),
                      .x = to_double(s, x),
                      .dy = to_double(s, dy),
                      .gamma = to_double(s, gamma),
                      .beta = to_double(s, beta),
                      .residual = fusion.residual ? to_double(s, residual) : std::vector<double>{},
                      .relu = fusion.relu,
                      .mean = mean,
                      .var = var});
  }
  void expect(const Stream& s, const Reference& r) const {
    const double limit = bound(x.dtype());
    expect_close(to_double(s, y.tensor()), r.y, limit);
    expect_close(to_double(s, dx.tensor()), r.dx, limit);
    if (fusion.residual) expect_close(to_double(s, dresidual.tensor()), r.dresidual, limit);
    expect_close(to_double(s, dgamma.tensor()), r.dgamma, limit);
    expect_close(to_double(s, dbeta.tensor()), r.dbeta, limit);
    if (packs()) {
      EXPECT_EQ(to_double(s, bits.tensor()), packed(positive(to_double(s, y.tensor()))));
    }
    for (const Guarded* g : {&stats, &y, &bits, &sums, &dresidual, &dx, &dgamma, &dbeta}) g->check();
  }

  /// The last pass of a residual block.
  bool packs() const { return fusion.relu && fusion.residual; }

  Tensor x, dy, residual, gamma, beta;
  Guarded stats, y, bits, sums, dresidual, dx, dgamma, dbeta;
  Fusion fusion;
};

TEST_P(BatchNormTest, TrainingMatchesTheFormulasWithEveryFusion) {
  const Stream s(device());
  for (const auto& [rows, channels] : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const Fusion f : kFusions) {
        const bool large = rows * channels > 10'000;  // in bf16 all fusions at once say as much there as each alone
        if (large && t == DType::kBF16 && !(f.relu && f.residual)) continue;
        SCOPED_TRACE(testing::Message() << rows << "x" << channels << " " << name(t) << f.relu << f.residual);
        const Case run(s, rows, channels, t, f);
        launch(
            kernels::BatchNormStatistics{
                .x = run.x.cref(), .gamma = run.gamma.cref(), .beta = run.beta.cref(), .stats = run.stats.ref()},
            s);
        run.forward(s);
        run.backward(s, true);
        run.expect(s, run.reference(s));
      }
}

TEST_P(BatchNormTest, EvaluationTreatsTheRunningStatisticsAsConstants) {
  const Stream s(device());
  for (const auto& [rows, channels] : kShapes)
    for (const Fusion f : kFusions) {
      SCOPED_TRACE(testing::Message() << rows << "x" << channels << f.relu << f.residual);
      const Case run(s, rows, channels, DType::kF32, f);
      const Tensor mean = random(s, {channels}, 6), var = random(s, {channels}, 7, 0.2f, 2);
      launch(kernels::BatchNormRunning{.gamma = run.gamma.cref(),
                                       .beta = run.beta.cref(),
                                       .running_mean = mean.cref(),
                                       .running_var = var.cref(),
                                       .stats = run.stats.ref()},
             s);
      run.forward(s);
      run.backward(s, false);
      const std::vector<double> m = to_double(s, mean), v = to_double(s, var);
      run.expect(s, run.reference(s, &m, &v));
    }
}

TEST_P(BatchNormTest, RunningStatisticsMoveByTheMomentumWithTheUnbiasedVariance) {
  const Stream s(device());
  for (const auto& [rows, channels] : kShapes) {
    SCOPED_TRACE(testing::Message() << rows << "x" << channels);
    const Case run(s, rows, channels, DType::kF32, {});
    const Tensor mean = random(s, {channels}, 6), var = random(s, {channels}, 7, 0.2f, 2);
    std::vector<double> m = to_double(s, mean), v = to_double(s, var);
    launch(kernels::BatchNormStatistics{.x = run.x.cref(),
                                        .gamma = run.gamma.cref(),
                                        .beta = run.beta.cref(),
                                        .stats = run.stats.ref(),
                                        .running_mean = mean.ref(),
                                        .running_var = var.ref(),
                                        .momentum = 0.25f},
           s);
    const Reference r = run.reference(s);
    for (size_t c = 0; rows > 0 && c < m.size(); ++c) {
      m[c] += 0.25 * (r.mean[c] - m[c]);
      v[c] += 0.25 * (r.var[c] * (rows > 1 ? double(rows) / double(rows - 1) : 1.0) - v[c]);
    }
    expect_close(to_double(s, mean), m, 1e-5);
    expect_close(to_double(s, var), v, 1e-5);
  }
}

TEST_P(BatchNormTest, AMeanFarFromZeroDoesNotSpoilTheVariance) {
  const Stream s(device());
  for (const auto& [rows, channels] : kShapes) {
    if (rows < 2) continue;
    SCOPED_TRACE(testing::Message() << rows << "x" << channels);
    const Tensor x = random(s, {rows, channels}, 1, 4095, 4097), ones = random(s, {channels}, 2, 1, 1);
    const Guarded stats(s, {4, channels});
    launch(kernels::BatchNormStatistics{.x = x.cref(), .gamma = ones.cref(), .beta = ones.cref(), .stats = stats.ref()},
           s);
    const std::vector<double> one(size_t(channels), 1.0), got = to_double(s, stats.tensor());
    const Reference r({.rows = rows,
                       .channels = channels,
                       .x = to_double(s, x),
                       .dy = to_double(s, x),
                       .gamma = one,
                       .beta = one,
                       .residual = {}});
    std::vector<double> inv;
    for (const double v : r.var) inv.push_back(1 / std::sqrt(v + kEps));
    const auto row = [&, channels = channels](int64_t i) {
      return std::vector<double>(got.begin() + i * channels, got.begin() + (i + 1) * channels);
    };
    expect_close(row(0), r.mean, 3e-7);
    expect_close(row(1), inv, 1e-5);
  }
}

TEST_P(BatchNormTest, ResultsDoNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "teams are of CPU devices";
  std::vector<std::vector<double>> seen;
  for (const int team : {1, 2}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Case run(s, 5000, 24, DType::kF32, {true, false});
    launch(
        kernels::BatchNormStatistics{
            .x = run.x.cref(), .gamma = run.gamma.cref(), .beta = run.beta.cref(), .stats = run.stats.ref()},
        s);
    run.forward(s);
    run.backward(s, true);
    seen.push_back(to_double(s, run.dx.tensor()));
    const std::vector<double> d = to_double(s, run.dgamma.tensor());
    seen.back().insert(seen.back().end(), d.begin(), d.end());
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_P(BatchNormTest, OutputsMayTakeThePlaceOfInputs) {
  const Stream s(device());
  const Case run(s, 300, 24, DType::kF32, {true, true});
  launch(
      kernels::BatchNormStatistics{
          .x = run.x.cref(), .gamma = run.gamma.cref(), .beta = run.beta.cref(), .stats = run.stats.ref()},
      s);
  const Reference r = run.reference(s);
  launch(kernels::BatchNormApply{.x = run.x.cref(),
                                 .stats = run.stats.ref(),
                                 .residual = run.residual.cref(),
                                 .y = run.residual.ref(),
                                 .bits = run.bits.ref(),
                                 .relu = true},
         s);
  const auto mask = kernels::BatchNormMask::kFromBits;
  launch(kernels::BatchNormGradSums{.x = run.x.cref(),
                                    .dy = run.dy.cref(),
                                    .bits = run.bits.ref(),
                                    .stats = run.stats.ref(),
                                    .sums = run.sums.ref(),
                                    .dresidual = run.dy.ref(),
                                    .mask = mask},
         s);
  expect_close(to_double(s, run.residual), r.y, bound(DType::kF32));
  expect_close(to_double(s, run.dy), r.dresidual, bound(DType::kF32));
  launch(kernels::BatchNormGradInput{.x = run.x.cref(),
                                     .dy = run.dy.cref(),
                                     .stats = run.stats.ref(),
                                     .gamma = run.gamma.cref(),
                                     .sums = run.sums.ref(),
                                     .dx = run.dy.ref()},
         s);
  expect_close(to_double(s, run.dy), r.dx, bound(DType::kF32));
}

TEST_P(BatchNormTest, ParameterGradientsAccumulateWhereAsked) {
  const Stream s(device());
  const Tensor sums = random(s, {2, 5}, 1), stats = random(s, {4, 5}, 2);
  const std::vector<double> sum = to_double(s, sums), st = to_double(s, stats);
  for (const auto& [add_gamma, add_beta] : {std::pair{true, false}, {false, true}}) {
    const Tensor dgamma = random(s, {5}, 3), dbeta = random(s, {5}, 4);
    std::vector<double> gamma = to_double(s, dgamma), beta = to_double(s, dbeta);
    for (size_t c = 0; c < 5; ++c) {
      gamma[c] = (add_gamma ? gamma[c] : 0) + sum[5 + c] * st[5 + c];
      beta[c] = (add_beta ? beta[c] : 0) + sum[c];
    }
    launch(kernels::BatchNormGradParams{.sums = sums.cref(),
                                        .stats = stats.cref(),
                                        .dgamma = dgamma.ref(),
                                        .dbeta = dbeta.ref(),
                                        .accumulate_gamma = add_gamma,
                                        .accumulate_beta = add_beta},
           s);
    expect_close(to_double(s, dgamma), gamma, bound(DType::kF32));
    expect_close(to_double(s, dbeta), beta, bound(DType::kF32));
  }
}

TEST_P(BatchNormTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Case run(s, 6, 4, DType::kF32, {});
  const Tensor three = random(s, {3}, 1), half = random(s, {6, 4}, 1, -1, 1, DType::kBF16);
  EXPECT_THROW(launch(
                   kernels::BatchNormStatistics{
                       .x = run.x.cref(), .gamma = three.cref(), .beta = run.beta.cref(), .stats = run.stats.ref()},
                   s),
               ShapeError);
  EXPECT_THROW(launch(kernels::BatchNormStatistics{.x = run.x.cref(),
                                                   .gamma = run.gamma.cref(),
                                                   .beta = run.beta.cref(),
                                                   .stats = run.stats.ref(),
                                                   .running_mean = run.beta.ref()},
                      s),
               ShapeError);
  EXPECT_THROW(launch(kernels::BatchNormApply{.x = run.x.cref(), .stats = run.stats.ref(), .y = half.ref()}, s),
               DTypeError);
  EXPECT_THROW(launch(kernels::BatchNormGradSums{.x = run.x.cref(),
                                                 .dy = run.dy.cref(),
                                                 .stats = run.stats.ref(),
                                                 .sums = run.sums.ref(),
                                                 .mask = kernels::BatchNormMask::kFromBits},
                      s),
               Error);
  EXPECT_THROW(launch(kernels::BatchNormGradSums{.x = run.x.cref(),
                                                 .dy = run.dy.cref(),
                                                 .bits = run.bits.ref(),
                                                 .stats = run.stats.ref(),
                                                 .sums = run.sums.ref(),
                                                 .mask = kernels::BatchNormMask::kFromBits},
                      s),
               ShapeError)
      << "nowhere to put the masked gradient";
  EXPECT_THROW(launch(kernels::BatchNormGradInput{.x = run.x.cref(),
                                                  .dy = run.dy.cref(),
                                                  .stats = run.stats.ref(),
                                                  .gamma = run.gamma.cref(),
                                                  .sums = run.sums.ref(),
                                                  .dx = run.dx.ref(),
                                                  .mask = kernels::BatchNormMask::kFromBits},
                      s),
               ShapeError);
  EXPECT_THROW(
      launch(
          kernels::BatchNormApply{
              .x = run.x.cref(), .stats = run.stats.ref(), .y = run.y.ref(), .bits = run.bits.ref(), .relu = false},
          s),
      ShapeError);
}

}  // namespace
}  // namespace sluice::test::batch_norm_test
