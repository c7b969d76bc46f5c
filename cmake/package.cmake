# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# `cpack -G TGZ`: the portable tarball.  `cpack -G DEB`: the Debian package, which is an ordinary install under
# /usr and what Debian's policy adds to one.  What differs between the two is in cpack_config.cmake.in.

set(CPACK_PACKAGE_NAME bridge)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "bridge maintainers <maintainers@bridge.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "convert Qwen checkpoints between Hugging Face and Megatron")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"bridge converts checkpoints between Hugging Face safetensors and NVIDIA
Megatron torch_dist, bit for bit, without Python, torch or a GPU.  This
package has the program, libbridge, the plugins of the Qwen families, and
headers, CMake and pkg-config files for plugins of your own.
.
iproute2 also ships a program called bridge, in /usr/sbin.  br-bridge is a
second name of this one.")
# The libraries come from what the binaries link to; libbridge itself is in the package.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/lib)
set(soname_version ${PROJECT_VERSION_MAJOR})
set(control ${CMAKE_CURRENT_BINARY_DIR}/debian/control)
file(WRITE ${control}/shlibs
     "libbridge ${soname_version} bridge (>= ${soname_version}.${PROJECT_VERSION_MINOR})\n")
file(WRITE ${control}/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${control}/shlibs ${control}/triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

install(FILES cmake/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR}
        COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES cmake/debian/lintian-overrides DESTINATION share/lintian/overrides RENAME bridge
        COMPONENT debian EXCLUDE_FROM_ALL)
set(CHANGELOG ${PROJECT_SOURCE_DIR}/cmake/debian/changelog.in)
configure_file(cmake/debian/finish.cmake.in debian/finish.cmake @ONLY)
install(SCRIPT ${CMAKE_CURRENT_BINARY_DIR}/debian/finish.cmake COMPONENT debian EXCLUDE_FROM_ALL)

configure_file(cmake/cpack_config.cmake.in cpack_config.cmake @ONLY)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_BINARY_DIR}/cpack_config.cmake)
set(CPACK_GENERATOR TGZ)
include(CPack)
