/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libs.c - see libs.h. */
#include "libs.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct br__cuda_libs br__cuda_libs;

static const struct {
    const char *file, *from;
} libs[] = {
#define LIB(lib, file, from) {file, from},
#define SYM(lib, name)
#include "libs.def"
#undef LIB
#undef SYM
};

static const struct {
    enum br__cuda_lib lib;
    const char *name;
    size_t at; /* of its pointer in br__cuda_libs */
} symbols[] = {
#define LIB(lib, file, from)
#define SYM(lib, name) {BR__CUDA_LIB_##lib, #name, offsetof(struct br__cuda_libs, name)},
#include "libs.def"
#undef LIB
#undef SYM
};

/* Where the loader does not find it by itself: $CUDA_HOME/lib64, then the toolkit's usual place. */
static void *open_in_toolkit(const char *file)
{
    const char *home = getenv("CUDA_HOME");
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/lib64/%s", home && home[0] ? home : "/usr/local/cuda",
                     file);
    return n < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static int open_lib(enum br__cuda_lib lib, struct br_err *err)
{
    char why[300];
    void *h = dlopen(libs[lib].file, RTLD_NOW | RTLD_LOCAL);
    if (!h) {
        const char *text = dlerror();
        snprintf(why, sizeof why, "%s", text ? text : "unknown error");
        h = open_in_toolkit(libs[lib].file);
    }
    if (!h)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "%s; install %s or add its folder to LD_LIBRARY_PATH, or use --device cpu",
                       why, libs[lib].from);
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        if (symbols[i].lib != lib)
            continue;
        void *p = dlsym(h, symbols[i].name);
        if (!p) {
            dlclose(h);
            return br_fail(err, BR_E_UNSUPPORTED, "%s has no %s; install %s", libs[lib].file,
                           symbols[i].name, libs[lib].from);
        }
        memcpy((char *)&br__cuda_libs + symbols[i].at, &p, sizeof p);
    }
    return BR_OK;
}

int br__cuda_lib_open(enum br__cuda_lib lib, struct br_err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int is_open[BR__CUDA_N_LIBS];
    pthread_mutex_lock(&lock);
    int rc = is_open[lib] ? BR_OK : open_lib(lib, err);
    is_open[lib] |= rc == BR_OK;
    pthread_mutex_unlock(&lock);
    return rc;
}
