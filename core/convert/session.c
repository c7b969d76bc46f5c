/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* session.c - everything a job opens before it writes: plugins, configuration, source, reference,
 * plan. */
#include "job.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (16u << 20)
#define STREAM_THREADS 8 /* each waits for the network most of the time */

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory opening the job");
}

/* ---- telling the caller ---------------------------------------------------------------------- */

static void tell(void (*fn)(void *, const char *), void *ud, const char *fmt, va_list ap)
{
    char text[1024];
    if (!fn)
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    fn(ud, text);
}

void br__job_note(const struct br_job *job, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (job->listener)
        tell(job->listener->note, job->listener->ud, fmt, ap);
    va_end(ap);
}

static void job_warn(const struct br_job *job, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (job->listener)
        tell(job->listener->warning, job->listener->ud, fmt, ap);
    va_end(ap);
}

static void report_training(const struct br__session *s)
{
    struct br__training t;
    struct br__arena a = {0};
    if (s->src->format == BR__FMT_TORCH_DIST && !br__training_summary(&a, s->src, 0, &t, NULL) &&
        t.present) {
        br__job_note(
            &s->job,
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
            job_warn(&s->job, "%s", cks[c]->warnings[i]);
    for (size_t i = 0; i < s->plan->n_notes; i++)
        br__job_note(&s->job, "%s", s->plan->notes[i]);
    for (size_t i = 0; i < s->plan->n_skipped; i++)
        job_warn(&s->job, "skipped: %s", s->plan->skipped[i]);
    report_training(s);
}

/* ---- architecture and configuration ---------------------------------------------------------- */

static int config_from_text(struct br__session *s, const char *text, size_t n, struct br_err *err)
{
    br__json *json;
    int rc = br__json_parse(&json, text, n, err);
    if (rc) {
        br_wrap(err, "config.json");
        return rc;
    }
    const char *type = br__json_str(br__json_get(json, "model_type"), NULL);
    const char *class = br__json_str(br__json_first(br__json_get(json, "architectures")), NULL);
    if (!type && !class)
        rc = br_fail(err, BR_E_CONFIG, "config.json has neither 'architectures' nor 'model_type'");
    if (!rc)
        rc = br__registry_find(s->registry, type, class, &s->arch, err);
    if (!rc)
        rc = br__config_from_json(&s->arena, s->arch, json, &s->cfg, err);
    br__json_free(json);
    return rc;
}

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
        rc = nomem(err);
    br__buf_free(&b);
    for (size_t i = 0; i < n_guessed && !rc; i++)
        br__buf_printf(&b, "%s%s", i ? "; " : "", guessed[i]);
    if (!rc && b.n)
        br__job_note(&s->job, "config.json is rebuilt from the checkpoint, with these guesses: %s",
                     b.p);
    br__buf_free(&b);
    br__json_free(json);
    return rc;
}

static int config_of_hf(struct br__session *s, const struct br__ckpt *hf, struct br_err *err)
{
    if (!hf->hf->config_text)
        return br_fail(err, BR_E_NOTFOUND, "'%s' has no config.json", hf->dir);
    s->config_text = hf->hf->config_text;
    s->generation_text = hf->hf->generation_text;
    int rc = config_from_text(s, hf->hf->config_text, hf->hf->config_size, err);
    if (rc)
        br_wrap(err, "'%s'", hf->dir);
    return rc;
}

/* An import that casts makes a model of that dtype.  config.json silent about it: the dtype of most
 * bytes of the source. */
static void settle_dtype(struct br__session *s, int direction)
{
    uint64_t bytes[BR_N_DTYPES] = {0};
    if (direction == BR__IMPORT && s->job.torch_dtype != BR_NONE)
        s->cfg.dtype = s->job.torch_dtype;
    if (s->cfg.dtype != BR_NONE)
        return;
    for (size_t i = 0; i < s->src->n_tensors; i++)
        bytes[s->src->tensors[i].dtype] += s->src->tensors[i].bytes;
    int best = BR_BF16;
    const int candidates[] = {BR_BF16, BR_F32, BR_F16};
    for (size_t i = 0; i < BR_COUNTOF(candidates); i++)
        if (bytes[candidates[i]] > bytes[best])
            best = candidates[i];
    s->cfg.dtype = best;
}

/* ---- sources --------------------------------------------------------------------------------- */

static int open_hf(struct br__session *s, const char *id, unsigned flags, struct br__ckpt **out,
                   struct br_err *err)
{
    const struct br__hub_opts o = {.listener = s->job.listener,
                                   .local_only = (s->job.flags & BR_JOB_LOCAL_ONLY) != 0,
                                   .no_sync = (s->job.flags & BR_JOB_NO_SYNC) != 0};
    return br__hf_open_model(out, id, flags, &o, err);
}

/* Headers invented from a config.json: what a published model of these sizes would hold. */
static int invent_source(struct br__session *s, struct br_err *err)
{
    char *text;
    size_t n;
    int rc = br__read_text(s->job.config_file, CONFIG_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = config_from_text(s, text, n, err);
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
        rc = nomem(err);
    for (size_t i = 0; !rc && i < x->n_hf; i++) {
        t[i].name = x->hf[i].name;
        t[i].dtype = s->cfg.dtype;
        t[i].ndim = x->hf[i].ndim;
        memcpy(t[i].shape, x->hf[i].shape, sizeof t[i].shape);
        rc = br_shape_bytes(t[i].shape, t[i].ndim, br_dtype_size(t[i].dtype), &t[i].bytes);
    }
    return rc ? rc : br__hf_invent(&s->src, t, x->n_hf, err);
}

/* Before a download that may take hours: can the model be used?  From here on it is the commit that
 * was looked at, whatever becomes of its branch meanwhile. */
static int try_config(struct br__session *s, const char **model, struct br_err *err)
{
    int rc = open_hf(s, *model, BR__HF_CONFIG_ONLY, &s->src, err);
    if (!rc)
        rc = config_of_hf(s, s->src, err);
    if (!rc)
        *model = br__arena_printf(&s->arena, "%.*s@%s", (int)strcspn(*model, "@"), *model,
                                  br__path_base(s->src->dir));
    if (!rc && !*model)
        rc = nomem(err);
    br__ckpt_close(s->src);
    s->src = NULL;
    return rc;
}

static int open_import(struct br__session *s, struct br_err *err)
{
    if (s->job.config_file)
        return invent_source(s, err);
    if (!s->job.hf_model)
        return br_fail(err, BR_E_USAGE, "import needs --hf-model ID or DIR");
    unsigned stream = s->job.flags & (BR_JOB_STREAM | BR_JOB_DRY_RUN) ? BR__HF_REMOTE : 0;
    const char *model = s->job.hf_model;
    int rc = br__is_dir(model) ? BR_OK : try_config(s, &model, err);
    if (!rc)
        rc = open_hf(s, model, stream, &s->src, err);
    if (!rc && s->src->hub && !s->job.threads)
        s->job.threads = STREAM_THREADS;
    return rc ? rc : config_of_hf(s, s->src, err);
}

static int open_export(struct br__session *s, struct br_err *err)
{
    if (!s->job.megatron_path)
        return br_fail(err, BR_E_USAGE, "export needs --megatron-path DIR");
    int rc = br__td_open(&s->src, s->job.megatron_path, err);
    if (!rc && s->job.hf_model) {
        rc = open_hf(s, s->job.hf_model, BR__HF_REMOTE, &s->ref, err);
        if (rc == BR_E_NOTFOUND &&
            !open_hf(s, s->job.hf_model, BR__HF_CONFIG_ONLY, &s->ref, NULL)) {
            br__job_note(&s->job,
                         "'%s' has no weights: only its configuration and side files are used",
                         s->job.hf_model);
            rc = BR_OK;
        }
    } else if (!rc) {
        rc = br__manifest_source(s->src->dir, &s->ref, err);
    }
    if (rc)
        return rc;
    return s->ref ? config_of_hf(s, s->ref, err) : config_from_checkpoint(s, err);
}

int br__check_apart(struct br__arena *arena, const char *src, const char *dest, struct br_err *err)
{
    const char *a = br__path_abs(arena, src), *b = br__path_abs(arena, dest);
    if (!a || !b)
        return nomem(err);
    size_t na = strlen(a), nb = strlen(b);
    size_t n = BR__MIN(na, nb);
    if (!strncmp(a, b, n) && (na == nb || (na > nb ? a : b)[n] == '/'))
        return br_fail(err, BR_E_USAGE,
                       "source '%s' and destination '%s' overlap; choose a destination outside", a,
                       b);
    return BR_OK;
}

int br__check_overlap(struct br__session *s, const char *src, const char *dest, struct br_err *err)
{
    return br__check_apart(&s->arena, src, dest, err);
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
        return nomem(err);
    rc = br__adopt(&s->job, sizeof s->job, job, job->struct_size);
    if (rc)
        rc = br_fail(err, BR_E_USAGE, "the job's options come from a newer bridge");
    if (!rc)
        rc = br__registry_open(&s->registry, job->plugin, err);
    if (!rc)
        rc = direction == BR__IMPORT ? open_import(s, err) : open_export(s, err);
    if (!rc) {
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
