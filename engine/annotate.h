// Tells ThreadSanitizer and AddressSanitizer what a call touches: library code made at run time is invisible to them.
#pragma once

#include "engine/sanitizer.h"
#include "kernels/common/ref.h"

namespace sluice {

/// Reports every operand as a read or a write of the calling thread. Does nothing where kAnnotated is false.
void annotate(const Operands& o);
void annotate_read(const void* data, int64_t bytes);
void annotate_write(void* data, int64_t bytes);

}  // namespace sluice
