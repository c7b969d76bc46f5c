/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* check.c - do the values of a recipe fit each other?
 *
 * Two grids share the processes: dense (tp, cp, dp, pp) and expert (etp, ep, expert-dp, pp).  Each
 * rule prints its equation with the numbers put in, and names the file and line of the value it is
 * about.
 *
 * Source of the rules: megatron.core.transformer.transformer_config,
 * megatron.core.transformer.moe.moe_layer and optimizer_param_scheduler (core 0.19.2);
 * megatron.bridge.training.config (0.6.2). */
#include "recipe_internal.h"

#include <inttypes.h>
#include <string.h>

struct checker {
    const struct br__recipe *r;
    struct br__recipe_grid g;
    void (*line)(void *ud, const char *text);
    void *ud;
    size_t n;
};

#define INT(c, key) br__recipe_i((c)->r, BR__RK_##key, 0)
#define HAS(c, key) br__recipe_has((c)->r, BR__RK_##key)

/* One contradiction; id: the key at fault, whose file and line go before the text. */
static void check_say(struct checker *c, uint32_t id, const char *fmt, ...) BR_PRINTF(3, 4);
static void check_say(struct checker *c, uint32_t id, const char *fmt, ...)
{
    const struct br__recipe_value *v = &c->r->v[id];
    char text[600];
    int n = 0;
    va_list ap;

    c->n++;
    if (!c->line)
        return;
    if (v->line)
        n = snprintf(text, sizeof text, "%s:%d: ", v->from, v->line);
    else if (v->from && !strcmp(v->from, "--set"))
        n = snprintf(text, sizeof text, "%s: ", v->from);
    n = BR__MIN(n, (int)sizeof text - 1);
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    va_end(ap);
    c->line(c->ud, text);
}

/* ---- grids ----------------------------------------------------------------------------------- */

void br__recipe_grid(const struct br__recipe *r, int64_t world, struct br__recipe_grid *g)
{
    *g = (struct br__recipe_grid){
        .world = world ? world : br__recipe_i(r, BR__RK_gpus, 0),
        .tp = br__recipe_i(r, BR__RK_tp, 1),
        .pp = br__recipe_i(r, BR__RK_pp, 1),
        .cp = br__recipe_i(r, BR__RK_cp, 1),
        .ep = br__recipe_i(r, BR__RK_ep, 1),
        .vpp = br__recipe_i(r, BR__RK_vpp, 1),
    };
    g->etp = br__recipe_i(r, BR__RK_etp, g->tp);
    int64_t dense = g->tp * g->cp, expert = g->etp * g->ep;
    if (!br__recipe_has(r, BR__RK_num_moe_experts))
        expert = 1; /* a dense model has no expert grid */
    if (__builtin_mul_overflow(dense / (int64_t)br__gcd((uint64_t)dense, (uint64_t)expert), expert,
                               &g->min_world) ||
        __builtin_mul_overflow(g->min_world, g->pp, &g->min_world))
        g->min_world = INT64_MAX;
    if (g->world % (dense * g->pp) == 0)
        g->dp = g->world / (dense * g->pp);
    if (g->world % (expert * g->pp) == 0)
        g->edp = g->world / (expert * g->pp);
}

static void check_world(struct checker *c)
{
    const struct br__recipe_grid *g = &c->g;

    if (g->world && !g->dp)
        check_say(c, BR__RK_gpus,
                  "world %" PRId64 " is not tp %" PRId64 " × pp %" PRId64 " × cp %" PRId64
                  " × dp; the least that is: %" PRId64,
                  g->world, g->tp, g->pp, g->cp, g->min_world);
    if (g->world && !g->edp && HAS(c, num_moe_experts))
        check_say(c, BR__RK_gpus,
                  "world %" PRId64 " is not etp %" PRId64 " × ep %" PRId64 " × pp %" PRId64
                  " × expert-dp; the least that is: %" PRId64,
                  g->world, g->etp, g->ep, g->pp, g->min_world);
}

/* value % by == 0, if there is a value. */
static void check_divides(struct checker *c, uint32_t id, uint32_t by, int64_t n)
{
    const char *name = br__recipe_keys[id].name, *by_name = br__recipe_keys[by].name;
    int64_t v = br__recipe_i(c->r, id, 0);

    if (v % n)
        check_say(c, c->r->v[by].line || !c->r->v[id].line ? by : id,
                  "%s %" PRId64 " is not %s %" PRId64 " × a whole number", name, v, by_name, n);
}

static void check_tensor(struct checker *c)
{
    const struct br__recipe_grid *g = &c->g;
    int64_t groups = INT(c, num_query_groups);

    check_divides(c, BR__RK_num_attention_heads, BR__RK_tp, g->tp);
    if (!HAS(c, num_moe_experts))
        check_divides(c, BR__RK_ffn_hidden_size, BR__RK_tp, g->tp);
    check_divides(c, BR__RK_moe_shared_expert_intermediate_size, BR__RK_tp, g->tp);
    check_divides(c, BR__RK_moe_ffn_hidden_size, HAS(c, etp) ? BR__RK_etp : BR__RK_tp, g->etp);
    check_divides(c, BR__RK_linear_num_key_heads, BR__RK_tp, g->tp);
    check_divides(c, BR__RK_linear_num_value_heads, BR__RK_tp, g->tp);
    if (groups && groups % g->tp && g->tp % groups)
        check_say(c, BR__RK_tp,
                  "num_query_groups %" PRId64 " is neither a multiple nor a divisor of tp %" PRId64,
                  groups, g->tp);
    if (groups && INT(c, num_attention_heads) % groups)
        check_say(c, BR__RK_num_query_groups,
                  "num_attention_heads %" PRId64 " is not num_query_groups %" PRId64
                  " × a whole number",
                  INT(c, num_attention_heads), groups);
}

struct br__stage_opts br__recipe_stage_opts(const struct br__recipe *r)
{
    const struct br__recipe_value *layout = &r->v[BR__RK_pp_layout];

    return (struct br__stage_opts){
        .n_layers = (uint32_t)br__recipe_i(r, BR__RK_num_layers, 0),
        .n_mtp = (uint32_t)br__recipe_i(r, BR__RK_mtp_num_layers, 0),
        .pp = (uint32_t)br__recipe_i(r, BR__RK_pp, 1),
        .vpp = (uint32_t)br__recipe_i(r, BR__RK_vpp, 0),
        .first = (uint32_t)br__recipe_i(r, BR__RK_num_layers_in_first_pipeline_stage, 0),
        .last = (uint32_t)br__recipe_i(r, BR__RK_num_layers_in_last_pipeline_stage, 0),
        .embedding = br__recipe_i(r, BR__RK_account_for_embedding_in_pipeline_split, 0) != 0,
        .loss = br__recipe_i(r, BR__RK_account_for_loss_in_pipeline_split, 0) != 0,
        .layout = layout->tag == 'T' ? layout->text : NULL,
        .tied = br__recipe_i(r, BR__RK_tied_embeddings, 0) != 0,
    };
}

int br__recipe_stages(struct br__arena *a, const struct br__recipe *r, struct br__stages *out,
                      struct br_err *err)
{
    const struct br__stage_opts o = br__recipe_stage_opts(r);

    return br__stages_make(a, &o, out, err);
}

int br__recipe_pipe(const struct br__recipe *r, const struct br__recipe_grid *g, uint32_t vpp,
                    struct br__pipe_opts *out, struct br_err *err)
{
    int64_t gbs = br__recipe_i(r, BR__RK_global_batch_size, 0), per_pass;
    if (!g->dp ||
        __builtin_mul_overflow(br__recipe_i(r, BR__RK_micro_batch_size, 1), g->dp, &per_pass) ||
        gbs < per_pass)
        return br_fail(err, BR_E_CONFIG,
                       "global_batch_size %" PRId64 " gives no micro batch to each of dp %" PRId64
                       " ranks",
                       gbs, g->dp);
    *out = (struct br__pipe_opts){
        .pp = (uint32_t)g->pp,
        .vpp = vpp,
        .micro_batches = (uint32_t)BR__MIN(gbs / per_pass, UINT32_MAX),
        .group = (uint32_t)br__recipe_i(r, BR__RK_microbatch_group_size_per_vp_stage, 0),
    };
    return br__pipe_check(out, err);
}

/* The key that decides which layers a stage has. */
static uint32_t stages_key(const struct checker *c)
{
    if (c->r->v[BR__RK_pp_layout].tag == 'T')
        return BR__RK_pp_layout;
    if (HAS(c, num_layers_in_first_pipeline_stage))
        return BR__RK_num_layers_in_first_pipeline_stage;
    if (HAS(c, num_layers_in_last_pipeline_stage))
        return BR__RK_num_layers_in_last_pipeline_stage;
    return HAS(c, vpp) && c->g.pp == 1 ? BR__RK_vpp : BR__RK_pp;
}

static void check_pipeline(struct checker *c)
{
    struct br__arena a = {0};
    struct br__stages stages;
    struct br__pipe_opts pipe;
    struct br_err why = BR_ERR_INIT;

    if (INT(c, num_layers) && br__recipe_stages(&a, c->r, &stages, &why))
        check_say(c, stages_key(c), "%s", why.msg);
    else if (INT(c, num_layers) && c->g.dp && c->g.pp > 1 &&
             br__recipe_pipe(c->r, &c->g, stages.vpp, &pipe, &why))
        check_say(c,
                  stages.vpp > 1 && HAS(c, microbatch_group_size_per_vp_stage)
                      ? BR__RK_microbatch_group_size_per_vp_stage
                      : BR__RK_global_batch_size,
                  "%s", why.msg);
    br__arena_free(&a);
}

static void check_experts(struct checker *c)
{
    int64_t experts = INT(c, num_moe_experts), topk = INT(c, moe_router_topk);

    if (!experts && c->g.ep > 1) {
        check_say(c, BR__RK_ep, "ep %" PRId64 " needs experts, but num_moe_experts is null",
                  c->g.ep);
        return;
    }
    check_divides(c, BR__RK_num_moe_experts, BR__RK_ep, c->g.ep);
    if (experts && topk > experts)
        check_say(c, BR__RK_moe_router_topk,
                  "moe_router_topk %" PRId64 " is more than num_moe_experts %" PRId64, topk,
                  experts);
    if (experts && c->g.tp > 1 && !INT(c, sequence_parallel))
        check_say(c, BR__RK_sequence_parallel,
                  "tp %" PRId64 " with experts needs sequence_parallel=true to train", c->g.tp);
}

static void check_sequence(struct checker *c)
{
    int64_t seq = INT(c, seq_length), parts = c->g.cp > 1 ? 2 * c->g.cp : 1;

    if (INT(c, sequence_parallel) && c->g.tp == 1)
        check_say(c, BR__RK_sequence_parallel, "sequence_parallel=true needs tp > 1, got tp 1");
    if (INT(c, sequence_parallel) && (seq / c->g.cp) % c->g.tp)
        check_say(c, BR__RK_seq_length,
                  "seq_length %" PRId64 " / cp %" PRId64 " is not tp %" PRId64
                  " × a whole number, which sequence_parallel needs",
                  seq, c->g.cp, c->g.tp);
    if (seq % parts)
        check_say(c, BR__RK_seq_length,
                  "seq_length %" PRId64 " is not 2 × cp %" PRId64 " × a whole number", seq,
                  c->g.cp);
    if (INT(c, dataset_seq_length) != seq)
        check_say(c, BR__RK_dataset_seq_length,
                  "dataset_seq_length %" PRId64 " is not seq_length %" PRId64,
                  INT(c, dataset_seq_length), seq);
}

static void check_batch(struct checker *c)
{
    int64_t gbs = INT(c, global_batch_size), mbs = INT(c, micro_batch_size), chunk;

    if (!c->g.dp)
        return;
    if (__builtin_mul_overflow(mbs, c->g.dp, &chunk) || gbs % chunk)
        check_say(c, BR__RK_global_batch_size,
                  "global_batch_size %" PRId64 " is not micro_batch_size %" PRId64 " × dp %" PRId64
                  " × a whole number",
                  gbs, mbs, c->g.dp);
    if (INT(c, packed_sequence) && mbs != 1)
        check_say(c, BR__RK_micro_batch_size,
                  "packed_sequence=true needs micro_batch_size 1, got %" PRId64, mbs);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int check_is(const struct checker *c, uint32_t id, const char *text)
{
    return c->r->v[id].tag == 'T' && !strcmp(c->r->v[id].text, text);
}

static void check_recompute(struct checker *c)
{
    const struct br__recipe_value *method = &c->r->v[BR__RK_recompute_method];
    int full = check_is(c, BR__RK_recompute_granularity, "full");

    if (full && (method->tag != 'T' || !HAS(c, recompute_num_layers)))
        check_say(c, BR__RK_recompute_granularity,
                  "recompute_granularity=full needs recompute_method and recompute_num_layers");
    if (!full && (method->tag == 'T' || HAS(c, recompute_num_layers)))
        check_say(c, BR__RK_recompute_method,
                  "recompute_method and recompute_num_layers need recompute_granularity=full");
    if (c->r->v[BR__RK_recompute_modules].tag == 'L' &&
        !check_is(c, BR__RK_recompute_granularity, "selective"))
        check_say(c, BR__RK_recompute_modules,
                  "recompute_modules needs recompute_granularity=selective");
}

static void check_schedule(struct checker *c)
{
    const struct br__recipe_value *v = c->r->v;
    int64_t warmup = INT(c, lr_warmup_iters), decay = INT(c, eff_lr_decay_iters);

    if (warmup >= decay)
        check_say(c, v[BR__RK_train_iters].line ? BR__RK_train_iters : BR__RK_lr_warmup_iters,
                  "lr_warmup_iters %" PRId64 " is not less than the %" PRId64
                  " steps of the decay; "
                  "set one of lr_warmup_iters, lr_decay_iters and train_iters",
                  warmup, decay);
    if (v[BR__RK_min_lr].f > v[BR__RK_lr].f)
        check_say(c, BR__RK_min_lr, "min_lr %g is more than lr %g", v[BR__RK_min_lr].f,
                  v[BR__RK_lr].f);
    if (v[BR__RK_start_weight_decay].tag == 'F' && v[BR__RK_end_weight_decay].tag == 'F' &&
        v[BR__RK_end_weight_decay].f < v[BR__RK_start_weight_decay].f)
        check_say(c, BR__RK_end_weight_decay,
                  "end_weight_decay %g is less than start_weight_decay %g",
                  v[BR__RK_end_weight_decay].f, v[BR__RK_start_weight_decay].f);
    if (check_is(c, BR__RK_weight_decay_incr_style, "constant") &&
        v[BR__RK_end_weight_decay].f != v[BR__RK_start_weight_decay].f)
        check_say(
            c, BR__RK_end_weight_decay,
            "weight_decay_incr_style=constant needs end_weight_decay %g to be start_weight_decay "
            "%g",
            v[BR__RK_end_weight_decay].f, v[BR__RK_start_weight_decay].f);
}

/* What a WSD schedule needs, and two keys that say the same thing. */
static void check_newer(struct checker *c)
{
    const struct br__recipe_value *v = c->r->v, *apply = &v[BR__RK_apply_wd_to_qk_layernorm];
    int wsd = check_is(c, BR__RK_lr_decay_style, "WSD");

    if (wsd && !HAS(c, lr_wsd_decay_iters))
        check_say(c, BR__RK_lr_decay_style, "lr_decay_style=WSD needs lr_wsd_decay_iters");
    if (!wsd && (HAS(c, lr_wsd_decay_iters) || v[BR__RK_lr_wsd_decay_style].tag))
        check_say(
            c, HAS(c, lr_wsd_decay_iters) ? BR__RK_lr_wsd_decay_iters : BR__RK_lr_wsd_decay_style,
            "lr_wsd_decay_iters and lr_wsd_decay_style need lr_decay_style=WSD");
    if (wsd && INT(c, lr_wsd_decay_iters) > INT(c, eff_lr_decay_iters))
        check_say(c, BR__RK_lr_wsd_decay_iters,
                  "lr_wsd_decay_iters %" PRId64 " is more than the %" PRId64 " steps of the decay",
                  INT(c, lr_wsd_decay_iters), INT(c, eff_lr_decay_iters));
    if (apply->tag && !apply->i && v[BR__RK_no_weight_decay_cond_type].tag == 'T')
        check_say(
            c, BR__RK_apply_wd_to_qk_layernorm,
            "apply_wd_to_qk_layernorm=false contradicts no_weight_decay_cond_type=qwen3_next, "
            "which "
            "decays the norms of queries and keys; set that to null");
    if (apply->tag && apply->i && v[BR__RK_no_weight_decay_cond_type].tag == '0' &&
        br__recipe_is_set(c->r, BR__RK_no_weight_decay_cond_type))
        check_say(
            c, BR__RK_apply_wd_to_qk_layernorm,
            "apply_wd_to_qk_layernorm=true contradicts no_weight_decay_cond_type=null; leave one "
            "out");
}

/* Keys of adapters without an adapter, and the other way round. */
static void check_adapter(struct checker *c)
{
    int has_adapter = !strcmp(c->r->mode, "lora") || !strcmp(c->r->mode, "dora");

    for (uint32_t id = BR__RK_peft_class; id <= BR__RK_peft_share_expert_adapters; id++)
        if (!has_adapter && c->r->v[id].tag) {
            check_say(c, id, "%s is set, but mode %s trains no adapter", br__recipe_keys[id].name,
                      c->r->mode);
            return;
        }
    if (has_adapter) /* Megatron's ranks share the narrow side of an adapter out */
        check_divides(c, BR__RK_peft_dim, BR__RK_tp, c->g.tp);
    if (has_adapter && c->r->v[BR__RK_peft_class].tag &&
        !check_is(c, BR__RK_peft_class, strcmp(c->r->mode, "lora") ? "DoRA" : "LoRA"))
        check_say(c, BR__RK_peft_class, "peft_class %s is not what mode %s trains",
                  c->r->v[BR__RK_peft_class].text, c->r->mode);
}

static void check_tokenizer(struct checker *c)
{
    int64_t vocab = INT(c, vocab_size), tokens = INT(c, tokenizer_vocab_size);

    if (check_is(c, BR__RK_tokenizer_type, "NullTokenizer") && !tokens)
        check_say(c, BR__RK_tokenizer_vocab_size, "NullTokenizer needs tokenizer_vocab_size");
    if (vocab && tokens > vocab)
        check_say(c, BR__RK_tokenizer_vocab_size,
                  "tokenizer_vocab_size %" PRId64 " is more than vocab_size %" PRId64, tokens,
                  vocab);
}

size_t br__recipe_check(const struct br__recipe *r, int64_t world,
                        void (*line)(void *ud, const char *text), void *ud)
{
    static void (*const rules[])(struct checker *) = {
        check_tensor, check_pipeline, check_experts,   check_sequence,
        check_world,  check_batch,    check_recompute, check_schedule,
        check_newer,  check_adapter,  check_tokenizer,
    };
    struct checker c = {.r = r, .line = line, .ud = ud};

    br__recipe_grid(r, world, &c.g);
    for (size_t i = 0; i < BR_COUNTOF(rules); i++)
        rules[i](&c);
    return c.n;
}
