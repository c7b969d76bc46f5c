/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* checksum.c - what a checkpoint and its bridge_manifest.json say of the bytes of each tensor.
 *
 * The manifest lists its digests in the order of its "tensors", each of which has "pieces" of them.
 * Of an import they are the chunks of a Megatron tensor, at rising offsets; of an export a piece is
 * a whole tensor. */
#include "job.h"

#include <inttypes.h>
#include <string.h>

/* ---- parts ----------------------------------------------------------------------------------- */

static size_t parts_of(const struct br__ckpt *ck, size_t tensor)
{
    return ck->td ? ck->td->n_chunks[ck->tensors[tensor].priv] : 1;
}

static int list_parts(struct br__checksums *k, struct br_err *err)
{
    const struct br__ckpt *ck = k->ck;
    for (size_t i = 0; i < ck->n_tensors; i++)
        k->n_parts += parts_of(ck, i);
    k->parts = br__arena_alloc(&k->a, (k->n_parts + 1) * sizeof *k->parts);
    k->first = br__arena_alloc(&k->a, (ck->n_tensors + 1) * sizeof *k->first);
    if (!k->parts || !k->first)
        return br__nomem(err, "checking");
    size_t at = 0;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        k->first[i] = at;
        for (size_t n = parts_of(ck, i), j = 0; j < n; j++)
            k->parts[at++] = (struct br__part_sum){
                .t = &ck->tensors[i], .c = ck->td ? &ck->td->chunks[ck->tensors[i].priv][j] : NULL};
    }
    return BR_OK;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

static int not_of(const struct br__checksums *k, const char *what, const char *name,
                  struct br_err *err)
{
    return br_fail(err, BR_E_FORMAT,
                   "'%s' %s '%.200s': it belongs to other files than those beside it; remove it if "
                   "they were written since",
                   k->manifest, what, name);
}

/* A digest of n hexadecimal digits. */
static int read_hex(const br__json *j, size_t n, uint64_t *out)
{
    const char *s = br__json_str(j, "");
    *out = 0;
    if (strlen(s) != n || strspn(s, "0123456789abcdef") != n)
        return BR_E_FORMAT;
    for (; *s; s++)
        *out = *out << 4 | (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    return BR_OK;
}

/* The next digests of both lists go to the parts of one row of "tensors". */
static int read_row(struct br__checksums *k, const br__json *row, size_t *done,
                    const br__json **xxh3, const br__json **crc, struct br_err *err)
{
    const char *name = br__json_str(br__json_get(row, "name"), "");
    const struct br__tensor *t = br__ckpt_find(k->ck, name);
    uint64_t pieces, v;
    if (!t || br__json_u64(br__json_get(row, "pieces"), &pieces))
        return not_of(k, "tells of a tensor that is not there,", name, err);
    size_t i = (size_t)(t - k->ck->tensors);
    if (pieces > parts_of(k->ck, i) - done[i])
        return not_of(k, "has more chunks of", name, err);
    for (struct br__part_sum *p = k->parts + k->first[i] + done[i]; pieces;
         pieces--, done[i]++, p++) {
        if (read_hex(*xxh3, 16, &p->xxh3) || (*crc && read_hex(*crc, 8, &v)))
            return not_of(k, "lacks a digest of", name, err);
        p->has_xxh3 = 1;
        *xxh3 = br__json_next(*xxh3);
        if (!*crc)
            continue;
        p->crc = (uint32_t)v;
        p->has_crc = 1;
        *crc = br__json_next(*crc);
    }
    return BR_OK;
}

static int read_digests(struct br__checksums *k, const br__json *m, struct br_err *err)
{
    const br__json *xxh3 = br__json_first(br__json_get(m, "xxh3"));
    const br__json *crc = br__json_first(br__json_get(m, "crc32"));
    size_t *done = br__arena_alloc(&k->a, (k->ck->n_tensors + 1) * sizeof *done);
    int rc = done ? BR_OK : br__nomem(err, "checking");
    for (const br__json *row = br__json_first(br__json_get(m, "tensors")); row && !rc;
         row = br__json_next(row))
        rc = read_row(k, row, done, &xxh3, &crc, err);
    for (size_t i = 0; i < k->ck->n_tensors && !rc; i++)
        if (done[i] && done[i] != parts_of(k->ck, i))
            rc = not_of(k, "has fewer chunks of", k->ck->tensors[i].name, err);
    return rc;
}

int br__checksums_open(struct br__checksums *k, const struct br__ckpt *ck, struct br_err *err)
{
    br__json *m = NULL;
    const char *path;
    *k = (struct br__checksums){.ck = ck};
    int rc = br__manifest_load(&k->a, ck->dir, &path, &m, err);
    if (!rc)
        rc = list_parts(k, err);
    if (!rc && m) {
        k->manifest = path;
        rc = read_digests(k, m, err);
    }
    br__json_free(m);
    return rc;
}

void br__checksums_close(struct br__checksums *k)
{
    br__arena_free(&k->a);
}

int br__checksums_crc(const struct br__checksums *k, const struct br__part_sum *p,
                      struct br_err *err)
{
    if (!p->has_crc || p->crc == p->c->rec->crc)
        return BR_OK;
    return br_fail(err, BR_E_FORMAT,
                   "tensor '%s': '%s' has CRC-32 %08" PRIx32 " at %" PRIu64 ", '%s' says %08" PRIx32
                   ": files were exchanged or replaced; give --no-verify "
                   "to use them as they are",
                   p->t->name, k->ck->file_names[p->c->file], p->c->rec->crc, p->c->rec->off,
                   k->manifest, p->crc);
}

int br__manifest_check(const struct br__ckpt *ck, struct br_err *err)
{
    struct br__checksums k;
    int rc = br__checksums_open(&k, ck, err);
    for (size_t i = 0; i < k.n_parts && !rc; i++)
        rc = br__checksums_crc(&k, &k.parts[i], err);
    br__checksums_close(&k);
    return rc;
}
