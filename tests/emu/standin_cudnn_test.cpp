// Convolution and its gradients through cuDNN's graph API against double loops; codes of cuDNN 9.19 for what is
// refused.
#include <cuda_bf16.h>
#include <cudnn.h>
#include <gmock/gmock.h>

#include "emu/standin.h"

namespace emu {
namespace {

using Type = cudnnBackendAttributeType_t;

/// A descriptor with an owner.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    EXPECT_EQ(cudnnBackendCreateDescriptor(type, &raw_), CUDNN_STATUS_SUCCESS);
  }
  ~Descriptor() { cudnnBackendDestroyDescriptor(raw_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator cudnnBackendDescriptor_t() const { return raw_; }

  template <class T>
  cudnnStatus_t set(cudnnBackendAttributeName_t name, Type type, const std::vector<T>& values) const {
    return cudnnBackendSetAttribute(raw_, name, type, int64_t(values.size()), values.data());
  }
  cudnnStatus_t set(cudnnBackendAttributeName_t name, const Descriptor& d) const {
    return set<void*>(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {d.raw_});
  }
  cudnnStatus_t finish() const { return cudnnBackendFinalize(raw_); }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

struct Problem {
  int64_t n, h, w, c, k, r, s, groups, stride, padding;
  int64_t p() const { return (h + 2 * padding - r) / stride + 1; }
  int64_t q() const { return (w + 2 * padding - s) / stride + 1; }
  std::vector<int64_t> x_dims() const { return {n, c, h, w}; }
  std::vector<int64_t> w_dims() const { return {k, c / groups, r, s}; }
  std::vector<int64_t> y_dims() const { return {n, k, p(), q()}; }
};
const std::vector<Problem> kProblems{
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0}, {2, 7, 5, 3, 5, 3, 3, 1, 2, 1}, {2, 5, 6, 6, 4, 3, 2, 2, 1, 1},
    {3, 8, 8, 4, 4, 3, 3, 4, 1, 1}, {2, 9, 7, 8, 8, 5, 1, 1, 2, 2}, {1, 6, 6, 16, 8, 3, 3, 1, 1, 0},
};

int64_t numel(const std::vector<int64_t>& dims) { return dims[0] * dims[1] * dims[2] * dims[3]; }

std::unique_ptr<Descriptor> tensor(int64_t id, const std::vector<int64_t>& d, cudnnDataType_t type, int64_t align = 4) {
  auto t = std::make_unique<Descriptor>(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t->set<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {type});
  t->set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, d);
  t->set<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, {d[1] * d[2] * d[3], 1, d[3] * d[1], d[1]});
  t->set<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id});
  t->set<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {align});
  return t;
}

std::unique_ptr<Descriptor> convolution(int64_t padding, int64_t stride) {
  auto d = std::make_unique<Descriptor>(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  d->set<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
  d->set<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
                                 {CUDNN_CROSS_CORRELATION});
  d->set<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {2});
  d->set<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  d->set<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  d->set<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, {stride, stride});
  d->set<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, {1, 1});
  return d;
}

struct Direction {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, x, w, y;
  char output;
};
const Direction kDirections[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 'y'},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, 'x'},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, 'w'}};

/// From the definition, over NHWC images and KRSC filters.
std::vector<double> reference(const Problem& p, char output, const std::vector<double>& x, const std::vector<double>& w,
                              const std::vector<double>& y) {
  const int64_t depth = p.c / p.groups, filters = p.k / p.groups;
  std::vector<double> out(size_t(numel(output == 'x' ? p.x_dims() : output == 'w' ? p.w_dims() : p.y_dims())), 0.0);
  for (int64_t n = 0; n < p.n; ++n)
    for (int64_t i = 0; i < p.p(); ++i)
      for (int64_t j = 0; j < p.q(); ++j)
        for (int64_t k = 0; k < p.k; ++k)
          for (int64_t r = 0; r < p.r; ++r)
            for (int64_t s = 0; s < p.s; ++s)
              for (int64_t c = 0; c < depth; ++c) {
                const int64_t h = i * p.stride + r - p.padding, v = j * p.stride + s - p.padding;
                if (h < 0 || h >= p.h || v < 0 || v >= p.w) continue;
                const auto xi = size_t(((n * p.h + h) * p.w + v) * p.c + k / filters * depth + c);
                const auto wi = size_t(((k * p.r + r) * p.s + s) * depth + c);
                const auto yi = size_t(((n * p.p() + i) * p.q() + j) * p.k + k);
                if (output == 'y') out[yi] += x[xi] * w[wi];
                if (output == 'x') out[xi] += y[yi] * w[wi];
                if (output == 'w') out[wi] += y[yi] * x[xi];
              }
  return out;
}

class Dnn : public testing::Test {
 protected:
  Dnn() {
    EXPECT_EQ(cudnnCreate(&handle_), CUDNN_STATUS_SUCCESS);
    EXPECT_EQ(cudnnSetStream(handle_, stream_), CUDNN_STATUS_SUCCESS);
  }
  ~Dnn() override { EXPECT_EQ(cudnnDestroy(handle_), CUDNN_STATUS_SUCCESS); }

  /// The plan of the last engine that the heuristic's mode proposes: the exact one.
  void plan(const Problem& p, const Direction& d, cudnnDataType_t type, const Descriptor& out, int64_t& workspace) {
    const auto x = tensor(1, p.x_dims(), type), w = tensor(2, p.w_dims(), type), y = tensor(3, p.y_dims(), type);
    const auto geometry = convolution(p.padding, p.stride);
    for (const auto* t : {&x, &w, &y, &geometry}) ASSERT_EQ((*t)->finish(), CUDNN_STATUS_SUCCESS);
    const Descriptor operation(d.type), graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR),
        heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    operation.set(d.convolution, *geometry);
    operation.set(d.x, *x);
    operation.set(d.w, *w);
    operation.set(d.y, *y);
    ASSERT_EQ(operation.finish(), CUDNN_STATUS_SUCCESS);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    graph.set<cudnnHandle_t>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {handle_});
    ASSERT_EQ(graph.finish(), CUDNN_STATUS_SUCCESS);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristic.set<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {CUDNN_HEUR_MODE_A});
    ASSERT_EQ(heuristic.finish(), CUDNN_STATUS_SUCCESS);
    const Descriptor first(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR), second(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    void* configs[] = {first, second};
    int64_t count = 0;
    ASSERT_EQ(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 2,
                                       &count, configs),
              CUDNN_STATUS_SUCCESS);
    ASSERT_GE(count, 1);
    out.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, count == 2 ? second : first);
    out.set<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, {handle_});
    ASSERT_EQ(out.finish(), CUDNN_STATUS_SUCCESS);
    ASSERT_EQ(cudnnBackendGetAttribute(out, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                       &workspace),
              CUDNN_STATUS_SUCCESS);
  }

  cudnnStatus_t execute(const Descriptor& plan, const std::vector<void*>& pointers, void* workspace) {
    const Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, {1, 2, 3});
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers);
    pack.set<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, {workspace});
    EXPECT_EQ(pack.finish(), CUDNN_STATUS_SUCCESS);
    return cudnnBackendExecute(handle_, plan, pack);
  }

  template <class T, class Narrow, class Wide>
  void check(cudnnDataType_t type, double bound, Narrow narrow, Wide wide) {
    for (const Problem& p : kProblems)
      for (const Direction& d : kDirections) {
        SCOPED_TRACE(testing::Message() << "h " << p.h << " c " << p.c << " groups " << p.groups << " to " << d.output);
        std::vector<double> exact[3];
        std::vector<std::unique_ptr<OnDevice<T>>> operands;
        unsigned seed = 7;
        for (const auto& dims : {p.x_dims(), p.w_dims(), p.y_dims()}) {
          std::vector<T> values;
          for (int64_t i = 0; i < numel(dims); ++i) {
            seed = seed * 1664525u + 1013904223u;
            values.push_back(narrow(float(seed >> 8) / float(1 << 23) - 1.0f));
            exact[operands.size()].push_back(double(wide(values.back())));
          }
          operands.push_back(std::make_unique<OnDevice<T>>(values));
        }
        const Descriptor plan_now(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        int64_t bytes = 0;
        plan(p, d, type, plan_now, bytes);
        const DeviceMemory workspace{size_t(bytes)};
        ASSERT_EQ(execute(plan_now, {operands[0]->data(), operands[1]->data(), operands[2]->data()}, workspace),
                  CUDNN_STATUS_SUCCESS);
        ok(cudaStreamSynchronize(stream_));
        const std::vector<double> wanted = reference(p, d.output, exact[0], exact[1], exact[2]);
        const std::vector<T> got = operands[d.output == 'x' ? 0 : d.output == 'w' ? 1 : 2]->fetch();
        ASSERT_EQ(got.size(), wanted.size());
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_NEAR(double(wide(got[i])), wanted[i], bound * (1 + std::abs(wanted[i])));
      }
  }

  TestStream stream_;
  cudnnHandle_t handle_ = nullptr;
};

TEST_F(Dnn, ConvolvesF32InAllDirections) {
  check<float>(
      CUDNN_DATA_FLOAT, 1e-6, [](float v) { return v; }, [](float v) { return v; });
}
TEST_F(Dnn, ConvolvesBf16InAllDirections) {
  check<__nv_bfloat16>(
      CUDNN_DATA_BFLOAT16, 4e-3, [](float v) { return __float2bfloat16(v); },
      [](__nv_bfloat16 v) { return __bfloat162float(v); });
}

TEST_F(Dnn, RefusesAttributesAsTheLibraryDoes) {
  const Problem p = kProblems[1];
  const auto x = tensor(1, p.x_dims(), CUDNN_DATA_FLOAT);
  int64_t count = 0, values[8];
  EXPECT_EQ(x->set<int32_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT32, {3}), CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
  EXPECT_EQ(x->set<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {3, 4}), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(cudnnBackendSetAttribute(*x, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, nullptr),
            CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(cudnnBackendGetAttribute(*x, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 8, &count, values),
            CUDNN_STATUS_NOT_INITIALIZED);
  EXPECT_EQ(x->finish(), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(x->finish(), CUDNN_STATUS_BAD_PARAM) << "twice";
  EXPECT_EQ(x->set<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {3}), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(cudnnBackendGetAttribute(*x, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_FLOAT, 8, &count, values),
            CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
  EXPECT_EQ(cudnnBackendGetAttribute(*x, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 2, &count, values),
            CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(cudnnBackendGetAttribute(*x, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 0, &count, nullptr),
            CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(count, 4);
  EXPECT_EQ(tensor(1, p.x_dims(), CUDNN_DATA_FLOAT, 2)->finish(), CUDNN_STATUS_BAD_PARAM) << "alignment";
  EXPECT_EQ(Descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR).finish(), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(convolution(-1, 1)->finish(), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(convolution(1, 0)->finish(), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR).finish(), CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  EXPECT_EQ(Descriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR).finish(), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(cudnnBackendDestroyDescriptor(nullptr), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  EXPECT_EQ(cudnnDestroy(nullptr), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(cudnnSetStream(nullptr, nullptr), CUDNN_STATUS_BAD_PARAM);
}

TEST_F(Dnn, RefusesOperationsWhosePartsDoNotFit) {
  const Problem p = kProblems[1];
  const Direction& d = kDirections[0];
  const auto finish = [&](std::vector<int64_t> x_dims, std::vector<int64_t> w_dims, std::vector<int64_t> y_dims,
                          bool finished) {
    const auto x = tensor(1, x_dims, CUDNN_DATA_FLOAT), w = tensor(2, w_dims, CUDNN_DATA_FLOAT),
               y = tensor(3, y_dims, CUDNN_DATA_FLOAT);
    const auto geometry = convolution(p.padding, p.stride);
    for (const auto* t : {&x, &y, &geometry}) (*t)->finish();
    if (finished) w->finish();
    const Descriptor operation(d.type);
    operation.set(d.convolution, *geometry);
    operation.set(d.x, *x);
    operation.set(d.w, *w);
    operation.set(d.y, *y);
    return operation.finish();
  };
  EXPECT_EQ(finish(p.x_dims(), p.w_dims(), p.y_dims(), true), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(finish(p.x_dims(), p.w_dims(), p.y_dims(), false), CUDNN_STATUS_BAD_PARAM) << "a part is not finalized";
  EXPECT_EQ(finish(p.x_dims(), {5, 2, 3, 3}, p.y_dims(), true), CUDNN_STATUS_BAD_PARAM) << "channels";
  EXPECT_EQ(finish(p.x_dims(), p.w_dims(), {2, 5, 4, 4}, true), CUDNN_STATUS_BAD_PARAM) << "the output's width";
  EXPECT_EQ(finish(p.x_dims(), p.w_dims(), {1, 5, 4, 3}, true), CUDNN_STATUS_BAD_PARAM) << "the output's images";
}

TEST_F(Dnn, RefusesToExecuteWithWrongPointers) {
  const Problem p = kProblems[5];
  const Descriptor plan_now(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  int64_t bytes = 0;
  plan(p, kDirections[0], CUDNN_DATA_FLOAT, plan_now, bytes);
  ASSERT_GT(bytes, 0);
  const OnDevice<float> x(std::vector<float>(2048, 1.0f));
  EXPECT_EQ(execute(plan_now, {x.data(), x.data(), x.data()}, nullptr), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  EXPECT_EQ(execute(plan_now, {x.data(), nullptr, x.data()}, x.data()), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  const Descriptor unfinished(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  EXPECT_EQ(execute(unfinished, {x.data(), x.data(), x.data()}, x.data()), CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
}

}  // namespace
}  // namespace emu
