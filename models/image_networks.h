// The image networks that pipelines are compared on, trained end to end, as units. Their usual cuts make four stages:
// those of the experiments with PipeOptim (Guan et al. 2025), whose parameter counts and boundaries they have.
#pragma once

#include "models/units.h"

namespace sluice {

struct ImageNetworkConfig {
  int64_t in_channels = 3;
  int64_t image = 224;  // side of the square images
  int64_t classes = 1000;
  double width = 1.0;         // multiplies every channel count and hidden width
  float dropout = 0.5f;       // of alexnet and inception_v3
  DType dtype = DType::kF32;  // of activations; weights and losses are f32
  bool recompute = false;     // gradient checkpointing of all units but the pools
};

// All read "images" [B, H, W, C] and give logits [B, classes]. A unit is a convolution with what follows it, a pool, a
// linear layer, an inception block or a densely connected unit. All throw ConfigError for sizes that do not fit.

/// Krizhevsky (2014), one tower: five convolutions with biases, three pools, three linear layers. Images of 63 or more,
/// usually 224. 61,100,840 parameters.
UnitNet alexnet(const ImageNetworkConfig& config);
/// VGG-16 (Simonyan and Zisserman 2015) with batch norm and one linear layer. Images of a multiple of 32, usually 32.
/// 14,774,436 parameters with 100 classes.
UnitNet vgg16(const ImageNetworkConfig& config);
/// GoogLeNet (Szegedy et al. 2015) with batch norm, a stem of one 3x3 convolution, two 3x3 in place of a 5x5. Images of
/// a multiple of 4, usually 32. 6,258,500 parameters with 100 classes.
UnitNet googlenet(const ImageNetworkConfig& config);
/// Inception-V3 (Szegedy et al. 2016) without its second classifier. Images of 75 or more, usually 299. 23,834,568
/// parameters.
UnitNet inception_v3(const ImageNetworkConfig& config);
/// DenseNet-121 (Huang et al. 2017). Images below 64 get a stem of one 3x3 convolution (7,048,548 parameters with 100
/// classes), others, of 32 or more behind it, one of 7x7 and a pool (7,978,856 with 1000).
UnitNet densenet121(const ImageNetworkConfig& config);

// ---- what their sources share ----

/// Units one after another, and where the usual stages begin.
class UnitChain {
 public:
  /// Throws ConfigError for numbers that no network can have, and for images smaller than `smallest`.
  UnitChain(const char* model, const ImageNetworkConfig& config, int64_t smallest);
  /// A unit whose parameters lie below its name.
  void add(const std::string& name, const MakeModule& make);
  /// The same of a layer that is made of `args` without an Init.
  template <class Layer, class... Args>
  void add(const std::string& name, Args... args) {
    append(name, [=](const Init&) -> ModulePtr { return std::make_unique<Layer>(args...); });
  }
  void begin_stage() { net_.cuts.push_back(int(net_.units.size())); }
  UnitNet take() { return std::move(net_); }

 private:
  void append(const std::string& name, const MakeModule& make);

  UnitNet net_;
  bool recompute_;
  DType dtype_;
};

}  // namespace sluice
