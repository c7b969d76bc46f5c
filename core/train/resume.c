/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* resume.c - a run goes on from a checkpoint and leaves others: its counters, groups and schedule
 * in Megatron's words.
 *
 * Source of the words: checkpoints written by Megatron Bridge 0.6.2. */
#include "ckpt.h"
#include "optim.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

#define N_EXTRA 7
#define MOST_PARTS 3 /* of a share */

struct br__train_ckpt {
    struct br__arena arena;
    struct br_config cfg;  /* with the prediction layers that are trained */
    struct br__live *list; /* [model.n] */
    struct br__live_model model;
    struct br__buf run_config;
    struct br__saver *saver;
    int64_t members[2]; /* tensors of all ranks with weight decay, without; equals count each */
    int64_t pending;    /* step that a thread writes; -1: none */
};

/* ---- what to go on from ---------------------------------------------------------------------- */

/* The run's own checkpoint: its state goes on, whatever `finetune` and `load_optim` say of that
 * which it began from. */
static int is_own(const struct br__train *t)
{
    return br__starts(t->resumed, t->run->checkpoints);
}

static int starts_over(const struct br__train *t)
{
    return t->run->finetune && !is_own(t);
}

/* Where it stands, before anything else is read. */
static int peek(struct br__train *t, struct br_err *err)
{
    struct br__ckpt *ck;
    int rc = br__td_open(&ck, t->resumed, err);

    if (rc)
        return rc;
    if (!starts_over(t)) {
        t->s.iteration =
            BR__MAX(ck->td->train_step >= 0 ? ck->td->train_step : ck->td->iteration, (int64_t)0);
        t->s.consumed = br__td_samples(ck->td);
        if (t->s.consumed < 0)
            rc = br_fail(err, BR_E_FORMAT,
                         "'%s' does not say how many samples its run has seen; finetune=true takes "
                         "its weights and begins at step 0",
                         t->resumed);
    }
    br__ckpt_close(ck);
    return rc;
}

static int find_resumed(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    int64_t step = run->ckpt_step;
    const char *own;
    int rc = br__ckpt_latest(&t->arena, run->checkpoints, -1, &own, err);

    if (!rc && own && step >= 0)
        rc = br__ckpt_latest(&t->arena, run->checkpoints, step, &own, err);
    if (!rc && !own && run->load) {
        rc = br__ckpt_latest(&t->arena, run->load, step, &own, err);
        if (!rc && !own)
            rc = br_fail(err, BR_E_NOTFOUND, "load: '%s' holds no training checkpoint", run->load);
    }
    t->resumed = own;
    return rc;
}

/* Rank 0 says which one it is, for another may appear meanwhile. */
int br__train_find(struct br__train *t, struct br_err *err)
{
    struct br__buf b = {0};
    int rc = br__procs_rank() ? BR_OK : find_resumed(t, err);

    rc = br__procs_agree(rc, err);
    if (t->resumed)
        br__buf_puts(&b, t->resumed);
    if (!rc)
        rc = br__procs_share_buf(&b, 0, err);
    if (!rc && b.n && !(t->resumed = br__arena_strdup(&t->arena, b.p)))
        rc = br__nomem(err, "for the run's checkpoints");
    br__buf_free(&b);
    return rc || !t->resumed ? rc : br__procs_agree(peek(t, err), err);
}

/* ---- the run as arrays ----------------------------------------------------------------------- */

/* Elements [from, from + n) of a share, of which the tensor's first is `at`, as a run. */
static void add_run(struct br__live *to, const struct br__share *x, size_t from, size_t n,
                    struct br__live_run r)
{
    size_t at = from - x->from;

    if (!n)
        return;
    r.state[BR__OPTIM_MAIN] = x->kept[0] + at;
    r.state[BR__OPTIM_EXP_AVG] = x->kept[1] + at;
    r.state[BR__OPTIM_EXP_AVG_SQ] = x->kept[2] + at;
    r.is_copy = !x->counts;
    ((struct br__live_run *)(uintptr_t)to->runs)[to->n_runs++] = r;
}

/* What the share has of rows g: of whole rows one run, of others the rest of a row, rows, and the
 * beginning of one. */
static void add_rows(struct br__live *to, const struct br__trained *t, const struct br__rows *g,
                     const struct br__share *x)
{
    size_t all = br__trained_row(t), cols = (size_t)t->n_cols;
    size_t from = BR__MAX(x->from, g->at);
    size_t end = BR__MIN(x->from + x->n, g->at + (size_t)g->n * cols);

    for (size_t n; from < end; from += n) {
        size_t row = (from - g->at) / cols, col = (from - g->at) % cols, rows = 1;
        n = BR__MIN(cols - col, end - from);
        if (cols == all) {
            n = end - from;
        } else if (!col && n == cols) {
            rows = (end - from) / cols;
            n = rows * cols;
        }
        const struct br__live_run r = {.from = ((size_t)g->row + row) * all + (size_t)t->col + col,
                                       .n = n / rows,
                                       .count = rows,
                                       .stride = rows > 1 ? all : n};
        add_run(to, x, from, n, r);
    }
}

static const char *ckpt_name(const struct br__train_ckpt *c, const struct br__trained *x)
{
    return c->model.adapters ? x->megatron : x->name;
}

/* Without the distributed optimizer ranks hold equal shares: each writes one part of it.  The parts
 * of x, of which the others are copies. */
static size_t cut_share(const struct br__shard *s, const struct br__share *x,
                        struct br__share out[MOST_PARTS])
{
    const struct br__shard_tensor *t = &s->o.tensors[x->tensor];
    const struct br_comm *comm = s->o.whole ? s->o.banks[t->bank].comm : NULL;

    out[0] = *x;
    if (!comm || !t->counts)
        return 1;
    size_t from = x->n * comm->rank / comm->size, end = x->n * (comm->rank + 1) / comm->size;
    const size_t at[MOST_PARTS + 1] = {0, from, end, x->n};
    for (int i = 0; i < MOST_PARTS; i++) {
        out[i] = *x;
        out[i].from += at[i];
        out[i].n = at[i + 1] - at[i];
        for (int k = 0; k < 3; k++)
            out[i].kept[k] += at[i];
        out[i].counts = i == 1;
    }
    return MOST_PARTS;
}

/* Three runs of each group of rows at most. */
static size_t most_runs(const struct br__train *t, const struct br__train_ckpt *c, const char *name)
{
    size_t n = 0;

    for (uint32_t i = 0; i < t->n_ranks; i++) {
        const struct br__train_rank *r = &t->ranks[i];
        for (size_t k = 0; k < r->shard.n_shares; k++) {
            const struct br__trained *x = &r->list[r->shard.shares[k].tensor];
            n += strcmp(ckpt_name(c, x), name) ? 0 : MOST_PARTS * 3 * x->n_rows;
        }
    }
    return n;
}

/* Of a tensor: what all ranks know. */
struct named {
    const char *name;
    int32_t ndim;
    int64_t shape[BR_MAX_DIMS];
};
struct listing {
    struct br__train_ckpt *c;
    struct br__map by_name; /* of c->list */
    size_t cap;
};

/* A tensor that the list has already, or has from now on, in the order of the ranks. */
static int list_name(struct listing *l, const struct named *x)
{
    struct br__train_ckpt *c = l->c;

    if (br__map_get(&l->by_name, x->name) != BR__NOT_FOUND)
        return BR_OK;
    if (br__grow(&c->list, &l->cap, c->model.n, sizeof *c->list))
        return BR_E_NOMEM;
    struct br__live *to = &c->list[c->model.n];
    *to = (struct br__live){.name = br__arena_strdup(&c->arena, x->name), .ndim = x->ndim, .n = 1};
    memcpy(to->shape, x->shape, sizeof to->shape);
    for (int d = 0; d < x->ndim; d++)
        to->n *= (size_t)x->shape[d];
    return to->name ? br__map_put(&l->by_name, to->name, (uint32_t)c->model.n++) : BR_E_NOMEM;
}

/* Those of the ranks of this process. */
static int list_here(const struct br__train *t, struct listing *l)
{
    int rc = BR_OK;

    for (uint32_t i = 0; i < t->n_ranks; i++)
        for (size_t k = 0; k < t->ranks[i].n && !rc; k++) {
            const struct br__trained *x = &t->ranks[i].list[k];
            struct named n = {ckpt_name(l->c, x), x->ndim, {0}};
            memcpy(n.shape, x->shape, sizeof n.shape);
            rc = list_name(l, &n);
        }
    return rc;
}

static void put_names(const struct br__train_ckpt *c, struct br__buf *b)
{
    for (size_t i = 0; i < c->model.n; i++) {
        const struct br__live *x = &c->list[i];
        int32_t ndim = x->ndim;
        br__buf_put(b, x->name, strlen(x->name) + 1);
        br__buf_put(b, &ndim, sizeof ndim);
        br__buf_put(b, x->shape, sizeof x->shape);
    }
}

static int take_names(struct listing *l, const struct br__buf *b)
{
    int rc = BR_OK;

    for (const char *at = b->p, *end = b->p + b->n; at < end && !rc;) {
        struct named n = {.name = at};
        at += strlen(at) + 1;
        memcpy(&n.ndim, at, sizeof n.ndim);
        memcpy(n.shape, at + sizeof n.ndim, sizeof n.shape);
        at += sizeof n.ndim + sizeof n.shape;
        rc = list_name(l, &n);
    }
    return rc;
}

/* Over several processes all list the tensors of all, as rank 0 finds them. */
static int list_all(struct listing *l, struct br_err *err)
{
    struct br__buf mine = {0}, all = {0};
    size_t *sizes = br__calloc(br__procs_size(), sizeof *sizes);
    int rc = br__procs_agree(sizes ? BR_OK : br__nomem(err, "for the run's checkpoints"), err);

    put_names(l->c, &mine);
    if (!rc)
        rc = br__procs_gather(&mine, &all, sizes, err);
    if (!rc && take_names(l, &all)) /* rank 0 */
        rc = br__nomem(err, "for the run's checkpoints");
    br__buf_free(&all);
    if (br__procs_rank() == 0)
        put_names(l->c, &all);
    rc = br__procs_agree(rc, err);
    if (!rc)
        rc = br__procs_share_buf(&all, 0, err);
    if (!rc && br__procs_rank()) {
        l->c->model.n = 0;
        br__map_free(&l->by_name);
        if (br__map_init(&l->by_name, 64) || take_names(l, &all))
            rc = br__nomem(err, "for the run's checkpoints");
    }
    br__buf_free(&mine);
    br__buf_free(&all);
    br__free(sizes);
    return br__procs_agree(rc, err);
}

static void list_share(struct br__train_ckpt *c, const struct br__map *by_name,
                       const struct br__train_rank *r, const struct br__share *x)
{
    const struct br__trained *from = &r->list[x->tensor];
    struct br__live *to = &c->list[br__map_get(by_name, ckpt_name(c, from))];
    struct br__share part[MOST_PARTS];
    size_t n = cut_share(&r->shard, x, part);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < from->n_rows; k++)
            add_rows(to, from, &from->rows[k], &part[i]);
}

/* What the ranks of this process have of them. */
static int list_runs(const struct br__train *t, struct listing *l)
{
    struct br__train_ckpt *c = l->c;

    for (size_t i = 0; i < c->model.n; i++)
        if (!(c->list[i].runs = br__arena_alloc(&c->arena, (most_runs(t, c, c->list[i].name) + 1) *
                                                               sizeof *c->list[i].runs)))
            return BR_E_NOMEM;
    for (uint32_t r = 0; r < t->n_ranks; r++)
        for (size_t i = 0; i < t->ranks[r].shard.n_shares; i++)
            list_share(c, &l->by_name, &t->ranks[r], &t->ranks[r].shard.shares[i]);
    return BR_OK;
}

static int list_tensors(struct br__train *t, struct br__train_ckpt *c, struct br_err *err)
{
    struct listing l = {.c = c};

    c->cfg = *br__llm_config(t->model);
    c->cfg.n_mtp = t->n_mtp;
    br_cfg_set(&c->cfg, BR_CFG_MTP_NUM_LAYERS, t->n_mtp);
    c->model = (struct br__live_model){
        .cfg = &c->cfg, .dtype = t->run->params_dtype, .adapters = t->run->mode > BR__MODE_SFT};
    int rc = br__map_init(&l.by_name, 64) || list_here(t, &l)
                 ? br__nomem(err, "for the run's checkpoints")
                 : BR_OK;
    if (br__procs_size() > 1) {
        rc = br__procs_agree(rc, err);
        if (!rc)
            rc = list_all(&l, err);
    }
    if (!rc && list_runs(t, &l))
        rc = br__nomem(err, "for the run's checkpoints");
    c->model.list = c->list;
    br__map_free(&l.by_name);
    return rc;
}

static int open_saver(struct br__train *t, struct br__train_ckpt *c, struct br_err *err)
{
    const struct br__run *run = t->run;
    int rc = br__recipe_yaml(&c->arena, run->recipe, &c->cfg, &c->run_config, err);
    const struct br__saver_opts o = {.root = run->checkpoints,
                                     .model = c->model,
                                     .run_config = c->run_config.p,
                                     .hf_model = run->hf_model,
                                     .tokenizer_dir = t->corpus.tok_dir,
                                     .keep = run->most_recent_k,
                                     .has_rng = 1,
                                     .rng_seed = run->seed,
                                     .threads = br__train_threads(t),
                                     .no_sync = t->o.no_sync,
                                     .listener = t->o.listener};

    return rc ? rc : br__saver_open(&c->saver, &o, err);
}

/* ---- loading --------------------------------------------------------------------------------- */

/* As Megatron asserts it, where neither the recipe's nor the checkpoint's values are to win. */
static int check_schedule(const struct br__train *t, const struct br__optim_scheduler *c,
                          struct br_err *err)
{
    const struct br__schedule *s = &t->run->schedule;
    const struct {
        const char *key;
        double have, want;
    } rows[] = {{"lr", c->max_lr, s->max_lr},
                {"min_lr", c->min_lr, s->min_lr},
                {"lr_warmup_iters in samples", (double)c->warmup_steps, (double)s->warmup},
                {"lr_decay_iters in samples", (double)c->decay_steps, (double)s->decay},
                {"start_weight_decay", c->start_wd, s->start_wd},
                {"end_weight_decay", c->end_wd, s->end_wd}};

    for (size_t i = 0; i < BR_COUNTOF(rows) && t->run->keep_schedule; i++)
        if (rows[i].have != rows[i].want)
            return br_fail(err, BR_E_CONFIG,
                           "%s is %.17g in the checkpoint and %.17g in this run; "
                           "override_opt_param_scheduler=true takes this run's",
                           rows[i].key, rows[i].have, rows[i].want);
    return BR_OK;
}

static double extra_number(const struct br__loaded *l, const char *key, double dflt)
{
    const struct br__pk *v = br__pk_get(l->extra, key);

    if (v && v->kind == BR__PK_INT)
        return (double)v->u.i;
    return v && v->kind == BR__PK_FLOAT ? v->u.f : dflt;
}

/* What decides the order of the data; Megatron's checkpoints do not say. */
static void compare_data(const struct br__train *t, const struct br__loaded *l)
{
    const struct {
        const char *key;
        int64_t now;
    } rows[] = {{"train_iters", t->run->train_iters}, {"global_batch_size", t->run->global_batch}};

    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        double then = extra_number(l, rows[i].key, (double)rows[i].now);
        if (then != (double)rows[i].now)
            br__warn(t->o.listener,
                     "%s was %.0f when the checkpoint was written and is %" PRId64
                     ": the order of the data may differ from that of the run so far",
                     rows[i].key, then, rows[i].now);
    }
}

/* Where the bias stands is a part of the model. */
static int check_dora(const struct br__train *t, const struct br__loaded *l, struct br_err *err)
{
    int inside = br__dora_bias_inside(l->extra);

    if (t->run->mode != BR__MODE_DORA || inside == t->run->peft.bias_inside ||
        !br_cfg_i(br__llm_config(t->model), BR_CFG_ADD_QKV_BIAS))
        return BR_OK;
    return br_fail(err, BR_E_CONFIG,
                   "its DoRA has the bias of query, key and value %s what the magnitudes scale: "
                   "dora_qkv_bias=%s goes on with it",
                   inside ? "inside" : "outside", inside ? "inside" : "outside");
}

static int take_state(struct br__train *t, const struct br__loaded *l, struct br_err *err)
{
    struct br__run_state *s = &t->s;

    s->consumed_valid = l->valid_samples;
    s->flops = l->flops;
    if (!l->n_groups)
        return BR_OK;
    for (size_t i = 0; i < l->n_groups; i++) {
        if (l->groups[i].step != l->groups[0].step)
            br__warn(t->o.listener,
                     "the optimizer's groups have done %" PRId64 " and %" PRId64
                     " steps: the larger counts",
                     l->groups[0].step, l->groups[i].step);
        s->adam_steps = BR__MAX(s->adam_steps, l->groups[i].step);
    }
    s->sched_samples = l->has_scheduler ? l->scheduler.num_steps : s->consumed;
    s->skipped = (int64_t)extra_number(l, "skipped", 0);
    s->scaler.scale = (float)extra_number(l, "loss_scale", s->scaler.scale);
    s->scaler.good_steps = (int)extra_number(l, "good_steps", 0);
    s->scaler.hysteresis_left = (int)extra_number(l, "hysteresis", s->scaler.hysteresis);
    compare_data(t, l);
    return l->has_scheduler ? check_schedule(t, &l->scheduler, err) : BR_OK;
}

static int load(struct br__train *t, struct br_err *err)
{
    const struct br__load_opts o = {.dir = t->resumed,
                                    .model = t->ckpt->model,
                                    .weights_only =
                                        starts_over(t) || (!t->run->load_optim && !is_own(t)),
                                    .threads = br__train_threads(t),
                                    .listener = t->o.listener};
    struct br__loaded l;
    int rc = br__live_load(&o, &l, err), all = br__procs_agree(rc, err);

    if (all) {
        if (!rc)
            br__loaded_free(&l);
        return all;
    }
    rc = check_dora(t, &l, err);
    if (!rc && !starts_over(t))
        rc = take_state(t, &l, err);
    if (rc)
        br_wrap(err, "'%s'", t->resumed);
    br__loaded_free(&l);
    return rc ? rc : br__train_ranks_changed(t, err);
}

static int count_members(const struct br__train *t, struct br__train_ckpt *c, struct br_err *err)
{
    for (uint32_t k = 0; k < t->n_ranks; k++)
        for (size_t i = 0; i < t->ranks[k].n; i++)
            c->members[!t->ranks[k].decayed[i]]++;
    return br__procs_sum(c->members, BR_COUNTOF(c->members), BR_I64, err);
}

int br__train_resume(struct br__train *t, struct br_err *err)
{
    struct br__train_ckpt *c = t->ckpt = br__calloc(1, sizeof *c);

    if (!c)
        return br__nomem(err, "for the run's checkpoints");
    c->pending = -1;
    int rc = list_tensors(t, c, err);
    if (!rc)
        rc = count_members(t, c, err);
    if (!rc)
        rc = open_saver(t, c, err);
    if (rc || !t->resumed)
        return rc;
    rc = br__train_ranks_fetch(t, err);
    return rc ? rc : load(t, err);
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* Megatron's groups, of those that have parameters: with weight decay first. */
static size_t make_groups(const struct br__train *t, struct br__optim_group out[2])
{
    const struct br__run *run = t->run;
    size_t n = 0;

    for (int g = 0; g < 2; g++) {
        const struct br__schedule_group *s = &run->group[g];
        if (t->ckpt->members[g])
            out[n++] = (struct br__optim_group){
                .bias_correction = 1,
                .wd_mult = s->wd_mult,
                .lr_mult = s->lr_mult,
                .max_lr = s->max_lr,
                .min_lr = s->min_lr,
                .lr = br__lr_at(&run->schedule, s, t->s.sched_samples),
                .beta1 = run->beta1,
                .beta2 = run->beta2,
                .eps = run->eps,
                .weight_decay = br__wd_at(&run->schedule, s, t->s.sched_samples),
                .step = t->s.adam_steps};
    }
    return n;
}

static struct br__optim_scheduler make_scheduler(const struct br__train *t)
{
    const struct br__schedule *s = &t->run->schedule;

    return (struct br__optim_scheduler){.max_lr = s->max_lr,
                                        .min_lr = s->min_lr,
                                        .start_wd = s->start_wd,
                                        .end_wd = s->end_wd,
                                        .warmup_steps = s->warmup,
                                        .decay_steps = s->decay,
                                        .wd_incr_steps = s->wd_incr,
                                        .num_steps = t->s.sched_samples,
                                        .decay_style = br__lr_style_name(s->style),
                                        .wd_incr_style = br__wd_style_name(s->wd_style)};
}

static struct br__train_counters make_counters(const struct br__train *t)
{
    return (struct br__train_counters){.step = t->s.iteration,
                                       .consumed_samples = t->s.consumed,
                                       .valid_samples = t->s.consumed_valid,
                                       .flops = t->s.flops,
                                       .do_train = 1,
                                       .do_valid = t->corpus.samples[BR__VALID] > 0,
                                       .do_test = t->corpus.samples[BR__TEST] > 0};
}

/* The step that was handed to a thread is on disk. */
static void report(struct br__train *t, int64_t step)
{
    const struct br__train_events *e = t->o.events;
    char path[1024];

    snprintf(path, sizeof path, "%s/iter_%07" PRId64, t->run->checkpoints, step);
    if (step >= 0 && e && e->saved)
        e->saved(e->ud, step, path);
}

int br__train_writes(const struct br__train *t)
{
    return t->ckpt->pending >= 0 && br__saver_writes(t->ckpt->saver);
}

int br__train_saves(const struct br__train *t)
{
    return t->ckpt->pending >= 0;
}

int br__train_save_finish(struct br__train *t, struct br_err *err)
{
    int rc = br__saver_finish(t->ckpt->saver, err);

    if (!rc)
        report(t, t->ckpt->pending);
    t->ckpt->pending = -1;
    return rc;
}

int br__train_save(struct br__train *t, struct br_err *err)
{
    const struct br__scaler *sc = &t->s.scaler;
    struct br__optim_group groups[2];
    struct br__optim_scheduler scheduler = make_scheduler(t);
    char text[N_EXTRA][32];
    static const char *const names[N_EXTRA] = {"skipped",    "loss_scale",  "good_steps",
                                               "hysteresis", "train_iters", "global_batch_size",
                                               BR__DORA_BIAS};
    const int64_t counts[N_EXTRA] = {
        t->s.skipped,         0, sc->good_steps, sc->hysteresis_left, t->run->train_iters,
        t->run->global_batch, 0};
    const char *extra[N_EXTRA][2];
    int rc = br__train_save_finish(t, err);

    for (int i = 0; i < N_EXTRA; i++) {
        snprintf(text[i], sizeof text[i], "%" PRId64, counts[i]);
        if (i == 1)
            snprintf(text[i], sizeof text[i], "%.9e", (double)sc->scale);
        if (i == N_EXTRA - 1)
            snprintf(text[i], sizeof text[i], "'%s'",
                     t->run->peft.bias_inside ? "inside" : "outside");
        extra[i][0] = names[i];
        extra[i][1] = text[i];
    }
    const struct br__saved now = {.counters = make_counters(t),
                                  .train = {0, groups, make_groups(t, groups), &scheduler},
                                  .extra = (const char *const(*)[2])extra,
                                  .n_extra = N_EXTRA - (t->run->mode != BR__MODE_DORA)};
    if (!rc)
        rc = br__train_ranks_fetch(t, err);
    if (!rc)
        rc = br__saver_save(t->ckpt->saver, &now, t->run->async_save, err);
    if (rc)
        return rc;
    t->ckpt->pending = t->s.iteration;
    return t->run->async_save ? BR_OK : br__train_save_finish(t, err);
}

void br__train_ckpt_free(struct br__train_ckpt *c)
{
    if (!c)
        return;
    br__saver_close(c->saver);
    br__buf_free(&c->run_config);
    br__free(c->list);
    br__arena_free(&c->arena);
    br__free(c);
}
