// Asks oneDNN which version is loaded.
#include "engine/vendor/onednn.h"

#include <dnnl.h>

#include "kernels/common/error.h"

namespace sluice {

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return str(v->major, ".", v->minor, ".", v->patch);
}

}  // namespace sluice
