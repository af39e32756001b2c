// Runs one layer on a device with weights of its own.
#pragma once

#include <string>
#include <vector>

#include "layers/module.h"
#include "tests/support/support.h"

namespace sluice::test {

/// The layer's parameters, made from `init`, and forward passes without a tape.
struct LayerRun {
  LayerRun(const Stream& on, const Init& init) : stream(on), arena(on, init, /*seed=*/5) {}

  Tensor operator()(const Module& layer, const Tensor& x, bool training = false) {
    Ctx c{.stream = stream, .weights = arena.weights(), .arena = arena, .ledger = ledger, .training = training};
    return layer.forward(c, {x}).value;
  }
  /// Bytes that a training pass over x keeps.
  int64_t kept(const Module& layer, const Tensor& x) {
    Tape tape;
    Ctx c{.stream = stream,
          .weights = arena.weights(),
          .arena = arena,
          .ledger = ledger,
          .tape = &tape,
          .training = true};
    layer.forward(c, tape.leaf(x));
    return ledger.bytes();
  }
  /// The values of parameter `path`.
  std::vector<double> values(const std::string& path) {
    const std::vector<double> all = to_double(stream, arena.values());
    for (size_t i = 0; i < arena.specs().size(); ++i)
      if (arena.specs()[i].path == path) {
        const auto begin = all.begin() + arena.offset(int(i));
        return {begin, begin + arena.specs()[i].shape.numel()};
      }
    return {};
  }

  Stream stream;
  Arena arena;
  Ledger ledger;
};

/// "path shape" of every declared parameter.
inline std::vector<std::string> declared(const Init& init) {
  std::vector<std::string> all;
  for (const ParamSpec& p : init.params()) all.push_back(p.path + " " + p.shape.text());
  return all;
}

}  // namespace sluice::test
