/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the parts of a run that need no data: model, trainer, optimizer, and what they take. */
#include "ckpt.h"
#include "run.h"
#include "state.h"

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

int br__train_open_model(struct br__train *t, struct br_err *err)
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
double br__train_state_bytes(const struct br__train *t)
{
    return (shards_main(t) ? 3.0 : 2.0) * (double)t->bytes.gradients /
           (t->run->sharded ? rank_copies(t) : 1);
}

/* What a thread writes while the run goes on: as much as main weights and two moments, once. */
double br__train_copy_bytes(const struct br__train *t)
{
    return t->run->async_save ? 3.0 * (double)t->bytes.gradients / rank_copies(t) : 0;
}

int br__train_open_trainer(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_opts o = {
        .values = run->params_dtype,
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
        .dropout_post = run->peft.dropout_post,
        .bucket = (size_t)run->bucket,
        .bank_ready = run->overlap_reduce && run->topo.world > 1 ? br__overlap_ready : NULL,
        .bank_arg = t};
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
    t->total_bytes = t->program_bytes + (double)t->bytes.gradients + br__train_state_bytes(t) +
                     br__train_copy_bytes(t) + (double)t->bytes.model + (double)t->bytes.weights +
                     (double)t->bytes.activations;
    return BR_OK;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The factors are Megatron Bridge's; its defaults of the rest are in run.c. */
struct br__scaler br__train_scaler(const struct br__run *run)
{
    return (struct br__scaler){.scale = run->fp16 ? (float)run->initial_scale : 1,
                               .min_scale = (float)run->min_scale,
                               .growth_factor = 2,
                               .backoff_factor = 0.5f,
                               .growth_interval = (int)run->scale_window,
                               .hysteresis = (int)run->hysteresis,
                               .hysteresis_left = (int)run->hysteresis};
}

int br__train_open_parts(struct br__train *t, struct br_err *err)
{
    int rc = br__train_open_model(t, err);

    t->s.scaler = br__train_scaler(t->run);
    if (!rc)
        rc = br__train_open_trainer(t, err);
    return rc || t->o.dry ? rc : br__train_ranks_optimizer(t, err);
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
