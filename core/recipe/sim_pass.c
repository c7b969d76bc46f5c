/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sim_pass.c - what a pass of one chunk exchanges with the ranks of its stage, collective by
 * collective as core/engine builds them: linears and norms (blocks.c), routed experts
 * (block_moe.c), delta nets (block_gdn.c), losses (block_loss.c), what is computed again
 * (recompute.c).
 *
 * Collectives are rings: of a buffer over n ranks each sends (n - 1) / n.  Taken for granted: rows
 * of a micro batch need no padding (graphs of dense models have multiples of 64), and experts get
 * the same number of tokens. */
#include "recipe_internal.h"

#include <string.h>

double br__sim_send(const struct br__sim_state *s, int across, double bytes, double messages)
{
    const struct br__sim_network *w = &s->opts->network;
    return across ? bytes / w->net_bandwidth + messages * w->net_latency
                  : bytes / w->node_bandwidth + messages * w->node_latency;
}

void br__sim_ring(const struct br__sim_state *s, struct br__sim_pass *p, enum br_group g,
                  enum br__sim_cost cost, double times, double bytes)
{
    double n = s->n[g];
    if (n < 2)
        return;
    double sent = bytes * (n - 1) / n;
    p->bytes[g] += times * sent;
    p->seconds[cost] += times * br__sim_send(s, s->out->across[g], sent, n - 1);
}

/* ---- one pass -------------------------------------------------------------------------------- */

/* Backward passes compute some layers again first. */
enum turn { FORWARD, BACKWARD, AGAIN };
struct exchange {
    const struct br__sim_state *s;
    const struct br__chunk *c;
    const struct br__recipe_part *part;
    struct br__sim_pass *p;
    enum turn turn;
};

static int64_t pass_int(const struct exchange *x, uint32_t id)
{
    return br__recipe_i(x->s->r, id, 0);
}
#define INT(x, key) pass_int((x), BR__RK_##key)

static void add(const struct exchange *x, enum br_group g, enum br__sim_cost cost, double times,
                double bytes)
{
    br__sim_ring(x->s, x->p, g, cost, times, bytes);
}

static void add_hidden(const struct exchange *x, double times)
{
    add(x, BR_GROUP_TP, BR__SIM_TP, times, x->part->hidden * x->s->value_bytes);
}

/* Hidden states go into linears that tensor-parallel ranks share: their rows are gathered, or all
 * ranks have them and the gradient is a sum. */
static void enter_tp(const struct exchange *x)
{
    add_hidden(x, x->s->sp ? 1 : x->turn == BACKWARD ? 2 : 0);
}

/* And come out, as a sum: the other way round. */
static void leave_tp(const struct exchange *x)
{
    add_hidden(x, x->s->sp ? 1 : x->turn == BACKWARD ? 0 : 2);
}

/* Context-parallel ranks gather keys and values, or exchange rows for heads of a delta net and
 * back. */
static void add_attention(const struct exchange *x, uint32_t i)
{
    const struct br__sim_state *s = x->s;
    int delta = i < x->c->n_layers && br__recipe_is_delta(s->r, x->c->first + i);
    enter_tp(x);
    if (delta) {
        add(x, BR_GROUP_CP, BR__SIM_CP, 1, x->part->delta_in * s->value_bytes);
        add(x, BR_GROUP_CP, BR__SIM_CP, 1, x->part->delta_out * s->value_bytes);
    } else {
        double both = x->part->key_values * s->value_bytes * s->n[BR_GROUP_CP];
        add(x, BR_GROUP_CP, BR__SIM_CP, 2, both / 2);
    }
    leave_tp(x);
}

/* How often each expert was chosen, for the load-balancing loss; and losses of all rows that ranks
 * share. */
static void add_balance(const struct exchange *x)
{
    const struct br__sim_state *s = x->s;
    const char *kind = s->r->v[BR__RK_moe_router_load_balancing_type].text;
    int tp = s->sp && s->n[BR_GROUP_TP] > 1, cp = s->n[BR_GROUP_CP] > 1;
    enum br_group rows = tp && cp ? BR_GROUP_TP_CP : tp ? BR_GROUP_TP : BR_GROUP_CP, all = rows;
    int has_z = s->r->v[BR__RK_moe_z_loss_coeff].f != 0 && x->turn == FORWARD;
    double times = kind && !strcmp(kind, "seq_aux_loss") ? (double)INT(x, micro_batch_size) : 1;
    int has_aux = kind && strcmp(kind, "none") && s->r->v[BR__RK_moe_aux_loss_coeff].f != 0;

    if (kind && !strcmp(kind, "global_aux_loss") && s->n[BR_GROUP_DP] > 1)
        all = BR_GROUP_TP_DP_CP;
    if (has_aux)
        add(x, all, BR__SIM_EP, 2 * times, (double)INT(x, num_moe_experts) * sizeof(float));
    add(x, rows, BR__SIM_EP, 2 * ((has_aux && x->turn == FORWARD) + has_z), sizeof(float));
}

/* Ranks that share an expert's channels gather their tokens and scatter what comes of them.  Each
 * token's row goes to each of its experts with its share, and comes back; how many rows there are
 * goes ahead.  is_last: nothing needs what is made of them here. */
static void add_experts(const struct exchange *x, int is_last)
{
    const struct br__sim_state *s = x->s;
    double hidden = (double)INT(x, hidden_size), k = (double)INT(x, moe_router_topk);
    double tokens =
        s->n[BR_GROUP_ETP] * x->part->hidden / hidden / (s->sp ? (double)s->n[BR_GROUP_TP] : 1);
    double row = hidden * s->value_bytes;
    int backward = x->turn == BACKWARD;

    add(x, BR_GROUP_ETP, BR__SIM_EP, 1, tokens * row);
    add(x, BR_GROUP_ETP, BR__SIM_EP, backward ? 1 : 2, tokens * k * sizeof(float)); /* choices */
    if (!backward)
        add(x, BR_GROUP_EP, BR__SIM_EP, 1, (double)INT(x, num_moe_experts) * sizeof(int32_t));
    add(x, BR_GROUP_EP, BR__SIM_EP, 1, tokens * k * row);
    add(x, BR_GROUP_EP, BR__SIM_EP, 1, tokens * k * sizeof(float));
    if (!is_last) {
        add(x, BR_GROUP_EP, BR__SIM_EP, 1, tokens * k * row);
        add(x, BR_GROUP_ETP, BR__SIM_EP, 1, tokens * row);
    }
    if (!backward)
        add_balance(x);
}

static int is_routed(const struct exchange *x)
{
    return INT(x, num_moe_experts) > 0;
}

static int has_mlp(const struct exchange *x)
{
    return !is_routed(x) || INT(x, moe_shared_expert_intermediate_size) > 0;
}

/* is_last: nothing needs its output, but for the gradient of its gate. */
static void add_mlp(const struct exchange *x, int is_last)
{
    enter_tp(x);
    if (!is_last || x->part->shared_gate)
        leave_tp(x);
}

/* Layer i of the chunk. */
static void add_layer(const struct exchange *x, uint32_t i, int is_last)
{
    add_attention(x, i);
    if (is_routed(x))
        add_experts(x, is_last);
    if (has_mlp(x))
        add_mlp(x, is_last);
}

/* ---- what is computed again ------------------------------------------------------------------ */

static int has_text(const struct br__recipe_value *v, const char *text)
{
    return (v->tag == 'T' || v->tag == 'L') && strstr(v->text, text) != NULL;
}

/* Segments of layers; of the end of each nothing is needed but its input. */
static void add_segments(const struct exchange *x)
{
    const struct br__recipe *r = x->s->r;
    int uniform = !has_text(&r->v[BR__RK_recompute_method], "block");
    uint32_t n = (uint32_t)BR__MAX(INT(x, recompute_num_layers), 1), layers = x->c->n_layers;

    for (uint32_t i = 0; i < layers + x->c->n_mtp; i++)
        if (uniform || i < n)
            add_layer(x, i, !uniform || i + 1 >= layers || (i + 1) % n == 0);
}

static void add_modules(const struct exchange *x)
{
    const struct br__recipe_value *v = &x->s->r->v[BR__RK_eff_recompute_modules];
    int moe = is_routed(x) && has_text(v, "\"moe\"");
    int mlp = has_text(v, is_routed(x) ? "\"shared_experts\"" : "\"mlp\"");

    for (uint32_t i = 0; i < x->c->n_layers + x->c->n_mtp; i++) {
        if (moe)
            add_experts(x, 1);
        if (moe && has_mlp(x))
            add_mlp(x, 1);
        else if (mlp)
            enter_tp(x);
    }
}

static void add_again(struct exchange x)
{
    const struct br__recipe_value *granularity = &x.s->r->v[BR__RK_recompute_granularity];

    x.turn = AGAIN;
    if (has_text(granularity, "full"))
        add_segments(&x);
    else if (has_text(granularity, "selective"))
        add_modules(&x);
}

/* ---- the whole ------------------------------------------------------------------------------- */

void br__sim_exchange(const struct br__sim_state *s, const struct br__chunk *c, int backward,
                      struct br__sim_pass *p)
{
    const struct exchange x = {.s = s,
                               .c = c,
                               .part = &s->parts[c - s->out->stages.chunks],
                               .p = p,
                               .turn = backward ? BACKWARD : FORWARD};
    uint32_t heads = c->head ? 1 + (INT(&x, mtp_num_layers) > 0) : 0;
    double tokens = x.part->hidden / (double)INT(&x, hidden_size);

    for (uint32_t i = 0; i < (uint32_t)c->embedding + c->n_mtp; i++)
        leave_tp(&x);
    for (uint32_t i = 0; i < c->n_layers + c->n_mtp; i++)
        add_layer(&x, i, 0);
    for (uint32_t i = 0; i < heads; i++)
        enter_tp(&x);
    if (!backward) /* of each token the largest logit, a sum, and the label's */
        add(&x, BR_GROUP_TP, BR__SIM_TP, heads, 3 * sizeof(float) * tokens * s->n[BR_GROUP_TP]);
    else
        add_again(x);
}
