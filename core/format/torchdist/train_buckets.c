/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_buckets.c - the flat buckets of dp_reshardable, by parameter.
 *
 * A rank's buffer is cut into buckets, each a 1-D tensor whose length is the bucket without its
 * padding. Parameters start at multiples of 64 elements; what lies between them was never written
 * and means nothing. Source: buckets of megatron-core 0.19.2, decoded and compared with
 * fully_reshardable checkpoints of the same run. */
#include "train.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN UINT64_C(64)

/* ---- keys ------------------------------------------------------------------------------------ */

/* Move *p behind `text`; 0 if it does not stand there. */
static int buckets_skip(const char **p, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(*p, text, n) != 0)
        return 0;
    *p += n;
    return 1;
}

static int buckets_number(const char **p, uint32_t *out)
{
    size_t n = strspn(*p, "0123456789");
    if (!n || n > 9)
        return 0;
    *out = (uint32_t)strtoul(*p, NULL, 10);
    *p += n;
    return 1;
}

/* [chained_<c>.]optimizer.distributed.dp_group_idx_<g>.gbuf_idx_<i>.dtype_(<a>,
 * <b>).bucket_idx_<b>.<kind>; 0: another key.  *buffer is what stands for <i> and the dtypes. */
static int parse_key(const char *key, struct br__train_bucket *b, int *kind, const char **buffer,
                     size_t *buffer_size)
{
    static const char *const kinds[] = {"param", "exp_avg", "exp_avg_sq"};
    uint32_t index;

    *b = (struct br__train_bucket){0};
    if (buckets_skip(&key, "chained_") &&
        !(buckets_number(&key, &b->chain) && buckets_skip(&key, ".")))
        return 0;
    if (!buckets_skip(&key, "optimizer.distributed.dp_group_idx_") ||
        !buckets_number(&key, &b->group))
        return 0;
    *buffer = key;
    if (!buckets_skip(&key, ".gbuf_idx_") || !buckets_number(&key, &index) ||
        !buckets_skip(&key, ".dtype_("))
        return 0;
    key = strchr(key, ')');
    if (!key || !buckets_skip(&key, ")"))
        return 0;
    *buffer_size = (size_t)(key - *buffer);
    if (!buckets_skip(&key, ".bucket_idx_") || !buckets_number(&key, &b->bucket) ||
        !buckets_skip(&key, "."))
        return 0;
    for (*kind = 0; *kind < BR__N_OPTIM_KINDS; ++*kind)
        if (strcmp(key, kinds[*kind]) == 0)
            return 1;
    return 0;
}

static int bucket_cmp(const void *a, const void *b)
{
    const struct br__train_bucket *x = a, *y = b;
    if (x->chain != y->chain)
        return x->chain < y->chain ? -1 : 1;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return (x->bucket > y->bucket) - (x->bucket < y->bucket);
}

/* Three tensors become one bucket. */
static int merge_buckets(struct br__train_layout *l, struct br_err *err)
{
    size_t n = 0;

    qsort(l->buckets, l->n_buckets, sizeof *l->buckets, bucket_cmp);
    for (size_t i = 0; i < l->n_buckets; i++) {
        if (!n || bucket_cmp(&l->buckets[n - 1], &l->buckets[i]) != 0)
            l->buckets[n++] = l->buckets[i];
        else
            for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
                if (l->buckets[i].tensor[k])
                    l->buckets[n - 1].tensor[k] = l->buckets[i].tensor[k];
    }
    l->n_buckets = n;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            const struct br__tensor *t = l->buckets[i].tensor[k], *first = l->buckets[i].tensor[0];
            if (!t || !first || t->shape[0] != first->shape[0])
                return br_fail(err, BR_E_FORMAT,
                               "bucket %" PRIu32 " of group %" PRIu32
                               " lacks one of param, exp_avg, exp_avg_sq, or they differ in length",
                               l->buckets[i].bucket, l->buckets[i].group);
        }
    return BR_OK;
}

static int find_buckets(struct br__train_state *s, struct br_err *err)
{
    struct br__train_layout *l = s->layout;
    const char *first = NULL;
    size_t first_size = 0;

    l->buckets = br__arena_alloc(&s->arena, (s->ck->n_tensors + 1) * sizeof *l->buckets);
    if (!l->buckets)
        return br__nomem(err, "reading buckets");
    for (size_t i = 0; i < s->ck->n_tensors; i++) {
        const struct br__tensor *t = &s->ck->tensors[i];
        struct br__train_bucket b;
        const char *buffer;
        size_t size;
        int kind;
        if (!parse_key(t->name, &b, &kind, &buffer, &size))
            continue;
        if (t->dtype != BR_F32 || t->ndim != 1)
            return br_fail(err, BR_E_UNSUPPORTED, "'%s' is no vector of float32", t->name);
        if (first && (size != first_size || memcmp(buffer, first, size) != 0))
            return br_fail(err, BR_E_UNSUPPORTED,
                           "'%s' is of a second buffer; parameters of several dtypes are not "
                           "supported",
                           t->name);
        first = buffer;
        first_size = size;
        b.tensor[kind] = t;
        l->buckets[l->n_buckets++] = b;
    }
    return merge_buckets(l, err);
}

/* ---- places ---------------------------------------------------------------------------------- */

/* The buckets of one rank: [*first, *end). */
static void buckets_of(const struct br__train_layout *l, uint32_t chain, uint32_t group,
                       size_t *first, size_t *end)
{
    for (*first = 0; *first < l->n_buckets; ++*first)
        if (l->buckets[*first].chain == chain && l->buckets[*first].group == group)
            break;
    for (*end = *first; *end < l->n_buckets; ++*end)
        if (l->buckets[*end].chain != chain || l->buckets[*end].group != group)
            break;
}

static uint64_t length_of(const struct br__train_bucket *b)
{
    return (uint64_t)b->tensor[0]->shape[0];
}

/* Give each parameter of a rank its bucket and position. */
static int walk_rank(const struct br__train_layout *l, struct br__train_rank *r, uint32_t group,
                     struct br_err *err)
{
    size_t b, end;
    uint64_t pos = 0;

    buckets_of(l, r->chain, group, &b, &end);
    for (size_t i = b; i < end; i++)
        if (l->buckets[i].bucket != i - b)
            return br_fail(err, BR_E_FORMAT, "group %" PRIu32 " has no bucket %zu", group, i - b);
    for (size_t i = 0; i < r->n; i++) {
        struct br__train_local *x = &r->list[i];
        pos = (pos + ALIGN - 1) / ALIGN * ALIGN;
        if (b < end &&
            (pos >= length_of(&l->buckets[b]) || x->n > length_of(&l->buckets[b]) - pos)) {
            b++;
            pos = 0;
        }
        if (b >= end || x->n > length_of(&l->buckets[b]))
            return br_fail(err, BR_E_UNSUPPORTED,
                           "the buckets of group %" PRIu32 " end before its parameter %zu of %zu",
                           group, i, r->n);
        x->bucket = (uint32_t)b;
        x->pos = pos;
        pos += x->n;
    }
    if (r->n && (b + 1 != end || pos != length_of(&l->buckets[b])))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "the buckets of group %" PRIu32
                       " hold more than its parameters; are they in another order than that of "
                       "Transformer Engine layers?",
                       group);
    return BR_OK;
}

int br__train_bind_buckets(struct br__train_state *s, struct br_err *err)
{
    int rc = br__train_layout_make(s, err);
    uint32_t dense = 0;

    if (!rc)
        rc = find_buckets(s, err);
    for (size_t i = 0; !rc && i < s->layout->n_ranks; i++) {
        struct br__train_rank *r = &s->layout->ranks[i];
        dense += !r->chain;
        rc = walk_rank(s->layout, r, r->chain ? (uint32_t)i - dense : (uint32_t)i, err);
    }
    for (size_t i = 0; !rc && i < s->n_params; i++)
        rc = br__train_layout_boxes(s, &s->arena, i, &s->params[i].boxes, &s->params[i].n_boxes,
                                    err);
    return rc;
}
