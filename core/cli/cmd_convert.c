/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_convert.c - import, export, verify, roundtrip: a job, a verb of the library, what to tell the
 * user. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

/* ---- destinations ---------------------------------------------------------------------------- */

/* Name of a model as the user calls it: "Qwen/Qwen3-8B@main" and "./models/Qwen3-8B/" are Qwen3-8B,
 * "." is what its directory is called; without `suffix` if it ends in that. */
static const char *model_name(struct br__arena *a, const char *model, const char *suffix)
{
    int is_dir = br__is_dir(model);
    size_t end = strlen(model), begin;

    while (end > 1 && model[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && model[begin - 1] != '/'; begin--)
        ;
    char *name = br__arena_strndup(a, model + begin, end - begin);
    char *revision = name && !is_dir ? strchr(name, '@') : NULL;
    if (revision)
        *revision = 0;
    if (name && is_dir && strspn(name, "./") == strlen(name)) {
        char *path;
        name =
            !br__path_abs(a, model, &path, NULL) ? br__arena_strdup(a, br__path_base(path)) : NULL;
    }
    if (name && br__ends(name, suffix) && strlen(name) > strlen(suffix))
        name[strlen(name) - strlen(suffix)] = 0;
    return name;
}

/* How a destination is named after its source. */
struct naming {
    const char *old_suffix, *new_suffix;
    const char *option; /* option that sets the destination */
};

/* The destination where the user gave none; a note says so. */
static int default_dest(struct br__cli *c, struct br__report *r, const char *from,
                        const struct naming *n, const char **dest, struct br_err *err)
{
    const char *name = model_name(&c->arena, from, n->old_suffix);

    *dest = name ? br__arena_printf(&c->arena, "./%s%s", name, n->new_suffix) : NULL;
    if (!*dest)
        return br__nomem(err, "reading the command line");
    br__report_note(r, "no --%s given: writing to %s", n->option, *dest);
    return BR_OK;
}

/* ---- telling what was done ------------------------------------------------------------------- */

struct outcome {
    const char *command;
    struct br_job_result res;
    double seconds;
    const char *next; /* command line to try next, or NULL */
    int rc;
};

/* quiet: the path alone, for $(...). */
static void print_outcome(const struct outcome *o, const char *verb, int quiet)
{
    char bytes[32], rate[32];
    double s = o->seconds > 1e-6 ? o->seconds : 1e-6;
    /* bytes_written is the whole, what an interrupted run had finished included */
    uint64_t found = BR__MIN(o->res.resumed_bytes, o->res.bytes_written);

    if (quiet) {
        br__say(stdout, "%s", o->res.full_path);
        return;
    }
    if (o->res.up_to_date) {
        br__say(stdout,
                "up to date: %s holds this %s already; the data of its weights was not read again",
                o->res.full_path, o->command);
        return;
    }
    br__say(stdout, "%s %" PRIu64 " tensors (%s) to %s in %.2f s (%s/s)", verb, o->res.n_tensors,
            br__human_bytes(o->res.bytes_written, bytes), o->res.full_path, o->seconds,
            br__human_bytes((uint64_t)((double)(o->res.bytes_written - found) / s), rate));
    if (o->res.resumed_bytes)
        br__say(stdout, "resumed: %s were finished by an interrupted run",
                br__human_bytes(o->res.resumed_bytes, bytes));
    if (o->next)
        br__say(stdout, "next: %s", o->next);
}

static int print_outcome_json(struct br__report *r, const struct outcome *o,
                              const struct br_err *failure, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", o->command);
    br__js_str(&j, "status", br_status_name(o->rc));
    br__js_str(&j, "error", o->rc ? failure->msg : NULL);
    br__js_str(&j, "path", o->res.full_path[0] ? o->res.full_path : NULL);
    br__js_bool(&j, "up_to_date", (int)o->res.up_to_date);
    br__js_u64(&j, "tensors", o->res.n_tensors);
    br__js_u64(&j, "bytes_written", o->res.bytes_written);
    br__js_u64(&j, "resumed_bytes", o->res.resumed_bytes);
    br__js_num(&j, "seconds", o->seconds);
    br__report_json(r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* Run a verb and show its progress; o gets what is to be printed. */
static int run_verb(int (*verb)(const struct br_job *, struct br_job_result *, struct br_err *),
                    const struct br_job *job, struct br__report *r, struct outcome *o,
                    struct br_err *err)
{
    double began = br__now();

    o->res = (struct br_job_result)BR_JOB_RESULT_INIT;
    o->rc = verb(job, &o->res, err);
    o->seconds = br__now() - began;
    br__report_end(r);
    return o->rc;
}

static const char *verify_command(struct br__cli *c, const struct br_job *job)
{
    const char *dtype = BR__FLAG(c, TORCH_DTYPE) ? br_dtype_torch(job->torch_dtype) : "";

    if (!job->hf_model || !job->megatron_path)
        return NULL;
    return br__arena_printf(&c->arena, "bridge verify --hf-model %s --megatron-path %s%s%s",
                            br__shell_word(&c->arena, job->hf_model),
                            br__shell_word(&c->arena, job->megatron_path),
                            dtype[0] ? " --torch-dtype " : "", dtype);
}

/* ---- the wrong way round --------------------------------------------------------------------- */

static int has_file(struct br__cli *c, const char *dir, const char *name)
{
    const char *path = br__path_join(&c->arena, dir, name);
    return path && br__exists(path);
}

/* By the files that only one of the formats has. */
static int looks_megatron(struct br__cli *c, const char *dir)
{
    return dir && br__is_dir(dir) &&
           (has_file(c, dir, "latest_checkpointed_iteration.txt") || has_file(c, dir, ".metadata"));
}

static int looks_hf(struct br__cli *c, const char *dir)
{
    return dir && br__is_dir(dir) && has_file(c, dir, "config.json") && !looks_megatron(c, dir);
}

static int check_import_side(struct br__cli *c, struct br_err *err)
{
    const char *dir = BR__TEXT(c, HF_MODEL);

    if (!looks_megatron(c, dir))
        return BR_OK;
    return br_fail(err, BR_E_USAGE,
                   "'%s' is a Megatron checkpoint, and import reads Hugging Face models; the other "
                   "direction is: bridge export %s",
                   dir, br__shell_word(&c->arena, dir));
}

static int check_export_side(struct br__cli *c, struct br_err *err)
{
    const char *dir = BR__TEXT(c, MEGATRON_PATH);

    if (!looks_hf(c, dir))
        return BR_OK;
    return br_fail(err, BR_E_USAGE,
                   "'%s' is a Hugging Face model, and export reads Megatron checkpoints; the other "
                   "direction is: bridge import %s",
                   dir, br__shell_word(&c->arena, dir));
}

static int check_verify_sides(struct br__cli *c, struct br_err *err)
{
    const char *hf = BR__TEXT(c, HF_MODEL), *megatron = BR__TEXT(c, MEGATRON_PATH);
    struct br__arena *a = &c->arena;

    if (!hf || !megatron || (!looks_megatron(c, hf) && !looks_hf(c, megatron)))
        return BR_OK; /* one directory alone is checked against its own digests, whatever it is */
    const char *right_hf = looks_hf(c, megatron) ? megatron : NULL;
    const char *right_megatron = looks_megatron(c, hf) ? hf : NULL;
    return br_fail(err, BR_E_USAGE, "'%s' is a %s; the right way round is: bridge verify%s%s%s%s",
                   right_megatron ? hf : megatron,
                   right_megatron ? "Megatron checkpoint" : "Hugging Face model",
                   right_hf ? " --hf-model " : "", right_hf ? br__shell_word(a, right_hf) : "",
                   right_megatron ? " --megatron-path " : "",
                   right_megatron ? br__shell_word(a, right_megatron) : "");
}

/* ---- import, export -------------------------------------------------------------------------- */

static int import_job(struct br__cli *c, struct br__report *r, struct br_job *job,
                      struct br_err *err)
{
    int rc = check_import_side(c, err);

    if (!rc)
        rc = br__job_from_cli(c, r, job, err);
    if (!rc && !job->megatron_path)
        rc = default_dest(c, r, BR__TEXT(c, HF_MODEL),
                          &(struct naming){"", "-megatron", "megatron-path"}, &job->megatron_path,
                          err);
    return rc;
}

static int export_job(struct br__cli *c, struct br__report *r, struct br_job *job,
                      struct br_err *err)
{
    int rc = check_export_side(c, err);

    if (!rc)
        rc = br__job_from_cli(c, r, job, err);
    if (!rc && !job->hf_path)
        rc = default_dest(c, r, job->megatron_path, &(struct naming){"-megatron", "-hf", "hf-path"},
                          &job->hf_path, err);
    return rc;
}

static int job_run(struct br__cli *c, struct br__report *r, const struct br_job *job, int direction,
                   struct br_err *err)
{
    int importing = direction == BR__IMPORT;
    struct outcome o = {.command = c->cmd->name};

    if (BR__FLAG(c, DRY_RUN))
        return br__plan_show(c, r, job, direction, err);
    struct br__interrupt i;
    struct br__kept kept = {c, importing ? job->megatron_path : job->hf_path, 0};
    br__interrupt_begin(&i, NULL, br__procs_rank() ? NULL : br__tell_kept, &kept);
    int rc = run_verb(importing ? br_import : br_export, job, r, &o, err);
    br__interrupt_end(&i);
    if (r->json) {
        int printed = print_outcome_json(r, &o, err, rc ? NULL : err);
        return rc ? rc : printed;
    }
    if (rc)
        return rc;
    if (importing) {
        o.next = verify_command(c, job);
    } else {
        struct br_job back = *job; /* the export is the model to verify */
        back.hf_model = job->hf_path;
        o.next = verify_command(c, &back);
    }
    print_outcome(&o, importing ? "imported" : "exported", r->quiet);
    return BR_OK;
}

int br__cmd_import(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct br_job job;

    br__report_init(&r, c);
    int rc = import_job(c, &r, &job, err);
    if (!rc)
        rc = job_run(c, &r, &job, BR__IMPORT, err);
    br__report_free(&r);
    return rc;
}

int br__cmd_export(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct br_job job;

    br__report_init(&r, c);
    int rc = export_job(c, &r, &job, err);
    if (!rc)
        rc = job_run(c, &r, &job, BR__EXPORT, err);
    br__report_free(&r);
    return rc;
}

/* ---- verify ---------------------------------------------------------------------------------- */

int br__cmd_verify(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct br_job job;
    struct outcome o = {.command = "verify"};

    br__report_init(&r, c);
    r.notes_to_stdout = 1;
    int rc = check_verify_sides(c, err);
    if (!rc)
        rc = br__job_from_cli(c, &r, &job, err);
    if (!rc) {
        rc = run_verb(br_verify, &job, &r, &o, err);
        if (r.json) {
            int printed = print_outcome_json(&r, &o, err, rc ? NULL : err);
            rc = rc ? rc : printed;
        } else if (!rc && (!job.hf_model || !job.megatron_path)) {
            char bytes[32];
            br__say(stdout, "no damage found in %" PRIu64 " tensors of %s (%s, %.2f s)",
                    o.res.n_tensors, o.res.full_path, br__human_bytes(o.res.bytes_written, bytes),
                    o.seconds);
        } else if (!rc) {
            br__say(stdout,
                    "equal: all %" PRIu64 " tensors of %s are those of %s, bit for bit (%.2f s)",
                    o.res.n_tensors, job.megatron_path, job.hf_model, o.seconds);
        }
    }
    br__report_free(&r);
    return rc;
}

/* ---- roundtrip ------------------------------------------------------------------------------- */

struct trip {
    struct br__cli *c;
    struct br__report *r;
    struct br_job job;
    const char *dir; /* holds megatron/ and hf/ */
    int temporary;
    int by_value; /* the bytes change on the way: compare what the values became */
    size_t n_diff;
    uint64_t n_tensors;
    double seconds[3]; /* import, verify, export */
};

static int trip_dir(struct trip *t, struct br_err *err)
{
    if (BR__FLAG(t->c, OUTPUT_DIR)) {
        t->dir = BR__TEXT(t->c, OUTPUT_DIR);
        int rc = BR_OK;
        if (br__is_dir(t->job.hf_model))
            rc = br__path_overlap(&t->c->arena, t->job.hf_model, t->dir, err);
        return rc ? rc : br__mkdirs(t->dir, err);
    }
    int rc = br__temp_dir(&t->c->arena, "bridge-roundtrip", &t->dir, err);
    if (rc)
        return rc;
    t->temporary = 1;
    br__report_note(t->r, "working in %s, removed at the end", t->dir);
    return BR_OK;
}

static int trip_step(struct trip *t, int step, struct br_err *err)
{
    static const struct {
        const char *name;
        int (*verb)(const struct br_job *, struct br_job_result *, struct br_err *);
    } steps[] = {{"import", br_import}, {"verify", br_verify}, {"export", br_export}};
    struct outcome o = {.command = steps[step].name};
    int rc = run_verb(steps[step].verb, &t->job, t->r, &o, err);

    t->seconds[step] = o.seconds;
    t->n_tensors = o.res.n_tensors;
    if (rc)
        br_wrap(err, "%s", steps[step].name);
    return rc;
}

static void print_line(void *ud, const char *text)
{
    struct br__report *r = ud;

    if (r->json)
        r->listener.note(r, text);
    else
        br__say(stdout, "%s", text);
}

/* The exported directory against the source; *by_value when FP8 or a cast changed the bytes, and
 * then against the Megatron checkpoint, which was verified against the source before. */
static int trip_compare(struct trip *t, struct br_err *err)
{
    struct br__ckpt *a = NULL, *b = NULL;
    const char *source;
    int rc = br__hf_resolve(&t->c->arena, t->job.hf_model, &source, err);

    if (!rc)
        rc = br__ckpt_open(&a, source, err);
    for (size_t i = 0; !rc && i < a->n_tensors; i++)
        t->by_value |= a->tensors[i].dtype == BR_F8_E4M3;
    t->by_value |= t->job.torch_dtype != BR_NONE;
    if (!rc && t->by_value) {
        struct br_job job = t->job;
        struct br_job_result res = BR_JOB_RESULT_INIT;
        job.hf_model = t->job.hf_path;
        rc = br_verify(&job, &res, err);
    } else if (!rc) {
        rc = br__ckpt_open(&b, t->job.hf_path, err);
        if (!rc)
            rc = br__ckpt_diff(a, b, t->job.threads, print_line, t->r, &t->n_diff, err);
    }
    if (!rc && t->n_diff)
        rc = br_fail(err, BR_E_DIFF, "%zu tensor(s) differ after the round trip", t->n_diff);
    br__ckpt_close(a);
    br__ckpt_close(b);
    return rc;
}

static int trip_report(const struct trip *t, int rc, const struct br_err *failure,
                       struct br_err *err)
{
    struct br__js j = {0};

    br__report_end(t->r);
    if (!t->r->json) {
        if (!rc)
            br__say(stdout,
                    "round trip exact: all %" PRIu64
                    " tensors came back %s (import %.2f s, verify %.2f s, "
                    "export %.2f s)",
                    t->n_tensors, t->by_value ? "with the converted values" : "bit for bit",
                    t->seconds[0], t->seconds[1], t->seconds[2]);
        if (!t->temporary && t->job.hf_path)
            br__say(stdout, "kept: %s, %s", t->job.megatron_path, t->job.hf_path);
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", "roundtrip");
    br__js_str(&j, "status", br_status_name(rc));
    br__js_str(&j, "error", rc ? failure->msg : NULL);
    br__js_u64(&j, "tensors", t->n_tensors);
    br__js_bool(&j, "bitwise", !t->by_value);
    br__js_num(&j, "import_seconds", t->seconds[0]);
    br__js_num(&j, "verify_seconds", t->seconds[1]);
    br__js_num(&j, "export_seconds", t->seconds[2]);
    br__report_json(t->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static int trip_paths(struct trip *t, struct br_err *err)
{
    t->job.megatron_path = br__arena_printf(&t->c->arena, "%s/megatron", t->dir);
    t->job.hf_path = br__arena_printf(&t->c->arena, "%s/hf", t->dir);
    return t->job.megatron_path && t->job.hf_path ? BR_OK
                                                  : br__nomem(err, "reading the command line");
}

int br__cmd_roundtrip(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct trip t = {.c = c, .r = &r};
    struct br__interrupt i = {0};

    br__report_init(&r, c);
    int rc = br__job_from_cli(c, &r, &t.job, err);
    br__interrupt_hold(&i);
    if (!rc)
        rc = trip_dir(&t, err);
    if (!rc && t.temporary)
        br__interrupt_start(&i, t.dir, NULL, NULL);
    else
        br__interrupt_end(&i);
    if (!rc)
        rc = trip_paths(&t, err);
    for (int step = 0; !rc && step < 3; step++)
        rc = trip_step(&t, step, err);
    if (!rc)
        rc = trip_compare(&t, err);
    int printed = trip_report(&t, rc, err, rc ? NULL : err);
    int removed = BR_OK;
    if (t.temporary)
        removed = br__remove_tree(t.dir, rc ? NULL : err);
    br__interrupt_end(&i);
    br__report_free(&r);
    return rc ? rc : printed ? printed : removed;
}
