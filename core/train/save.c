/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* save.c - writes training checkpoints: fully_reshardable torch_dist, as Megatron Bridge's.
 *
 * Tensors go from where they are trained to disk in blocks.  An iteration is written in a temporary
 * directory and takes its name in one rename; the trackers follow, so whoever reads them finds the
 * last complete one at every moment.
 *
 * Of several processes each writes what it has.  What all of them write where is known beforehand,
 * so that no tensor, and while they write no word, goes from one to another: rank 0 makes the
 * directory, all agree that it is there, all write, all agree that they could, rank 0 adds the
 * other files and renames it.  The threads that write while a run goes on call no communicator: the
 * run agrees for them. */
#include "ckpt.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_FILES (4u << 20) /* bytes of what is no tensor, at most */

/* A part of the state and its place in the copy. */
struct copy_part {
    float *to;
    const float *from;
    size_t n;
};
/* The state as it was, in runs of its own. */
struct copy {
    struct br__live *list; /* [tensors] NULL: there was none yet */
    struct br__live_run *runs;
    float *values;
    struct copy_part *parts;
    size_t n_parts;
};

/* One checkpoint that is being written. */
struct job {
    struct br__saver *s;
    const struct br__saved *now;
    struct br__arena arena;
    struct br__td_plan td;
    struct br__buf common;
    struct br__work work;
    struct br__dir dir; /* the iteration, as it is written */
    struct br__progress progress;
    const char *name;
    int sync, in_thread;
    struct br_err *err;
};
struct br__saver {
    struct br__saver_opts o;
    struct br__arena arena;
    const char *root; /* canonical */
    struct br__live_plan live;
    struct br__td_plan tables;       /* before the common state is known */
    struct br__train_source *source; /* per tensor of the tables */
    struct br__td_object rng;
    size_t n_objects;     /* items before the first cut */
    struct br__cut *cuts; /* [n_cuts] of each kind of state, in the order of the items */
    size_t n_cuts;
    struct br__td_item *others; /* [n_others] on rank 0: what the other processes write */
    size_t n_others;
    struct br__side side;
    /* A copy of the state, whose memory is kept from save to save: fresh pages would take longer
     * than the copying. */
    struct copy copy;
    int is_copied; /* the copy is being written, not the live state */
    /* the thread that writes, and what it writes */
    struct job job;
    pthread_t thread;
    int is_running, has_thread, rc;
    atomic_int writes;
    struct br_err err;
    struct br__arena saved_arena;
    struct br__saved saved;
};

/* ---- opening --------------------------------------------------------------------------------- */

/* One more object. */
static int add_rng(struct br__saver *s, struct br_err *err)
{
    struct br__td_plan *p = &s->tables;
    struct br__td_rng seeded = {.seed = s->o.rng_seed};
    struct br__td_item *items = br__arena_alloc(&s->arena, (p->n_items + 1) * sizeof *items);

    if (!items)
        return br__nomem(err, "saving a training checkpoint");
    memcpy(items, p->items, s->n_objects * sizeof *items);
    items[s->n_objects] = (struct br__td_item){.tensor = BR__TD_OBJECT, .object_key = BR__TD_RNG};
    memcpy(items + s->n_objects + 1, p->items + s->n_objects,
           (p->n_items - s->n_objects) * sizeof *items);
    p->items = items;
    p->n_items++;
    s->n_objects++;
    p->rng = &s->rng;
    br__random_seeded((uint32_t)seeded.seed, seeded.numpy, seeded.python);
    return br__td_rng_object(&s->arena, &seeded, &s->rng, err);
}

static int has_others(void)
{
    return br__procs_size() > 1;
}

/* One process writes whole pieces. */
static int take_pieces(struct br__saver *s, struct br_err *err)
{
    const struct br__plan *p = s->live.plan;

    s->n_cuts = p->n_pieces;
    s->cuts = br__arena_alloc(&s->arena, (s->n_cuts + 1) * sizeof *s->cuts);
    if (!s->cuts)
        return br__nomem(err, "saving a training checkpoint");
    for (size_t i = 0; i < s->n_cuts; i++) {
        uint64_t n = p->pieces[i].bytes / br_dtype_size(p->outs[p->pieces[i].out].dtype);
        s->cuts[i] = (struct br__cut){i, 0, BR__MAX(n, (uint64_t)1), n};
    }
    return BR_OK;
}

static int take_cuts(struct br__saver *s, struct br_err *err)
{
    struct br__cut_tables t = {.td = &s->tables, .n_objects = s->n_objects};
    int rc = br__cut_tables(&s->arena, &s->live, &s->o.model, &t, err);

    s->n_objects = t.n_objects;
    s->cuts = t.cuts;
    s->n_cuts = t.n;
    s->tables.writer = br__procs_rank();
    return rc;
}

static int make_tables(struct br__saver *s, struct br_err *err)
{
    int rc = br__iteration_tables(&s->arena, s->live.plan, &s->tables, &s->n_objects, err);
    if (!rc && s->o.has_rng)
        rc = add_rng(s, err);
    if (!rc)
        rc = has_others() ? take_cuts(s, err) : take_pieces(s, err);
    uint8_t *none = rc ? NULL : br__arena_alloc(&s->arena, s->tables.n_tensors + 1);
    if (!rc && !none)
        rc = br__nomem(err, "saving a training checkpoint");
    if (!rc)
        rc = br__td_train_plan(&s->arena, &s->tables, s->o.weights_only ? none : NULL, &s->source,
                               err);
    return rc;
}

/* Every element of every tensor is one process's. */
static void check_cover(const struct br__saver *s)
{
    const struct br__td_plan *p = &s->tables;
    uint64_t all = 0, have = 0;

    for (size_t i = 0; i < p->n_tensors; i++) {
        uint64_t n = br_dtype_size(p->tensors[i].dtype);
        for (int d = 0; d < p->tensors[i].ndim; d++)
            n *= (uint64_t)p->tensors[i].shape[d];
        all += n;
    }
    for (size_t i = s->n_objects; i < p->n_items; i++)
        have += p->items[i].data_bytes;
    for (size_t i = 0; i < s->n_others; i++)
        have += s->others[i].data_bytes;
    if (have != all)
        BR_BUG("of %" PRIu64 " bytes of a checkpoint the ranks have %" PRIu64, all, have);
}

/* What the others write where is the same in each checkpoint: only rank 0 has the common state,
 * whose length changes. */
static int find_others(struct br__saver *s, struct br_err *err)
{
    struct br__td_plan td = s->tables;
    int rc = br__procs_rank() ? br__td_layout(&s->arena, &td, err) : BR_OK;

    rc = br__procs_agree(rc, err);
    if (!rc)
        rc = br__cut_gather(&s->arena, &td, &s->others, &s->n_others, err);
    if (!rc && br__procs_rank() == 0)
        check_cover(s);
    return rc;
}

static int open_parts(struct br__saver *s, struct br_err *err)
{
    char *root;
    int rc = br__path_abs(&s->arena, s->o.root, &root, err);

    if (!rc) {
        s->root = root;
        rc = br__live_plan_open(&s->live, &s->o.model, NULL, err);
    }
    if (!rc)
        rc = make_tables(s, err);
    if (!rc)
        rc = br__side_find(&s->arena, s->o.tokenizer_dir, 1, &s->side, err);
    if (!rc && br__exists(s->root) && !br__is_dir(s->root))
        rc = br_fail(err, BR_E_EXISTS, "'%s' exists and is no directory", s->root);
    return rc;
}

int br__saver_open(struct br__saver **out, const struct br__saver_opts *o, struct br_err *err)
{
    struct br__saver *s = br__calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return br__nomem(err, "saving a training checkpoint");
    s->o = *o;
    int rc = br__procs_agree(open_parts(s, err), err);
    if (!rc && has_others())
        rc = find_others(s, err);
    if (rc)
        br__saver_close(s);
    else
        *out = s;
    return rc;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* What is written of elements. */
struct form {
    int kind, dtype;
};

/* The first n elements of r. */
static void save_elements(const struct br__saver *s, const struct br__range *r,
                          const struct form *f, unsigned char *dst, size_t n)
{
    const struct br__live *t = s->is_copied ? &s->copy.list[r->src] : &s->o.model.list[r->src];
    struct br__live_walk w = {.t = t, .kind = f->kind, .from = r->from, .end = r->from + n};
    size_t found = 0;

    while (br__live_next(&w)) {
        if (w.is_copy)
            continue;
        br_cast(dst + (w.at - r->from) * br_dtype_size(f->dtype), f->dtype, w.data, BR_F32, w.n, 0);
        found += w.n;
    }
    if (found != n)
        BR_BUG("of %zu elements of '%s' %zu are here", n, t->name, found);
}

/* Elements [e, e + n) of a piece of the state. */
static void save_gather(const struct br__saver *s, size_t piece, const struct form *f, uint64_t e,
                        unsigned char *dst, size_t n)
{
    size_t size = br_dtype_size(f->dtype);

    while (n) {
        struct br__range r = br__piece_range(s->live.plan, piece, e);
        size_t take = (size_t)BR__MIN((uint64_t)n, r.n);
        if (r.src == BR__SRC_ZERO)
            memset(dst, 0, take * size);
        else
            save_elements(s, &r, f, dst, take);
        dst += take * size;
        e += take;
        n -= take;
    }
}

/* The same of a cut. */
static void save_cut(const struct br__saver *s, const struct br__cut *c, const struct form *f,
                     uint64_t e, unsigned char *dst, size_t n)
{
    for (size_t take; n; n -= take, e += take, dst += take * br_dtype_size(f->dtype)) {
        uint64_t col = e % c->n_cols;
        take = (size_t)BR__MIN((uint64_t)n, c->n_cols - col);
        save_gather(s, c->piece, f, c->first + e / c->n_cols * c->stride + col, dst, take);
    }
}

static int save_produce(void *arg, size_t item, uint64_t offset, void *dst, size_t n,
                        struct br_err *err)
{
    struct job *j = arg;
    const struct br__saver *s = j->s;
    uint32_t tensor = j->td.items[item].tensor;
    int kind = s->source[tensor].kind;
    /* A weight is its main copy, rounded. */
    const struct form f = {kind < 0 ? BR__OPTIM_MAIN : kind, j->td.tensors[tensor].dtype};
    size_t size = br_dtype_size(f.dtype);

    (void)err;
    /* The items of each kind repeat the cuts. */
    save_cut(s, &s->cuts[(item - s->n_objects) % s->n_cuts], &f, offset / size, dst, n / size);
    br__progress_add(&j->progress, n);
    br__procs_progress(n);
    return BR_OK;
}

static int write_file(void *arg, size_t file, int worker, struct br_err *err)
{
    struct job *j = arg;

    (void)worker;
    return br__td_write_file(&j->td, (uint32_t)file, &j->dir, j->sync, save_produce, j, err);
}

/* ---- the other files ------------------------------------------------------------------------- */

static int common_state(struct job *j, struct br__buf *out, int as_list)
{
    const struct br__saver *s = j->s;
    const struct br__run_config_opts o = {
        .hf_model_id = s->o.hf_model, .save = s->o.root, .training = &j->now->counters};
    struct br__td_common c = {.iteration = j->now->counters.step,
                              .train = s->o.weights_only ? NULL : &j->now->train,
                              .extra = j->now->extra,
                              .n_extra = j->now->n_extra};

    c.non_homogeneous_layers = s->live.plan->b.x->per_layer &&
                               !br_cfg_i(&s->live.cfg, BR_CFG_HETEREOGENOUS_DIST_CHECKPOINT);
    int rc = s->o.model.adapters
                 ? BR_OK
                 : br__mlm_args(&j->arena, &s->live.cfg, &o, &c.args, &c.n_args, j->err);
    return rc ? rc : br__td_common_pickle(out, &c, as_list, j->err);
}

static int save_put(struct job *j, const char *name, const void *p, size_t n)
{
    return br__write_in(&j->dir, name, p, n, j->sync, j->err);
}

/* Of the items of all processes. */
static int put_metadata(struct job *j)
{
    const struct br__saver *s = j->s;
    struct br__td_plan all = j->td;

    if (s->n_others) {
        all.n_items = j->td.n_items + s->n_others;
        all.items = br__arena_alloc(&j->arena, all.n_items * sizeof *all.items);
        if (!all.items)
            return br__nomem(j->err, "saving a training checkpoint");
        memcpy(all.items, j->td.items, j->td.n_items * sizeof *all.items);
        memcpy(all.items + j->td.n_items, s->others, s->n_others * sizeof *all.items);
    }
    return br__iteration_metadata(&all, &j->dir, j->sync, j->err);
}

static int put_small_files(struct job *j)
{
    struct br__buf b = {0};
    const char *text = j->s->o.run_config;
    int rc = common_state(j, &b, 0);

    if (!rc)
        rc = br__td_write_common(&j->dir, &b, j->sync, j->err);
    br__buf_free(&b);
    if (!rc)
        rc = save_put(j, "metadata.json", br__td_metadata_json, strlen(br__td_metadata_json));
    if (!rc)
        rc = save_put(j, "run_config.yaml", text, strlen(text));
    if (!rc)
        rc = br__td_write_counters(&j->dir, BR__TRAIN_STATE, &j->now->counters, j->sync, j->err);
    if (!rc)
        rc = br__iteration_tokenizer(&j->s->side, &j->dir, j->sync, j->err);
    return rc ? rc : put_metadata(j);
}

/* ---- checkpoints that are too old ------------------------------------------------------------ */

static int by_number(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* All but the last keep - 1 of those before this one.  What makes a directory a checkpoint goes
 * first, so none is ever half of one. */
static int drop_old(struct job *j, const struct br__dir *root, char **names, size_t n)
{
    int64_t *old = br__arena_alloc(&j->arena, (n + 1) * sizeof *old);
    size_t n_old = 0;
    char name[32];
    int rc = old ? BR_OK : br__nomem(j->err, "saving a training checkpoint");

    for (size_t i = 0; i < n && !rc; i++)
        if (br__starts(names[i], "iter_") && !br__parse_i64(names[i] + 5, &old[n_old]) &&
            old[n_old] >= 0 && old[n_old] < j->now->counters.step)
            n_old++;
    if (!rc && n_old)
        qsort(old, n_old, sizeof *old, by_number);
    for (size_t i = 0; i + (size_t)j->s->o.keep <= n_old && !rc; i++) {
        struct br__dir d;
        snprintf(name, sizeof name, "iter_%07" PRId64, old[i]);
        if (br__dir_child(&d, root, name, 0, NULL))
            continue; /* written otherwise, so not ours */
        rc = br__dir_remove(&d, BR__METADATA, j->err);
        br__dir_close(&d);
        if (!rc)
            rc = br__dir_remove(root, name, j->err);
    }
    return rc;
}

/* Temporary directories of saves that were killed. */
static void drop_partial(struct job *j, char **names, size_t n)
{
    const char *const end = ".bridge-partial";

    for (size_t i = 0; i < n; i++) {
        struct br__work w;
        if (!br__starts(names[i], ".iter_") || !br__ends(names[i], end))
            continue;
        const char *final =
            br__arena_printf(&j->arena, "%s/%.*s", j->s->root,
                             (int)(strlen(names[i]) - strlen(end) - 1), names[i] + 1);
        if (final && !br__work_lock(&w, final, br__random(), 0, NULL)) {
            (void)!br__work_begin(&w, 0, NULL);
            br__work_close(&w);
        }
    }
}

/* The checkpoint is there: what fails from now on is only said. */
static void save_tidy(struct job *j)
{
    struct br__dir root;
    struct br_err why = BR_ERR_INIT;
    char **names;
    size_t n = 0;

    j->err = &why;
    int rc = br__dir_open(&root, j->s->root, &why);
    if (!rc)
        rc = br__dir_list(&j->arena, &root, &names, &n, &why);
    if (!rc)
        drop_partial(j, names, n);
    if (!rc && j->s->o.keep > 0)
        rc = drop_old(j, &root, names, n);
    if (rc)
        br__warn(j->s->o.listener, "old checkpoints were not removed: %s", why.msg);
    br__dir_close(&root);
}

/* ---- one checkpoint -------------------------------------------------------------------------- */

static int lay_out(struct job *j)
{
    struct br__saver *s = j->s;

    j->td = s->tables;
    j->td.items = br__arena_alloc(&j->arena, (j->td.n_items + 1) * sizeof *j->td.items);
    if (!j->td.items)
        return br__nomem(j->err, "saving a training checkpoint");
    memcpy(j->td.items, s->tables.items, j->td.n_items * sizeof *j->td.items);
    int rc = common_state(j, &j->common, 1);
    j->td.common_pickle = j->common.p;
    j->td.common_pickle_size = j->common.n;
    return rc ? rc : br__td_layout(&j->arena, &j->td, j->err);
}

/* Bytes of all processes. */
static uint64_t bytes_of(const struct job *j)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < j->td.n_files; i++)
        n += j->td.file_bytes[i];
    for (size_t i = 0; i < j->s->n_others; i++)
        n += j->s->others[i].item_len;
    return n;
}

/* Nothing of an earlier try is of use: the state has moved on since.  So there is no journal of
 * parts. */
static int open_destination(struct job *j)
{
    const char *final;

    j->name = br__arena_printf(&j->arena, "iter_%07" PRId64, j->now->counters.step);
    final = j->name ? br__path_join(&j->arena, j->s->root, j->name) : NULL;
    if (!final)
        return br__nomem(j->err, "saving a training checkpoint");
    int rc = br__work_lock(&j->work, final, br__random(), j->sync, j->err);
    if (rc)
        return rc;
    j->work.replace = br__exists(final);
    rc = br__work_begin(&j->work, 0, j->err);
    if (!rc)
        rc = br__dir_child(&j->dir, &j->work.parent, j->work.tmp_name, 0, j->err);
    return rc ? rc
              : br__work_space(&j->work, &j->dir,
                               bytes_of(j) + SMALL_FILES + br__side_bytes(&j->s->side), j->err);
}

static int save_wrong(const struct job *j, int rc)
{
    if (rc)
        br_wrap(j->err, "checkpoint of step %" PRId64 " in '%s'", j->now->counters.step,
                j->s->o.root);
    return rc;
}

/* All ranks: rank 0 makes the directory, and the others open it. */
static int job_begin(struct job *j)
{
    int rc = lay_out(j);

    if (!rc && br__procs_rank() == 0)
        rc = open_destination(j);
    rc = br__procs_agree(save_wrong(j, rc), j->err);
    if (!rc && has_others())
        rc = br__work_follow(&j->work, 0, j->err);
    if (!rc && j->work.follows)
        rc = save_wrong(j, br__dir_open(&j->dir, j->work.tmp.path, j->err));
    if (!rc && j->work.unlocked)
        br__note(j->s->o.listener,
                 "the file system has no locks: nothing keeps a second run from these checkpoints");
    return br__procs_agree(rc, j->err);
}

/* What this process writes; calls no communicator. */
static int job_write(struct job *j)
{
    const struct br__saver *s = j->s;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < j->td.n_files; i++)
        bytes += j->td.file_bytes[i];
    br__progress_init(&j->progress, j->in_thread ? NULL : s->o.listener, "saving", bytes);
    int rc = br__pool_run(j->in_thread ? 1 : s->o.threads, j->td.n_files, write_file, j, j->err);
    br__progress_end(&j->progress);
    if (!rc && j->sync)
        rc = br__dir_sync(&j->dir, j->err);
    return save_wrong(j, rc);
}

/* Rank 0, with the files of all. */
static int job_publish(struct job *j)
{
    int rc = put_small_files(j);

    if (!rc && j->sync)
        rc = br__dir_sync(&j->dir, j->err);
    if (!rc)
        rc = br__work_commit(&j->work, &(struct br__names){0}, BR__METADATA, j->err);
    if (!rc)
        rc = br__trackers_update(j->s->root, &j->now->counters, j->sync, j->err);
    if (!rc)
        save_tidy(j);
    return save_wrong(j, rc);
}

/* All ranks, with the status of their files. */
static int job_end(struct job *j, int rc)
{
    rc = br__procs_agree(rc, j->err);
    if (!rc && br__procs_rank() == 0)
        rc = job_publish(j);
    return br__procs_agree(rc, j->err);
}

static void job_close(struct job *j)
{
    br__buf_free(&j->common);
    br__dir_close(&j->dir);
    br__work_close(&j->work);
    br__arena_free(&j->arena);
}

static struct job job_of(struct br__saver *s, const struct br__saved *now, struct br_err *err)
{
    return (struct job){.s = s, .now = now, .dir.fd = -1, .sync = !s->o.no_sync, .err = err};
}

static int save_all(struct br__saver *s, const struct br__saved *now, struct br_err *err)
{
    struct job j = job_of(s, now, err);
    int rc = job_begin(&j);

    if (!rc)
        rc = job_end(&j, job_write(&j));
    job_close(&j);
    return rc;
}

/* ---- saving while the run goes on ------------------------------------------------------------ */

#define COPY_PART ((size_t)1 << 20) /* elements that a thread copies at once */

static int copy_part(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct copy_part *p = &((const struct copy *)arg)->parts[i];

    (void)worker;
    (void)err;
    memcpy(p->to, p->from, p->n * sizeof *p->to);
    return BR_OK;
}

static void free_copy(struct copy *c)
{
    br__free(c->list);
    br__free(c->runs);
    br__free(c->values);
    br__free(c->parts);
    *c = (struct copy){0};
}

/* Elements, runs and parts of what is to be copied. */
static void measure_copy(const struct br__live_model *m, size_t *n, size_t *runs, size_t *parts)
{
    *n = *runs = *parts = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct br__live *t = &m->list[i];
        struct br__live_walk w = {.t = t, .end = t->n};
        *runs += t->runs ? t->n_runs : 1;
        for (; br__live_next(&w); *n += w.n)
            *parts += w.n / COPY_PART + 1;
    }
}

/* The run's place in the copy: *to goes on behind it. */
static void copy_run(struct copy *c, struct br__live_run *r, float **to)
{
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
        const float *from = r->state[k];
        size_t size = r->is_copy ? 0 : r->count * r->n;
        r->state[k] = *to;
        for (size_t at = 0; at < size; at += COPY_PART)
            c->parts[c->n_parts++] =
                (struct copy_part){*to + at, from + at, BR__MIN(COPY_PART, size - at)};
        *to += size;
    }
}

/* Room for a copy of all tensors, and the parts that it is made in. */
static int make_copy(struct br__saver *s)
{
    const struct br__live_model *m = &s->o.model;
    struct copy *c = &s->copy;
    size_t n, n_runs, n_parts;

    measure_copy(m, &n, &n_runs, &n_parts);
    c->list = br__calloc(m->n + 1, sizeof *c->list);
    c->runs = br__calloc(n_runs + 1, sizeof *c->runs);
    c->values = br__alloc(BR__N_OPTIM_KINDS * n * sizeof(float) + 1);
    c->parts = br__calloc(BR__N_OPTIM_KINDS * n_parts + 1, sizeof *c->parts);
    if (!c->list || !c->runs || !c->values || !c->parts) {
        free_copy(c);
        return BR_E_NOMEM;
    }
    float *to = c->values;
    struct br__live_run *r = c->runs;
    for (size_t i = 0; i < m->n; i++) {
        const struct br__live *t = &m->list[i];
        c->list[i] = *t;
        c->list[i].runs = r;
        c->list[i].n_runs = t->runs ? t->n_runs : 1;
        if (t->runs)
            memcpy(r, t->runs, t->n_runs * sizeof *r);
        else
            *r = (struct br__live_run){.n = t->n,
                                       .count = 1,
                                       .stride = t->n,
                                       .state = {t->state[0], t->state[1], t->state[2]}};
        for (size_t k = 0; k < c->list[i].n_runs; k++)
            copy_run(c, r++, &to);
    }
    return BR_OK;
}

static int copy_state(struct br__saver *s, struct br_err *err)
{
    if (!s->copy.list && make_copy(s))
        return br__nomem(err, "saving a training checkpoint");
    int rc = br__pool_run(s->o.threads, s->copy.n_parts, copy_part, &s->copy, err);
    s->is_copied = !rc;
    return rc;
}

static void drop_copy(struct br__saver *s)
{
    s->is_copied = 0;
    br__arena_free(&s->saved_arena);
}

/* Texts of the scheduler and of the extra entries outlive the call. */
static int copy_saved(struct br__saver *s, const struct br__saved *now, struct br_err *err)
{
    struct br__arena *a = &s->saved_arena;
    size_t n = now->train.n_groups;
    struct br__optim_group *groups = br__arena_alloc(a, (n + 1) * sizeof *groups);
    struct br__optim_scheduler *c = br__arena_alloc(a, sizeof *c);
    const char *(*extra)[2] = br__arena_alloc(a, (now->n_extra + 1) * sizeof *extra);
    int failed = !groups || !c || !extra;

    s->saved = *now;
    if (!failed && n)
        memcpy(groups, now->train.groups, n * sizeof *groups);
    if (!failed && now->train.scheduler) {
        *c = *now->train.scheduler;
        c->decay_style = br__arena_strdup(a, c->decay_style);
        c->wd_incr_style = br__arena_strdup(a, c->wd_incr_style);
        failed = !c->decay_style || !c->wd_incr_style;
        s->saved.train.scheduler = c;
    }
    for (size_t i = 0; i < now->n_extra && !failed; i++)
        for (int k = 0; k < 2; k++)
            failed |= !(extra[i][k] = br__arena_strdup(a, now->extra[i][k]));
    s->saved.train.groups = groups;
    s->saved.extra = (const char *const(*)[2])extra;
    return failed ? br__nomem(err, "saving a training checkpoint") : BR_OK;
}

/* A process that is alone does all of it here. */
static void *write_later(void *arg)
{
    struct br__saver *s = arg;

    s->rc = job_write(&s->job);
    if (!has_others())
        s->rc = job_end(&s->job, s->rc);
    atomic_store(&s->writes, 0);
    return NULL;
}

/* On every rank, or none: *copied 0, there is no memory for it. */
static int copy_all(struct br__saver *s, const struct br__saved *now, int *copied,
                    struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    int without = copy_saved(s, now, &why) || copy_state(s, &why);
    int rc = br__procs_any(without, &without, err);

    *copied = !rc && !without;
    if (!*copied)
        drop_copy(s);
    return rc;
}

static int save_start(struct br__saver *s, struct br_err *err)
{
    s->rc = BR_OK;
    s->err = (struct br_err)BR_ERR_INIT;
    s->job = job_of(s, &s->saved, &s->err);
    s->job.in_thread = 1;
    int rc = job_begin(&s->job);
    if (rc) {
        job_close(&s->job);
        drop_copy(s);
        return br_fail(err, rc, "%s", s->err.msg);
    }
    atomic_store(&s->writes, 1);
    s->is_running = 1;
    s->has_thread = !pthread_create(&s->thread, NULL, write_later, s);
    if (!s->has_thread)
        write_later(s);
    return BR_OK;
}

static void stop_writing(struct br__saver *s)
{
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    s->has_thread = 0;
}

static void save_over(struct br__saver *s)
{
    job_close(&s->job);
    drop_copy(s);
    s->is_running = 0;
}

int br__saver_writes(const struct br__saver *s)
{
    return atomic_load(&s->writes);
}

int br__saver_finish(struct br__saver *s, struct br_err *err)
{
    if (!s->is_running)
        return BR_OK;
    stop_writing(s);
    int rc = has_others() ? job_end(&s->job, s->rc) : s->rc;
    save_over(s);
    return rc ? br_fail(err, rc, "%s", s->err.msg) : BR_OK;
}

int br__saver_save(struct br__saver *s, const struct br__saved *now, int later, struct br_err *err)
{
    int copied = 0, rc = br__saver_finish(s, err);

    if (!rc && later)
        rc = copy_all(s, now, &copied, err);
    if (rc)
        return rc;
    if (copied)
        return save_start(s, err);
    if (later)
        br__note(s->o.listener,
                 "there is no memory for a copy of the state: the run waits for its checkpoint");
    return save_all(s, now, err);
}

void br__saver_close(struct br__saver *s)
{
    if (!s)
        return;
    if (s->is_running) {
        stop_writing(s);
        save_over(s);
    }
    free_copy(&s->copy);
    br__live_plan_close(&s->live);
    br__arena_free(&s->arena);
    br__free(s);
}
