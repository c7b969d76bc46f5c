/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pretrain.c - pretraining data opened: blends, splits, and their indices.
 *
 * Megatron's builder knows five cases: one file or several, with weights or without, cut by a split
 * or one blend for each split.  Here a split is always a list of datasets with an index each, and a
 * table of turns unless it is one dataset alone. */
#include "gpt.h"
#include "samples.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* One dataset in one split. */
struct part {
    const struct br__tokens *tokens;
    int64_t first, end; /* sequences */
    double weight;
    struct br__gpt_index index;
};

struct split {
    struct part *parts;
    size_t n_parts;
    int64_t size;     /* samples */
    int16_t *dataset; /* [size] whose turn it is; NULL: there is one part, which gives sample i */
    int64_t *sample;
};

struct br__pretrain {
    struct br__arena arena;
    struct br__gpt_shape shape;
    struct br__tokens **files; /* each is opened once, whoever uses it */
    size_t n_files, cap_files;
    struct split splits[BR__N_SPLITS];
    const char *cache_dir;
};

/* ---- what the user wrote --------------------------------------------------------------------- */

struct blend {
    const char **paths;
    double *weights; /* NULL: none given */
    size_t n;
};

/* Names, or weights and names in turn: whichever the words look like (get_blend_from_list). */
static int parse_blend(struct br__arena *a, struct blend *b, const char *const *words, size_t n,
                       struct br_err *err)
{
    size_t numbers = 0;
    *b = (struct blend){.n = n};
    b->paths = br__arena_alloc(a, (n + 1) * sizeof *b->paths);
    b->weights = br__arena_alloc(a, (n + 1) * sizeof *b->weights);
    if (!b->paths || !b->weights)
        return br__nomem(err, "opening the data");
    for (size_t i = 0; n % 2 == 0 && i < n; i += 2)
        numbers += br__parse_f64(words[i], &b->weights[i / 2]) == BR_OK;
    if (numbers && numbers != n / 2)
        return br_fail(
            err, BR_E_CONFIG,
            "data paths: %zu of %zu names are preceded by a weight, expected all or none", numbers,
            n / 2);
    if (numbers)
        b->n = n / 2;
    else
        b->weights = NULL;
    double sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        b->paths[i] = words[numbers ? 2 * i + 1 : i];
        if (b->weights && !(b->weights[i] >= 0))
            return br_fail(err, BR_E_CONFIG, "data paths: the weight of '%s' is negative",
                           b->paths[i]);
        sum += b->weights ? b->weights[i] : 1;
    }
    if (!(sum > 0))
        return br_fail(err, BR_E_CONFIG, "data paths: all weights are zero");
    if (b->n > INT16_MAX)
        return br_fail(err, BR_E_UNSUPPORTED, "data paths: %zu datasets, at most %d", b->n,
                       INT16_MAX);
    if (b->weights)
        br__normalize(b->weights, b->n);
    return BR_OK;
}

/* ---- building a split ------------------------------------------------------------------------ */

static int open_tokens(struct br__pretrain *p, const char *path, int32_t n_vocab,
                       const struct br__tokens **out, struct br_err *err)
{
    for (size_t i = 0; i < p->n_files && path; i++)
        if (strcmp(p->files[i]->name, path) == 0) {
            *out = p->files[i];
            return BR_OK;
        }
    struct br__tokens *t = br__arena_alloc(&p->arena, sizeof *t);
    char *name = path ? br__arena_strdup(&p->arena, path) : NULL;
    if (!t || (path && !name) || br__grow(&p->files, &p->cap_files, p->n_files, sizeof *p->files))
        return br__nomem(err, "opening the data");
    int rc = path ? br__tokens_open(t, name, err) : br__tokens_mock(t, n_vocab, p->shape.eod, err);
    if (!rc)
        p->files[p->n_files++] = t;
    *out = t;
    return rc;
}

/* Python's round: halves go to the even number. */
static int64_t share_of(double share, int64_t n)
{
    return (int64_t)rint(share * (double)n);
}

static int add_part(struct br__pretrain *p, int split, const struct br__tokens *t,
                    const double range[2], int64_t want, struct br_err *err)
{
    struct split *s = &p->splits[split];
    struct part *part = &s->parts[s->n_parts];
    part->tokens = t;
    part->first = share_of(range[0], t->n_seq);
    part->end = share_of(range[1], t->n_seq);
    int rc =
        p->cache_dir && !t->mock_lengths
            ? br__gpt_index_cached(&part->index, p->cache_dir, br__split_names[split], t,
                                   part->first, part->end, want, &p->shape, err)
            : br__gpt_index_make(&part->index, t, part->first, part->end, want, &p->shape, err);
    s->n_parts += !rc;
    return rc;
}

static int take_turns(struct split *s, const double *weights, int64_t want, struct br_err *err)
{
    int64_t *sizes = br__calloc(s->n_parts, sizeof *sizes), all = 0, taken = 0;
    double *w = br__calloc(s->n_parts, sizeof *w);
    int rc = sizes && w ? BR_OK : BR_E_NOMEM;
    for (size_t i = 0; i < s->n_parts && !rc; i++) {
        sizes[i] = s->parts[i].index.n_samples;
        all += sizes[i];
        if (weights)
            taken += br__blend_share(want, weights[i], 0);
        w[i] = weights ? weights[i] : (double)sizes[i];
    }
    s->size = weights ? taken : want < 0 ? all : BR__MIN(want, all);
    s->dataset = br__calloc((size_t)s->size, sizeof *s->dataset);
    s->sample = br__calloc((size_t)s->size, sizeof *s->sample);
    if (!rc && (!s->dataset || !s->sample))
        rc = BR_E_NOMEM;
    if (!rc && !weights && want < 0) {
        rc = br__blend_all(sizes, s->n_parts, s->dataset, s->sample);
    } else if (!rc) {
        br__normalize(w, s->n_parts);
        rc = br__blend_by_weight(w, s->n_parts, s->size, s->dataset, s->sample);
    }
    br__free(sizes);
    br__free(w);
    return rc ? br__nomem(err, "opening the data") : BR_OK;
}

static int check_turns(const struct split *s, int split, struct br_err *err)
{
    for (int64_t i = 0; i < s->size; i++) {
        const struct part *part = &s->parts[s->dataset[i]];
        if (s->sample[i] >= part->index.n_samples)
            return br_fail(err, BR_E_CONFIG,
                           "the %s blend wants sample %" PRId64 " of '%s', which has %" PRId64,
                           br__split_names[split], s->sample[i], part->tokens->name,
                           part->index.n_samples);
    }
    return BR_OK;
}

/* want: samples, or -1.  alone: a single dataset is used without a table of turns. */
static int build_split(struct br__pretrain *p, int split, const struct blend *b,
                       const double range[2], int64_t want, int alone, int32_t n_vocab,
                       struct br_err *err)
{
    struct split *s = &p->splits[split];
    int rc = BR_OK;
    if (range[1] <= range[0])
        return br_fail(err, BR_E_CONFIG,
                       "the split has no share for %s, but %" PRId64 " samples are wanted",
                       br__split_names[split], want);
    if (b->weights && want < 0)
        return br_fail(err, BR_E_CONFIG, "a blend with weights needs a number of samples");
    s->parts = br__arena_alloc(&p->arena, b->n * sizeof *s->parts);
    if (!s->parts)
        return br__nomem(err, "opening the data");
    for (size_t i = 0; i < b->n && !rc; i++) {
        const struct br__tokens *t = NULL;
        int64_t n = alone        ? want
                    : b->weights ? br__blend_share(want, b->weights[i], BR__BLEND_SURPLUS)
                                 : -1;
        rc = open_tokens(p, b->paths[i], n_vocab, &t, err);
        if (!rc)
            rc = add_part(p, split, t, range, n, err);
        s->parts[i].weight = b->weights ? b->weights[i] : 1;
    }
    if (rc) {
        br_wrap(err, "%s data", br__split_names[split]);
        return rc;
    }
    if (alone) {
        s->size = s->parts[0].index.n_samples;
        return BR_OK;
    }
    rc = take_turns(s, b->weights, want, err);
    return rc ? rc : check_turns(s, split, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int build_from_one(struct br__pretrain *p, const struct br__pretrain_opts *o,
                          struct br_err *err)
{
    const char *mock[] = {NULL};
    struct blend b = {.paths = mock, .n = 1};
    double range[BR__N_SPLITS][2];
    int rc = br__split_parse(o->n_paths && o->split ? o->split : "1,1,1", range, err);
    if (!rc && o->n_paths)
        rc = parse_blend(&p->arena, &b, o->paths, o->n_paths, err);
    for (int i = 0; i < BR__N_SPLITS && !rc; i++)
        if (o->n_samples[i])
            rc = build_split(p, i, &b, range[i], o->n_samples[i], b.n == 1 && !b.weights,
                             o->n_vocab, err);
    return rc;
}

static int build_from_each(struct br__pretrain *p, const struct br__pretrain_opts *o,
                           struct br_err *err)
{
    const double all[2] = {0, 1};
    int rc = BR_OK;
    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        struct blend b;
        if (!o->n_samples[i] || !o->n_split_paths[i])
            continue;
        rc = parse_blend(&p->arena, &b, o->split_paths[i], o->n_split_paths[i], err);
        if (!rc && b.n == 1)
            b.weights = NULL;
        if (!rc)
            rc = build_split(p, i, &b, all, o->n_samples[i], b.n == 1, o->n_vocab, err);
    }
    return rc;
}

int br__pretrain_open(struct br__pretrain **out, const struct br__pretrain_opts *o,
                      struct br_err *err)
{
    int each = o->n_split_paths[0] || o->n_split_paths[1] || o->n_split_paths[2];
    *out = NULL;
    if (o->seq_length < 1 || o->seq_length > INT32_MAX / 2)
        return br_fail(err, BR_E_CONFIG, "seq_length %" PRId64 ", expected 1 to %d", o->seq_length,
                       INT32_MAX / 2);
    if (each && o->n_paths)
        return br_fail(err, BR_E_CONFIG, "data paths are given for all splits and for each");
    struct br__pretrain *p = br__calloc(1, sizeof *p);
    if (!p)
        return br__nomem(err, "opening the data");
    p->shape = (struct br__gpt_shape){.seq_length = o->seq_length,
                                      .seed = o->seed,
                                      .eod = o->eod,
                                      .pad = o->pad,
                                      .extra = 1,
                                      .reset_position_ids = o->reset_position_ids,
                                      .reset_attention_mask = o->reset_attention_mask,
                                      .eod_mask_loss = o->eod_mask_loss};
    p->cache_dir = o->cache_dir;
    int rc = each ? build_from_each(p, o, err) : build_from_one(p, o, err);
    if (rc)
        br__pretrain_close(p);
    else
        *out = p;
    return rc;
}

void br__pretrain_close(struct br__pretrain *p)
{
    if (!p)
        return;
    for (int i = 0; i < BR__N_SPLITS; i++) {
        for (size_t k = 0; k < p->splits[i].n_parts; k++)
            br__gpt_index_free(&p->splits[i].parts[k].index);
        br__free(p->splits[i].dataset);
        br__free(p->splits[i].sample);
    }
    for (size_t i = 0; i < p->n_files; i++)
        br__tokens_close(p->files[i]);
    br__free(p->files);
    br__arena_free(&p->arena);
    br__free(p);
}

/* ---- using ----------------------------------------------------------------------------------- */

int64_t br__pretrain_count(const struct br__pretrain *p, int split)
{
    return p->splits[split].size;
}

int br__pretrain_sample(const struct br__pretrain *p, int split, int64_t i, struct br__sample *out,
                        int *dataset, struct br_err *err)
{
    const struct split *s = &p->splits[split];
    if (i < 0 || i >= s->size)
        BR_BUG("sample %" PRId64 " of %" PRId64, i, s->size);
    int k = s->dataset ? s->dataset[i] : 0;
    if (dataset)
        *dataset = k;
    return br__gpt_sample(&s->parts[k].index, s->parts[k].tokens, &p->shape,
                          s->dataset ? s->sample[i] : i, out, err);
}

int br__pretrain_part(const struct br__pretrain *p, int split, size_t k,
                      struct br__pretrain_part *out)
{
    const struct split *s = &p->splits[split];
    if (k >= s->n_parts)
        return 0;
    const struct part *part = &s->parts[k];
    *out = (struct br__pretrain_part){.path = part->tokens->name,
                                      .sequences = part->end - part->first,
                                      .epochs = part->index.n_epochs,
                                      .samples = part->index.n_samples,
                                      .weight = part->weight};
    for (int64_t i = part->first; i < part->end; i++)
        out->tokens += br__tokens_len(part->tokens, i);
    return 1;
}
