/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* job.c - options -> struct br_job. */
#include "cli.h"

static const char *with_revision(struct br__cli *c, const char *model)
{
    if (!model || !BR__FLAG(c, HF_REVISION) || br__is_dir(model))
        return model;
    return br__arena_printf(&c->arena, "%s@%s", model, BR__TEXT(c, HF_REVISION));
}

static uint32_t job_flags(const struct br__cli *c)
{
    static const struct {
        uint8_t opt;
        uint32_t flag;
    } rows[] = {
        {BR__OPT_OVERWRITE, BR_JOB_OVERWRITE},
        {BR__OPT_NO_SYNC, BR_JOB_NO_SYNC},
        {BR__OPT_NOT_STRICT, BR_JOB_NOT_STRICT},
        {BR__OPT_UNTIE, BR_JOB_UNTIE},
        {BR__OPT_NO_MTP, BR_JOB_NO_MTP},
        {BR__OPT_RELEASE, BR_JOB_RELEASE},
        {BR__OPT_DRY_RUN, BR_JOB_DRY_RUN},
        {BR__OPT_STREAM, BR_JOB_STREAM},
        {BR__OPT_LOCAL_FILES_ONLY, BR_JOB_LOCAL_ONLY},
        {BR__OPT_NO_VERIFY, BR_JOB_NO_VERIFY},
    };
    uint32_t flags = 0;

    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        if (c->opt[rows[i].opt].set)
            flags |= rows[i].flag;
    if (BR__FLAG(c, LAYERS))
        flags |= BR__INT(c, LAYERS) == 0 ? BR_JOB_STACKED : BR_JOB_PER_LAYER;
    if (BR__FLAG(c, EXPERT_LAYOUT))
        flags |= BR__INT(c, EXPERT_LAYOUT) == 0 ? BR_JOB_PER_EXPERT : BR_JOB_FUSED;
    return flags;
}

int br__job_from_cli(struct br__cli *c, struct br__report *r, struct br_job *job,
                     struct br_err *err)
{
    *job = (struct br_job)BR_JOB_INIT;
    job->flags = job_flags(c);
    job->hf_model = with_revision(c, BR__TEXT(c, HF_MODEL));
    if (BR__TEXT(c, HF_MODEL) && !job->hf_model)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    job->megatron_path = BR__TEXT(c, MEGATRON_PATH);
    job->hf_path = BR__TEXT(c, HF_PATH);
    job->plugin = BR__TEXT(c, PLUGIN);
    job->config_file = BR__TEXT(c, CONFIG);
    job->torch_dtype = (int32_t)BR__INT(c, TORCH_DTYPE);
    job->threads = (int32_t)BR__INT(c, THREADS);
    job->iteration = BR__INT(c, ITERATION);
    job->pad_vocab_to = BR__INT(c, PAD_VOCAB_TO);
    job->max_shard_size = (uint64_t)BR__INT(c, MAX_SHARD_SIZE);
    job->listener = &r->listener;
    return BR_OK;
}
