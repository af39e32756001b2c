// Asks every thread of a team for its cores.
#include "tests/engine/team.h"

#include <omp.h>

#include "engine/device.h"
#include "engine/sanitizer.h"

namespace sluice::test {

std::vector<std::vector<int>> cores_of_team() {
  std::vector<std::vector<int>> cores(size_t(omp_get_max_threads()), available_cores());
#ifndef SLUICE_TSAN
#pragma omp parallel
  cores[size_t(omp_get_thread_num())] = available_cores();  // sched_getaffinity(0) is of the calling thread
#endif
  return cores;
}

}  // namespace sluice::test
