# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# The portable tarball, `cpack -G TGZ` in any build tree: bin/bridge, lib/libbridge.so with the plugins
# inside, every shared library they need except glibc's, and the notices of those.  It is a component of its
# own, so that an ordinary install has neither the second library nor the copies.

bridge_shared_library(bridge_portable ${static_objects})
set_target_properties(bridge_portable PROPERTIES
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/portable/lib
                      INSTALL_RPATH "$ORIGIN")
add_executable(bridge_portable_program core/cli/program/main.c)
target_link_libraries(bridge_portable_program PRIVATE bridge_portable)
set_target_properties(bridge_portable_program PROPERTIES OUTPUT_NAME bridge
                      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/portable/bin
                      INSTALL_RPATH "$ORIGIN/../lib")

# DT_RPATH and not DT_RUNPATH: libcurl brings some thirty libraries of its own, which are in lib/ too, and
# only the former also tells where the needs of a need are.
foreach(target bridge_portable bridge_portable_program)
  target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
endforeach()

install(TARGETS bridge_portable bridge_portable_program
        RUNTIME DESTINATION bin COMPONENT portable EXCLUDE_FROM_ALL
        LIBRARY DESTINATION lib COMPONENT portable EXCLUDE_FROM_ALL NAMELINK_SKIP)

# One list of libraries decides both what is copied and whose notices are written.  A cross build copies none:
# the loader of this machine cannot say which ones the program would find.
if(NOT CMAKE_CROSSCOMPILING)
  install(CODE "
    set(root \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
    file(GET_RUNTIME_DEPENDENCIES RESOLVED_DEPENDENCIES_VAR BUNDLED
         EXECUTABLES \"$<TARGET_FILE:bridge_portable_program>\" LIBRARIES \"$<TARGET_FILE:bridge_portable>\"
         PRE_EXCLUDE_REGEXES \"^ld-linux.*\" \"^lib(c|m|dl|rt|pthread|resolv|util)\\\\.so.*\"
                             \"^libbridge\\\\.so.*\")
    file(INSTALL DESTINATION \"\${root}/lib\" TYPE FILE FOLLOW_SYMLINK_CHAIN FILES \${BUNDLED})
    set(OUTPUT \"\${root}/${CMAKE_INSTALL_DOCDIR}/THIRD-PARTY-NOTICES.txt\")
    include(\"${PROJECT_SOURCE_DIR}/cmake/notices.cmake\")"
          COMPONENT portable EXCLUDE_FROM_ALL)
endif()
