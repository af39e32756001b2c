// A build without MPI has no network of processes.
#include "engine/error.h"
#include "pipeline/transport_mpi.h"

namespace sluice {

CourierPtr connect_mpi() {
  throw TransportError("this build has no MPI: install libopenmpi-dev and openmpi-bin, and configure it again");
}

}  // namespace sluice
