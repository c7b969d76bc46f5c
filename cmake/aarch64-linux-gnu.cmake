# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# Cross build with Debian's crossbuild-essential-arm64.  The arm64 libraries are unpacked, not installed
# (libisal-dev's two architectures exclude each other), into BRIDGE_SYSROOT by scripts/test-aarch64.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

get_filename_component(BRIDGE_SYSROOT "${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot" ABSOLUTE)
set(libs ${BRIDGE_SYSROOT}/usr/lib/aarch64-linux-gnu)
set(CMAKE_C_FLAGS_INIT "-isystem ${BRIDGE_SYSROOT}/usr/include -isystem ${BRIDGE_SYSROOT}/usr/include/aarch64-linux-gnu")
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-L${libs} -Wl,-rpath-link,${libs}:${BRIDGE_SYSROOT}/lib/aarch64-linux-gnu")
endforeach()
set(ENV{PKG_CONFIG_PATH} "")
set(ENV{PKG_CONFIG_LIBDIR} ${libs}/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${BRIDGE_SYSROOT})

# Programs run with the loader and libc of the unpacked packages, not with the cross compiler's.
find_program(qemu NAMES qemu-aarch64 qemu-aarch64-static)
set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu} -L ${BRIDGE_SYSROOT} -E
    LD_LIBRARY_PATH=${BRIDGE_SYSROOT}/lib/aarch64-linux-gnu:${libs})
