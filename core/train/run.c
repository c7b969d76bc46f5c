/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* run.c - a recipe as a training run: every key is used, without effect, or refused (run_keys.def),
 * and what is used becomes a typed field with its default resolved. */
#include "run.h"
#include "optim.h"

#include <inttypes.h>
#include <string.h>

const struct br__run_key br__run_keys[BR__N_RK] = {
#define USED(key) [BR__RK_##key] = {BR__KEY_USED, NULL, NULL},
#define MODEL(key) [BR__RK_##key] = {BR__KEY_MODEL, NULL, NULL},
#define IDLE(key, why) [BR__RK_##key] = {BR__KEY_IDLE, NULL, why},
#define ONLY(key, values, why) [BR__RK_##key] = {BR__KEY_ONLY, values, why},
#include "run_keys.def"
#undef USED
#undef MODEL
#undef IDLE
#undef ONLY
};

/* ---- what is refused ------------------------------------------------------------------------- */

static int is_among(const char *words, const char *text)
{
    size_t n = strlen(text);

    for (const char *p = words; *p;) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, text, n))
            return 1;
        p += len + (p[len] == '|');
    }
    return 0;
}

static int check_keys(struct br__run_maker *k)
{
    int rc = BR_OK;

    for (uint32_t id = 0; id < BR__N_RK && !rc; id++) {
        const struct br__run_key *use = &br__run_keys[id];
        struct br__buf b = {0};
        if (use->use != BR__KEY_ONLY || !br__run_get(k, id)->tag)
            continue;
        br__recipe_value_text(&b, &k->r->v[id]);
        if (b.failed)
            rc = br__nomem(k->err, "reading a recipe");
        else if (!is_among(use->values, b.p))
            rc = br_fail(k->err, BR_E_UNSUPPORTED, "%s is %s, and only %s can be trained with: %s",
                         br__recipe_keys[id].name, b.p, use->values, use->why);
        br__buf_free(&b);
    }
    return rc;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

/* More ranks than there are: all numbers in one sentence, and what to type. */
static int check_ranks(struct br__run_maker *k)
{
    struct br__recipe_grid grid, *g = &grid;

    br__recipe_grid(k->r, 1, g);
    if (k->o->ranks < 0 || k->o->ranks > BR__MAX_PROCESSES)
        return br_fail(k->err, BR_E_USAGE, "%" PRId64 " ranks, expected 1 to %d", k->o->ranks,
                       BR__MAX_PROCESSES);
    if (k->o->ranks || g->min_world == 1)
        return BR_OK;
    return br_fail(k->err, BR_E_USAGE,
                   "recipe '%s' spreads the model over tp %" PRId64 " × pp %" PRId64
                   " × cp %" PRId64 ", ep %" PRId64 ": %" PRId64
                   " ranks, or a multiple; --ranks %" PRId64
                   " runs them as threads of one process, --single-rank sets these sizes to 1 and "
                   "keeps the batch",
                   k->r->name, g->tp, g->pp, g->cp, g->ep, g->min_world, g->min_world);
}

/* Reads the sizes, and how gradients and the optimizer's state are shared. */
static int set_ranks(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    uint32_t n[] = {BR__RK_tp, BR__RK_cp, BR__RK_pp, BR__RK_ep, BR__RK_etp};
    static const uint32_t stages[] = {BR__RK_vpp,
                                      BR__RK_pp_layout,
                                      BR__RK_num_layers_in_first_pipeline_stage,
                                      BR__RK_num_layers_in_last_pipeline_stage,
                                      BR__RK_account_for_embedding_in_pipeline_split,
                                      BR__RK_account_for_loss_in_pipeline_split};

    for (size_t i = 0; i < BR_COUNTOF(n); i++)
        n[i] = (uint32_t)br__run_int(k, n[i], 0);
    for (size_t i = 0; i < BR_COUNTOF(stages); i++)
        (void)br__run_get(k, stages[i]);
    out->stages = br__recipe_stage_opts(k->r);
    out->stage_group = (uint32_t)br__run_int(k, BR__RK_microbatch_group_size_per_vp_stage, 0);
    out->sequence_parallel = br__run_int(k, BR__RK_sequence_parallel, 0) && n[0] > 1;
    out->sharded = br__run_int(k, BR__RK_eff_use_distributed_optimizer, 1) != 0;
    out->average = br__run_int(k, BR__RK_ddp_average_in_collective, 0) != 0;
    out->overlap_reduce = br__run_int(k, BR__RK_ddp_overlap_grad_reduce, 0) != 0;
    out->overlap_gather = br__run_int(k, BR__RK_ddp_overlap_param_gather, 0) != 0;
    int rc = br_topo_make(&out->topo, n[0], n[1], n[2], n[3], n[4],
                          (uint32_t)BR__MAX(k->o->ranks, 1), k->err);
    /* mcore's DistributedDataParallel, of every rank that has its own data */
    int64_t size = rc ? 0 : (int64_t)out->topo.size[BR_AXIS_DP] * out->topo.size[BR_AXIS_CP];
    out->bucket = br__run_int(k, BR__RK_ddp_bucket_size, BR__MAX(40000000, 1000000 * size));
    return rc;
}

/* ---- the model ------------------------------------------------------------------------------- */

/* Whether hf_model is another one than that of the recipe itself. */
static int is_other_model(struct br__run_maker *k, int *other)
{
    struct br__recipe_opts o = {.name = k->r->name, .mode = k->r->mode, .incomplete = 1};
    struct br__recipe own;

    *other = 0;
    if (!br__recipe_is_set(k->r, BR__RK_hf_model))
        return BR_OK;
    int rc = br__recipe_open(k->a, k->registry, &o, &own, k->err);
    if (!rc) {
        const struct br__recipe_value *a = &k->r->v[BR__RK_hf_model], *b = &own.v[BR__RK_hf_model];
        *other = a->tag == 'T' && (b->tag != 'T' || strcmp(a->text, b->text) != 0);
    }
    return rc;
}

static int run_adopt(struct br__run_maker *k, const struct br__ckpt *hf)
{
    const char *model = k->out->hf_model;
    struct br_config *cfg = br__arena_alloc(k->a, sizeof *cfg);

    if (!cfg)
        return br_fail(k->err, BR_E_NOMEM, "out of memory");
    int rc = br__config_of_ckpt(k->a, k->registry, hf, cfg, k->err);
    if (rc)
        return rc;
    if (cfg->arch->plugin != k->r->plugin)
        return br_fail(k->err, BR_E_CONFIG, "hf_model '%s' is a %s, recipe '%s' trains a %s", model,
                       cfg->arch->model_type, k->r->name, k->r->plugin->name);
    br__recipe_adopt_model(k->r, cfg);
    const char *own = br__recipe_unlike(k->r, cfg);
    if (own)
        br__run_note(k, "the model is '%s', but %s is as set", model, own);
    else
        br__run_note(k, "sizes, tokenizer and mtp_num_layers are those of '%s'", model);
    if (!own)
        k->out->config_text = br__arena_strdup(k->a, hf->hf->config_text);
    k->failed |= !own && !k->out->config_text;
    return BR_OK;
}

static int find_model(struct br__run_maker *k)
{
    struct br__ckpt *hf = NULL;
    int other, rc = is_other_model(k, &other);

    k->out->hf_model = br__run_text(k, BR__RK_hf_model);
    if (rc || !other)
        return rc;
    rc = br__hf_open_model(&hf, k->out->hf_model, BR__HF_CONFIG_ONLY, NULL, k->err);
    if (!rc)
        rc = run_adopt(k, hf);
    br__ckpt_close(hf);
    return rc;
}

/* ---- checkpoints that a run begins from ------------------------------------------------------ */

/* DIR/checkpoints/..., as the model page writes it, is DIR/NAME/checkpoints/... where runs have
 * names: *found is the only one that is there, or NULL. */
static int find_below_name(struct br__run_maker *k, const char *path, const char **found)
{
    const char *at = strstr(path, "/checkpoints");
    char **names = NULL;
    size_t n = 0, hits = 0;

    *found = NULL;
    if (!at || (at[12] && at[12] != '/'))
        return BR_OK;
    const char *dir = br__run_printf(k, "%.*s", (int)(at - path), path);
    if (!dir || !br__is_dir(dir))
        return BR_OK;
    int rc = br__list_dir(k->a, dir, &names, &n, k->err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *p = br__run_printf(k, "%s/%s%s", dir, names[i], at);
        if (!p || !br__is_dir(p))
            continue;
        *found = p;
        hits++;
    }
    if (!rc && hits > 1)
        rc =
            br_fail(k->err, BR_E_CONFIG,
                    "'%s' does not exist, and %zu runs below '%s' have a folder of that name; give "
                    "the whole path",
                    path, hits, dir);
    return rc;
}

static int find_weights(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    const char *path = br__run_text(k, BR__RK_pretrained_checkpoint), *found = NULL;

    if (!path && !br__run_text(k, BR__RK_load) && out->mode != BR__MODE_PRETRAIN)
        br__run_note(k,
                     "no pretrained_checkpoint: only a checkpoint of this run can be gone on from");
    if (!path)
        return BR_OK;
    if (!br__exists(path)) {
        int rc = find_below_name(k, path, &found);
        if (rc)
            return rc;
        if (found)
            br__run_note(k, "pretrained_checkpoint '%s' is '%s'", path, found);
        path = found ? found : path;
    }
    out->weights = path;
    const char *config = br__path_join(k->a, path, "config.json");
    k->failed |= !config;
    out->weights_megatron = br__is_dir(path) && config && !br__exists(config);
    return BR_OK;
}

static void set_resume(struct br__run_maker *k)
{
    struct br__run *out = k->out;

    out->load = br__run_text(k, BR__RK_load);
    out->ckpt_step = br__run_int(k, BR__RK_ckpt_step, -1);
    out->finetune = br__run_int(k, BR__RK_finetune, 0) != 0;
    out->load_optim = br__run_int(k, BR__RK_load_optim, 1) != 0;
    out->keep_schedule = !br__run_int(k, BR__RK_override_opt_param_scheduler, 1);
    out->most_recent_k = BR__MAX(br__run_int(k, BR__RK_most_recent_k, 0), 0);
    out->async_save = br__run_int(k, BR__RK_async_save, 0) != 0;
}

static int has_tokenizer(struct br__run_maker *k, const char *dir)
{
    const char *json = br__path_join(k->a, dir, "tokenizer.json");
    const char *vocab = br__path_join(k->a, dir, "vocab.json");

    return (json && br__exists(json)) || (vocab && br__exists(vocab));
}

/* tokenizer_model if it or hf_model is set; else what came with the weights; else the recipe's. */
static void find_tokenizer(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    const char *type = br__run_text(k, BR__RK_tokenizer_type);
    const char *model = br__run_text(k, BR__RK_tokenizer_model);
    int64_t vocab = br__run_int(k, BR__RK_tokenizer_vocab_size, 0);

    if (type && !strcmp(type, "NullTokenizer")) {
        out->null_vocab = vocab;
        return;
    }
    out->tokenizer = model ? model : out->hf_model;
    if (br__recipe_is_set(k->r, BR__RK_hf_model) ||
        br__recipe_is_set(k->r, BR__RK_tokenizer_model) || !out->weights)
        return;
    const char *places[] = {out->weights, br__path_join(k->a, out->weights, "tokenizer"),
                            br__path_join(k->a, out->weights, "../tokenizer")};
    for (size_t i = 0; i < BR_COUNTOF(places); i++)
        if (places[i] && br__is_dir(places[i]) && has_tokenizer(k, places[i])) {
            out->tokenizer = places[i];
            return;
        }
}

/* ---- precision, losses, memory --------------------------------------------------------------- */

static void set_precision(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    const char *name = br__run_text(k, BR__RK_mixed_precision);
    const char *impl = br__run_text(k, BR__RK_cross_entropy_fusion_impl);
    int fusion = br__run_int(k, BR__RK_cross_entropy_loss_fusion, 0) != 0;
    int wide = br__run_int(k, BR__RK_eff_grad_reduce_in_fp32, 1) != 0;

    out->fp16 = name && !strcmp(name, "fp16_mixed");
    out->initial_scale = br__run_float(k, BR__RK_initial_loss_scale, 4294967296.0);
    out->min_scale = br__run_float(k, BR__RK_min_loss_scale, 1);
    out->scale_window = br__run_int(k, BR__RK_loss_scale_window, 1000);
    out->hysteresis = br__run_int(k, BR__RK_hysteresis, 2);
    out->values = out->fp16 || (name && !strcmp(name, "fp32")) ? BR_F32 : BR_BF16;
    out->params_dtype = out->fp16 ? BR_F16 : out->values;
    out->grads = wide ? BR_F32 : out->values;
    out->native_ce = fusion && impl && !strcmp(impl, "native");
    const char *router = br__run_text(k, BR__RK_moe_router_dtype);
    out->router = router && !strcmp(router, "fp32") ? BR_F32 : BR_NONE;
}

static void set_losses(struct br__run_maker *k)
{
    static const char *const kinds[] = {"none", "aux_loss", "seq_aux_loss", "global_aux_loss"};
    struct br__run *out = k->out;
    const char *kind = br__run_text(k, BR__RK_moe_router_load_balancing_type);

    for (int i = 0; i < (int)BR_COUNTOF(kinds); i++)
        if (kind && !strcmp(kind, kinds[i]))
            out->aux = i;
    out->aux_coeff = br__run_float(k, BR__RK_moe_aux_loss_coeff, 0);
    out->z_coeff = br__run_float(k, BR__RK_moe_z_loss_coeff, 0);
    if (!br__recipe_has(k->r, BR__RK_num_moe_experts) || out->aux_coeff == 0)
        out->aux = BR__AUX_NONE;
    out->mtp_layers = br__run_int(k, BR__RK_mtp_num_layers, 0);
    out->mtp_scale = br__run_float(k, BR__RK_mtp_loss_scaling_factor, 0.1);
    out->per_token = br__run_int(k, BR__RK_calculate_per_token_loss, 0) != 0;
    out->check_nan = br__run_int(k, BR__RK_ddp_check_for_nan_in_grad, 1) != 0;
}

static void set_recompute(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    const char *granularity = br__run_text(k, BR__RK_recompute_granularity);
    const char *method = br__run_text(k, BR__RK_recompute_method);

    out->recompute = granularity ? granularity[0] : 0;
    out->recompute_block = method && !strcmp(method, "block");
    out->recompute_layers = br__run_int(k, BR__RK_recompute_num_layers, 0);
    out->recompute_modules =
        br__run_list(k, BR__RK_eff_recompute_modules, &out->n_recompute_modules);
}

/* ---- steps and schedule ---------------------------------------------------------------------- */

static int set_rampup(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    size_t n;
    const char **words = br__run_list(k, BR__RK_rampup_batch_size, &n);
    int64_t gbs = out->global_batch, *v = out->rampup;
    int64_t unit = out->micro_batch * out->topo.size[BR_AXIS_DP];

    if (!n)
        return BR_OK;
    int bad = n != 3;
    for (size_t i = 0; i < n && !bad; i++)
        bad = br__parse_i64(words[i], &v[i]) || v[i] < 1;
    if (bad)
        return br_fail(k->err, BR_E_CONFIG,
                       "rampup_batch_size: expected three numbers: start, increment, samples");
    if (v[0] > gbs || (gbs - v[0]) % v[1] || v[0] % unit || v[1] % unit)
        return br_fail(k->err, BR_E_CONFIG,
                       "rampup_batch_size: from %" PRId64 " by %" PRId64
                       " does not reach global_batch_size %" PRId64
                       " in whole micro batches of %" PRId64 " samples of all ranks",
                       v[0], v[1], gbs, unit);
    return BR_OK;
}

int br__run_has_adapters(const struct br__run *r)
{
    return r->mode == BR__MODE_LORA || r->mode == BR__MODE_DORA;
}

int64_t br__run_batch(const struct br__run *r, int64_t consumed)
{
    const int64_t *v = r->rampup;
    int64_t steps = v[0] ? (r->global_batch - v[0]) / v[1] : 0;

    if (!steps || consumed > v[2])
        return r->global_batch;
    /* RampupBatchsizeNumMicroBatchesCalculator: int(consumed / (samples / steps)) */
    int64_t done = (int64_t)((double)consumed / ((double)v[2] / (double)steps));
    return BR__MIN(v[0] + done * v[1], r->global_batch);
}

static int set_steps(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    int64_t dp = out->topo.size[BR_AXIS_DP];

    out->seq_length = br__run_int(k, BR__RK_seq_length, 0);
    out->micro_batch = br__run_int(k, BR__RK_micro_batch_size, 1);
    out->global_batch = br__run_int(k, BR__RK_global_batch_size, 1);
    out->train_iters = br__run_int(k, BR__RK_train_iters, 0);
    out->eval_interval = br__run_int(k, BR__RK_eval_interval, 0);
    out->eval_iters = br__run_int(k, BR__RK_eval_iters, 0);
    out->save_interval = br__run_int(k, BR__RK_save_interval, 0);
    out->log_interval = br__run_int(k, BR__RK_log_interval, 1);
    out->exit_interval = br__run_int(k, BR__RK_exit_interval, 0);
    out->exit_minutes = br__run_float(k, BR__RK_exit_duration_in_mins, 0);
    out->skip_train = br__run_int(k, BR__RK_skip_train, 0) != 0;
    out->patience = 60 * br__run_int(k, BR__RK_distributed_timeout_minutes, 10);
    out->seed = (uint64_t)br__run_int(k, BR__RK_rng_seed, 0);
    int64_t samples;
    if (__builtin_mul_overflow(out->train_iters, out->global_batch, &samples) ||
        __builtin_mul_overflow(samples, out->seq_length, &samples))
        return br_fail(k->err, BR_E_CONFIG,
                       "train_iters %" PRId64 " × global_batch_size %" PRId64
                       " × seq_length %" PRId64 " tokens are too many",
                       out->train_iters, out->global_batch, out->seq_length);
    if (out->global_batch % (out->micro_batch * dp))
        return br_fail(k->err, BR_E_CONFIG,
                       "global_batch_size %" PRId64 " is not micro_batch_size %" PRId64
                       " × data-parallel size %" PRId64 " × a whole number",
                       out->global_batch, out->micro_batch, dp);
    return set_rampup(k);
}

static void set_weight_decay(struct br__run_maker *k)
{
    struct br__schedule *s = &k->out->schedule;
    double field = br__run_float(k, BR__RK_optimizer_weight_decay_field, 0);
    const char *style = br__run_text(k, BR__RK_weight_decay_incr_style);
    const char *cond = br__run_text(k, BR__RK_no_weight_decay_cond_type);

    s->start_wd = br__run_float(k, BR__RK_start_weight_decay, field);
    s->end_wd = br__run_float(k, BR__RK_end_weight_decay, field);
    s->wd_style = br__wd_style(style ? style : "constant");
    s->wd_incr = k->out->train_iters * k->out->global_batch;
    k->out->decay_qk_norms = br__run_int(k, BR__RK_apply_wd_to_qk_layernorm, 0) || cond;
}

/* Lengths that are steps in a recipe are samples in the schedule. */
static int set_schedule(struct br__run_maker *k)
{
    struct br__run *out = k->out;
    struct br__schedule *s = &out->schedule;
    const char *style = br__run_text(k, BR__RK_lr_decay_style);
    const char *wsd = br__run_text(k, BR__RK_lr_wsd_decay_style);
    int64_t gbs = out->global_batch, steps[] = {br__run_int(k, BR__RK_lr_warmup_iters, 0),
                                                br__run_int(k, BR__RK_eff_lr_decay_iters, 0),
                                                br__run_int(k, BR__RK_lr_wsd_decay_iters, 0)};

    for (size_t i = 0; i < BR_COUNTOF(steps); i++)
        if (__builtin_mul_overflow(steps[i], gbs, &steps[i]))
            return br_fail(k->err, BR_E_CONFIG, "the schedule's lengths are too large");
    s->warmup = steps[0];
    s->decay = steps[1];
    s->wsd_decay = steps[2];
    s->style = br__lr_style(style ? style : "cosine");
    s->wsd_style = br__wsd_style(wsd ? wsd : "exponential");
    s->max_lr = br__run_float(k, BR__RK_lr, 0);
    s->min_lr = br__run_float(k, BR__RK_min_lr, 0);
    s->init_lr = br__run_float(k, BR__RK_lr_warmup_init, 0);
    set_weight_decay(k);
    for (int g = 0; g < 2; g++)
        out->group[g] = (struct br__schedule_group){s->max_lr, s->min_lr, 1, g == 0};
    out->beta1 = br__run_float(k, BR__RK_adam_beta1, 0.9);
    out->beta2 = br__run_float(k, BR__RK_adam_beta2, 0.95);
    out->eps = br__run_float(k, BR__RK_adam_eps, 1e-8);
    out->clip = br__run_float(k, BR__RK_clip_grad, 0);
    return br__schedule_check(s, k->err);
}

/* ---- adapters -------------------------------------------------------------------------------- */

static int set_peft(struct br__run_maker *k)
{
    struct br__run_peft *p = &k->out->peft;
    int adapter = br__run_has_adapters(k->out);
    const char *bias = br__run_text(k, BR__RK_dora_qkv_bias);
    const char *position = br__run_text(k, BR__RK_peft_dropout_position);

    p->init = br__run_text(k, BR__RK_adapter_init);
    p->dim = br__run_int(k, BR__RK_peft_dim, 0);
    p->alpha = br__run_int(k, BR__RK_peft_alpha, 0);
    p->dropout = br__run_float(k, BR__RK_peft_dropout, 0);
    p->bias_inside = bias && !strcmp(bias, "inside");
    p->dropout_post = position && !strcmp(position, "post");
    p->targets = br__run_list(k, BR__RK_peft_target_modules, &p->n_targets);
    p->excluded = br__run_list(k, BR__RK_peft_exclude_modules, &p->n_excluded);
    p->a_init = br__run_text(k, BR__RK_lora_A_init);
    p->b_init = br__run_text(k, BR__RK_lora_B_init);
    if (p->init && !adapter)
        return br_fail(k->err, BR_E_CONFIG, "adapter_init is set, but mode %s trains no adapter",
                       k->r->mode);
    if (!(p->dropout >= 0 && p->dropout < 1))
        return br_fail(k->err, BR_E_CONFIG, "peft_dropout is %g, expected 0 to less than 1",
                       p->dropout);
    if (p->dropout_post && p->dropout > 0 && k->out->mode == BR__MODE_DORA)
        return br_fail(
            k->err, BR_E_UNSUPPORTED,
            "peft_dropout_position is post: DoRA drops what the adapter sees, here as in "
            "Megatron Bridge");
    return BR_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void set_folders(struct br__run_maker *k)
{
    const char *dir = br__run_text(k, BR__RK_dir), *name = br__run_text(k, BR__RK_name);

    k->out->dir = br__run_printf(k, "%s/%s", dir ? dir : ".", name ? name : "default");
    k->out->checkpoints = br__run_printf(k, "%s/checkpoints", k->out->dir);
    k->out->cache = br__run_printf(k, "%s/cache", k->out->dir);
}

static void set_mode(struct br__run_maker *k)
{
    static const char *const names[] = {"pretrain", "sft", "lora", "dora"};
    const char *mode = br__run_text(k, BR__RK_mode);

    for (int i = 0; i < (int)BR_COUNTOF(names); i++)
        if (mode && !strcmp(mode, names[i]))
            k->out->mode = i;
}

struct first {
    char text[700];
};

static void keep_first(void *ud, const char *text)
{
    struct first *f = ud;
    if (!f->text[0])
        snprintf(f->text, sizeof f->text, "%s", text);
}

/* The recipe's own rules, for as many ranks as there are. */
static int check_recipe(struct br__run_maker *k)
{
    struct first first = {{0}};

    if (br__recipe_check(k->r, BR__MAX(k->o->ranks, 1), keep_first, &first))
        return br_fail(k->err, BR_E_CONFIG, "%s", first.text);
    return BR_OK;
}

int br__run_make(struct br__arena *a, struct br__registry *reg, struct br__recipe *r,
                 const struct br__run_opts *o, struct br__run *out, struct br_err *err)
{
    static int (*const parts[])(struct br__run_maker *) = {check_ranks,  check_keys,   check_recipe,
                                                           set_ranks,    find_weights, set_steps,
                                                           set_schedule, set_peft};
    struct br__run_maker k = {.a = a, .registry = reg, .r = r, .o = o, .out = out, .err = err};

    *out = (struct br__run){.recipe = r};
    if (o->single_rank)
        br__recipe_single_rank(r);
    set_mode(&k);
    set_folders(&k);
    int rc = find_model(&k);
    for (size_t i = 0; i < BR_COUNTOF(parts) && !rc; i++)
        rc = parts[i](&k);
    if (rc)
        return rc;
    set_resume(&k);
    set_precision(&k);
    set_losses(&k);
    set_recompute(&k);
    find_tokenizer(&k);
    rc = br__run_make_data(&k);
    return rc || !k.failed ? rc : br__nomem(err, "reading a recipe");
}
