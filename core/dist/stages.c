/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* stages.c - which layers each pipeline stage has: an even split, uneven ends, or a layout.
 *
 * The chunks of a model, in its order, go round the stages: chunk c of stage s is number c * pp +
 * s. Source: Megatron-LM megatron/core/transformer (core 0.19.2): pipeline_parallel_layer_layout.py
 * (notation and rules of a layout), transformer_config.py (which settings fit each other),
 * transformer_block.py, get_num_layers_to_build. */
#include "dist.h"

#include <inttypes.h>
#include <string.h>

/* Chunks of all stages, and letters of a layout when it is written out. */
#define MAX_CHUNKS (UINT32_C(1) << 20)

/* ---- a layout, "Ettt|(tt|)*29,tm|L" ---------------------------------------------------------- */

/* Decimal digits from *s on; more than MAX_CHUNKS reads as MAX_CHUNKS + 1. */
static uint32_t read_count(const char **s)
{
    uint32_t n = 0;
    for (; **s >= '0' && **s <= '9'; ++*s)
        n = n > MAX_CHUNKS ? n : n * 10 + (uint32_t)(**s - '0');
    return BR__MIN(n, MAX_CHUNKS + 1);
}

/* The end of what "*n" may stand behind: "(...)" if `groups`, else any one letter. NULL: nothing.
 */
static const char *repeated_end(const char *s, int groups)
{
    if (!groups)
        return s + 1;
    const char *close = *s == '(' ? strchr(s, ')') : NULL;
    return close && close > s + 1 ? close + 1 : NULL;
}

/* Write "x*n" as n times x.  Megatron does it twice, by a regular expression each: for x in
 * parentheses, then for single letters. */
static void layout_unroll(struct br__buf *out, const char *s, int groups)
{
    while (*s && !out->failed) {
        const char *end = repeated_end(s, groups);
        if (!end || *end != '*' || end[1] < '0' || end[1] > '9') {
            br__buf_putc(out, *s++);
            continue;
        }
        const char *from = s + groups;
        size_t n = (size_t)(end - groups - from);
        s = end + 1;
        for (uint32_t count = read_count(&s); count > 0 && !out->failed; count--)
            br__buf_put(out, from, n);
    }
}

/* The layout with all repeats written out and without commas; free *out. */
static int layout_expand(const char *layout, struct br__buf *out, struct br_err *err)
{
    struct br__buf plain = {.max = MAX_CHUNKS}, groups = {.max = MAX_CHUNKS};
    *out = (struct br__buf){.max = MAX_CHUNKS};
    for (const char *s = layout; *s; s++)
        if (*s != ',')
            br__buf_putc(&plain, *s);
    if (plain.n && !plain.failed)
        layout_unroll(&groups, plain.p, 1);
    if (groups.n && !groups.failed)
        layout_unroll(out, groups.p, 0);
    int failed = plain.failed ? plain.failed : groups.failed ? groups.failed : out->failed;
    br__buf_free(&plain);
    br__buf_free(&groups);
    if (failed == BR_E_NOMEM)
        return br__nomem(err, "for a pipeline layout");
    if (failed)
        return br_fail(err, BR_E_CONFIG, "layout '%.100s' has more than %" PRIu32 " letters",
                       layout, MAX_CHUNKS);
    if (!out->n)
        return br_fail(err, BR_E_CONFIG, "the pipeline layout is empty");
    size_t good = strspn(out->p, "EtmL|");
    if (out->p[good])
        return br_fail(err, BR_E_CONFIG,
                       "layout '%.100s': '%c' is none of E (embedding), t (decoder layer), m "
                       "(prediction layer), L (loss), | (next stage); *n repeats one of them or a "
                       "part in parentheses, which may not stand in each other",
                       layout, out->p[good]);
    return BR_OK;
}

/* The rules that need the letters' order.  `letters` is written out. */
static int layout_check(const char *letters, const struct br__stage_opts *o, struct br_err *err)
{
    size_t n[128] = {0}, end = strlen(letters);
    const char *m = strchr(letters, 'm');
    for (const char *s = letters; *s; s++)
        n[(unsigned char)*s]++;
    if (n['E'] != 1 || n['L'] != 1 || *letters != 'E' || letters[end - 1] != 'L')
        return br_fail(err, BR_E_CONFIG,
                       "layout '%.100s' needs one E, as its first letter, and one L, as its last",
                       o->layout);
    if (n['t'] != o->n_layers)
        return br_fail(err, BR_E_CONFIG,
                       "layout '%.100s' has %zu decoder layers (t), the model %" PRIu32, o->layout,
                       n['t'], o->n_layers);
    if (n['m'] != o->n_mtp)
        return br_fail(err, BR_E_CONFIG,
                       "layout '%.100s' has %zu prediction layers (m), the model %" PRIu32,
                       o->layout, n['m'], o->n_mtp);
    if (m && (strchr(m, 't') || memchr(m, '|', (size_t)(strrchr(m, 'm') - m))))
        return br_fail(err, BR_E_CONFIG,
                       "layout '%.100s': all prediction layers (m) belong in one stage, behind the "
                       "last decoder layer (t)",
                       o->layout);
    return BR_OK;
}

/* How many layers each chunk has, by the letters. */
static void layout_count(const char *letters, struct br__stages *out)
{
    struct br__chunk *c = out->chunks;
    for (const char *s = letters; *s; s++) {
        c += *s == '|';
        c->n_layers += *s == 't';
        c->n_mtp += *s == 'm';
    }
}

static int split_by_layout(struct br__arena *a, const struct br__stage_opts *o,
                           struct br__stages *out, struct br_err *err)
{
    struct br__buf letters;
    int rc = layout_expand(o->layout, &letters, err);
    if (!rc)
        rc = layout_check(letters.p, o, err);
    uint32_t n = 1;
    for (const char *s = rc ? "" : letters.p; *s; s++)
        n += *s == '|';
    if (!rc && n % o->pp)
        rc = br_fail(err, BR_E_CONFIG,
                     "layout '%.100s' has %" PRIu32 " stages, not pp %" PRIu32 " × a whole number",
                     o->layout, n, o->pp);
    if (!rc && o->vpp && o->vpp != n / o->pp)
        rc = br_fail(err, BR_E_CONFIG,
                     "layout '%.100s' has %" PRIu32 " chunks for each stage, vpp is %" PRIu32,
                     o->layout, n / o->pp, o->vpp);
    out->vpp = n / o->pp;
    if (!rc && !(out->chunks = br__arena_alloc(a, n * sizeof *out->chunks)))
        rc = br__nomem(err, "for the pipeline's stages");
    if (!rc)
        layout_count(letters.p, out);
    br__buf_free(&letters);
    for (uint32_t i = 0; !rc && i + o->pp < n; i++)
        if (out->chunks[i].n_mtp)
            rc = br_fail(err, BR_E_CONFIG,
                         "layout '%.100s': prediction layers (m) belong in the last chunk of their "
                         "stage",
                         o->layout);
    return rc;
}

/* ---- without a layout ------------------------------------------------------------------------ */

/* Layers of a stage that is neither a first nor a last one with a number of its own. */
static int middle_layers(const struct br__stage_opts *o, uint32_t *per, struct br_err *err)
{
    uint32_t stages = (o->first > 0) + (o->last > 0);
    int64_t left = (int64_t)o->n_layers - o->first - o->last;
    int64_t middle = (int64_t)o->pp - stages;
    if (left < 0 || middle < 0 || (left > 0) != (middle > 0) || (middle && left % middle))
        return br_fail(err, BR_E_CONFIG,
                       "num_layers %" PRIu32 " - first stage %" PRIu32 " - last stage %" PRIu32
                       " = %" PRId64 " is not %" PRId64 " stages between × layers of a stage",
                       o->n_layers, o->first, o->last, left, middle);
    *per = middle ? (uint32_t)(left / middle) : 0;
    return BR_OK;
}

static int uneven_split(const struct br__stage_opts *o, struct br__stages *out, struct br_err *err)
{
    uint32_t per = 0;
    int rc = middle_layers(o, &per, err);
    for (uint32_t i = 0; !rc && i < o->pp; i++) {
        int is_first = o->first && i == 0, is_last = o->last && i == o->pp - 1;
        uint32_t n = is_last ? o->last : is_first ? o->first : per;
        if (n % out->vpp)
            return br_fail(err, BR_E_CONFIG,
                           "%" PRIu32 " layers of pipeline stage %" PRIu32 " are not vpp %" PRIu32
                           " × a whole number",
                           n, i, out->vpp);
        for (uint32_t c = 0; c < out->vpp; c++)
            out->chunks[c * o->pp + i].n_layers = n / out->vpp;
    }
    return rc;
}

static int even_split(const struct br__stage_opts *o, struct br__stages *out, struct br_err *err)
{
    uint32_t embedding = o->embedding != 0, loss = o->loss != 0, n = o->pp * out->vpp;
    uint64_t all = (uint64_t)o->n_layers + embedding + loss;
    if (all % n && (embedding || loss))
        return br_fail(err, BR_E_CONFIG,
                       "num_layers %" PRIu32 " + embedding %" PRIu32 " + loss %" PRIu32
                       " is not pp %" PRIu32 " × vpp %" PRIu32 " × layers of a stage",
                       o->n_layers, embedding, loss, o->pp, out->vpp);
    if (all % n)
        return br_fail(err, BR_E_CONFIG,
                       "num_layers %" PRIu32 " is not pp %" PRIu32 " × vpp %" PRIu32
                       " × layers of a stage; account_for_embedding_in_pipeline_split and its kin, "
                       "or pp_layout, allow uneven stages",
                       o->n_layers, o->pp, out->vpp);
    for (uint32_t i = 0; i < n; i++)
        out->chunks[i].n_layers = (uint32_t)(all / n);
    if (all / n < embedding + (n == 1 ? loss : 0) || all / n < loss)
        return br_fail(err, BR_E_CONFIG, "%" PRIu32 " layers are too few for %" PRIu32 " stages",
                       o->n_layers, n);
    out->chunks[0].n_layers -= embedding;
    out->chunks[n - 1].n_layers -= loss;
    return BR_OK;
}

static int split_by_numbers(struct br__arena *a, const struct br__stage_opts *o,
                            struct br__stages *out, struct br_err *err)
{
    out->vpp = o->vpp ? o->vpp : 1;
    if ((uint64_t)o->pp * out->vpp > MAX_CHUNKS)
        return br_fail(err, BR_E_CONFIG,
                       "pp %" PRIu32 " × vpp %" PRIu32 " are more than %" PRIu32 " chunks", o->pp,
                       out->vpp, MAX_CHUNKS);
    uint32_t n = o->pp * out->vpp;
    if (!(out->chunks = br__arena_alloc(a, n * sizeof *out->chunks)))
        return br__nomem(err, "for the pipeline's stages");
    out->chunks[n - 1].n_mtp = o->n_mtp;
    return o->first || o->last ? uneven_split(o, out, err) : even_split(o, out, err);
}

/* ---- both ------------------------------------------------------------------------------------ */

static int fail_vpp(uint32_t vpp, struct br_err *err)
{
    return br_fail(err, BR_E_CONFIG, "vpp %" PRIu32 " needs pp > 1, got pp 1", vpp);
}

int br__stages_make(struct br__arena *a, const struct br__stage_opts *o, struct br__stages *out,
                    struct br_err *err)
{
    int uneven = o->first || o->last, counted = o->embedding || o->loss;
    *out = (struct br__stages){.pp = o->pp};
    if ((o->layout && (uneven || counted)) || (uneven && counted))
        return br_fail(err, BR_E_CONFIG,
                       "pp_layout, num_layers_in_first_pipeline_stage and its kin, and "
                       "account_for_embedding_in_pipeline_split and its kin exclude each other");
    if (o->vpp && o->pp == 1)
        return fail_vpp(o->vpp, err);
    int rc = o->layout ? split_by_layout(a, o, out, err) : split_by_numbers(a, o, out, err);
    if (rc)
        return rc;
    if (out->vpp > 1 && o->pp == 1)
        return fail_vpp(out->vpp, err);
    uint32_t n = out->pp * out->vpp;
    for (uint32_t i = 1; i < n; i++)
        out->chunks[i].first = out->chunks[i - 1].first + out->chunks[i - 1].n_layers;
    for (uint32_t i = 1; i < n; i++)
        out->chunks[i].n_in = BR__MAX(out->chunks[i - 1].n_in, 1) + out->chunks[i - 1].n_mtp;
    out->chunks[0].embedding = 1;
    out->chunks[n - 1].head = 1;
    for (uint32_t i = 0; i < n; i++) {
        struct br__chunk *c = &out->chunks[i];
        c->table = c->embedding || c->n_mtp || (c->head && o->tied);
    }
    return BR_OK;
}
