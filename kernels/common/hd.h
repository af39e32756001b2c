// SLUICE_HD marks a function that compiles for host and device, one text for both.
#pragma once

#if defined(__CUDACC__)
#define SLUICE_HD __host__ __device__ inline
#else
#define SLUICE_HD inline
#endif
