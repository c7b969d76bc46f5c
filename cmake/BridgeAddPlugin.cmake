# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# bridge_add_plugin(NAME SOURCE...) - a model plugin, bridge_NAME.so, in bridge's tree and out of it:
#
#   find_package(bridge 1 REQUIRED)
#   bridge_add_plugin(olmo3 olmo3.c)
#
# The target is bridge_plugin_NAME.  NAME must be the one that the source gives to BR_PLUGIN().

# An undefined symbol should fail at link time, not at the user's dlopen.  clang's sanitizers leave
# their own symbols to the program.
if(BRIDGE_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang")
  set(BRIDGE_LINK_DEFS "")
else()
  set(BRIDGE_LINK_DEFS -Wl,-z,defs)
endif()

function(bridge_add_plugin name)
  if(NOT name MATCHES "^[a-z][a-z0-9_]*$")
    message(FATAL_ERROR "plugin name '${name}': use a-z, 0-9 and _")
  endif()
  # In bridge's own tree the plugin also goes into the library that has plugins inside.
  if(TARGET bridge_static_plugins)
    target_sources(bridge_static_plugins PRIVATE ${ARGN})
    set_property(GLOBAL APPEND PROPERTY BRIDGE_STATIC_PLUGIN_NAMES ${name})
    if(BRIDGE_STATIC_PLUGINS)
      return()
    endif()
  endif()

  # Where bridge looks when it is installed; out of the tree bridgeConfig.cmake knows.
  include(GNUInstallDirs)
  if(NOT BRIDGE_PLUGIN_DIR)
    set(BRIDGE_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/bridge/1)
  endif()
  set(target bridge_plugin_${name})
  add_library(${target} MODULE ${ARGN})
  target_link_libraries(${target} PRIVATE bridge::bridge)
  target_link_options(${target} PRIVATE ${BRIDGE_LINK_DEFS})
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME bridge_${name}
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bridge/1
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../..")
  install(TARGETS ${target} LIBRARY DESTINATION ${BRIDGE_PLUGIN_DIR} COMPONENT main)
endfunction()
