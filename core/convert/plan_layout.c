/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_layout.c - outputs, pieces and segments of a plan, from its expanded rules and bound
 * sources.
 *
 * Chunk granularity of Megatron tensors is Megatron's own: one box per layer, per expert, per gate
 * or up half (core/transformer/mlp.py, apply_swiglu_sharded_factory), because its loader reads
 * whole items. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

struct layout {
    struct br__planner *pl;
    struct br__plan *p;
    struct br_err *err;
    uint32_t *out_of; /* per destination slot: index into outs, or BR__NOT_FOUND */
    size_t cap_pieces, cap_segs;
    size_t n_widened;
    int main_dtype; /* of most bytes of the source */
    const struct br__plan_out *first_widened;
};

static const struct br_map *rule_of(const struct layout *l, uint32_t rule)
{
    return &l->p->b.cfg->arch->maps[rule];
}

/* The dtype that a source tensor counts as: FP8 is bf16 once dequantised. */
static int source_dtype(const struct layout *l, uint32_t src)
{
    int d = l->p->b.src->tensors[src].dtype;
    if (l->pl->o->dtype != BR_NONE)
        return l->pl->o->dtype;
    return d == BR_F8_E4M3 ? BR_BF16 : d;
}

static int exactness_of(const struct layout *l, uint32_t src)
{
    int d = l->p->b.src->tensors[src].dtype;
    if (d == BR_F8_E4M3)
        return BR__DEQUANT;
    return source_dtype(l, src) == d ? BR__EXACT : BR__ROUNDED;
}

/* ---- dtype of zero-centred norms ------------------------------------------------------------- */

/* Does w + add, stored as `to`, give every bit of `bytes` of dtype d back? */
static int layout_survives(const void *w, int d, size_t n, int to, double add)
{
    unsigned char shifted[512 * 8], back[512 * 8];
    size_t size = br_dtype_size(d);
    for (size_t i = 0; i < n; i += 512) {
        size_t k = BR__MIN(n - i, (size_t)512);
        const unsigned char *p = (const unsigned char *)w + i * size;
        br_cast(shifted, to, p, d, k, add);
        br_cast(back, d, shifted, to, k, -add);
        if (memcmp(back, p, k * size))
            return 0;
    }
    return 1;
}

/* Import: the narrowest of the tensor's own dtype, float32 and float64 in which w - 1 gives every
 * bit of w back. Megatron's loader casts a wider tensor to the model's dtype, which rounds once, as
 * it would have. */
static int shift_import(struct layout *l, struct br__plan_out *out, uint32_t src)
{
    const struct br__tensor *t = &l->p->b.src->tensors[src];
    const int candidates[] = {t->dtype, BR_F32, BR_F64};
    out->add = -1;
    out->exactness = BR__EXACT_SHIFT;
    if (l->pl->o->dtype != BR_NONE ||
        !l->p->b.src->n_files) /* rounding was asked for; headers only */
        return BR_OK;
    unsigned char *w = br__alloc(t->bytes);
    if (!w)
        return br__plan_nomem(l->err);
    int rc = br__ckpt_read(l->p->b.src, t, 0, w, t->bytes, l->err);
    size_t n = (size_t)(t->bytes / br_dtype_size(t->dtype)), i = 0;
    while (!rc && i < BR_COUNTOF(candidates) && !layout_survives(w, t->dtype, n, candidates[i], -1))
        i++;
    br__free(w);
    if (rc || i == 0)
        return rc;
    if (i == BR_COUNTOF(candidates)) {
        out->exactness = BR__ROUNDED;
        if (l->pl->o->flags & BR_JOB_NOT_STRICT)
            return br__binding_skip(
                &l->p->b, l->err, "'%s': w - 1 is not exact in any dtype and is rounded", t->name);
        return br_fail(l->err, BR_E_PLAN,
                       "'%s' has values so small that w - 1, which Megatron stores, is not exact "
                       "even in float64; --not-strict rounds them",
                       t->name);
    }
    out->dtype = candidates[i];
    out->exactness = BR__WIDENED;
    if (!l->n_widened++)
        l->first_widened = out;
    return BR_OK;
}

static int note_widened(struct layout *l)
{
    const struct br__plan_out *o = l->first_widened;
    if (!o)
        return BR_OK;
    return br__binding_note(
               &l->p->b,
               "%zu tensor(s) are stored as %s, first '%s': Megatron keeps w - 1, which "
               "loses bits of "
               "these in the model's own dtype",
               l->n_widened, br_dtype_torch(o->dtype), o->name)
               ? br__plan_nomem(l->err)
               : BR_OK;
}

/* Export: a norm that was widened to stay exact goes back to the dtype that the reference or
 * config.json has, if that loses nothing. */
static int shift_export(struct layout *l, struct br__plan_out *out, uint32_t src)
{
    const struct br__tensor *t = &l->p->b.src->tensors[src];
    const struct br__tensor *ref = l->pl->o->ref ? br__ckpt_find(l->pl->o->ref, out->name) : NULL;
    int want = ref ? ref->dtype : l->p->b.cfg->dtype;
    out->add = 1;
    out->exactness = BR__EXACT_SHIFT;
    if (l->pl->o->dtype != BR_NONE || want == t->dtype || t->dtype == l->main_dtype ||
        !br_dtype_is_float(want) || br_dtype_size(want) >= br_dtype_size(t->dtype) ||
        br_dtype_size(want) < 2)
        return BR_OK;
    size_t n = (size_t)(t->bytes / br_dtype_size(t->dtype));
    unsigned char *m = br__alloc(t->bytes), *w = br__alloc(t->bytes), *back = br__alloc(t->bytes);
    int rc = m && w && back ? br__ckpt_read(l->p->b.src, t, 0, m, t->bytes, l->err)
                            : br__plan_nomem(l->err);
    if (!rc) {
        br_cast(w, want, m, t->dtype, n, 1);
        br_cast(back, t->dtype, w, want, n, -1);
        if (!memcmp(back, m, t->bytes))
            out->dtype = want;
    }
    br__free(m);
    br__free(w);
    br__free(back);
    return rc;
}

/* ---- outputs --------------------------------------------------------------------------------- */

static uint32_t dst_slot(const struct layout *l, const struct br__move *m)
{
    return l->pl->src_is_hf ? m->mc : m->hf;
}

static uint32_t src_slot(const struct layout *l, const struct br__move *m)
{
    return l->pl->src_is_hf ? m->hf : m->mc;
}

/* One move feeds an output: it must be bound, and agree in dtype with the others. */
static int feed_output(struct layout *l, const struct br__move *m, uint8_t *state)
{
    uint32_t d = dst_slot(l, m), src = l->p->b.tensor_of[src_slot(l, m)];
    struct br__plan_out *out = &l->p->outs[d];
    if (src == BR__NOT_FOUND) {
        state[d] = 2; /* cannot be made */
        return BR_OK;
    }
    int dtype = source_dtype(l, src);
    if (out->dtype != BR_NONE && out->dtype != dtype)
        return br_fail(l->err, BR_E_PLAN,
                       "'%s' would mix dtypes: '%s' is %s, others are %s; use --torch-dtype, or "
                       "--layers per-layer",
                       out->name, l->p->b.src->tensors[src].name, br_dtype_torch(dtype),
                       br_dtype_torch(out->dtype));
    out->dtype = dtype;
    out->exactness = (uint8_t)BR__MAX((int)out->exactness, exactness_of(l, src));
    state[d] |= 1;
    return BR_OK;
}

static void init_outputs(struct layout *l, const struct br__slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct br__plan_out *o = &l->p->outs[i];
        o->name = slots[i].name;
        o->ndim = slots[i].ndim;
        memcpy(o->shape, slots[i].shape, sizeof o->shape);
        o->row_elems = slots[i].row_elems;
        o->rule = slots[i].rule;
    }
}

/* Drop outputs that cannot be made (--not-strict), keeping order; out_of maps slots to what is
 * left. */
static int compact_outputs(struct layout *l, size_t n, const uint8_t *state)
{
    struct br__plan *p = l->p;
    for (size_t i = 0; i < n; i++) {
        l->out_of[i] = BR__NOT_FOUND;
        if (state[i] & 2) {
            int rc =
                br__binding_skip(&l->p->b, l->err, "'%s' is not written: a source of it is missing",
                                 p->outs[i].name);
            if (rc)
                return rc;
            continue;
        }
        l->out_of[i] = (uint32_t)p->n_outs;
        p->outs[p->n_outs++] = p->outs[i];
    }
    return BR_OK;
}

/* A norm in the dtype of the other weights was not widened. */
static int main_dtype(const struct br__ckpt *src)
{
    uint64_t bytes[BR_N_DTYPES] = {0};
    int best = BR_NONE;
    for (size_t i = 0; i < src->n_tensors; i++)
        if (!br__is_training_state(src->tensors[i].name))
            bytes[src->tensors[i].dtype] += src->tensors[i].bytes;
    for (int d = 0; d < BR_N_DTYPES; d++)
        if (bytes[d] > bytes[best])
            best = d;
    return best;
}

static int shift_outputs(struct layout *l)
{
    l->main_dtype = main_dtype(l->p->b.src);
    const struct br__expansion *x = l->p->b.x;
    for (size_t i = 0; i < x->n_moves; i++) {
        const struct br__move *m = &x->moves[i];
        uint32_t o = l->out_of[dst_slot(l, m)];
        if (o == BR__NOT_FOUND || !(rule_of(l, l->p->outs[o].rule)->flags & BR_MAP_ZERO_CENTERED))
            continue;
        uint32_t src = l->p->b.tensor_of[src_slot(l, m)];
        int rc = l->pl->src_is_hf ? shift_import(l, &l->p->outs[o], src)
                                  : shift_export(l, &l->p->outs[o], src);
        if (rc)
            return rc;
    }
    return note_widened(l);
}

static int make_outputs(struct layout *l, const struct br__slot *slots, size_t n)
{
    struct br__plan *p = l->p;
    p->outs = br__arena_alloc(&p->arena, (n + 2) * sizeof *p->outs);
    l->out_of = br__arena_alloc(&p->arena, (n + 1) * sizeof *l->out_of);
    uint8_t *state = br__arena_alloc(&p->arena, n + 1);
    if (!p->outs || !l->out_of || !state)
        return br__plan_nomem(l->err);
    init_outputs(l, slots, n);
    for (size_t i = 0; i < p->b.x->n_moves; i++) {
        int rc = feed_output(l, &p->b.x->moves[i], state);
        if (rc)
            return rc;
    }
    int rc = compact_outputs(l, n, state);
    return rc ? rc : shift_outputs(l);
}

/* ---- pieces and segments --------------------------------------------------------------------- */

static int add_seg(struct layout *l, uint32_t src, uint64_t src_row, uint64_t dst_row, uint64_t n)
{
    struct br__plan *p = l->p;
    struct br__piece *pc = &p->pieces[p->n_pieces];
    if (br__grow(&p->segs, &l->cap_segs, p->n_segs, sizeof *p->segs))
        return br__plan_nomem(l->err);
    p->segs[p->n_segs++] = (struct br__seg){src, 0, src_row, dst_row, n};
    pc->n_segs++;
    return BR_OK;
}

static int start_piece(struct layout *l, uint32_t out)
{
    struct br__plan *p = l->p;
    if (br__grow(&p->pieces, &l->cap_pieces, p->n_pieces, sizeof *p->pieces))
        return br__plan_nomem(l->err);
    memset(&p->pieces[p->n_pieces], 0, sizeof *p->pieces);
    p->pieces[p->n_pieces].out = out;
    p->pieces[p->n_pieces].first_seg = p->n_segs;
    return BR_OK;
}

static int end_piece(struct layout *l)
{
    struct br__plan *p = l->p;
    struct br__piece *pc = &p->pieces[p->n_pieces++];
    const struct br__plan_out *o = &p->outs[pc->out];
    if (br_shape_bytes(pc->size, o->ndim, br_dtype_size(o->dtype), &pc->bytes))
        return br_fail(l->err, BR_E_CONFIG, "'%s' is too big to exist", o->name);
    p->out_bytes += pc->bytes;
    return BR_OK;
}

/* The box of rows [row, row + rows) of a Megatron slot; leading axes are indices. */
static void layout_box(const struct br__slot *s, uint64_t row, uint64_t rows, struct br__piece *pc)
{
    uint64_t base = (uint64_t)s->shape[s->lead];
    uint64_t lead = row / base;
    memcpy(pc->size, s->shape, sizeof pc->size);
    pc->off[s->lead] = (int64_t)(row % base);
    pc->size[s->lead] = (int64_t)rows;
    for (int i = s->lead - 1; i >= 0; i--) {
        pc->off[i] = (int64_t)(lead % (uint64_t)s->shape[i]);
        pc->size[i] = 1;
        lead /= (uint64_t)s->shape[i];
    }
}

/* Rows of the destination's vocabulary: padded to a multiple, or as the checkpoint to compare with
 * has it. */
static int64_t padded_rows(const struct layout *l, const struct br__plan_out *o)
{
    int64_t rows = o->shape[0], m = l->pl->o->pad_vocab_to;
    if (!(rule_of(l, o->rule)->flags & BR_MAP_VOCAB))
        return rows;
    const struct br__tensor *like = l->pl->o->like ? br__ckpt_find(l->pl->o->like, o->name) : NULL;
    if (like && like->ndim == o->ndim && like->shape[0] > rows)
        return like->shape[0];
    return m > 0 ? (rows + m - 1) / m * m : rows;
}

/* One stored part of a view: the moves that fall into its rows. */
static int import_part(struct layout *l, const struct br__view *v, uint64_t first, uint64_t rows)
{
    struct br__plan *p = l->p;
    const struct br__slot *s = &p->b.x->mc[v->mc];
    struct br__plan_out *o = &p->outs[l->out_of[v->mc]];
    int rc = start_piece(l, l->out_of[v->mc]);
    if (rc)
        return rc;
    layout_box(s, v->row + first, rows, &p->pieces[p->n_pieces]);
    for (uint32_t i = 0; i < v->n_moves && !rc; i++) {
        const struct br__move *m = &p->b.x->moves[v->first_move + i];
        uint64_t lo = BR__MAX(m->mc_row, v->row + first);
        uint64_t hi = BR__MIN(m->mc_row + m->n, v->row + first + rows);
        if (lo < hi)
            rc = add_seg(l, l->p->b.tensor_of[m->hf], m->hf_row + (lo - m->mc_row),
                         lo - v->row - first, hi - lo);
    }
    int64_t padded = padded_rows(l, o);
    if (!rc && padded > s->shape[0]) {
        rc = add_seg(l, BR__SRC_ZERO, 0, rows, (uint64_t)(padded - s->shape[0]));
        p->pieces[p->n_pieces].size[0] = o->shape[0] = padded;
    }
    return rc ? rc : end_piece(l);
}

static int import_pieces(struct layout *l)
{
    const struct br__expansion *x = l->p->b.x;
    for (size_t i = 0; i < x->n_views; i++) {
        const struct br__view *v = &x->views[i];
        if (l->out_of[v->mc] == BR__NOT_FOUND)
            continue;
        for (uint32_t part = 0; part < v->parts; part++) {
            int rc = import_part(l, v, part * (v->rows / v->parts), v->rows / v->parts);
            if (rc)
                return rc;
        }
    }
    return BR_OK;
}

/* Every row of every HF tensor is used exactly once, by one rule instance. */
static int check_hf_tiling(struct layout *l, const struct br__move *sorted)
{
    const struct br__expansion *x = l->p->b.x;
    for (size_t i = 0; i < x->n_moves; i++) {
        int first = i == 0 || sorted[i - 1].hf != sorted[i].hf;
        int last = i + 1 == x->n_moves || sorted[i + 1].hf != sorted[i].hf;
        uint64_t expect = first ? 0 : sorted[i - 1].hf_row + sorted[i - 1].n;
        const struct br__slot *s = &x->hf[sorted[i].hf];
        if (sorted[i].hf_row != expect || (last && sorted[i].hf_row + sorted[i].n != s->rows))
            return br_fail(l->err, BR_E_PLUGIN,
                           "the weight rules of %s use a row of '%s' twice or never, near row "
                           "%llu of %llu",
                           l->p->b.cfg->arch->model_type, s->name,
                           (unsigned long long)sorted[i].hf_row, (unsigned long long)s->rows);
    }
    return BR_OK;
}

static int by_hf(const void *a, const void *b)
{
    const struct br__move *x = a, *y = b;
    if (x->hf != y->hf)
        return x->hf < y->hf ? -1 : 1;
    return x->hf_row < y->hf_row ? -1 : x->hf_row > y->hf_row;
}

static int sorted_by_hf(struct layout *l, struct br__move **out)
{
    const struct br__expansion *x = l->p->b.x;
    *out = br__arena_alloc(&l->p->arena, (x->n_moves + 1) * sizeof **out);
    if (!*out)
        return br__plan_nomem(l->err);
    if (x->n_moves)
        memcpy(*out, x->moves, x->n_moves * sizeof **out);
    qsort(*out, x->n_moves, sizeof **out, by_hf);
    return check_hf_tiling(l, *out);
}

/* ---- export ---------------------------------------------------------------------------------- */

/* The output layer's copy that a tied source stores: the embedding once more. */
static int add_tied_copy(struct layout *l, uint32_t *copy_of)
{
    struct br__plan *p = l->p;
    const struct br_map *em, *output;
    uint32_t embedding = BR__NOT_FOUND;
    *copy_of = BR__NOT_FOUND;
    if (!p->b.tied_copy)
        return BR_OK;
    br__tied_rules(p->b.cfg->arch, &em, &output);
    for (uint32_t o = 0; o < p->n_outs; o++)
        if (rule_of(l, p->outs[o].rule) == em)
            embedding = o;
    if (!output || embedding == BR__NOT_FOUND)
        return BR_OK;
    p->outs[p->n_outs] = p->outs[embedding];
    p->outs[p->n_outs++].name = output->hf;
    *copy_of = embedding;
    return BR_OK;
}

/* Segments of one HF tensor, from its run of the sorted moves. */
static int export_piece(struct layout *l, uint32_t out, const struct br__move *m, size_t n)
{
    struct br__plan *p = l->p;
    int rc = start_piece(l, out);
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_seg(l, l->p->b.tensor_of[m[i].mc], m[i].mc_row, m[i].hf_row, m[i].n);
    if (rc)
        return rc;
    memcpy(p->pieces[p->n_pieces].size, p->outs[out].shape, sizeof p->outs[out].shape);
    return end_piece(l);
}

static int export_pieces(struct layout *l, const struct br__move *sorted)
{
    struct br__plan *p = l->p;
    uint32_t copy_of = BR__NOT_FOUND;
    size_t *first = br__arena_alloc(&p->arena, (p->n_outs + 2) * sizeof *first);
    size_t *count = br__arena_alloc(&p->arena, (p->n_outs + 2) * sizeof *count);
    uint32_t *order = br__arena_alloc(&p->arena, (p->n_outs + 2) * sizeof *order);
    int rc = first && count && order ? add_tied_copy(l, &copy_of) : br__plan_nomem(l->err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->b.x->n_moves; i++) {
        uint32_t o = l->out_of[sorted[i].hf];
        if (o != BR__NOT_FOUND && !count[o]++)
            first[o] = i;
    }
    if (copy_of != BR__NOT_FOUND) {
        first[p->n_outs - 1] = first[copy_of];
        count[p->n_outs - 1] = count[copy_of];
    }
    rc = br__plan_shards(l->pl, order);
    for (size_t i = 0; i < p->n_outs && !rc; i++)
        rc = export_piece(l, order[i], sorted + first[order[i]], count[order[i]]);
    return rc;
}

int br__plan_lay_out(struct br__planner *pl)
{
    struct layout l = {.pl = pl, .p = pl->p, .err = pl->err};
    const struct br__expansion *x = pl->p->b.x;
    struct br__move *sorted;
    int rc = pl->src_is_hf ? make_outputs(&l, x->mc, x->n_mc) : make_outputs(&l, x->hf, x->n_hf);
    if (rc || (rc = sorted_by_hf(&l, &sorted)))
        return rc;
    return pl->src_is_hf ? import_pieces(&l) : export_pieces(&l, sorted);
}
