// The typed errors, for the folders above the engine.
#pragma once

#include "kernels/common/error.h"
