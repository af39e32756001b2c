# sluice_kernel(x): kernels/x.cpp is compiled once per instruction set; with VENDOR, once (a library picks the set itself).
set(SLUICE_KERNELS "")
set(SLUICE_VENDOR_KERNELS "")
macro(sluice_kernel name)
  if("${ARGN}" STREQUAL "VENDOR")
    list(APPEND SLUICE_VENDOR_KERNELS ${name})
  else()
    list(APPEND SLUICE_KERNELS ${name})
  endif()
endmacro()

sluice_kernel(activation)
