/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libs.h - the vendor's libraries that are opened when they are first needed, so that the module
 * loads and says what it finds where they are not. */
#ifndef BR__CUDA_LIBS_H
#define BR__CUDA_LIBS_H

#include <bridge/base.h>
#include <cublasLt.h>
#include <nccl.h>

/* Their functions under their own names: br__cuda_libs.cublasLtMatmul(...). */
struct br__cuda_libs {
#define LIB(lib, file, from)
#define SYM(lib, name) __typeof__(name) *name;
#include "libs.def"
#undef LIB
#undef SYM
};
extern struct br__cuda_libs br__cuda_libs;

enum br__cuda_lib {
#define LIB(lib, file, from) BR__CUDA_LIB_##lib,
#define SYM(lib, name)
#include "libs.def"
#undef LIB
#undef SYM
    BR__CUDA_N_LIBS
};
/* Open it if it is not open yet; from any thread.  The error names the file and what installs it.
 */
int br__cuda_lib_open(enum br__cuda_lib lib, struct br_err *err);

#endif
