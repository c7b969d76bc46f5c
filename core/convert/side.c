/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* side.c - files that travel with a model: tokenizer, chat template, generation_config.json, custom
 * code. */
#include "job.h"

#include <string.h>

int br__file_digest(const char *path, uint64_t *size, uint64_t *xxh3, struct br_err *err)
{
    struct br__file f;
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    unsigned char *buf = br__alloc(BR__OUT_BUF);
    struct br__xxh3 *hash = br__xxh3_new();
    rc = buf && hash ? BR_OK : br__nomem(err, "with the side files");
    for (uint64_t off = 0; !rc && off < f.size; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN(f.size - off, (uint64_t)BR__OUT_BUF);
        rc = br__file_read(&f, off, buf, n, err);
        if (!rc)
            br__xxh3_update(hash, buf, n);
    }
    if (!rc) {
        *size = f.size;
        *xxh3 = br__xxh3_digest(hash);
    }
    br__xxh3_free(hash);
    br__free(buf);
    br__file_close(&f);
    return rc;
}

int br__side_find(struct br__arena *a, const char *dir, int tokenizer_only, struct br__side *out,
                  struct br_err *err)
{
    char **names;
    size_t n;
    *out = (struct br__side){.dir = dir};
    if (!dir)
        return BR_OK;
    int rc = br__hf_side_files(a, dir, tokenizer_only, &names, &n, err);
    if (!rc && !(out->files = br__arena_alloc(a, (n + 1) * sizeof *out->files)))
        rc = br__nomem(err, "with the side files");
    for (size_t i = 0; i < n && !rc; i++) {
        struct br__side_file *f = &out->files[out->n++];
        const char *path = br__path_join(a, dir, names[i]);
        f->name = names[i];
        rc = path ? br__file_digest(path, &f->size, &f->xxh3, err)
                  : br__nomem(err, "with the side files");
    }
    return rc;
}

int br__side_copy(const struct br__side *side, const struct br__dir *to, int sync,
                  struct br_err *err)
{
    struct br__arena a = {0};
    int rc = BR_OK;
    for (size_t i = 0; i < side->n && !rc; i++) {
        const char *name = side->files[i].name;
        const char *from = br__path_join(&a, side->dir, name);
        rc = from ? br__copy_in(to, name, from, sync, err) : br__nomem(err, "with the side files");
    }
    br__arena_free(&a);
    return rc;
}

uint64_t br__side_bytes(const struct br__side *side)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < side->n; i++)
        bytes += side->files[i].size;
    return bytes;
}
