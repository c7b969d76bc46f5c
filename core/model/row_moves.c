/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* row_moves.c - every layout change as moves of consecutive rows.
 *
 * A layout says which rows of its HF inputs are which rows of its Megatron outputs.  Import copies
 * them forward, export backward, so there is no inverse to write or to get wrong.
 *
 * Row orders: Megatron Bridge models/conversion/param_mapping.py (QKV, gated QKV, gated MLP, GDN
 * linear), Megatron-LM core/ssm/gated_delta_net.py and core/transformer/mlp.py for the stored form;
 * checked against checkpoints written by both. */
#include "model_internal.h"

#include <string.h>

static const struct {
    const char *name;
    int n_hf, n_mcore;
} layouts[BR_N_LAYOUTS] = {
#define BR_X(name, n_hf, n_mcore) {#name, n_hf, n_mcore},
    BR_LAYOUT_MAP(BR_X)
#undef BR_X
};

int br__layout_n_hf(uint32_t layout)
{
    return layouts[layout].n_hf;
}

int br__layout_n_mcore(uint32_t layout)
{
    return layouts[layout].n_mcore;
}

const char *br__layout_name(uint32_t layout)
{
    return layout < BR_N_LAYOUTS ? layouts[layout].name : "?";
}

/* Collects row moves output by output; rows of an output come in order, so mc_row is a running sum.
 */
struct emitter {
    struct br__arena *arena;
    struct br__row_move *moves;
    size_t n, cap;
    int64_t *mc_rows;
    int nomem;
};

static void moves_emit(struct emitter *e, int mc, int hf, int64_t hf_row, int64_t n)
{
    struct br__row_move *last = e->n ? &e->moves[e->n - 1] : NULL;
    if (last && last->mc == mc && last->hf == hf && last->hf_row + last->n == hf_row) {
        last->n += n;
        e->mc_rows[mc] += n;
        return;
    }
    if (e->n == e->cap) {
        size_t cap = e->cap ? 2 * e->cap : 64;
        struct br__row_move *grown = br__arena_alloc(e->arena, cap * sizeof *grown);
        if (!grown) {
            e->nomem = 1;
            return;
        }
        if (e->n)
            memcpy(grown, e->moves, e->n * sizeof *grown);
        e->moves = grown;
        e->cap = cap;
    }
    e->moves[e->n++] = (struct br__row_move){hf, mc, hf_row, e->mc_rows[mc], n};
    e->mc_rows[mc] += n;
}

/* q, k, v -> per query group [its query heads][its gate heads][k][v].  A gated q_proj carries
 * [query | gate] rows per head. */
static void emit_qkv(struct emitter *e, const struct br_config *cfg, int gated)
{
    int64_t heads = br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS);
    int64_t groups = br_cfg_i(cfg, BR_CFG_NUM_QUERY_GROUPS);
    int64_t hd = br_cfg_i(cfg, BR_CFG_KV_CHANNELS);
    int64_t per = heads / groups, q_head = gated ? 2 * hd : hd;
    for (int64_t g = 0; g < groups; g++) {
        for (int part = 0; part <= gated; part++)
            for (int64_t h = g * per; h < (g + 1) * per; h++)
                moves_emit(e, 0, 0, h * q_head + part * hd, hd);
        moves_emit(e, 0, 1, g * hd, hd);
        moves_emit(e, 0, 2, g * hd, hd);
    }
}

/* qkvz and ba, both packed per key head, -> query, key, value, z, beta, alpha, each whole. */
static void emit_gdn_in(struct emitter *e, const struct br_config *cfg)
{
    int64_t nk = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_KEY_HEADS);
    int64_t per = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_VALUE_HEADS) / nk; /* value heads of a key head */
    int64_t dk = br_cfg_i(cfg, BR_CFG_LINEAR_KEY_HEAD_DIM);
    int64_t dv = per * br_cfg_i(cfg, BR_CFG_LINEAR_VALUE_HEAD_DIM);
    const struct {
        int hf;
        int64_t first, n;
    } parts[] = {
        {0, 0, dk}, {0, dk, dk}, {0, 2 * dk, dv}, {0, 2 * dk + dv, dv}, {1, 0, per}, {1, per, per},
    };
    for (int p = 0; p < (int)BR_COUNTOF(parts); p++) {
        int64_t stride = parts[p].hf ? 2 * per : 2 * dk + 2 * dv;
        for (int64_t h = 0; h < nk; h++)
            moves_emit(e, p, parts[p].hf, h * stride + parts[p].first, parts[p].n);
    }
}

/* flat channels -> query, key, value */
static void emit_gdn_conv(struct emitter *e, const struct br_config *cfg)
{
    int64_t qk =
        br_cfg_i(cfg, BR_CFG_LINEAR_NUM_KEY_HEADS) * br_cfg_i(cfg, BR_CFG_LINEAR_KEY_HEAD_DIM);
    int64_t v =
        br_cfg_i(cfg, BR_CFG_LINEAR_NUM_VALUE_HEADS) * br_cfg_i(cfg, BR_CFG_LINEAR_VALUE_HEAD_DIM);
    moves_emit(e, 0, 0, 0, qk);
    moves_emit(e, 1, 0, qk, qk);
    moves_emit(e, 2, 0, 2 * qk, v);
}

int br__layout_row_moves(struct br__arena *a, uint32_t layout, const struct br_config *cfg,
                         const int64_t *hf_rows, struct br__row_move **out, size_t *n,
                         int64_t *mc_rows, struct br_err *err)
{
    struct emitter e = {.arena = a, .mc_rows = mc_rows};
    memset(mc_rows, 0, (size_t)layouts[layout].n_mcore * sizeof *mc_rows);
    switch (layout) {
    case BR_LAYOUT_QKV:
    case BR_LAYOUT_QKVG:
        emit_qkv(&e, cfg, layout == BR_LAYOUT_QKVG);
        break;
    case BR_LAYOUT_CONCAT:
        if (hf_rows[0] != hf_rows[1]) /* the two are stored as equal chunks */
            return br_fail(err, BR_E_PLUGIN,
                           "layout CONCAT joins %lld and %lld rows, expected as many",
                           (long long)hf_rows[0], (long long)hf_rows[1]);
        moves_emit(&e, 0, 0, 0, hf_rows[0]);
        moves_emit(&e, 0, 1, 0, hf_rows[1]);
        break;
    case BR_LAYOUT_GDN_IN:
        emit_gdn_in(&e, cfg);
        break;
    case BR_LAYOUT_GDN_CONV:
        emit_gdn_conv(&e, cfg);
        break;
    default:
        BR_BUG("layout %u has no moves", layout);
    }
    if (e.nomem)
        return br__nomem(err, "laying out weights");
    int64_t used[BR__MAX_LIST] = {0};
    for (size_t i = 0; i < e.n; i++)
        used[e.moves[i].hf] += e.moves[i].n;
    for (int i = 0; i < layouts[layout].n_hf; i++)
        if (used[i] != hf_rows[i])
            return br_fail(err, BR_E_PLUGIN, "layout %s uses %lld rows of input %d, which has %lld",
                           layouts[layout].name, (long long)used[i], i, (long long)hf_rows[i]);
    *out = e.moves;
    *n = e.n;
    return BR_OK;
}
