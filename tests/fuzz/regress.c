/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* regress.c - runs a fuzz target over every file of the given directories, so that the corpus is
 * a test that any compiler can build.  A failure is the target's abort or the sanitizer's. */
#include "../../core/base/base.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target sees an allocation of exactly the file's size, so that a read past it is caught. */
static int run_file(const char *path, struct br_err *err)
{
    char *text;
    size_t n;

    int rc = br__read_text(path, 64u << 20, &text, &n, err);
    if (rc)
        return rc;
    uint8_t *data = malloc(n ? n : 1);
    if (!data) {
        br__free(text);
        return br_fail(err, BR_E_NOMEM, "out of memory for '%s'", path);
    }
    memcpy(data, text, n);
    br__free(text);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return BR_OK;
}

static int run_dir(const char *dir, size_t *count, struct br_err *err)
{
    struct br__arena a = {0};
    char **names;
    size_t n;

    int rc = br__list_dir(&a, dir, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(&a, dir, names[i]);
        rc = path ? run_file(path, err) : br_fail(err, BR_E_NOMEM, "out of memory in '%s'", dir);
        *count += !rc;
    }
    br__arena_free(&a);
    return rc;
}

int main(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    size_t count = 0;

    for (int i = 1; i < argc; i++)
        if (run_dir(argv[i], &count, &err)) {
            fprintf(stderr, "%s: %s\n", argv[0], err.msg);
            return EXIT_FAILURE;
        }
    printf("%zu inputs\n", count);
    return count ? EXIT_SUCCESS : EXIT_FAILURE; /* an empty corpus tests nothing */
}
