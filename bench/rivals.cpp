// oneDNN called bare.
#include "bench/rivals.h"

#include <map>

#include "kernels/common/onednn.h"

namespace sluice::bench {
namespace {

using onednn::Desc;
using onednn::Tag;
constexpr auto kF32 = dnnl::memory::data_type::f32;

/// Memory by argument id, shared by all rivals of a row.
class Operands {
 public:
  explicit Operands(dnnl::engine engine) : engine_(std::move(engine)) {}
  dnnl::memory make(const Desc& d) const {
    dnnl::memory m(d, engine_);
    float* data = static_cast<float*>(m.get_data_handle());
    for (size_t i = 0; i < d.get_size() / 4; ++i) data[i] = float(i % 61) / 30.5f - 1.0f;
    return m;
  }
  dnnl::memory plain(int id, const Desc& d) {
    auto [it, is_new] = plain_.try_emplace(id);
    if (is_new) it->second = make(d);
    return it->second;
  }

 private:
  dnnl::engine engine_;
  std::map<int, dnnl::memory> plain_;
};

struct Argument {
  int id;
  Desc plain, wanted;
  bool output = false;
};

class Candidates {
 public:
  Candidates() : operands_(engine_) {}

  /// All implementations of `pd` but the slow ones. `arguments(pd)` lists what it works on.
  template <class PrimitiveDesc, class Arguments>
  void add(const std::string& layout, PrimitiveDesc pd, Arguments&& arguments) {
    do {
      const std::string name = pd.impl_info_str();
      if (name.find("ref") == std::string::npos && name.find("sse") == std::string::npos)
        rivals_.push_back({layout + " " + name, runner(dnnl::primitive(pd.get()), arguments(pd))});
    } while (pd.next_impl());
  }
  const dnnl::engine& engine() const { return engine_; }
  std::vector<Rival> take() { return std::move(rivals_); }

 private:
  std::function<void(CpuContext&)> runner(const dnnl::primitive& primitive, const std::vector<Argument>& arguments) {
    struct Move {
      dnnl::reorder reorder;
      dnnl::memory from, to;
    };
    std::vector<Move> before, after;
    std::unordered_map<int, dnnl::memory> bound;
    for (const Argument& a : arguments) {
      const dnnl::memory plain = operands_.plain(a.id, a.plain);
      if (a.plain == a.wanted) {
        bound[a.id] = plain;
        continue;
      }
      const dnnl::memory wanted = bound[a.id] = operands_.make(a.wanted);
      const dnnl::memory &from = a.output ? wanted : plain, &to = a.output ? plain : wanted;
      (a.output ? after : before).push_back({dnnl::reorder(from, to), from, to});
    }
    return [engine = engine_, stream = stream_, primitive, before, after, bound](CpuContext&) mutable {
      for (Move& m : before) m.reorder.execute(stream, m.from, m.to);
      primitive.execute(stream, bound);
      for (Move& m : after) m.reorder.execute(stream, m.from, m.to);
      stream.wait();
    };
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  Operands operands_;
  std::vector<Rival> rivals_;
};

}  // namespace

std::vector<Rival> bare_convolutions(Direction d, const Shape& x, const Shape& w, const Shape& y,
                                     const kernels::Conv2dGeometry& g) {
  Candidates c;
  const onednn::Dims xd{x[0], x[3], x[1], x[2]}, wd{w[0], w[3], w[1], w[2]}, yd{y[0], y[3], y[1], y[2]};
  const onednn::Dims stride{g.stride, g.stride}, padding{g.padding.rows, g.padding.columns};
  const Desc plain_x(xd, kF32, Tag::nhwc), plain_w(wd, kF32, Tag::ohwi), plain_y(yd, kF32, Tag::nhwc);
  const auto direct = dnnl::algorithm::convolution_direct;
  for (const bool blocked : {false, true}) {
    const std::string layout = blocked ? "blocked" : "nhwc";
    const Desc want_x = blocked ? Desc(xd, kF32, Tag::any) : plain_x, want_w(wd, kF32, Tag::any);
    const Desc want_y = blocked ? Desc(yd, kF32, Tag::any) : plain_y;
    const dnnl::convolution_forward::desc f(dnnl::prop_kind::forward_training, direct, want_x, want_w, want_y, stride,
                                            padding, padding);
    const dnnl::convolution_forward::primitive_desc hint(f, c.engine());
    if (d == Direction::kForward) {
      c.add(layout, hint, [&](const auto& pd) {
        return std::vector<Argument>{{DNNL_ARG_SRC, plain_x, pd.src_desc()},
                                     {DNNL_ARG_WEIGHTS, plain_w, pd.weights_desc()},
                                     {DNNL_ARG_DST, plain_y, pd.dst_desc(), true}};
      });
    } else if (d == Direction::kGradInput) {
      const dnnl::convolution_backward_data::desc b(direct, want_x, want_w, want_y, stride, padding, padding);
      c.add(layout, dnnl::convolution_backward_data::primitive_desc(b, c.engine(), hint), [&](const auto& pd) {
        return std::vector<Argument>{{DNNL_ARG_DIFF_DST, plain_y, pd.diff_dst_desc()},
                                     {DNNL_ARG_WEIGHTS, plain_w, pd.weights_desc()},
                                     {DNNL_ARG_DIFF_SRC, plain_x, pd.diff_src_desc(), true}};
      });
    } else {
      const dnnl::convolution_backward_weights::desc b(direct, want_x, want_w, want_y, stride, padding, padding);
      c.add(layout, dnnl::convolution_backward_weights::primitive_desc(b, c.engine(), hint), [&](const auto& pd) {
        return std::vector<Argument>{{DNNL_ARG_SRC, plain_x, pd.src_desc()},
                                     {DNNL_ARG_DIFF_DST, plain_y, pd.diff_dst_desc()},
                                     {DNNL_ARG_DIFF_WEIGHTS, plain_w, pd.diff_weights_desc(), true}};
      });
    }
  }
  return c.take();
}

namespace {

void add_inner_products(Candidates& c, Direction d, const Desc& x, const Desc& w, const Desc& y, bool plain) {
  const std::string layout = plain ? "inner product" : "packed inner product";
  const Desc b({w.dims()[0]}, kF32, Tag::a), want_w = plain ? w : Desc(w.dims(), kF32, Tag::any);
  const dnnl::inner_product_forward::desc f(dnnl::prop_kind::forward_training, x, want_w, b, y);
  const dnnl::inner_product_forward::primitive_desc hint(f, c.engine());
  if (d == Direction::kForward) {
    c.add(layout, hint, [&](const auto& pd) {
      return std::vector<Argument>{{DNNL_ARG_SRC, x, pd.src_desc()},
                                   {DNNL_ARG_WEIGHTS, w, pd.weights_desc()},
                                   {DNNL_ARG_BIAS, b, b},
                                   {DNNL_ARG_DST, y, pd.dst_desc(), true}};
    });
  } else if (d == Direction::kGradInput) {
    const dnnl::inner_product_backward_data::desc g(x, want_w, y);
    c.add(layout, dnnl::inner_product_backward_data::primitive_desc(g, c.engine(), hint), [&](const auto& pd) {
      return std::vector<Argument>{{DNNL_ARG_DIFF_DST, y, pd.diff_dst_desc()},
                                   {DNNL_ARG_WEIGHTS, w, pd.weights_desc()},
                                   {DNNL_ARG_DIFF_SRC, x, pd.diff_src_desc(), true}};
    });
  } else {
    const dnnl::inner_product_backward_weights::desc g(x, want_w, b, y);
    c.add(layout, dnnl::inner_product_backward_weights::primitive_desc(g, c.engine(), hint), [&](const auto& pd) {
      return std::vector<Argument>{{DNNL_ARG_SRC, x, pd.src_desc()},
                                   {DNNL_ARG_DIFF_DST, y, pd.diff_dst_desc()},
                                   {DNNL_ARG_DIFF_BIAS, b, b, true},
                                   {DNNL_ARG_DIFF_WEIGHTS, w, pd.diff_weights_desc(), true}};
    });
  }
}

}  // namespace

std::vector<Rival> bare_products(Direction d, int64_t rows, int64_t in, int64_t out) {
  Candidates c;
  const Desc x({rows, in}, kF32, Tag::ab), w({out, in}, kF32, Tag::ab), y({rows, out}, kF32, Tag::ab);
  for (const bool plain : {false, true}) add_inner_products(c, d, x, w, y, plain);
  if (d != Direction::kGradInput) return c.take();  // the others want a bias, which matmul leaves out
  for (const bool plain : {false, true}) {
    const dnnl::matmul::desc m(y, plain ? w : Desc({out, in}, kF32, Tag::any), x);
    c.add(plain ? "matmul" : "packed matmul", dnnl::matmul::primitive_desc(m, c.engine()), [&](const auto& pd) {
      return std::vector<Argument>{{DNNL_ARG_SRC, y, pd.src_desc()},
                                   {DNNL_ARG_WEIGHTS, w, pd.weights_desc()},
                                   {DNNL_ARG_DST, x, pd.dst_desc(), true}};
    });
  }
  return c.take();
}

}  // namespace sluice::bench
