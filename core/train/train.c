/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train.c - a run opened: model, data, optimizer state; what the plan says of it. */
#include "ckpt.h"
#include "optim.h"
#include "run.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

/* ---- the model ------------------------------------------------------------------------------- */

static const char *source_name(const struct br__train *t)
{
    return t->run->weights ? t->run->weights : "the recipe";
}

/* What the model is read from: the weights that were named, or random numbers, which a checkpoint
 * to go on from replaces.  The tensors' order, and with it the last bit of a sum over all of them,
 * is the same whether the run goes on or begins. */
static int find_source(const struct br__train *t, struct br__weights_opts *w, struct br_err *err)
{
    const struct br__run *run = t->run;

    if (run->weights && run->weights_megatron) {
        w->megatron_path = run->weights;
        w->hf_model = run->config_text ? run->hf_model : NULL; /* its config.json holds */
    } else if (run->weights)
        w->hf_model = run->weights;
    else if (!t->is_sample &&
             (run->mode > BR__MODE_SFT || (run->mode == BR__MODE_SFT && !t->resumed)))
        return br_fail(err, BR_E_CONFIG,
                       "finetuning begins from a model: pretrained_checkpoint=DIR names it, a "
                       "Megatron or a Hugging Face checkpoint");
    else
        return br__init_source_open(&w->source, run, t->resumed != NULL, err);
    return BR_OK;
}

static int open_model(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    const uint32_t *size = run->topo.size;
    struct br__llm_opts o = {.weights = {.plugin = t->o.plugin,
                                         .unread = t->o.dry,
                                         .threads = t->o.threads,
                                         .listener = t->o.listener},
                             .device = t->o.device,
                             .precision = run->values,
                             .tp = size[BR_AXIS_TP],
                             .cp = size[BR_AXIS_CP],
                             .pp = size[BR_AXIS_PP],
                             .ep = size[BR_AXIS_EP],
                             .etp = size[BR_AXIS_ETP],
                             .dp = size[BR_AXIS_DP],
                             .threads = t->o.threads};
    const struct br__lora_opts lora = br__peft_opts(run);

    int rc = find_source(t, &o.weights, err);
    if (br__run_has_adapters(run))
        o.weights.lora = &lora;
    if (!rc)
        rc = br__llm_open(&t->model, &o, err);
    if (rc) {
        if (run->weights)
            br_wrap(err, "pretrained_checkpoint");
        return rc;
    }
    const struct br_config *cfg = br__llm_config(t->model);
    const char *key = br__recipe_unlike(run->recipe, cfg);
    if (key)
        return br_fail(err, BR_E_CONFIG,
                       "%s of the recipe is not that of '%s'; hf_model=DIR takes the sizes of "
                       "another model",
                       key, source_name(t));
    if (cfg->arch->plugin->name && strcmp(cfg->arch->plugin->name, run->recipe->plugin->name) != 0)
        return br_fail(err, BR_E_CONFIG, "'%s' is a %s, recipe '%s' trains a %s", source_name(t),
                       cfg->arch->model_type, run->recipe->name, run->recipe->plugin->name);
    t->moe = cfg->n_experts > 0;
    t->n_mtp = (int)(run->mtp_layers < 0 ? cfg->n_mtp : BR__MIN(run->mtp_layers, cfg->n_mtp));
    return BR_OK;
}

/* Names of recompute_modules; "core_attn" needs nothing, since attention keeps no probabilities. */
static const struct {
    const char *name;
    unsigned module;
} recompute_names[] = {{"core_attn", 0},
                       {"layernorm", BR__RECOMPUTE_LAYERNORM},
                       {"mlp", BR__RECOMPUTE_MLP},
                       {"moe", BR__RECOMPUTE_MOE},
                       {"moe_act", BR__RECOMPUTE_MOE_ACT},
                       {"shared_experts", BR__RECOMPUTE_SHARED_EXPERTS}};

static int set_recompute(const struct br__run *run, struct br__train_opts *o, struct br_err *err)
{
    o->recompute_layers = run->recompute_layers;
    if (run->recompute == 'f')
        o->recompute = run->recompute_block ? BR__RECOMPUTE_BLOCK : BR__RECOMPUTE_UNIFORM;
    for (size_t i = 0; i < run->n_recompute_modules; i++) {
        size_t k = 0;
        while (k < BR_COUNTOF(recompute_names) &&
               strcmp(recompute_names[k].name, run->recompute_modules[i]) != 0)
            k++;
        if (k == BR_COUNTOF(recompute_names))
            return br_fail(err, BR_E_UNSUPPORTED,
                           "recompute_modules: '%s' is not known here; known are core_attn, "
                           "layernorm, mlp, moe, moe_act and shared_experts",
                           run->recompute_modules[i]);
        o->recompute_modules |= recompute_names[k].module;
    }
    if (o->recompute_modules)
        o->recompute = BR__RECOMPUTE_SELECTIVE;
    return BR_OK;
}

/* Ranks that have the same weights. */
static uint32_t rank_copies(const struct br__train *t)
{
    return t->run->topo.size[BR_AXIS_DP] * t->run->topo.size[BR_AXIS_CP];
}

/* Main weights of 16-bit copies are shared out like the moments; those of adapters are few. */
static int shards_main(const struct br__train *t)
{
    return t->run->sharded && rank_copies(t) > 1 && t->run->params_dtype != BR_F32 &&
           !br__run_has_adapters(t->run);
}

/* Moments and shared main weights, of the ranks of this process together. */
static double state_bytes(const struct br__train *t)
{
    return (shards_main(t) ? 3.0 : 2.0) * (double)t->bytes.gradients /
           (t->run->sharded ? rank_copies(t) : 1);
}

/* What a thread writes while the run goes on: as much as main weights and two moments, once. */
static double copy_bytes(const struct br__train *t)
{
    return t->run->async_save ? 3.0 * (double)t->bytes.gradients / rank_copies(t) : 0;
}

static int open_trainer(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_opts o = {.values = run->params_dtype,
                               .sequence_parallel = run->sequence_parallel,
                               .sharded = shards_main(t),
                               .stages = run->stages,
                               .stage_group = run->stage_group,
                               .grads = run->grads,
                               .router_dtype = run->router,
                               .native_ce = run->native_ce,
                               .mtp = t->n_mtp,
                               .aux_kind = t->moe ? run->aux : BR__AUX_NONE,
                               .aux_coeff = run->aux_coeff,
                               .z_coeff = run->z_coeff,
                               .dropout = run->peft.dropout,
                               .dropout_post = run->peft.dropout_post};
    int rc = set_recompute(run, &o, err);

    t->program_bytes = (double)br__private_memory();
    if (!rc)
        rc = br__trainer_open(&t->trainer, t->model, &o, err);
    if (!rc)
        rc = br__trainer_memory(t->trainer, run->micro_batch * run->seq_length, run->micro_batch,
                                &t->bytes, err);
    if (!rc)
        rc = br__train_ranks_open(t, err);
    if (rc)
        return rc;
    if (br__run_has_adapters(run)) { /* whatever their patterns fit */
        t->memory.trained_params = 0;
        for (size_t i = 0; i < t->ranks[0].n; i++)
            t->memory.trained_params += (double)br__trained_size(&t->ranks[0].list[i]);
    }
    t->total_bytes = t->program_bytes + (double)t->bytes.gradients + state_bytes(t) +
                     copy_bytes(t) + (double)t->bytes.model + (double)t->bytes.weights +
                     (double)t->bytes.activations;
    return BR_OK;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* The factors are Megatron Bridge's; its defaults of the rest are in run.c. */
static struct br__scaler scaler_of(const struct br__run *run)
{
    return (struct br__scaler){.scale = run->fp16 ? (float)run->initial_scale : 1,
                               .min_scale = (float)run->min_scale,
                               .growth_factor = 2,
                               .backoff_factor = 0.5f,
                               .growth_interval = (int)run->scale_window,
                               .hysteresis = (int)run->hysteresis,
                               .hysteresis_left = (int)run->hysteresis};
}

/* Measuring takes longer than a step of a small model. */
#define MEASURE_FROM 1e8 /* parameters */
static int train_measure(struct br__train *t, struct br_err *err)
{
    struct br_roofline peaks;

    if (t->memory.total_params < MEASURE_FROM)
        return BR_OK;
    int rc = br__llm_roofline(t->model, &peaks, err);
    if (!rc)
        t->peak_flops =
            (t->run->values == BR_BF16 ? peaks.matmul_flops : peaks.f32_flops) * br__procs_size();
    return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

int br__train_open_parts(struct br__train *t, struct br_err *err)
{
    int rc = open_model(t, err);

    t->s.scaler = scaler_of(t->run);
    if (!rc)
        rc = open_trainer(t, err);
    return rc || t->o.dry ? rc : br__train_ranks_optimizer(t, err);
}

/* Rank 0 first: it makes the files that the others then find.  All must read the same. */
static int open_corpus(struct br__train *t, struct br_err *err)
{
    int64_t n_vocab = br_cfg_i(br__llm_config(t->model), BR_CFG_VOCAB_SIZE);
    int first = br__procs_rank() == 0, alone = br__procs_size() == 1;
    struct br__buf b = {0};
    int rc = first || t->o.dry ? br__corpus_open(&t->corpus, t->run, n_vocab, &t->o, err) : BR_OK;

    if (alone || t->o.dry)
        return rc;
    rc = br__procs_agree(rc, err);
    if (!rc && !first)
        rc = br__corpus_open(&t->corpus, t->run, n_vocab, &t->o, err);
    if (!rc)
        rc = br__corpus_text(&t->corpus, &b, err);
    rc = br__procs_agree(rc, err);
    if (!rc)
        rc = br__procs_same("data", b.n ? b.p : "", err);
    br__buf_free(&b);
    return rc;
}

static int open_all(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    int rc = br__recipe_memory(run->recipe, run->topo.world, &t->memory, err);

    if (!br__run_has_adapters(run))
        t->memory.trained_params = t->memory.total_params; /* not those of one rank */
    t->s.scaler = scaler_of(run);
    if (!rc)
        rc = br__train_find(t, err);
    if (!rc && br__train_is_finished(t) && !run->eval_iters)
        return BR_OK;
    if (!rc)
        rc = open_model(t, err);
    if (!rc)
        rc = open_corpus(t, err);
    if (!rc)
        rc = br__corpus_lasts(&t->corpus, t->s.iteration, t->s.consumed, err);
    if (!rc)
        rc = open_trainer(t, err);
    if (!rc && !t->o.dry)
        rc = br__train_ranks_optimizer(t, err);
    if (!rc && !t->o.dry)
        rc = br__peft_begin(t, err);
    if (!rc && !t->o.dry)
        rc = br__train_resume(t, err);
    if (!rc && !t->o.dry)
        rc = train_measure(t, err);
    if (!rc && t->o.pace && br__procs_size() == 1) /* the sample is a model of one rank */
        rc = br__train_pace(t, err);
    return br__procs_agree(rc, err);
}

int br__train_open(struct br__train **out, const struct br__run *run,
                   const struct br__training_opts *o, struct br_err *err)
{
    struct br__train *t = br__calloc(1, sizeof *t);

    *out = NULL;
    if (!t)
        return br__nomem(err, "for the optimizer's state");
    t->run = run;
    t->o = *o;
    int rc = open_all(t, err);
    if (rc)
        br__train_close(t);
    else
        *out = t;
    return rc;
}

void br__train_close(struct br__train *t)
{
    if (!t)
        return;
    br__train_ckpt_free(t->ckpt); /* waits for a save */
    br__train_ranks_close(t);
    br__trainer_close(t->trainer);
    br__llm_close(t->model);
    br__corpus_close(&t->corpus);
    br__arena_free(&t->arena);
    br__free(t);
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Multiples of `every` in (first, last]. */
static int64_t times(int64_t every, int64_t first, int64_t last)
{
    return every ? last / every - first / every : 0;
}

static double steps_left(const struct br__train *t)
{
    return (double)BR__MAX(t->run->train_iters - t->s.iteration, (int64_t)0);
}

/* Evaluations and checkpoints: at intervals, and once more when the run is done. */
static void plan_counts(const struct br__train *t, struct br__train_plan *p)
{
    const struct br__run *run = t->run;
    double copy = (double)br_dtype_size(run->params_dtype);

    if (run->eval_iters && p->samples[BR__VALID])
        p->evals = 1 + (run->skip_train || p->first >= p->last
                            ? 0
                            : times(run->eval_interval, p->first, p->last));
    p->evals += run->eval_iters && p->samples[BR__TEST];
    if (!run->skip_train && p->last > p->first)
        p->saves = times(run->save_interval, p->first, p->last) +
                   (!run->save_interval || p->last % run->save_interval != 0);
    /* weights, main weights and two moments; frozen weights are not written */
    p->save_bytes = p->trained * (copy + 12);
    if (!run->skip_train)
        p->seconds = p->step_seconds * steps_left(t);
    p->seconds += p->eval_seconds * (double)p->evals;
}

void br__train_plan(const struct br__train *t, struct br__train_plan *out)
{
    const struct br__run *run = t->run;
    const struct br__recipe_memory *m = &t->memory;
    const struct br__trainer_memory *bytes = &t->bytes;

    *out = (struct br__train_plan){.model = run->hf_model,
                                   .weights = run->weights,
                                   .resumed = t->resumed,
                                   .params = m->total_params,
                                   .active = m->active_params,
                                   .trained = m->trained_params,
                                   .first = t->s.iteration,
                                   .last = run->train_iters,
                                   .tokens = steps_left(t) * (double)run->global_batch *
                                             (double)run->seq_length,
                                   .flops_per_step = m->flops_per_step,
                                   .weight_bytes = (double)(bytes->model + bytes->weights),
                                   .gradient_bytes = (double)bytes->gradients,
                                   .optimizer_bytes = state_bytes(t),
                                   .activation_bytes = (double)bytes->activations,
                                   .copy_bytes = copy_bytes(t),
                                   .program_bytes = t->program_bytes,
                                   .total_bytes = t->total_bytes,
                                   .step_seconds = t->pace.step,
                                   .eval_seconds = t->pace.eval,
                                   .peak_flops = t->peak_flops};
    for (int i = 0; i < BR__N_SPLITS; i++)
        out->samples[i] = t->corpus.samples[i];
    plan_counts(t, out);
}

int br__train_estimate(const struct br__run *run, struct br__train_plan *out, struct br_err *err)
{
    struct br__train *t = br__calloc(1, sizeof *t);
    struct br__run random = *run;

    if (!t)
        return br__nomem(err, "for an estimate");
    random.weights = NULL;
    t->run = &random;
    t->o.dry = t->is_sample = 1;
    int rc = br__recipe_memory(run->recipe, 1, &t->memory, err);
    if (!rc)
        rc = br__train_open_parts(t, err);
    if (!rc && br__run_has_adapters(run)) {
        /* Random numbers are held; the weights under an adapter are used in their file. */
        t->total_bytes -= (double)t->bytes.model;
        t->bytes.model = 0;
    }
    if (!rc)
        br__train_plan(t, out);
    br__train_close(t);
    return rc;
}

int br__train_part(const struct br__train *t, int split, size_t k, struct br__pretrain_part *out)
{
    const struct br__corpus *c = &t->corpus;

    *out = (struct br__pretrain_part){0};
    if (c->pretrain)
        return br__pretrain_part(c->pretrain, split, k, out);
    if (k || !c->samples[split])
        return 0;
    out->path = c->file[split];
    out->samples = c->sft[split]      ? br__sft_count(c->sft[split])
                   : c->pretok[split] ? br__pretok_count(c->pretok[split])
                                      : 0;
    return 1;
}
