// Tells ThreadSanitizer and AddressSanitizer what a call touches: library code made at run time is invisible to them.
#pragma once

#include "kernels/common/ref.h"

namespace sluice {

/// Reports every operand as a read or a write of the calling thread. Does nothing in a build without sanitizers.
void annotate(const Operands& o);
void annotate_read(const void* data, int64_t bytes);
void annotate_write(void* data, int64_t bytes);

}  // namespace sluice
