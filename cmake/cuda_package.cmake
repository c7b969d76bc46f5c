# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# Packages of the CUDA backend alone, where it is built: in a build tree
#   cpack -G DEB --config CPackCuda.cmake    bridge-cuda, which depends on the package bridge
#   cpack -G TGZ --config CPackCuda.cmake    a tarball to unpack into that of bridge
# What is NVIDIA's in the module is the CUDA runtime, which its licence lets be passed on.
set(doc_dir share/doc/bridge-cuda)
install(FILES cmake/debian/copyright.cuda DESTINATION ${doc_dir} RENAME copyright
        COMPONENT cuda EXCLUDE_FROM_ALL)
set(CHANGELOG ${PROJECT_SOURCE_DIR}/cmake/debian/changelog.in)
install(CODE "
  set(root \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  string(TIMESTAMP DATE \"%a, %d %b %Y %H:%M:%S +0000\" UTC)
  set(PROJECT_VERSION \"${PROJECT_VERSION}\")
  set(CPACK_DEBIAN_PACKAGE_MAINTAINER \"${CPACK_DEBIAN_PACKAGE_MAINTAINER}\")
  set(changelog \"\${root}/${doc_dir}/changelog\")
  configure_file(\"${CHANGELOG}\" \"\${changelog}\" @ONLY)
  file(READ \"\${changelog}\" text)
  string(REGEX REPLACE \"^bridge \" \"bridge-cuda \" text \"\${text}\")
  file(WRITE \"\${changelog}\" \"\${text}\")
  execute_process(COMMAND gzip -9nf \"\${changelog}\" COMMAND_ERROR_IS_FATAL ANY)
  file(CHMOD \"\${root}/${CMAKE_INSTALL_LIBDIR}/bridge/1/bridge_cuda.so\"
       PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)" COMPONENT cuda_debian EXCLUDE_FROM_ALL)
configure_file(cmake/cpack_cuda.cmake.in CPackCuda.cmake @ONLY)
configure_file(cmake/cpack_cuda_project.cmake.in cpack_cuda_project.cmake @ONLY)
