/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* session.c - everything a job opens before it writes: plugins, configuration, source, reference,
 * plan. */
#include "job.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (16u << 20)
#define STREAM_THREADS                                                                             \
    8 /* threads that read from the hub: each waits for the network most of the time */

static void report_training(const struct br__session *s)
{
    struct br__training t;
    struct br__arena a = {0};
    if (s->src->format == BR__FMT_TORCH_DIST && !br__training_summary(&a, s->src, 0, &t, NULL) &&
        t.present) {
        br__note(
            s->job.listener,
            "training state is left out: %zu optimizer tensor(s)%s%s, %s, %zu rng_state item(s), "
            "%zu "
            "rerun_state_machine item(s)",
            t.n_optimizer_tensors, t.sharding ? ", sharding " : "", t.sharding ? t.sharding : "",
            t.has_scheduler ? "the scheduler" : "no scheduler", t.n_rng_items, t.n_rerun_items);
    }
    br__arena_free(&a);
}

void br__session_report(const struct br__session *s)
{
    const struct br__ckpt *cks[] = {s->src, s->ref};
    for (int c = 0; c < 2; c++)
        for (size_t i = 0; cks[c] && i < cks[c]->n_warnings; i++)
            br__warn(s->job.listener, "%s", cks[c]->warnings[i]);
    for (size_t i = 0; i < s->plan->b.n_notes; i++)
        br__note(s->job.listener, "%s", s->plan->b.notes[i]);
    for (size_t i = 0; i < s->plan->b.n_skipped; i++)
        br__warn(s->job.listener, "skipped: %s", s->plan->b.skipped[i]);
    if (s->src->td && s->src->td->n_no_crc && !s->src->td->no_verify)
        br__note(s->job.listener, "%zu of %zu records have no CRC-32: their bytes are not checked",
                 s->src->td->n_no_crc, s->src->td->n_records);
    report_training(s);
}

/* ---- architecture and configuration ---------------------------------------------------------- */

/* Without a reference: config.json rebuilt from run_config.yaml or from Megatron-LM's arguments. */
static int config_from_checkpoint(struct br__session *s, struct br_err *err)
{
    const struct br__td *td = s->src->td;
    struct br__yaml *yaml = NULL;
    int rc = br__detect_arch(s->registry, s->src, &s->arch, err);
    if (rc)
        return rc;
    if (!td->has_run_config && !td->args)
        return br_fail(
            err, BR_E_NOTFOUND,
            "'%s' has neither run_config.yaml nor Megatron-LM's arguments, so the "
            "model's configuration is unknown; give --hf-model a directory with its config.json",
            s->src->dir);
    if (td->has_run_config &&
        (rc = br__yaml_parse(&s->arena, td->run_config_text, td->run_config_size, &yaml, err))) {
        br_wrap(err, "run_config.yaml");
        return rc;
    }
    br__json *json;
    const char **guessed;
    size_t n_guessed;
    rc = br__config_rebuild(&s->arena, s->arch, yaml, td->args, &json, &guessed, &n_guessed, err);
    if (rc)
        return rc;
    struct br__buf b = {0};
    rc = br__config_from_json(&s->arena, s->arch, json, &s->cfg, err);
    if (!rc &&
        (br__json_print(json, 0, &b) || !(s->config_text = br__arena_strndup(&s->arena, b.p, b.n))))
        rc = br__nomem(err, "opening the job");
    br__buf_free(&b);
    for (size_t i = 0; i < n_guessed && !rc; i++)
        br__buf_printf(&b, "%s%s", i ? "; " : "", guessed[i]);
    if (!rc && b.n)
        br__note(s->job.listener,
                 "config.json is rebuilt from the checkpoint, with these guesses: %s", b.p);
    br__buf_free(&b);
    br__json_free(json);
    return rc;
}

static void settle_dtype(struct br__session *s, int direction)
{
    if (direction == BR__IMPORT && s->job.torch_dtype != BR_NONE)
        s->cfg.dtype = s->job.torch_dtype; /* an import that casts makes a model of that dtype */
    br__config_settle_dtype(&s->cfg, s->src);
}

/* The Hugging Face side's own texts. */
static void keep_texts(struct br__session *s, const struct br__ckpt *hf)
{
    s->config_text = hf->hf->config_text;
    s->generation_text = hf->hf->generation_text;
}

/* ---- sources --------------------------------------------------------------------------------- */

static struct br__hub_opts hub_opts(const struct br__session *s)
{
    return (struct br__hub_opts){.listener = s->job.listener,
                                 .local_only = (s->job.flags & BR_JOB_LOCAL_ONLY) != 0,
                                 .no_sync = (s->job.flags & BR_JOB_NO_SYNC) != 0};
}

/* Headers invented from a config.json: what a published model of these sizes would hold. */
static int invent_source(struct br__session *s, struct br_err *err)
{
    char *text;
    size_t n;
    int rc = br__read_text(s->job.config_file, CONFIG_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = br__config_from_text(&s->arena, s->registry, text, n, &s->cfg, err);
    br__free(text);
    if (rc) {
        br_wrap(err, "'%s'", s->job.config_file);
        return rc;
    }
    if (s->cfg.dtype == BR_NONE)
        s->cfg.dtype = BR_BF16;
    struct br__expand_opts o = {.fused = (s->job.flags & BR_JOB_FUSED) != 0,
                                .untied = !br_cfg_i(&s->cfg, BR_CFG_SHARE_EMBEDDINGS)};
    struct br__expansion *x;
    rc = br__rules_expand(&s->arena, &s->cfg, &o, &x, err);
    struct br__tensor *t = rc ? NULL : br__arena_alloc(&s->arena, (x->n_hf + 1) * sizeof *t);
    if (!rc && !t)
        rc = br__nomem(err, "opening the job");
    for (size_t i = 0; !rc && i < x->n_hf; i++) {
        t[i].name = x->hf[i].name;
        t[i].dtype = s->cfg.dtype;
        t[i].ndim = x->hf[i].ndim;
        memcpy(t[i].shape, x->hf[i].shape, sizeof t[i].shape);
        rc = br_shape_bytes(t[i].shape, t[i].ndim, br_dtype_size(t[i].dtype), &t[i].bytes);
    }
    return rc ? rc : br__hf_invent(&s->src, t, x->n_hf, err);
}

static int open_import(struct br__session *s, struct br_err *err)
{
    if (s->job.config_file)
        return invent_source(s, err);
    if (!s->job.hf_model)
        return br_fail(err, BR_E_USAGE, "import needs --hf-model ID or DIR");
    const struct br__hub_opts hub = hub_opts(s);
    const struct br__hf_how how = {
        .registry = s->registry,
        .flags = s->job.flags & (BR_JOB_STREAM | BR_JOB_DRY_RUN) ? BR__HF_REMOTE : 0,
        .hub = &hub};
    int rc = br__open_hf_model(&s->arena, s->job.hf_model, &how, &s->src, &s->cfg, err);
    if (rc)
        return rc;
    if (s->src->hub && !s->job.threads)
        s->job.threads = STREAM_THREADS;
    keep_texts(s, s->src);
    return BR_OK;
}

/* Megatron Bridge saves an adapter without the model below it. */
static int refuse_adapter(const struct br__ckpt *ck, struct br_err *err)
{
    size_t n = 0, n_adapter = 0;

    for (size_t i = 0; i < ck->n_tensors; i++)
        if (!br__is_training_state(ck->tensors[i].name)) {
            n++;
            n_adapter += strstr(ck->tensors[i].name, ".adapter.") != NULL;
        }
    if (!n || n_adapter < n)
        return BR_OK;
    return br_fail(err, BR_E_PLAN,
                   "'%s' holds an adapter and no model: 'bridge adapter merge' adds it to the "
                   "weights of its model, 'bridge adapter export' takes it to peft",
                   ck->dir);
}

static int open_export(struct br__session *s, struct br_err *err)
{
    if (!s->job.megatron_path)
        return br_fail(err, BR_E_USAGE, "export needs --megatron-path DIR");
    const struct br__hub_opts hub = hub_opts(s);
    int rc = br__td_open(&s->src, s->job.megatron_path, err);
    if (!rc && s->job.flags & BR_JOB_NO_VERIFY)
        s->src->td->no_verify = 1;
    else if (!rc)
        rc = br__manifest_check(s->src, err);
    if (!rc)
        rc = refuse_adapter(s->src, err);
    if (!rc && s->job.hf_model) {
        rc = br__hf_open_model(&s->ref, s->job.hf_model, BR__HF_REMOTE, &hub, err);
        if (rc == BR_E_NOTFOUND &&
            !br__hf_open_model(&s->ref, s->job.hf_model, BR__HF_CONFIG_ONLY, &hub, NULL)) {
            br__note(s->job.listener,
                     "'%s' has no weights: only its configuration and side files are used",
                     s->job.hf_model);
            rc = BR_OK;
        }
    } else if (!rc) {
        rc = br__manifest_source(s->src->dir, &s->ref, err);
    }
    if (rc)
        return rc;
    if (!s->ref)
        return config_from_checkpoint(s, err);
    keep_texts(s, s->ref);
    return br__config_of_ckpt(&s->arena, s->registry, s->ref, &s->cfg, err);
}

void br__result_path(struct br_job_result *res, const char *path)
{
    size_t n = strlen(path) + 1;
    if (n <= sizeof res->path)
        memcpy(res->path, path, n);
    if (n <= sizeof res->full_path)
        memcpy(res->full_path, path, n);
}

void br__result_give(struct br_job_result *to, const struct br_job_result *res)
{
    uint32_t size = to ? to->struct_size : 0;
    if (size > sizeof to->struct_size)
        memcpy((char *)to + sizeof to->struct_size, (const char *)res + sizeof to->struct_size,
               BR__MIN(size, (uint32_t)sizeof *res) - sizeof to->struct_size);
}

static int make_plan(struct br__session *s, int direction, const struct br__ckpt *like,
                     struct br_err *err)
{
    struct br__plan_opts o = {.flags = s->job.flags,
                              .dtype = s->job.torch_dtype,
                              .like = like,
                              .pad_vocab_to = s->job.pad_vocab_to,
                              .max_shard_size = s->job.max_shard_size};
    if (direction == BR__EXPORT)
        o.ref = s->ref && s->ref->n_tensors ? s->ref : NULL;
    return br__plan_make(&s->plan, direction, &s->cfg, s->src, &o, err);
}

/* Rank 0 opens a model of the hub first: it fetches what the others then find in the cache. */
static int open_in_turn(struct br__session *s, int direction, struct br_err *err)
{
    int (*side)(struct br__session *, struct br_err *) =
        direction == BR__IMPORT ? open_import : open_export;
    if (br__procs_size() == 1 || !s->job.hf_model || br__is_dir(s->job.hf_model))
        return side(s, err);
    int rc = br__procs_rank() == 0 ? side(s, err) : BR_OK;
    rc = br__procs_agree(rc, err);
    if (!rc && br__procs_rank())
        rc = side(s, err);
    return br__procs_agree(rc, err);
}

static int check_options(const struct br_job *job, struct br_err *err)
{
    int d = job->torch_dtype;
    if (d != BR_NONE && d != BR_F32 && d != BR_F16 && d != BR_BF16)
        return br_fail(err, BR_E_USAGE,
                       "--torch-dtype is '%s', expected float32, float16, bfloat16 or auto",
                       br_dtype_torch(d));
    if (job->iteration < 0 || job->iteration > 9999999)
        return br_fail(err, BR_E_USAGE, "--iteration is %lld, expected 0 to 9999999",
                       (long long)job->iteration);
    if (job->pad_vocab_to < 0 || job->pad_vocab_to > 1 << 24)
        return br_fail(err, BR_E_USAGE, "--pad-vocab-to is %lld, expected 1 to %d",
                       (long long)job->pad_vocab_to, 1 << 24);
    return BR_OK;
}

int br__session_open_like(struct br__session **out, const struct br_job *job, int direction,
                          const struct br__ckpt *like, struct br_err *err)
{
    *out = NULL;
    int rc = check_options(job, err);
    if (rc)
        return rc;
    struct br__session *s = br__calloc(1, sizeof *s);
    if (!s)
        return br__nomem(err, "opening the job");
    rc = br__adopt(&s->job, sizeof s->job, job, job->struct_size);
    if (rc)
        rc = br_fail(err, BR_E_USAGE, "the job's options come from a newer bridge");
    if (!rc)
        rc = br__registry_open(&s->registry, job->plugin, err);
    if (!rc)
        rc = open_in_turn(s, direction, err);
    if (!rc) {
        s->arch = s->cfg.arch;
        settle_dtype(s, direction);
        rc = make_plan(s, direction, like, err);
    }
    if (rc)
        br__session_close(s);
    else
        *out = s;
    return rc;
}

int br__session_open(struct br__session **out, const struct br_job *job, int direction,
                     struct br_err *err)
{
    return br__session_open_like(out, job, direction, NULL, err);
}

void br__session_close(struct br__session *s)
{
    if (!s)
        return;
    br__plan_free(s->plan);
    br__ckpt_close(s->ref);
    br__ckpt_close(s->src);
    br__registry_close(s->registry);
    br__arena_free(&s->arena);
    br__free(s);
}
