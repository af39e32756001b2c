// What layers share when they are declared: keys of their dropouts, and what they refuse.
#pragma once

#include "layers/module.h"

namespace sluice {

/// The key of the dropout that is called so below `init`.
inline uint64_t dropout_path(const Init& init, const char* name) { return path_hash(init.scope(name).path()); }

/// Throws ConfigError for a probability outside [0, 1).
inline void expect_dropout(const Init& init, float p) {
  if (!(p >= 0.0f && p < 1.0f)) throw ConfigError(str(init.path(), ": dropout probability ", p, ", expected [0, 1)"));
}

/// Throws ShapeError when the width does not split into the heads.
inline void expect_heads(const Init& init, int64_t width, int heads) {
  if (heads < 1 || width < 1 || width % heads != 0)
    throw ShapeError(str(init.path(), ": a width of ", width, " does not split into ", heads, " heads"));
}

}  // namespace sluice
