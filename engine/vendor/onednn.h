// oneDNN's version: the only place outside the kernels that asks.
#pragma once

#include <string>

namespace sluice {
std::string onednn_version();  // "2.6.3"
}
