/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_repair.c - optimizer tensors that Megatron stored shifted, shifted back.
 *
 * megatron-core 0.19 saves fully_reshardable by joining a rank's buckets without their padding, and
 * then cuts parameters out at offsets that include it. After a bucket that was padded by s
 * elements, every stored tensor is what follows it by s elements: stored[i] = true[i + s], counted
 * through the buffer. The true values are still there, in the tensors stored before, but for the
 * first s elements after the padding and for those that fall between two parameters.
 *
 * Neither s nor where buckets begin is in the checkpoint. Both are found with the weights, which
 * are right: the main copy, shifted back, must round to the weight in every element. Source:
 * observed in checkpoints of megatron-core 0.19.2 (DistributedOptimizer.
 * get_parameter_state_dp_zero, sharded_param_state_fully_reshardable). */
#include "train.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN UINT64_C(64)         /* parameters in a bucket */
#define BUCKET_ALIGN UINT64_C(128) /* buckets; also a multiple of the data-parallel size */
#define MAX_STEPS 4096             /* paddings tried, in units of BUCKET_ALIGN */
#define MAX_BACK 8        /* parameters before the first difference where the bucket may begin */
#define BLOCK 1024        /* elements compared at once */
#define MAX_FAILURES 4    /* parameters in a row before a rank's search ends */
#define ENOUGH 256        /* elements that must agree before a shift is believed */
#define ENOUGH_CHANGES 16 /* of these, that differ from the one before */

/* ---- does a shift fit ------------------------------------------------------------------------ */

/* A comparison of main copies with weights, over one parameter or several. */
struct evidence {
    const struct br__train_state *s;
    uint32_t rank;
    uint64_t compared, changes; /* elements that agree, of them those unlike the one before */
    int fits;
};

static int compare_piece(struct evidence *e, size_t local, const struct br__train_piece *x,
                         uint64_t first, size_t n, struct br_err *err)
{
    const struct br__train_state *s = e->s;
    const struct br__train_rank *r = &s->layout->ranks[e->rank];
    const struct br__train_param *p = &s->params[r->list[local].param];
    const struct br__tensor *stored = s->params[r->list[x->local].param].tensor[BR__OPTIM_MAIN];
    float main[BLOCK], rounded[BLOCK], weight[BLOCK];
    unsigned char narrow[BLOCK * sizeof(float)];

    if (!stored)
        return BR_OK;
    int rc = br__train_read_local(s, e->rank, x->local, stored, x->first, main, n, err);
    if (!rc)
        rc = br__train_read_local(s, e->rank, local, p->weight, first, weight, n, err);
    if (rc)
        return rc;
    br_cast(narrow, p->weight->dtype, main, BR_F32, n, 0);
    br_cast(rounded, BR_F32, narrow, p->weight->dtype, n, 0);
    e->fits = memcmp(rounded, weight, n * sizeof *weight) == 0;
    e->compared += n;
    for (size_t i = 1; i < n; i++)
        e->changes += memcmp(&weight[i], &weight[i - 1], sizeof *weight) != 0;
    return BR_OK;
}

static int is_enough(const struct evidence *e)
{
    return e->compared >= ENOUGH && e->changes >= ENOUGH_CHANGES;
}

/* Compare a local parameter at its present shift: all of it, or until there is enough. */
static int compare_local(struct evidence *e, size_t local, int all, struct br_err *err)
{
    const struct br__train_rank *r = &e->s->layout->ranks[e->rank];
    const struct br__train_local *x = &r->list[local];
    int rc = BR_OK;

    if (!br__train_is_stored(e->s, r, x))
        return BR_OK;
    for (uint64_t at = 0; !rc && e->fits && at < x->n && (all || !is_enough(e));) {
        struct br__train_piece p = br__train_find_piece(e->s, e->rank, local, at);
        size_t n = (size_t)BR__MIN(p.n, (uint64_t)(all ? BLOCK : 64));
        if (!p.is_lost)
            rc = compare_piece(e, local, &p, at, n, err);
        at += p.is_lost ? p.n : n;
    }
    return rc;
}

/* ---- finding the shifts of a rank ------------------------------------------------------------ */

static uint64_t repair_align(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* Give the parameters from `first` on a shift, the first after a gap of its own. */
static void set_shift(struct br__train_rank *r, size_t first, size_t end, uint64_t shift,
                      uint64_t gap)
{
    for (size_t i = first; i < end; i++) {
        r->list[i].shift = shift;
        r->list[i].gap = !i           ? 0
                         : i == first ? gap
                                      : repair_align(r->list[i - 1].n, ALIGN) - r->list[i - 1].n;
    }
}

/* Try a bucket that begins at parameter `first` after `pad` elements of padding: parameters up to
 * `local` must fit, and as many after it as the search asks for. */
static int try_pad(const struct br__train_state *s, uint32_t rank, size_t first, size_t local,
                   uint64_t pad, int *fits, struct br_err *err)
{
    struct br__train_rank *r = &s->layout->ranks[rank];
    struct evidence e = {.s = s, .rank = rank, .fits = 1}, all = e;
    uint64_t shift = (first ? r->list[first - 1].shift : 0) + pad;
    int rc = BR_OK;

    for (size_t i = first; i < r->n && !rc && e.fits && (i <= local || !is_enough(&e)); i++) {
        set_shift(r, i, i + 1, shift,
                  i == first ? pad : repair_align(r->list[i - 1].n, ALIGN) - r->list[i - 1].n);
        rc = compare_local(&e, i, 0, err);
    }
    for (size_t i = first; i <= local && !rc && e.fits && all.fits; i++)
        rc = compare_local(&all, i, 1, err);
    *fits = e.fits && all.fits && e.compared;
    return rc;
}

/* Parameter `local` does not fit the shift of those before it: find where a bucket begins, and its
 * padding. pos: where each parameter would begin in the padded buffer without that.  *first: r->n
 * if none is found. */
static int repair_search(const struct br__train_state *s, uint32_t rank, size_t local,
                         const uint64_t *pos, size_t *first, uint64_t *pad, struct br_err *err)
{
    struct br__train_rank *r = &s->layout->ranks[rank];
    struct br__train_local saved[MAX_BACK];

    for (size_t back = 0; back < MAX_BACK && back < local; back++) {
        *first = local - back;
        memcpy(saved, &r->list[*first], back * sizeof *saved);
        uint64_t end = pos[*first - 1] + r->list[*first - 1].n;
        for (uint64_t step = 0; step < MAX_STEPS; step++) {
            int fits;
            *pad = repair_align(end, BUCKET_ALIGN) - end + step * BUCKET_ALIGN;
            if (!*pad)
                continue;
            int rc = try_pad(s, rank, *first, local, *pad, &fits, err);
            if (rc || fits)
                return rc;
        }
        memcpy(&r->list[*first], saved, back * sizeof *saved);
    }
    *first = r->n;
    return BR_OK;
}

/* Set shift and gap of all parameters of a rank. */
static int find_shifts(struct br__train_state *s, uint32_t rank, struct br_err *err)
{
    struct br__train_rank *r = &s->layout->ranks[rank];
    uint64_t *pos = br__calloc(r->n + 1, sizeof *pos);
    size_t failures = 0;
    int rc = pos ? BR_OK : br__nomem(err, "repairing the optimizer state");

    set_shift(r, 0, r->n, 0, 0);
    for (size_t i = 0; i < r->n && !rc; i++) {
        struct evidence e = {.s = s, .rank = rank, .fits = 1};
        uint64_t shift = r->list[i].shift, gap = r->list[i].gap, pad = 0;
        size_t first = r->n;
        pos[i] = i ? pos[i - 1] + r->list[i - 1].n + gap : 0;
        rc = compare_local(&e, i, 1, err);
        if (rc || e.fits)
            continue;
        if (failures < MAX_FAILURES)
            rc = repair_search(s, rank, i, pos, &first, &pad, err);
        if (rc)
            break;
        if (first == r->n) { /* no shift explains it */
            set_shift(r, i, r->n, shift, gap);
            r->list[i].is_lost = 1;
            failures++;
            continue;
        }
        failures = 0;
        set_shift(r, first, r->n, shift + pad, pad);
        for (size_t k = first; k <= i; k++)
            pos[k] = pos[k - 1] + r->list[k - 1].n + r->list[k].gap;
    }
    br__free(pos);
    return rc;
}

/* ---- repair ---------------------------------------------------------------------------------- */

static void give_up(struct br__train_param *p)
{
    uint64_t n = p->weight->bytes / br_dtype_size(p->weight->dtype);

    p->from_weight = 1;
    p->boxes = NULL;
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        p->lost[k] = n;
}

/* Elements of parameter i that no rank has. */
static uint64_t count_lost(const struct br__train_state *s, size_t i, int *is_shifted)
{
    uint64_t lost = 0;

    *is_shifted = 0;
    for (size_t q = 0; q < s->layout->n_ranks; q++) {
        const struct br__train_rank *r = &s->layout->ranks[q];
        for (size_t k = 0; k < r->n; k++) {
            if (r->list[k].param != i || (!r->list[k].shift && !r->list[k].is_lost) ||
                !br__train_is_stored(s, r, &r->list[k]))
                continue;
            *is_shifted = 1;
            for (uint64_t at = 0; at < r->list[k].n;) {
                struct br__train_piece p = br__train_find_piece(s, (uint32_t)q, k, at);
                lost += p.is_lost ? p.n : 0;
                at += p.n;
            }
        }
    }
    return lost;
}

static int shift_back(struct br__train_state *s, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t q = 0; q < s->layout->n_ranks && !rc; q++)
        rc = find_shifts(s, (uint32_t)q, err);
    for (size_t i = 0; i < s->n_params && !rc; i++) {
        struct br__train_param *p = &s->params[i];
        int is_shifted;
        uint64_t lost = count_lost(s, i, &is_shifted);
        if (p->from_weight || !is_shifted)
            continue;
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
            p->lost[k] = p->tensor[k] ? lost : p->lost[k];
        rc = br__train_layout_boxes(s, &s->arena, i, &p->boxes, &p->n_boxes, err);
        s->n_repaired += !rc;
    }
    return rc;
}

/* Parameters whose main copy is still not the weight. */
static int give_up_rest(struct br__train_state *s, struct br_err *err)
{
    int rc = br__train_state_check(s, BR__MAIN_ALL, err);

    for (size_t i = 0; i < s->n_params && !rc; i++)
        if (s->params[i].unlike) {
            s->n_repaired += !s->params[i].boxes || s->form == BR__OPTIM_DP;
            give_up(&s->params[i]);
            s->params[i].unlike = 0;
        }
    s->n_unlike = 0;
    return rc;
}

int br__train_state_repair(struct br__train_state *s, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    int rc = br__train_state_check(s, BR__MAIN_ALL, err);

    if (rc || !s->n_unlike)
        return rc;
    s->n_repaired = 0;
    /* without the order of the buffers nothing can be shifted */
    rc = s->form == BR__OPTIM_FULLY ? br__train_layout_make(s, &why) : BR_E_UNSUPPORTED;
    if (!rc)
        rc = shift_back(s, err);
    else if (rc == BR_E_UNSUPPORTED || rc == BR_E_FORMAT)
        rc = BR_OK;
    else
        return br_fail(err, rc, "%s", why.msg);
    return rc ? rc : give_up_rest(s, err);
}
