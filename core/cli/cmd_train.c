/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_train.c - train: run the training that a recipe describes. */
#include "train_cli.h"

#include <inttypes.h>
#include <string.h>

struct training {
    struct br__cli *c;
    struct br__report r;
    struct br__registry *registry;
    struct br__recipe recipe;
    struct br__run run;
    struct br__train *t;
    struct br__plan_view view;
    struct br__train_log log;
    const char *log_path;
};

/* ---- what was typed -------------------------------------------------------------------------- */

int br__train_recipe(struct br__cli *c, struct br__recipe_opts *o, struct br_err *err)
{
    const struct br__cli_value *set = &c->opt[BR__OPT_RECIPE_SET];
    size_t named = c->n_pos && !strchr(c->pos[0], '=');
    const char **sets = br__arena_alloc(&c->arena, (set->n_list + c->n_pos + 1) * sizeof *sets);

    *o = (struct br__recipe_opts){.name = named ? c->pos[0] : NULL,
                                  .file = BR__TEXT(c, RECIPE_FILE),
                                  .peft = BR__TEXT(c, PEFT),
                                  .sets = sets,
                                  .incomplete = 1};
    if (!sets)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    if (!named && !o->file)
        return br_fail(err, BR_E_USAGE, "train needs the name of a recipe, or --recipe-file");
    for (size_t i = 0; i < set->n_list; i++)
        sets[o->n_sets++] = set->list[i];
    for (size_t i = named; i < c->n_pos; i++) {
        if (!strchr(c->pos[i], '='))
            return br_fail(err, BR_E_USAGE, "'%s' is no setting; expected key=value", c->pos[i]);
        sets[o->n_sets++] = c->pos[i];
    }
    return BR_OK;
}

/* How many ranks there are: what was typed, or what a launcher started. */
static int find_ranks(struct br__cli *c, struct br__run_opts *o, struct br_err *err)
{
    struct br__launch launch;
    int rc = br__launch_find(&launch, err);

    o->ranks = BR__INT(c, RANKS);
    if (rc || (!o->ranks && !launch.plane))
        return rc;
    if (o->ranks && launch.plane)
        return br_fail(err, BR_E_USAGE,
                       "--ranks %" PRId64 " and %" PRIu32
                       " processes of a launcher: leave one of them out",
                       o->ranks, launch.size);
    if (o->single_rank)
        return br_fail(err, BR_E_USAGE, "--single-rank, and there are %" PRId64 " ranks",
                       o->ranks ? o->ranks : (int64_t)launch.size);
    o->ranks = o->ranks ? o->ranks : (int64_t)launch.size;
    return BR_OK;
}

/* Over several processes: all carry out the same recipe, and wait as long as it says. */
static int compare_recipes(struct training *x, struct br_err *err)
{
    struct br__buf b = {0};

    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (x->run.recipe->v[id].tag) {
            br__buf_printf(&b, "%s = ", br__recipe_keys[id].name);
            br__recipe_value_text(&b, &x->run.recipe->v[id]);
            br__buf_putc(&b, '\n');
        }
    if (x->run.config_text)
        br__buf_puts(&b, x->run.config_text);
    int rc = br__procs_agree(b.failed ? br__nomem(err, "for the recipe") : BR_OK, err);
    if (!rc)
        rc = br__procs_same("recipe", b.n ? b.p : "", err);
    br__buf_free(&b);
    if (!BR__FLAG(x->c, COMM_TIMEOUT)) {
        int seconds = (int)BR__MIN(x->run.patience, INT32_MAX / 1000);
        br__procs_patience(seconds);
        br__ranks_tell_devices(seconds, 0);
    }
    return rc;
}

static int make_run(struct training *x, struct br_err *err)
{
    struct br__cli *c = x->c;
    struct br__run_opts o = {.single_rank = BR__FLAG(c, SINGLE_RANK),
                             .skip_bad = BR__FLAG(c, SKIP_BAD)};
    struct br__recipe_opts ro;
    int rc = br__train_recipe(c, &ro, err);

    if (!rc)
        rc = find_ranks(c, &o, err);
    if (!rc)
        rc = br__registry_open(&x->registry, BR__TEXT(c, PLUGIN), err);
    if (!rc)
        rc = br__registry_load_all(x->registry, err);
    if (!rc)
        rc = br__recipe_open(&c->arena, x->registry, &ro, &x->recipe, err);
    if (!rc && x->recipe.asked)
        br__report_note(&x->r,
                        "'%s' is a newer name of '%s', which has the values of the model page",
                        x->recipe.asked, x->recipe.name);
    if (!rc)
        rc = br__run_make(&c->arena, x->registry, &x->recipe, &o, &x->run, err);
    if (!rc)
        x->log_path = BR__FLAG(c, LOG_JSONL) ? BR__TEXT(c, LOG_JSONL)
                                             : br__path_join(&c->arena, x->run.dir, "log.jsonl");
    if (!rc && !x->log_path)
        rc = br__nomem(err, "for the log");
    rc = br__procs_agree(rc, err);
    return rc ? rc : compare_recipes(x, err);
}

/* ---- signals --------------------------------------------------------------------------------- */

static struct br__train *volatile running;

/* The first signal ends the run after the current step, a second one ends the program. */
static void on_signal(int sig)
{
    struct br__train *t = running; /* another thread may set it to NULL meanwhile */
    (void)sig;
    if (t)
        br__train_stop(t);
}

static void catch_signals(struct br__train *t)
{
    static const int ending[] = {SIGINT, SIGTERM};
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};

    running = t;
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < BR_COUNTOF(ending); i++) {
        struct sigaction now;
        if (!sigaction(ending[i], NULL, &now) && now.sa_handler != SIG_IGN)
            (void)sigaction(ending[i], &a, NULL);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static const char *const end_words[] = {"error", "done", "stopped", "exit_interval",
                                        "exit_duration_in_mins"};

static void eval_json(struct br__js *j, const struct br__train_log *l)
{
    for (int i = BR__VALID; i < BR__N_SPLITS; i++) {
        const struct br__eval_report *e = &l->eval[i];
        if (!e->samples)
            continue;
        br__js_object(j, br__split_names[i], BR__JS_INLINE);
        br__js_i64(j, "iteration", e->iteration);
        br__js_num(j, "lm_loss", e->lm_loss);
        br__js_end(j);
    }
}

static double train_rate(const struct br__train_log *l)
{
    return l->train_seconds > 0 ? (double)l->tokens / l->train_seconds : 0;
}

static int print_json(struct training *x, enum br__train_end end, struct br_err *err)
{
    const struct br__train_log *l = &x->log;
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_object(&j, "plan", 0);
    br__train_plan_json(&j, &x->view);
    br__js_end(&j);
    if (end != BR__END_NOT) {
        br__js_str(&j, "end", end_words[end]);
        br__js_str(&j, "log", x->log_path);
        br__js_i64(&j, "iteration", l->last.iteration);
        br__js_i64(&j, "steps", l->n_steps);
        if (l->n_steps)
            br__js_num(&j, "lm_loss", l->last.lm_loss);
        else
            br__js_null(&j, "lm_loss");
        br__js_i64(&j, "tokens", l->tokens);
        br__js_num(&j, "tokens_per_second", train_rate(l));
        br__js_u64(&j, "private_bytes", l->peak_bytes); /* the plan's total_bytes says how many */
        eval_json(&j, l);
    }
    br__report_json(&x->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void closing_line(const struct training *x, enum br__train_end end)
{
    const struct br__train_log *l = &x->log;
    char bytes[32], planned[32];

    if (x->r.quiet || !l->n_steps)
        return;
    br__say(stdout,
            "%s after iteration %" PRId64 ": %" PRId64 " steps, %.1f tokens/s, %.1f%% of the time "
            "waiting for data, %s private memory (planned %s); log: %s",
            end_words[end], l->last.iteration, l->n_steps, train_rate(l),
            l->train_seconds > 0 ? 100 * l->waited / l->train_seconds : 0,
            br__human_bytes(l->peak_bytes, bytes),
            br__human_bytes((uint64_t)x->view.plan.total_bytes, planned), x->log_path);
}

/* Whether all has been done: the last step, and the evaluations after it, which a run that was
 * killed between them has yet to make. */
static int32_t is_finished(const struct training *x)
{
    const struct br__train_plan *p = &x->view.plan;
    const struct br__run *run = &x->run;
    int64_t evals = p->evals;

    if (!br__train_is_finished(x->t))
        return 0;
    evals += p->samples[BR__VALID] && run->eval_interval && p->first % run->eval_interval == 0;
    return !p->evals || br__train_log_evals(x->log_path, p->first) >= evals;
}

/* A run that is started again after its end: no plan, no file. */
static int say_finished(struct training *x, struct br_err *err)
{
    const struct br__train_plan *p = &x->view.plan;
    struct br__js j = {0};

    if (!x->r.json && !x->r.quiet)
        br__say(stdout,
                "finished    '%s' is after iteration %" PRId64 ", and train_iters is %" PRId64
                ": there is no step to do; train_iters=N with N above %" PRId64 " goes on",
                p->resumed, p->first, p->last, p->first);
    if (!x->r.json)
        return BR_OK;
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "end", end_words[BR__END_DONE]);
    br__js_str(&j, "resumed", p->resumed);
    br__js_i64(&j, "iteration", p->first);
    br__js_i64(&j, "steps", 0);
    br__report_json(&x->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Rank 0 keeps it. */
static int open_log(struct training *x, struct br_err *err)
{
    int rc = BR_OK;

    x->log.peak = x->view.plan.peak_flops;
    if (br__procs_rank() == 0) {
        rc = br__mkdirs(x->run.dir, err);
        if (!rc)
            rc = br__train_log_open(&x->log, x->log_path, x->view.plan.first, err);
    }
    return br__procs_agree(rc, err);
}

static int train_job(struct training *x, struct br_err *err)
{
    enum br__train_end end = BR__END_NOT;
    int rc = open_log(x, err);

    if (rc)
        return rc;
    catch_signals(x->t);
    rc = br__train_run(x->t, &end, err);
    running = NULL;
    br__train_live_end(&x->log.live);
    int closed = br__train_log_close(&x->log, rc ? NULL : err);
    if (rc || closed)
        return rc ? rc : closed;
    if (x->r.json)
        rc = print_json(x, end, err);
    else
        closing_line(x, end);
    if (!rc && end == BR__END_STOPPED)
        rc = br_fail(err, BR_E_STOPPED,
                     "stopped by a signal after iteration %" PRId64 "; the same command goes on",
                     x->log.last.iteration);
    return rc;
}

static int train_go(struct training *x, struct br_err *err)
{
    struct br__cli *c = x->c;
    int dry = BR__FLAG(c, DRY_RUN);
    int lines = !x->r.json && !x->r.quiet;
    int rc = make_run(x, err);

    br__train_log_init(&x->log, &x->run, lines, &x->r);
    const struct br__training_opts o = {.plugin = BR__TEXT(c, PLUGIN),
                                        .device = BR__TEXT(c, DEVICE),
                                        .threads = (int)BR__INT(c, THREADS),
                                        .dry = dry,
                                        .pace = !x->r.quiet,
                                        .no_sync = BR__FLAG(c, NO_SYNC),
                                        .listener = &x->r.listener,
                                        .events = br__procs_rank() ? NULL : &x->log.events};
    if (!rc)
        rc = br__train_open(&x->t, &x->run, &o, err);
    br__report_end(&x->r);
    if (rc)
        return rc;
    x->view = (struct br__plan_view){.run = &x->run, .t = x->t};
    br__train_plan(x->t, &x->view.plan);
    int32_t finished = is_finished(x);
    rc = br__procs_share(&finished, sizeof finished, 0, err);
    if (rc)
        return rc;
    if (finished)
        return say_finished(x, err);
    if (!x->r.json)
        rc = br__train_print_plan(c, &x->view, err);
    if (!rc && dry && x->r.json)
        rc = print_json(x, BR__END_NOT, err);
    return rc || dry ? rc : train_job(x, err);
}

int br__cmd_train(struct br__cli *c, struct br_err *err)
{
    struct training x = {.c = c};

    br__report_init(&x.r, c);
    int rc = train_go(&x, err);
    br__append_close(&x.log.file);
    br__tb_close(&x.log.tb);
    br__train_close(x.t);
    br__registry_close(x.registry);
    br__report_free(&x.r);
    return rc;
}
