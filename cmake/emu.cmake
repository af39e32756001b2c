# SLUICE_EMU: the host compiler builds the CUDA halves, .cu files too, with NVIDIA's headers alone; the device emulator of
# tests/emu runs them and stands in for NVIDIA's libraries.
set(SLUICE_CUDA_HEADERS "" CACHE STRING "Folders with the headers of CUDA, cuDNN and NCCL, beside the usual ones")
set(CUDAToolkit_INCLUDE_DIRS "")
foreach(header cuda_runtime_api.h cublasLt.h cudnn.h nccl.h)
  string(MAKE_C_IDENTIFIER SLUICE_HAS_${header} found)
  find_path(${found} ${header} HINTS ${SLUICE_CUDA_HEADERS} ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda
    PATH_SUFFIXES include)
  if(NOT ${found})
    message(FATAL_ERROR "SLUICE_EMU=ON but ${header} was not found; name its folder in SLUICE_CUDA_HEADERS")
  endif()
  list(APPEND CUDAToolkit_INCLUDE_DIRS ${${found}})
endforeach()
list(REMOVE_DUPLICATES CUDAToolkit_INCLUDE_DIRS)
set(SLUICE_WITH_CUDA ON)
foreach(library CUDART CUBLAS CUDNN NCCL)
  set(SLUICE_${library} sluice_emu)
endforeach()

# sluice_emulated(file.cu...): compiled as C++ with a call before every memory access, which tests/emu/check.cpp
# receives: the sanitizers themselves are not linked. Neither may the compiler turn loops into calls that hide accesses.
function(sluice_emulated)
  set(calls -O3 -fsanitize=thread -fsanitize=alignment,bounds -ffp-contract=off -fno-vectorize -fno-slp-vectorize
    -mllvm -tsan-instrument-func-entry-exit=0 -mllvm -tsan-instrument-read-before-write=1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(calls -O3 -fsanitize=thread -fsanitize=alignment,bounds -ffp-contract=off -fno-tree-vectorize
      -fno-tree-loop-distribute-patterns --param=tsan-instrument-func-entry-exit=0)
  endif()
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${calls}"
    SKIP_PRECOMPILE_HEADERS ON)
endfunction()
