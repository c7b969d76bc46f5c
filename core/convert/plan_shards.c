/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_shards.c - export: which HF file holds which tensor, and in which order.
 *
 * With a reference (a source directory, or the source's inventory in the manifest) its shard map
 * and order are kept, so that a round trip gives the same files.  Without one, tensors are filled
 * into shards in model order; inside a file they lie as the safetensors library sorts them: wider
 * dtypes first, then by name. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

struct key {
    const struct br__plan_out *out;
    uint32_t index;
    uint64_t rank; /* position in the reference */
};

static uint64_t out_bytes(const struct br__plan_out *o)
{
    uint64_t n = 0;
    return br_shape_bytes(o->shape, o->ndim, br_dtype_size(o->dtype), &n) ? 0 : n;
}

static int by_file_and_rank(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->out->file != y->out->file)
        return x->out->file < y->out->file ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_model_order(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    return br__natural_cmp(x->out->name, y->out->name);
}

static int by_file_dtype_name(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    uint32_t dx = br_dtype_size(x->out->dtype), dy = br_dtype_size(y->out->dtype);
    if (x->out->file != y->out->file)
        return x->out->file < y->out->file ? -1 : 1;
    if (dx != dy)
        return dx > dy ? -1 : 1;
    return strcmp(x->out->name, y->out->name);
}

/* ---- as the reference has it ----------------------------------------------------------------- */

/* Is it a reference tensor that the export leaves out on purpose? */
static int may_be_absent(const struct br__planner *pl, const struct br__tensor *t)
{
    const struct br__arch *arch = pl->p->b.cfg->arch;
    if (br__is_ignored(arch, t->name))
        return 1;
    if ((pl->o->flags & BR_JOB_NO_MTP) && br__is_mtp(arch, t->name, 1))
        return 1;
    return br__ends(t->name, "_scale_inv"); /* consumed with its weight */
}

static int check_reference(struct br__planner *pl, const uint8_t *made)
{
    const struct br__ckpt *ref = pl->o->ref;
    size_t absent = 0;
    const char *first = NULL;
    for (size_t i = 0; i < ref->n_tensors; i++) {
        if (made[i] || may_be_absent(pl, &ref->tensors[i]))
            continue;
        if (pl->o->flags & BR_JOB_NOT_STRICT) {
            int rc = br__binding_skip(&pl->p->b, pl->err,
                                      "the reference has '%s', the checkpoint does not",
                                      ref->tensors[i].name);
            if (rc)
                return rc;
        } else if (!absent++) {
            first = ref->tensors[i].name;
        }
    }
    if (absent)
        return br_fail(pl->err, BR_E_PLAN,
                       "the reference has %zu tensor(s) that the checkpoint does not, first '%s'; "
                       "--not-strict exports without them",
                       absent, first);
    return BR_OK;
}

static int place_by_reference(struct br__planner *pl, struct key *keys)
{
    struct br__plan *p = pl->p;
    const struct br__ckpt *ref = pl->o->ref;
    uint8_t *made = br__arena_alloc(&p->arena, ref->n_tensors + 1);
    size_t extra = 0;
    if (!made)
        return br__plan_nomem(pl->err);
    for (size_t i = 0; i < p->n_outs; i++) {
        const struct br__tensor *t = br__ckpt_find(ref, p->outs[i].name);
        p->outs[i].file = t ? t->file : (uint32_t)(p->n_out_files - 1);
        keys[i] = (struct key){&p->outs[i], (uint32_t)i,
                               t ? (uint64_t)(t - ref->tensors) : UINT32_MAX + i};
        if (t)
            made[t - ref->tensors] = 1;
        extra += !t;
    }
    if (extra &&
        br__binding_note(&p->b, "%zu tensor(s) that the reference does not have are added to '%s'",
                         extra, p->out_files[p->n_out_files - 1]))
        return br__plan_nomem(pl->err);
    qsort(keys, p->n_outs, sizeof *keys, by_file_and_rank);
    return check_reference(pl, made);
}

/* --max-shard-size overrides the reference's shards; the export must have the reference's tensors
 * all the same. */
static int complete_by_reference(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    uint8_t *made = br__arena_alloc(&p->arena, pl->o->ref->n_tensors + 1);
    if (!made ||
        br__binding_note(&p->b, "shards are cut to --max-shard-size, not as the reference's are"))
        return br__plan_nomem(pl->err);
    for (size_t i = 0; i < p->n_outs; i++) {
        const struct br__tensor *t = br__ckpt_find(pl->o->ref, p->outs[i].name);
        if (t)
            made[t - pl->o->ref->tensors] = 1;
    }
    return check_reference(pl, made);
}

static int reference_files(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    const struct br__ckpt *ref = pl->o->ref;
    size_t n = 0;
    for (size_t i = 0; i < ref->n_tensors; i++)
        n = BR__MAX(n, (size_t)ref->tensors[i].file + 1);
    p->out_files = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->out_files);
    p->out_metadata = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->out_metadata);
    if (!p->out_files || !p->out_metadata)
        return br__plan_nomem(pl->err);
    for (size_t i = 0; i < n; i++) {
        p->out_files[i] = ref->file_names[i];
        p->out_metadata[i] = ref->hf && ref->hf->metadata_json ? ref->hf->metadata_json[i] : NULL;
    }
    p->n_out_files = n;
    return BR_OK;
}

/* The reference's map can be used only if it is of the layout that is exported. */
static int reference_fits(const struct br__planner *pl)
{
    const struct br__ckpt *ref = pl->o->ref;
    if (!ref || !ref->n_tensors)
        return 0;
    size_t known = 0;
    for (size_t i = 0; i < pl->p->n_outs; i++)
        known += br__ckpt_find(ref, pl->p->outs[i].name) != NULL;
    return known && br__has_fused(pl->p->b.cfg->arch, ref) == pl->p->b.fused;
}

/* ---- without a reference --------------------------------------------------------------------- */

static int name_shards(struct br__planner *pl, size_t n)
{
    struct br__plan *p = pl->p;
    p->n_out_files = n;
    p->out_files = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->out_files);
    p->out_metadata = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->out_metadata);
    if (!p->out_files || !p->out_metadata)
        return br__plan_nomem(pl->err);
    for (size_t i = 0; i < n; i++) {
        p->out_metadata[i] = "{\"format\":\"pt\"}";
        p->out_files[i] =
            n == 1 ? "model.safetensors"
                   : br__arena_printf(&p->arena, "model-%05zu-of-%05zu.safetensors", i + 1, n);
        if (!p->out_files[i])
            return br__plan_nomem(pl->err);
    }
    return BR_OK;
}

static int place_by_size(struct br__planner *pl, struct key *keys)
{
    struct br__plan *p = pl->p;
    uint64_t max = pl->o->max_shard_size ? pl->o->max_shard_size : 5000000000ull, filled = 0;
    uint32_t file = 0;
    for (size_t i = 0; i < p->n_outs; i++)
        keys[i] = (struct key){&p->outs[i], (uint32_t)i, 0};
    qsort(keys, p->n_outs, sizeof *keys, by_model_order);
    for (size_t i = 0; i < p->n_outs; i++) {
        uint64_t n = out_bytes(keys[i].out);
        if (filled && filled + n > max) {
            file++;
            filled = 0;
        }
        filled += n;
        p->outs[keys[i].index].file = file;
    }
    qsort(keys, p->n_outs, sizeof *keys, by_file_dtype_name);
    return name_shards(pl, (size_t)file + 1);
}

int br__plan_shards(struct br__planner *pl, uint32_t *order)
{
    struct br__plan *p = pl->p;
    struct key *keys = br__arena_alloc(&p->arena, (p->n_outs + 1) * sizeof *keys);
    if (!keys)
        return br__plan_nomem(pl->err);
    int rc, fits = reference_fits(pl);
    if (fits && !pl->o->max_shard_size)
        (void)((rc = reference_files(pl)) || (rc = place_by_reference(pl, keys)));
    else
        rc = place_by_size(pl, keys);
    if (!rc && fits && pl->o->max_shard_size)
        rc = complete_by_reference(pl);
    for (size_t i = 0; i < p->n_outs && !rc; i++)
        order[i] = keys[i].index;
    return rc;
}
