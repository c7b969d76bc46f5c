/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* build.c - texts to token files.  Threads tokenise records, and one of them reads the next batch
 * or writes the tokens of the oldest one whenever there is such a batch.  Tokens are written in the
 * records' order. */
#include "../text/text.h"
#include "input.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TASK_BYTES ((size_t)64 << 10)

/* Consecutive records of a batch, and their tokens under each key. */
struct task {
    size_t from, end; /* records */
    struct br_ids ids[BR__MAX_KEYS];
    size_t
        *lengths[BR__MAX_KEYS]; /* [n] tokens of each document that has some; text: of the piece */
    size_t n[BR__MAX_KEYS], cap[BR__MAX_KEYS];
    int64_t empty, bad;
    uint64_t bytes;
    double seconds;
};

/* Records that were read together: their text, then their tokens as well. */
struct batch {
    struct br__buf block;
    size_t *ends; /* [n] of each record in `block` */
    size_t n, cap;
    int64_t first; /* number of the first record, from 1 */
    struct task *tasks;
    size_t n_tasks, cap_tasks;
    size_t left; /* tasks that have not ended */
};

#define N_BATCHES 3 /* in memory */
struct build {
    const struct br__build_opts *o;
    const char *const *keys;
    size_t n_keys;
    struct br__indexed_out out[BR__MAX_KEYS];
    struct br__input input;
    struct br__build_result *res;
    struct br__progress progress;
    struct batch batch[N_BATCHES]; /* batch i of an input is batch[i % N_BATCHES] */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Guarded by the lock, but for the batches that a thread works on: */
    size_t read, written;  /* batches so far */
    size_t at, task;       /* the next task is this one of batch `at` */
    int reading, writing;  /* a thread does */
    int ended, end_rc;     /* no batch follows, for this reason */
    int rc;                /* of what failed first in the records' order: */
    size_t rc_at, rc_task; /* the task after it */
    struct br_err err, end_err;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- a record -------------------------------------------------------------------------------- */

/* What a thread needs again and again. */
struct desk {
    struct br__buf room[BR__MAX_KEYS], key;
    const char *text[BR__MAX_KEYS];
    size_t n[BR__MAX_KEYS];
};

static void clear_desk(struct desk *d)
{
    for (size_t k = 0; k < BR__MAX_KEYS; k++)
        br__buf_free(&d->room[k]);
    br__buf_free(&d->key);
}

static int read_members(const struct build *b, struct desk *d, struct br__jscan *j,
                        struct br_err *err)
{
    const char *name;
    size_t len;
    int rc = br__jscan_enter(j, 'o');
    while (!rc && br__jscan_next(j)) {
        rc = br__jscan_key_view(j, &d->key, &name, &len);
        size_t k = 0;
        while (k < b->n_keys && (strlen(b->keys[k]) != len || memcmp(b->keys[k], name, len) != 0))
            k++;
        if (rc)
            break;
        if (k == b->n_keys) {
            rc = br__jscan_skip(j);
        } else if (d->text[k]) {
            return br_fail(err, BR_E_FORMAT, "two members \"%s\"", b->keys[k]);
        } else {
            d->room[k].n = 0;
            rc = br__jscan_view(j, &d->room[k], &d->text[k], &d->n[k]);
        }
    }
    rc = rc ? rc : j->rc;
    return rc ? rc : br__jscan_end(j);
}

/* The texts of a line, one for each key. */
static int read_line(const struct build *b, struct desk *d, const char *s, size_t n,
                     struct br_err *err)
{
    struct br__jscan j;
    memset(d->text, 0, sizeof d->text);
    br__jscan_begin(&j, s, n, err);
    int rc = read_members(b, d, &j, err);
    for (size_t k = 0; k < b->n_keys && !rc; k++)
        if (!d->text[k])
            rc = br_fail(err, BR_E_FORMAT, "the record has no member \"%s\"", b->keys[k]);
    return rc;
}

/* Documents without tokens are left out, as Megatron-LM's preprocess_data.py does; pieces of a text
 * get no end of document. */
static int build_tokenise(const struct build *b, struct task *t, size_t k, const char *s, size_t n,
                          int whole, struct br_err *err)
{
    struct br_ids *ids = &t->ids[k];
    size_t before = ids->n;
    int rc = br_tokenizer_encode(b->o->tok, s, n, 0, ids, err);
    t->bytes += n;
    if (rc)
        return rc;
    if (whole && ids->n == before) {
        t->empty += k == 0;
        return BR_OK;
    }
    if (whole && b->o->eod >= 0) {
        if (br__grow(&ids->p, &ids->cap, ids->n, sizeof *ids->p))
            return br__nomem(err, "building token files");
        ids->p[ids->n++] = b->o->eod;
    }
    if (br__grow(&t->lengths[k], &t->cap[k], t->n[k], sizeof *t->lengths[k]))
        return br__nomem(err, "building token files");
    t->lengths[k][t->n[k]++] = ids->n - before;
    return BR_OK;
}

static int is_blank(const char *s, size_t n)
{
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\r' || s[n - 1] == '\n'))
        n--;
    return n == 0;
}

static int work_on(const struct build *b, const struct batch *x, struct task *t, struct desk *d,
                   size_t record, struct br_err *err)
{
    size_t at = record ? x->ends[record - 1] : 0, n = x->ends[record] - at;
    const char *s = x->block.p + at;
    if (b->input.kind == BR__INPUT_TEXT)
        return build_tokenise(b, t, 0, s, n, 0, err);
    if (is_blank(s, n))
        return BR_OK;
    int rc = read_line(b, d, s, n, err);
    for (size_t k = 0; k < b->n_keys && !rc; k++)
        rc = build_tokenise(b, t, k, d->text[k], d->n[k], 1, err);
    return rc;
}

static int run_task(struct build *b, const struct batch *x, struct task *t, struct br_err *err)
{
    struct desk d = {.key = {0}};
    double began = cpu_now(); /* a system call, too slow for each record */
    int rc = BR_OK;
    for (size_t r = t->from; r < t->end && !rc; r++) {
        rc = work_on(b, x, t, &d, r, err);
        if (!rc)
            continue;
        br_wrap(err, "%s, %s %" PRId64, b->input.file.path,
                b->input.kind == BR__INPUT_PARQUET ? "row" : "line", x->first + (int64_t)r);
        if (rc != BR_E_FORMAT || !b->o->skip_bad)
            break;
        t->bad++;
        br__warn(b->o->listener, "%s", err->msg);
        rc = BR_OK;
    }
    clear_desk(&d);
    t->seconds += cpu_now() - began;
    br__progress_add(&b->progress, x->ends[t->end - 1] - (t->from ? x->ends[t->from - 1] : 0));
    return rc;
}

/* ---- a batch --------------------------------------------------------------------------------- */

static int cut_tasks(struct batch *x, struct br_err *err)
{
    for (size_t r = 0; r < x->n; x->n_tasks++) {
        size_t from = r, begin = r ? x->ends[r - 1] : 0;
        if (br__grow(&x->tasks, &x->cap_tasks, x->n_tasks, sizeof *x->tasks))
            return br__nomem(err, "building token files");
        while (r < x->n && (r == from || x->ends[r] - begin <= TASK_BYTES))
            r++;
        x->tasks[x->n_tasks] = (struct task){.from = from, .end = r};
    }
    return BR_OK;
}

static void free_tokens(struct batch *x)
{
    for (size_t i = 0; i < x->n_tasks; i++)
        for (size_t k = 0; k < BR__MAX_KEYS; k++) {
            br_ids_free(&x->tasks[i].ids[k]);
            br__free(x->tasks[i].lengths[k]);
        }
    x->n_tasks = 0;
}

static void free_batch(struct batch *x)
{
    free_tokens(x);
    br__buf_free(&x->block);
    br__free(x->ends);
    br__free(x->tasks);
}

/* The input's room becomes the batch's, and the batch's the input's.  n is 0 at the end. */
static int read_batch(struct br__input *f, struct batch *x, struct br_err *err)
{
    struct batch old = *x;
    x->n = 0;
    int rc = br__input_next(f, err);
    if (rc)
        return rc;
    x->block = f->block;
    x->ends = f->ends;
    x->cap = f->cap;
    x->n = f->n;
    x->first = f->first;
    f->block = old.block;
    f->block.max = x->block.max;
    f->ends = old.ends;
    f->cap = old.cap;
    rc = cut_tasks(x, err);
    x->left = x->n_tasks;
    return rc;
}

static int write_task(struct build *b, const struct task *t, struct br_err *err)
{
    int rc = BR_OK;
    for (size_t k = 0; k < b->n_keys && !rc; k++) {
        const int32_t *ids = t->ids[k].p;
        for (size_t i = 0; i < t->n[k] && !rc; i++) {
            rc = br__indexed_put(&b->out[k], ids, t->lengths[k][i], err);
            ids += t->lengths[k][i];
            if (b->input.kind == BR__INPUT_TEXT)
                continue;
            if (!rc)
                rc = br__indexed_end_seq(&b->out[k], err);
            if (!rc)
                rc = br__indexed_end_doc(&b->out[k], err);
        }
    }
    b->res->empty += t->empty;
    b->res->bad += t->bad;
    b->res->bytes += t->bytes;
    b->res->cpu_seconds += t->seconds;
    return rc;
}

static int write_batch(struct build *b, struct batch *x, struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < x->n_tasks && !rc; i++)
        rc = write_task(b, &x->tasks[i], err);
    free_tokens(x);
    return rc;
}

/* ---- jobs of the threads --------------------------------------------------------------------- */

enum job_kind { JOB_WAIT, JOB_END, JOB_WRITE, JOB_READ, JOB_TASK };
struct job {
    enum job_kind kind;
    size_t at, task;
};

/* With the lock held.  Tasks are given out in order, so that those before one that failed run to
 * their end, whatever the number of threads. */
static struct job choose_job(struct build *b)
{
    struct job j = {.at = b->at, .task = b->task};
    if (b->rc || (b->ended && b->written == b->read)) {
        j.kind = JOB_END;
    } else if (!b->writing && b->written < b->read && !b->batch[b->written % N_BATCHES].left) {
        j = (struct job){JOB_WRITE, b->written, 0};
        b->writing = 1;
    } else if (!b->reading && !b->ended && b->read - b->written < N_BATCHES) {
        j = (struct job){JOB_READ, b->read, 0};
        b->reading = 1;
    } else if (b->at < b->read) {
        j.kind = JOB_TASK;
        if (++b->task == b->batch[b->at % N_BATCHES].n_tasks) {
            b->at++;
            b->task = 0;
        }
    }
    return j;
}

/* With the lock held. */
static void end_job(struct build *b, const struct job *j, int rc, const struct br_err *err)
{
    struct batch *x = &b->batch[j->at % N_BATCHES];
    size_t task = j->kind == JOB_TASK ? j->task + 1 : 0;
    if (j->kind == JOB_READ) {
        b->reading = 0;
        b->ended = rc || !x->n;
        b->end_rc = rc; /* counts when what stands before it has been used */
        b->end_err = *err;
        b->read += !b->ended;
        return;
    }
    if (j->kind == JOB_WRITE) {
        b->writing = 0;
        b->written++;
    } else {
        x->left--;
    }
    if (rc && (!b->rc || j->at < b->rc_at || (j->at == b->rc_at && task < b->rc_task))) {
        b->rc = rc;
        b->rc_at = j->at;
        b->rc_task = task;
        b->err = *err;
    }
}

static int do_jobs(void *arg, size_t i, int worker, struct br_err *unused)
{
    struct build *b = arg;
    struct job j = {.kind = JOB_WAIT};
    (void)i;
    (void)worker;
    (void)unused;
    pthread_mutex_lock(&b->lock);
    while ((j = choose_job(b)).kind != JOB_END) {
        struct batch *x = &b->batch[j.at % N_BATCHES];
        struct br_err err = BR_ERR_INIT;
        if (j.kind == JOB_WAIT) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        int rc = j.kind == JOB_WRITE  ? write_batch(b, x, &err)
                 : j.kind == JOB_READ ? read_batch(&b->input, x, &err)
                                      : run_task(b, x, &x->tasks[j.task], &err);
        pthread_mutex_lock(&b->lock);
        end_job(b, &j, rc, &err);
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return BR_OK;
}

/* A text file ends: what was put is its one document. */
static int end_text(struct build *b, struct br_err *err)
{
    if (b->out[0].open == 0) {
        b->res->empty++;
        return BR_OK;
    }
    int rc = b->o->eod >= 0 ? br__indexed_put(&b->out[0], &b->o->eod, 1, err) : BR_OK;
    if (!rc)
        rc = br__indexed_end_seq(&b->out[0], err);
    return rc ? rc : br__indexed_end_doc(&b->out[0], err);
}

static int read_input(struct build *b, const char *path, struct br_err *err)
{
    int threads = b->o->threads > 0 ? b->o->threads : br__cpu_count();
    int rc = br__input_open(&b->input, path, b->keys, b->n_keys, err);
    b->read = b->written = b->at = b->task = 0;
    b->ended = 0;
    if (!rc)
        rc = br__pool_run(threads, (size_t)threads, do_jobs, b, err);
    if (!rc && (b->rc || b->end_rc)) {
        rc = b->rc ? b->rc : b->end_rc;
        if (err)
            *err = b->rc ? b->err : b->end_err;
    }
    if (!rc && b->input.kind == BR__INPUT_TEXT)
        rc = end_text(b, err);
    br__input_close(&b->input);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int refuse_existing(struct br__arena *a, const char *prefix, int overwrite,
                           struct br_err *err)
{
    const char *idx = br__arena_printf(a, "%s.idx", prefix);
    if (!idx)
        return br__nomem(err, "building token files");
    if (!overwrite && br__exists(idx))
        return br_fail(err, BR_E_EXISTS, "'%s' exists; --overwrite replaces it", idx);
    return BR_OK;
}

static int check_inputs(const struct build *b, uint64_t *bytes, struct br_err *err)
{
    for (size_t i = 0; i < b->o->n_inputs; i++) {
        struct br__input f;
        int rc = br__input_open(&f, b->o->inputs[i], b->keys, b->n_keys, err);
        *bytes += f.file.size;
        int kind = f.kind;
        br__input_close(&f);
        if (rc)
            return rc;
        if (kind == BR__INPUT_TEXT && b->n_keys > 1)
            return br_fail(
                err, BR_E_USAGE,
                "'%s' is a text file, which has no members; --json-keys is for JSONL and "
                "Parquet",
                b->o->inputs[i]);
    }
    return BR_OK;
}

static int open_outputs(struct build *b, struct br__arena *a, struct br_err *err)
{
    const struct br__build_opts *o = b->o;
    int dtype = o->dtype ? o->dtype : br__indexed_dtype(br_tokenizer_n_vocab(o->tok));
    int rc = BR_OK;
    for (size_t k = 0; k < b->n_keys && !rc; k++) {
        const char *prefix =
            b->n_keys == 1 ? o->output : br__arena_printf(a, "%s_%s", o->output, b->keys[k]);
        rc = prefix ? refuse_existing(a, prefix, o->overwrite, err)
                    : br__nomem(err, "building token files");
        if (!rc)
            rc = br__indexed_create(&b->out[k], prefix, dtype, o->sync, err);
    }
    return rc;
}

int br__data_build(const struct br__build_opts *o, struct br__build_result *res, struct br_err *err)
{
    static const char *const text[] = {"text"};
    struct br__arena a = {0};
    uint64_t bytes = 0;
    struct build b = {.o = o, .keys = text, .n_keys = 1, .res = res};
    *res = (struct br__build_result){0};
    if (o->n_keys > BR__MAX_KEYS)
        return br_fail(err, BR_E_USAGE, "%zu keys, at most %d", o->n_keys, BR__MAX_KEYS);
    if (o->n_keys) {
        b.keys = o->keys;
        b.n_keys = o->n_keys;
    }
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.changed, NULL);
    int rc = check_inputs(&b, &bytes, err);
    if (!rc)
        rc = open_outputs(&b, &a, err);
    br__progress_init(&b.progress, o->listener, "tokenizing", bytes);
    for (size_t i = 0; i < o->n_inputs && !rc; i++)
        rc = read_input(&b, o->inputs[i], err);
    br__progress_end(&b.progress);
    if (!rc && b.out[0].n_doc == 0)
        rc = br_fail(err, BR_E_FORMAT, "the input has no document with tokens");
    for (size_t k = 0; k < b.n_keys; k++) {
        res->tokens += b.out[k].n_tokens;
        if (k == 0)
            res->documents = b.out[k].n_doc;
        if (rc)
            br__indexed_abort(&b.out[k]);
        else
            rc = br__indexed_finish(&b.out[k], err);
    }
    for (size_t i = 0; i < BR_COUNTOF(b.batch); i++)
        free_batch(&b.batch[i]);
    pthread_cond_destroy(&b.changed);
    pthread_mutex_destroy(&b.lock);
    br__arena_free(&a);
    return rc;
}

/* ---- merging --------------------------------------------------------------------------------- */

const char *br__data_prefix(struct br__arena *a, const char *path)
{
    size_t n = strlen(path);
    return br__arena_strndup(a, path, br__ends(path, ".bin") || br__ends(path, ".idx") ? n - 4 : n);
}

int br__data_merge(const char *const *inputs, size_t n, const char *output, int overwrite, int sync,
                   const struct br_listener *l, struct br__build_result *res, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__indexed_out w = {0};
    struct br__progress g;
    *res = (struct br__build_result){0};
    int rc = refuse_existing(&a, output, overwrite, err), open = 0;
    br__progress_init(&g, l, "merging", n);
    for (size_t i = 0; i < n && !rc; i++) {
        struct br__indexed x = {0};
        const char *prefix = br__data_prefix(&a, inputs[i]);
        rc = prefix ? br__indexed_open(&x, prefix, err) : br__nomem(err, "building token files");
        if (!rc && !open) {
            rc = br__indexed_create(&w, output, x.dtype, sync, err);
            open = !rc;
        }
        if (!rc)
            rc = br__indexed_append(&w, &x, err);
        br__indexed_close(&x);
        br__progress_add(&g, 1);
    }
    br__progress_end(&g);
    res->documents = w.n_doc;
    res->tokens = w.n_tokens;
    if (!rc)
        rc = br__indexed_finish(&w, err);
    else if (open)
        br__indexed_abort(&w);
    br__arena_free(&a);
    return rc;
}
