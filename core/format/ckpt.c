/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ckpt.c - what checkpoints of all formats have in common: lookup, warnings, ownership.
 *
 * Callers see tensors of a struct br__ckpt and never ask where the bytes lie: a Hugging Face
 * tensor is one range of one file, a torch_dist tensor is gathered from its chunks. */
#include "format_internal.h"

#include <inttypes.h>

void br__ckpt_close(struct br__ckpt *ck)
{
    if (!ck)
        return;
    for (size_t i = 0; ck->files && i < ck->n_files; i++) /* an invented one has names only */
        br__file_close(&ck->files[i]);
    if (ck->ops)
        ck->ops->close(ck);
    br__map_free(&ck->by_name);
    br__free(ck->warnings);
    br__arena_free(&ck->arena);
    br__free(ck);
}

int br__ckpt_read(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                  size_t n, struct br_err *err)
{
    if (off > t->bytes || n > t->bytes - off)
        BR_BUG("read of %zu bytes at %" PRIu64 " of tensor '%s', which has %" PRIu64, n, off,
               t->name, t->bytes);
    return n == 0 ? BR_OK : ck->ops->read(ck, t, off, dst, n, err);
}

int br__ckpt_settle(const struct br__ckpt *ck, struct br_err *err)
{
    int rc = ck->ops->settle ? ck->ops->settle(ck, err) : BR_OK;

    for (size_t i = 0; ck->files && i < ck->n_files && !rc; i++)
        rc = br__file_unchanged(&ck->files[i], err);
    return rc;
}

const struct br__tensor *br__ckpt_find(const struct br__ckpt *ck, const char *name)
{
    uint32_t i = br__map_get(&ck->by_name, name);

    return i == BR__NOT_FOUND ? NULL : &ck->tensors[i];
}

int br__ckpt_warn(struct br__ckpt *ck, const char *fmt, ...)
{
    struct br__buf b = {0};
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (!b.failed)
        text = br__arena_strndup(&ck->arena, b.p, b.n);
    br__buf_free(&b);
    if (!text || br__grow(&ck->warnings, &ck->cap_warnings, ck->n_warnings, sizeof *ck->warnings))
        return BR_E_NOMEM;
    ck->warnings[ck->n_warnings++] = text;
    return BR_OK;
}
