# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# comm_mpich.so and comm_openmpi.so: the same source built against each MPI that is installed (Debian's libmpich-dev,
# libopenmpi-dev).  libbridge opens one at run time and links none.
function(bridge_add_mpi name package)
  pkg_check_modules(BRIDGE_MPI_${name} IMPORTED_TARGET ${package})
  if(NOT BRIDGE_MPI_${name}_FOUND)
    message(STATUS "comm_${name}.so is not built: pkg-config knows no ${package}")
    return()
  endif()
  set(target bridge_comm_${name})
  add_library(${target} MODULE ${PROJECT_SOURCE_DIR}/kernels/comm/mpi.c)
  target_compile_definitions(${target} PRIVATE BRIDGE_MPI_NAME="${name}")
  target_link_libraries(${target} PRIVATE bridge::bridge PkgConfig::BRIDGE_MPI_${name} Threads::Threads)
  target_link_options(${target} PRIVATE ${BRIDGE_LINK_DEFS})
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME comm_${name} C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bridge/1
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../..")
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/bridge/1 COMPONENT mpi)
endfunction()

if(NOT CMAKE_CROSSCOMPILING)
  bridge_add_mpi(mpich mpich)
  bridge_add_mpi(openmpi ompi-c)
endif()
