// The libraries' stand-ins against double loops, for odd shapes and leading dimensions; and what they refuse.
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <gmock/gmock.h>

#include <cmath>

#include "emu/standin.h"

namespace emu {
namespace {

std::vector<float> values(size_t n, unsigned seed) {
  std::vector<float> v(n);
  for (float& x : v) {
    seed = seed * 1664525u + 1013904223u;
    x = float(seed >> 8) / float(1 << 23) - 1.0f;
  }
  return v;
}
std::vector<__nv_bfloat16> narrowed(const std::vector<float>& v) {
  std::vector<__nv_bfloat16> out;
  for (const float x : v) out.push_back(__float2bfloat16(x));
  return out;
}
std::vector<float> widened(const std::vector<__nv_bfloat16>& v) {
  std::vector<float> out;
  for (const __nv_bfloat16 x : v) out.push_back(__bfloat162float(x));
  return out;
}

/// Column-major products of every kind of operands.
struct Shape {
  cublasOperation_t ta, tb;
  int m, n, k, lda, ldb, ldc;
};
const std::vector<Shape> kShapes{
    {CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, 1, 1, 1},     {CUBLAS_OP_N, CUBLAS_OP_N, 5, 3, 7, 6, 9, 8},
    {CUBLAS_OP_T, CUBLAS_OP_N, 5, 3, 7, 7, 7, 5},     {CUBLAS_OP_N, CUBLAS_OP_T, 5, 3, 7, 5, 4, 5},
    {CUBLAS_OP_T, CUBLAS_OP_T, 13, 17, 2, 3, 19, 14}, {CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 0, 4, 1, 4},
};

struct Operands {
  std::vector<float> a, b, c;
};
Operands operands(const Shape& s) {
  return {values(size_t(s.lda) * size_t(std::max(s.ta == CUBLAS_OP_N ? s.k : s.m, 1)), 1),
          values(size_t(s.ldb) * size_t(std::max(s.tb == CUBLAS_OP_N ? s.n : s.k, 1)), 2),
          values(size_t(s.ldc) * size_t(s.n), 3)};
}

/// What lies between the columns stays as it was.
std::vector<float> expected(const Shape& s, const Operands& o, double alpha, double beta) {
  std::vector<float> out = o.c;
  for (int j = 0; j < s.n; ++j)
    for (int i = 0; i < s.m; ++i) {
      double sum = 0;
      for (int p = 0; p < s.k; ++p)
        sum += double(s.ta == CUBLAS_OP_N ? o.a[size_t(i + p * s.lda)] : o.a[size_t(p + i * s.lda)]) *
               double(s.tb == CUBLAS_OP_N ? o.b[size_t(p + j * s.ldb)] : o.b[size_t(j + p * s.ldb)]);
      float& c = out[size_t(i + j * s.ldc)];
      c = float(alpha * sum + (beta == 0 ? 0 : beta * double(c)));
    }
  return out;
}

void expect_close(const std::vector<float>& got, const std::vector<float>& wanted, double bound) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], bound) << "element " << i;
}

class Blas : public testing::Test {
 protected:
  Blas() {
    EXPECT_EQ(cublasCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasSetStream(handle_, stream_), CUBLAS_STATUS_SUCCESS);
  }
  ~Blas() override { EXPECT_EQ(cublasDestroy(handle_), CUBLAS_STATUS_SUCCESS); }

  TestStream stream_;
  cublasHandle_t handle_ = nullptr;
};

TEST_F(Blas, SgemmIsAProductOfAnyShape) {
  for (const Shape& s : kShapes)
    for (const float beta : {0.0f, 1.5f}) {
      SCOPED_TRACE(testing::Message() << s.m << " " << s.n << " " << s.k << " beta " << beta);
      const Operands o = operands(s);
      const OnDevice<float> a(o.a), b(o.b);
      OnDevice<float> c(o.c);
      const float alpha = 0.5f;
      ASSERT_EQ(cublasSgemm(handle_, s.ta, s.tb, s.m, s.n, s.k, &alpha, a.data(), s.lda, b.data(), s.ldb, &beta,
                            c.data(), s.ldc),
                CUBLAS_STATUS_SUCCESS);
      stream_.sync();
      expect_close(c.fetch(), expected(s, o, alpha, beta), 1e-5);
    }
}

TEST_F(Blas, GemmExRoundsToBf16Once) {
  for (const Shape& s : kShapes) {
    Operands o = operands(s);
    const OnDevice<__nv_bfloat16> a(narrowed(o.a)), b(narrowed(o.b));
    OnDevice<__nv_bfloat16> c(narrowed(o.c));
    o = {widened(narrowed(o.a)), widened(narrowed(o.b)), widened(narrowed(o.c))};
    const float one = 1, zero = 0;
    ASSERT_EQ(
        cublasGemmEx(handle_, s.ta, s.tb, s.m, s.n, s.k, &one, a.data(), CUDA_R_16BF, s.lda, b.data(), CUDA_R_16BF,
                     s.ldb, &zero, c.data(), CUDA_R_16BF, s.ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        CUBLAS_STATUS_SUCCESS);
    stream_.sync();
    expect_close(widened(c.fetch()), widened(narrowed(expected(s, o, 1, 0))), 1e-6);
  }
}

TEST_F(Blas, StridedBatchesAreProductsOfTheirOwn) {
  const Shape s{CUBLAS_OP_N, CUBLAS_OP_N, 2, 3, 4, 2, 4, 2};
  const std::vector<float> a = values(24, 4), b = values(36, 5);
  const OnDevice<float> da(a), db(b);
  OnDevice<float> c(std::vector<float>(18, 0.0f));
  const float one = 1, zero = 0;
  ASSERT_EQ(cublasSgemmStridedBatched(handle_, s.ta, s.tb, 2, 3, 4, &one, da.data(), 2, 8, db.data(), 4, 12, &zero,
                                      c.data(), 2, 6, 3),
            CUBLAS_STATUS_SUCCESS);
  stream_.sync();
  const std::vector<float> got = c.fetch();
  for (size_t i = 0; i < 3; ++i) {
    const Operands o{{a.begin() + long(i) * 8, a.begin() + long(i) * 8 + 8},
                     {b.begin() + long(i) * 12, b.begin() + long(i) * 12 + 12},
                     std::vector<float>(6, 0.0f)};
    expect_close({got.begin() + long(i) * 6, got.begin() + long(i) * 6 + 6}, expected(s, o, 1, 0), 1e-6);
  }
}

TEST_F(Blas, WithoutBetaTheOutputIsNotRead) {
  const OnDevice<float> a({2.0f}), b({3.0f});
  OnDevice<float> c({NAN});
  const float one = 1, zero = 0;
  ASSERT_EQ(cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.data(), 1, b.data(), 1, &zero, c.data(), 1),
            CUBLAS_STATUS_SUCCESS);
  stream_.sync();
  EXPECT_EQ(c.fetch()[0], 6.0f);
}

TEST_F(Blas, HostScalarsAreReadByTheCallAndDeviceScalarsByTheDevice) {
  const OnDevice<float> a({2.0f}), b({3.0f});
  OnDevice<float> c({1.0f});
  float alpha = 1, beta = 0;
  const auto multiply = [&](const float* x, const float* y) {
    return cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, x, a.data(), 1, b.data(), 1, y, c.data(), 1);
  };
  ASSERT_EQ(multiply(&alpha, &beta), CUBLAS_STATUS_SUCCESS);
  alpha = 100;
  stream_.sync();
  EXPECT_EQ(c.fetch()[0], 6.0f);
  const OnDevice<float> scalars({10.0f, 1.0f});
  ASSERT_EQ(cublasSetPointerMode(handle_, CUBLAS_POINTER_MODE_DEVICE), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(multiply(scalars.data(), scalars.data() + 1), CUBLAS_STATUS_SUCCESS);
  stream_.sync();
  EXPECT_EQ(c.fetch()[0], 66.0f);
}

TEST_F(Blas, RefusesWhatTheLibraryRefuses) {
  const OnDevice<float> x(values(64, 1));
  const float one = 1;
  const auto multiply = [&](cublasHandle_t h, int m, int lda, int ldb, int ldc) {
    return cublasSgemm(h, CUBLAS_OP_N, CUBLAS_OP_N, m, 2, 3, &one, x.data(), lda, x.data(), ldb, &one, x.data(), ldc);
  };
  EXPECT_EQ(multiply(nullptr, 4, 4, 3, 4), CUBLAS_STATUS_NOT_INITIALIZED);
  EXPECT_EQ(multiply(handle_, -1, 4, 3, 4), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(handle_, 4, 3, 3, 4), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(handle_, 4, 4, 2, 4), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(handle_, 4, 4, 3, 3), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(
      cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, nullptr, x.data(), 1, x.data(), 1, &one, x.data(), 1),
      CUBLAS_STATUS_INVALID_VALUE);
}

// ---- cuBLASLt ----

class BlasLt : public testing::Test {
 protected:
  BlasLt() {
    EXPECT_EQ(cublasLtCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference_), CUBLAS_STATUS_SUCCESS);
  }
  ~BlasLt() override {
    cublasLtMatmulPreferenceDestroy(preference_);
    cublasLtMatmulDescDestroy(description_);
    cublasLtDestroy(handle_);
  }
  template <class T>
  cublasStatus_t set(cublasLtMatmulDescAttributes_t name, T value) {
    return cublasLtMatmulDescSetAttribute(description_, name, &value, sizeof value);
  }
  template <class T>
  cublasStatus_t prefer(cublasLtMatmulPreferenceAttributes_t name, T value) {
    return cublasLtMatmulPreferenceSetAttribute(preference_, name, &value, sizeof value);
  }

  /// The layouts of a product of [m, k] and [k, n].
  struct Layouts {
    Layouts(int m, int n, int k, int ld) {
      cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, uint64_t(m), uint64_t(k), ld);
      cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, uint64_t(k), uint64_t(n), k);
      cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, uint64_t(m), uint64_t(n), m);
    }
    ~Layouts() {
      for (const cublasLtMatrixLayout_t l : {a, b, d}) cublasLtMatrixLayoutDestroy(l);
    }
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  };
  cublasStatus_t find(const Layouts& l, cublasLtMatmulHeuristicResult_t& found) {
    int count = 0;
    return cublasLtMatmulAlgoGetHeuristic(handle_, description_, l.a, l.b, l.d, l.d, preference_, 1, &found, &count);
  }
  cublasStatus_t multiply(const Layouts& l, const float* a, const float* b, float* d,
                          const cublasLtMatmulHeuristicResult_t& found, void* workspace) {
    const float one = 1, zero = 0;
    return cublasLtMatmul(handle_, description_, &one, a, l.a, b, l.b, &zero, d, l.d, d, l.d, &found.algo, workspace,
                          workspace == nullptr ? 0 : found.workspaceSize, nullptr);
  }

  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
};

double gelu(double v) { return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); }

TEST_F(BlasLt, EpiloguesAddABiasAndActivate) {
  constexpr int kM = 5, kN = 7, kK = 67, kLd = 6;
  const Shape s{CUBLAS_OP_N, CUBLAS_OP_N, kM, kN, kK, kLd, kK, kM};
  const Operands o = operands(s);
  const OnDevice<float> a(o.a), b(o.b), bias(values(kM, 9));
  OnDevice<float> d(o.c);
  const Layouts l(kM, kN, kK, kLd);
  const std::vector<float> product = expected(s, o, 1, 0), shift = values(kM, 9);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(1) << 20);
  for (const cublasLtEpilogue_t epilogue :
       {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_BIAS,
        CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_BIAS}) {
    SCOPED_TRACE(int(epilogue));
    ASSERT_EQ(set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.data())), CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulHeuristicResult_t found{};
    ASSERT_EQ(find(l, found), CUBLAS_STATUS_SUCCESS);
    ASSERT_GT(found.workspaceSize, 0u);
    const DeviceMemory workspace(found.workspaceSize);
    ASSERT_EQ(multiply(l, a.data(), b.data(), d.data(), found, workspace), CUBLAS_STATUS_SUCCESS);
    ok(cudaDeviceSynchronize());
    std::vector<float> wanted = product;
    for (size_t i = 0; i < wanted.size(); ++i) {
      double v = double(product[i]) + ((epilogue & CUBLASLT_EPILOGUE_BIAS) != 0 ? double(shift[i % kM]) : 0.0);
      if ((epilogue & CUBLASLT_EPILOGUE_RELU) != 0) v = std::max(v, 0.0);
      if ((epilogue & CUBLASLT_EPILOGUE_GELU) != 0) v = gelu(v);
      wanted[i] = float(v);
    }
    expect_close(d.fetch(), wanted, 1e-5);
  }
}

TEST_F(BlasLt, RefusesWhatTheLibraryRefuses) {
  EXPECT_EQ(set(CUBLASLT_MATMUL_DESC_TRANSA, int64_t(1)), CUBLAS_STATUS_INVALID_VALUE) << "of 8 bytes, not 4";
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA, nullptr, 4),
            CUBLAS_STATUS_INVALID_VALUE);
  const OnDevice<float> x(values(4096, 1));
  OnDevice<float> y(values(4096, 1));
  cublasLtMatmulHeuristicResult_t found{};
  const Layouts good(8, 4, 64, 8), narrow(8, 4, 64, 7), other(4, 4, 64, 8);
  EXPECT_EQ(find(narrow, found), CUBLAS_STATUS_INVALID_VALUE) << "leading dimension";
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(1) << 20);
  ASSERT_EQ(find(good, found), CUBLAS_STATUS_SUCCESS);
  ASSERT_GT(found.workspaceSize, 0u);
  EXPECT_EQ(multiply(good, x.data(), x.data() + 1024, y.data(), found, nullptr), CUBLAS_STATUS_INVALID_VALUE)
      << "no workspace";
  const DeviceMemory workspace(found.workspaceSize);
  EXPECT_EQ(multiply(other, x.data(), x.data() + 1024, y.data(), found, workspace), CUBLAS_STATUS_INVALID_VALUE)
      << "an algorithm for another product";
  ASSERT_EQ(set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiply(good, x.data(), x.data() + 1024, y.data(), found, workspace), CUBLAS_STATUS_INVALID_VALUE)
      << "a bias without a pointer";
  ASSERT_EQ(set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DRELU_BGRAD), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(find(good, found), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST(BlasLtPlanted, OperandsThatAreNotAlignedAsPromisedAreReported) {
  Session session;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;
  cublasLtCreate(&handle);
  cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 2, 2, 2);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  ASSERT_EQ(cublasLtMatmulAlgoGetHeuristic(handle, description, layout, layout, layout, layout, preference, 1, &found,
                                           &count),
            CUBLAS_STATUS_SUCCESS);
  {
    const OnDevice<float> x(values(256, 1));
    const float one = 1, zero = 0;
    const auto multiply = [&](float* a) {
      return cublasLtMatmul(handle, description, &one, a, layout, x.data() + 64, layout, &zero, x.data() + 128, layout,
                            x.data() + 128, layout, &found.algo, nullptr, 0, nullptr);
    };
    EXPECT_EQ(multiply(x.data()), CUBLAS_STATUS_SUCCESS);
    EXPECT_THAT(session.finish(), testing::Not(testing::Contains(testing::Field(&Report::kind, Report::kMisaligned))));
    EXPECT_EQ(multiply(x.data() + 1), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_THAT(kinds(session.finish()), testing::Contains(Report::kMisaligned));
  }
  cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatmulDescDestroy(description);
  cublasLtDestroy(handle);
}

}  // namespace
}  // namespace emu
