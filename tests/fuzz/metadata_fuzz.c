/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* metadata_fuzz.c - libFuzzer target: .metadata.  Input: the pickle.  If it is accepted, names must
 * be sorted and different, files stay inside the directory, every box has an item, and the boxes of
 * a tensor tile it: small tensors are counted element by element. */
#include "../../core/format/torchdist/torchdist.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Count box c into `count`, one cell per element. */
static void count_box(const struct br__tensor *t, const struct br__td_chunk *c,
                      unsigned char *count)
{
    int64_t at[BR_MAX_DIMS] = {0};
    uint64_t n = 1;

    for (int i = 0; i < t->ndim; i++)
        n *= (uint64_t)c->size[i];
    for (; n; n--) {
        uint64_t flat = 0;
        for (int i = 0; i < t->ndim; i++)
            flat = flat * (uint64_t)t->shape[i] + (uint64_t)(c->off[i] + at[i]);
        if (flat >= COUNT_MAX || count[flat]++)
            abort(); /* outside, or covered twice */
        for (int i = t->ndim; i-- > 0 && ++at[i] == c->size[i];)
            at[i] = 0;
    }
}

static void check_tensor(const struct br__ckpt *ck, const struct br__tensor *t)
{
    const struct br__td_chunk *c = ck->td->chunks[t->priv];
    uint64_t elements = t->bytes / br_dtype_size(t->dtype), covered = 0;
    unsigned char count[COUNT_MAX] = {0};

    for (size_t i = 0; i < ck->td->n_chunks[t->priv]; i++) {
        uint64_t n = 1;
        if (c[i].file >= ck->n_files || c[i].reach > t->bytes || c[i].flat >= c[i].reach)
            abort();
        if (i && (c[i].flat <= c[i - 1].flat || c[i].reach < c[i - 1].reach))
            abort();
        for (int d = 0; d < t->ndim; d++)
            n *= (uint64_t)c[i].size[d];
        covered += n;
        if (elements <= COUNT_MAX)
            count_box(t, &c[i], count);
    }
    if (covered != elements)
        abort();
}

static void check_accepted(const struct br__ckpt *ck)
{
    for (size_t i = 0; i < ck->n_tensors; i++) {
        if (i && strcmp(ck->tensors[i - 1].name, ck->tensors[i].name) >= 0)
            abort();
        check_tensor(ck, &ck->tensors[i]);
    }
    for (size_t i = 0; i < ck->td->n_objects; i++)
        if (ck->td->object_file[i] >= ck->n_files ||
            (i && strcmp(ck->td->objects[i - 1], ck->td->objects[i]) >= 0))
            abort();
    for (size_t i = 0; i < ck->n_files; i++) {
        const char *name = ck->file_names[i];
        if (name[0] == '/' || strncmp(name, "../", 3) == 0 || strstr(name, "/../") ||
            strcmp(name, "..") == 0 || br__ends(name, "/..") || br__ends(name, "/"))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__ckpt *ck = br__calloc(1, sizeof *ck);
    struct br_err err = BR_ERR_INIT;

    if (!ck)
        abort();
    int rc = br__td_interpret(ck, data, size, &err);
    if (rc == BR_OK)
        check_accepted(ck);
    else if (!err.msg[0] || err.code != rc)
        abort();
    br__ckpt_close(ck);
    return 0;
}
