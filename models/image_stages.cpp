// Puts image stages together from their slices.
#include "models/image_stages.h"

#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

StageNet named(size_t index) { return {.name = str("stage", index), .init = {}, .body = nullptr}; }

/// Images come as f32 whatever they are computed in.
BlockPtr block(ModulePtr f, size_t index, DType dtype) {
  const Port s{.name = "s", .dtype = dtype};
  return std::make_unique<ModuleBlock>(std::move(f), index == 0 ? Port{.name = "images"} : s, s);
}

/// The map as a row, or its 4x4 averages; appends that to the net and gives its width.
int64_t flat_map(Sequential& net, const Shape& map, bool whole) {
  int64_t side = map[0];
  if (!whole && side > 4 && side % 4 == 0) {
    const int window = int(side / 4);
    net.add<AvgPool>(Pool2dSpec{.window = window, .stride = window});
    side = 4;
  }
  net.add<Flatten>();
  return side * side * map[2];
}

/// Linear, act, Linear, act; over the map or the slice's own feature.
ModulePtr bridge(const Init& init, const ImageSlice& slice, const ImageCodes& c) {
  auto net = std::make_unique<Sequential>();
  const int64_t feature = slice.reduce ? slice.map.cols() : flat_map(*net, slice.map, c.faithful);
  net->add<Dense>(init.scope("fc1"), feature, c.hidden, c.acts.b);
  net->add<Dense>(init.scope("fc2"), c.hidden, c.code, c.acts.b, c.faithful ? DenseStart::kFanIn : DenseStart::kSpread);
  return net;
}

AssociatedModules associated(const Init& path, const ImageSlice& slice, size_t index, const ImageCodes& c) {
  const bool first = index == 0;
  const Init encoder = path.group(kEncoderGroup), labels = path.group(kAutoencoderGroup);
  const int64_t label_in = first ? c.classes : c.code;
  AssociatedModules m;
  m.f = block(slice.f(encoder.scope("f")), index, slice.dtype);
  m.b = bridge(encoder.scope("b"), slice, c);
  if (slice.reduce) m.reduce = slice.reduce;
  m.g = std::make_unique<Dense>(labels.scope("g"), label_in, c.code, c.acts.g,
                                c.faithful ? DenseStart::kFanIn : DenseStart::kSpread);
  m.h = std::make_unique<Dense>(labels.scope("h"), c.code, label_in, first && !c.faithful ? Act::kNone : c.acts.h);
  if (first && !c.faithful) m.label_loss = cross_entropy_labels;
  return m;
}

}  // namespace

UnitNet backprop_units(const Shape& image, const std::vector<ImageSlice>& slices, const MakeModule& head) {
  UnitNet net;
  net.sample = {{1, image[0], image[1], image[2]}};
  for (size_t i = 0; i <= slices.size(); ++i) {
    const std::string path = str("stage", i, ".f");
    const MakeModule make = i == slices.size() ? head : slices[i].f;
    net.units.push_back(module_unit(
        path, [=](const Init& root) { return make(root.scope(path)); }, i == 0, slices.front().dtype));
  }
  net.cuts = all_cuts(net);
  return net;
}

std::vector<StageNet> associated_stages(const std::vector<ImageSlice>& slices, const ImageCodes& codes) {
  std::vector<StageNet> stages;
  for (size_t i = 0; i < slices.size(); ++i) {
    StageNet net = named(i);
    net.body =
        std::make_unique<AssociatedStage>(associated(net.init.scope(net.name), slices[i], i, codes),
                                          StagePosition{.first = i == 0, .last = i + 1 == slices.size()}, codes.classes,
                                          codes.faithful ? LabelPath::kBatch : LabelPath::kClassTable);
    stages.push_back(std::move(net));
  }
  return stages;
}

std::vector<StageNet> contrastive_stages(const std::vector<ImageSlice>& slices, const MakeModule& head,
                                         const Reduce& reduce, const ContrastiveOptions& codes) {
  std::vector<StageNet> stages;
  for (size_t i = 0; i < slices.size(); ++i) {
    const bool last = i + 1 == slices.size();
    StageNet net = named(i);
    const Init init = net.init.scope(net.name);
    const Shape& map = slices[i].map;
    ContrastiveModules m;
    m.f = block(slices[i].f(init.scope("f")), i, slices[i].dtype);
    m.projector = make_projector(init.scope("p"), codes.projector, last && reduce ? map[2] : map.numel());
    m.temperature = codes.temperature;
    if (last) {
      m.head = head(init.scope("head"));
      m.reduce = reduce;
    }
    net.body = std::make_unique<ContrastiveStage>(std::move(m), StagePosition{.first = i == 0, .last = last});
    stages.push_back(std::move(net));
  }
  return stages;
}

}  // namespace sluice
