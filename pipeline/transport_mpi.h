// Messages between the processes that mpirun starts, over MPI.
#pragma once

#include "pipeline/courier.h"

namespace sluice {

/// Starts MPI in the calling thread, which then is the only one to call it: so any MPI will do, whatever it says of
/// threads. Once a process. Throws TransportError, also in a build without MPI. Where a rank does not come to the start
/// or to the end of MPI, the process exits after 20 s.
CourierPtr connect_mpi();

}  // namespace sluice
