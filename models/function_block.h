// A block without a class of its own.
#pragma once

#include <functional>

#include "layers/module.h"

namespace sluice {

/// Values in and out by ports, and the sentence of layers between them.
class FunctionBlock final : public Block {
 public:
  using Run = std::function<Bundle(Ctx&, const Bundle&)>;
  FunctionBlock(std::vector<Port> in, std::vector<Port> out, Run run)
      : in_(std::move(in)), out_(std::move(out)), run_(std::move(run)) {}
  std::vector<Port> in_ports() const override { return in_; }
  std::vector<Port> out_ports() const override { return out_; }
  Bundle forward(Ctx& c, const Bundle& in) const override { return run_(c, in); }

 private:
  std::vector<Port> in_, out_;
  Run run_;
};

}  // namespace sluice
