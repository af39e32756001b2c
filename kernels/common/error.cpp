// Anchors the vtables of the error types in one object file.
#include "kernels/common/error.h"
