# sluice_parse_once(target [as]): its C++ sources share one parse of the standard headers (standard.h), or that of `as`,
# which is compiled with the same flags.
function(sluice_parse_once target)
  if(ARGC GREATER 1)
    target_precompile_headers(${target} REUSE_FROM ${ARGV1})
  else()
    target_precompile_headers(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/cmake/standard.h>)
  endif()
endfunction()

# sluice_unite(target value...): its sources are compiled eight at once where SLUICE_UNITY is one of the values.
function(sluice_unite target)
  if(SLUICE_UNITY IN_LIST ARGN)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON)
  endif()
endfunction()

# sluice_library(name SOURCES ... LINKS ... PRIVATE_LINKS ...): one folder, one target, alias sluice::name.
# Without SOURCES the target is header-only.
function(sluice_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS;PRIVATE_LINKS")
  set(scope PUBLIC)
  set(parsed "")
  if(TARGET sluice_layers) # the first above the engine; from it on no library has flags of its own
    set(parsed sluice_layers)
  endif()
  if(arg_SOURCES)
    add_library(sluice_${name} STATIC ${arg_SOURCES})
    target_link_libraries(sluice_${name} PRIVATE $<BUILD_INTERFACE:sluice_options> ${arg_PRIVATE_LINKS})
    sluice_parse_once(sluice_${name} ${parsed})
    sluice_unite(sluice_${name} ON)
  else()
    add_library(sluice_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(sluice::${name} ALIAS sluice_${name})
  set_target_properties(sluice_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(sluice_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/sluice>)
  target_compile_features(sluice_${name} ${scope} cxx_std_20)
  target_link_libraries(sluice_${name} ${scope} ${arg_LINKS})
  set_property(GLOBAL APPEND PROPERTY SLUICE_LIBRARIES sluice_${name})
endfunction()
