// The fields of auxiliary activations, and which networks take which.
#include <algorithm>
#include <utility>

#include "apps/config_parts.h"

namespace sluice {
namespace {

bool is_residual_network(const std::string& model) { return model.starts_with("resnet"); }
bool is_network_of_tokens(const std::string& model) {
  return model.starts_with("transformer") || model == "vit" || model == "mlp_mixer";
}

/// "ara", "aba", "asa", with a level 1 to 4 behind the latter two or none.
bool is_auxiliary(const std::string& a) {
  const bool known = a.starts_with("aba") || a.starts_with("asa");
  return a == "ara" || (known && (a.size() == 3 || (a.size() == 4 && a[3] >= '1' && a[3] <= '4')));
}

}  // namespace

std::vector<ConfigField> auxiliary_fields() {
  using C = RunConfig;
  return {
      {"auxiliary",
       "what weight gradients come from. none: the inputs. Networks of tokens: asa1 to asa4: the signs of the inputs, "
       "one bit each; aba1 to aba4: a learned vector; of the second feed-forward layer, the first too, attention's "
       "output projection too, those to Q, K and V too (mlp_mixer: over channels, then over tokens). resnet18 to "
       "resnet152: ara: the input of a group's first block; asa, aba: signs or a vector in a group's other blocks",
       &C::auxiliary, true},
      {"ara_stride", "resnets: blocks of a group, in each of the four stages, such as 3,4,2,2", &C::ara_stride, true},
      {"gcp",
       "gradient checkpointing: attention, the resnets' stem and blocks, the units of alexnet, vgg16, googlenet, "
       "inception_v3 and densenet121 run again in the backward pass",
       &C::gcp, true},
      {"get_li", "write the learning indicators of each epoch's first batch to indicators.npy in --out", &C::get_li,
       false},
      {"lr_expansion", "auxiliary: factor of those weight gradients", &C::lr_expansion, true},
      {"epsilon", "auxiliary=asa: size of the signs that are added to the inputs", &C::epsilon, true},
  };
}

RunConfig with_auxiliary_rule(RunConfig c) {
  if (!is_auxiliary(c.rule)) return c;
  if (c.auxiliary != "none" && c.auxiliary != c.rule)
    throw ConfigError(str("rule=", c.rule, " with auxiliary=", c.auxiliary, ": expected one of them"));
  c.auxiliary = std::exchange(c.rule, "bp");
  return c;
}

std::array<int, 4> ara_strides(const RunConfig& c) {
  std::array<int, 4> strides{};
  const std::vector<std::string> items = list_items(c.ara_stride);
  const bool numbers = items.size() == 4 && std::all_of(items.begin(), items.end(), [](const std::string& s) {
                         return !s.empty() && s.size() < 4 && s.find_first_not_of("0123456789") == std::string::npos;
                       });
  for (size_t i = 0; numbers && i < 4; ++i) strides[i] = std::stoi(items[i]);
  if (!numbers || *std::min_element(strides.begin(), strides.end()) < 1)
    throw ConfigError(str("ara_stride=", c.ara_stride, ": expected four positive numbers, such as 3,4,2,2"));
  return strides;
}

void check_auxiliary(const RunConfig& c) {
  const std::string& a = c.auxiliary;
  if (a != "none" && !is_auxiliary(a))
    throw ConfigError(str("auxiliary='", a, "': expected none, ara, aba, asa, aba1 to aba4 or asa1 to asa4"));
  if (a != "none") {
    if (is_residual_network(c.model) && a.size() == 4)
      throw ConfigError(str("auxiliary=", a, ": the convolutions of model=", c.model, " take ara, aba or asa"));
    if (is_network_of_tokens(c.model) && a.size() == 3)
      throw ConfigError(str("auxiliary=", a, ": the layers of model=", c.model, " take aba1 to aba4 or asa1 to asa4"));
    if (!is_residual_network(c.model) && !is_network_of_tokens(c.model))
      throw ConfigError(str("auxiliary=", a, ": model=", c.model,
                            " has no such layers, only the resnets, transformer, vit and mlp_mixer have"));
  }
  if (c.get_li && a == "none") throw ConfigError("get_li: without auxiliary activations there is nothing to indicate");
  ara_strides(c);
  expect_range("lr_expansion", c.lr_expansion, 0.0, 1e6);
  expect_range("epsilon", c.epsilon, 0.0, 100.0);
}

}  // namespace sluice
