# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# bridge_cuda.so by NVIDIA's compiler, where BRIDGE_CUDA says so.
#
#   off    not built (the presets, but for cuda)
#   on     built; an error without nvcc or the headers of cuBLASLt and NCCL
#   auto   built where these are found
#
# The runtime is linked in; cuBLASLt and NCCL are opened by the module when a device is.  What is built loads on
# machines without a driver and says so.
set(BRIDGE_CUDA auto CACHE STRING "Build the CUDA backend: auto, on or off")
set_property(CACHE BRIDGE_CUDA PROPERTY STRINGS auto on off)
# Machine code for these, and for newer GPUs what their driver compiles.
set(BRIDGE_CUDA_ARCHITECTURES 80-real 90-real 100 CACHE STRING "GPUs to compile for, as CMAKE_CUDA_ARCHITECTURES")

# What stops it, or nothing.
function(bridge_cuda_lacks out)
  set(${out} "" PARENT_SCOPE)
  include(CheckLanguage)
  find_program(BRIDGE_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(NOT BRIDGE_NVCC)
    set(${out} "nvcc is not found" PARENT_SCOPE)
    return()
  endif()
  get_filename_component(nvcc ${BRIDGE_NVCC} REALPATH)
  get_filename_component(bin ${nvcc} DIRECTORY)
  find_path(BRIDGE_CUDA_INCLUDE cuda_runtime_api.h HINTS ${bin}/../include ${bin}/../targets/x86_64-linux/include)
  foreach(header cuda_runtime_api.h cublasLt.h nccl.h)
    find_file(BRIDGE_CUDA_HAS_${header} ${header} HINTS ${BRIDGE_CUDA_INCLUDE})
    if(NOT BRIDGE_CUDA_HAS_${header})
      set(${out} "${header} is not found" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

function(bridge_add_cuda)
  file(GLOB c_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.c)
  file(GLOB cu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  set(host -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall,-Wextra)
  set(flags -lineinfo "SHELL:-Xptxas -warn-spills,-warn-lmem-usage" -Wdefault-stream-launch
      "SHELL:-Xcompiler ${host}")
  if(BRIDGE_WERROR)
    list(APPEND flags "SHELL:-Werror all-warnings")
  endif()
  # An object library has the compiler's options alone: those of C are not for nvcc.
  add_library(bridge_cuda_kernels OBJECT ${cu_sources})
  set_target_properties(bridge_cuda_kernels PROPERTIES
    CUDA_ARCHITECTURES "${BRIDGE_CUDA_ARCHITECTURES}" CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
    CUDA_EXTENSIONS OFF CUDA_RUNTIME_LIBRARY Static POSITION_INDEPENDENT_CODE OFF COMPILE_OPTIONS "${flags}")
  target_include_directories(bridge_cuda_kernels PRIVATE ${PROJECT_SOURCE_DIR}/core/include)
  add_library(bridge_cuda MODULE ${c_sources} $<TARGET_OBJECTS:bridge_cuda_kernels>)
  target_include_directories(bridge_cuda SYSTEM PRIVATE ${BRIDGE_CUDA_INCLUDE})
  target_link_libraries(bridge_cuda PRIVATE bridge_core)
  target_link_options(bridge_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections)
  set_target_properties(bridge_cuda PROPERTIES PREFIX "" OUTPUT_NAME bridge_cuda LINKER_LANGUAGE CUDA
    CUDA_RUNTIME_LIBRARY Static C_VISIBILITY_PRESET hidden LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bridge/1)
  install(TARGETS bridge_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/bridge/1 COMPONENT cuda)
endfunction()

if(BRIDGE_CUDA STREQUAL "off" OR CMAKE_CROSSCOMPILING)
  return()
endif()
bridge_cuda_lacks(lacks)
if(lacks AND BRIDGE_CUDA STREQUAL "on")
  message(FATAL_ERROR "BRIDGE_CUDA=on, but ${lacks}")
elseif(lacks)
  message(STATUS "The CUDA backend is not built: ${lacks}")
else()
  set(CMAKE_CUDA_COMPILER ${BRIDGE_NVCC} CACHE FILEPATH "nvcc")
  set(CMAKE_CUDA_ARCHITECTURES ${BRIDGE_CUDA_ARCHITECTURES})
  enable_language(CUDA)
  bridge_add_cuda()
endif()
