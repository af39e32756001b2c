// The OpenMP team of the calling thread, asked by code that is compiled with OpenMP.
#pragma once

#include <vector>

namespace sluice::test {

/// The cores that each thread of a parallel region may run on, by thread. Under ThreadSanitizer, which does not see the
/// team's barrier, the first thread alone answers and the others' lists are its own.
std::vector<std::vector<int>> cores_of_team();

}  // namespace sluice::test
