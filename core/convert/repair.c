/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* repair.c - writes a training checkpoint again with sound optimizer state, as fully_reshardable.
 *
 * Weights keep their boxes, and bytes items keep their bytes.  In the common state only the fields
 * that name the optimizer's sharding form change.  Megatron loads the result at any tensor,
 * pipeline and data-parallel size. */
#include "job.h"

#include <inttypes.h>
#include <string.h>

#define COMMON_MAX (64u << 20)
#define MAX_DEPTH 8 /* of the folders beside the weights */

struct repair {
    const struct br__repair_opts *o;
    struct br__repair_result *r;
    struct br__arena a;
    struct br__ckpt *ck;
    struct br__train_state *s;
    struct br__td_plan td;
    struct br__train_source *source; /* per tensor of the plan */
    uint32_t *weight_of;             /* [tensors of the plan that are weights] tensor of ck */
    uint32_t *param_of;              /* likewise, parameter of s, or BR__NOT_FOUND */
    uint32_t *object_of;             /* [items that are objects] object of ck */
    struct br__buf common;
    struct br__work w;
    const char *root, *iter_name; /* final; of the iteration in it */
    struct br__dir dir;           /* the iteration, in the temporary directory */
    struct br__progress progress;
    struct br_err *err;
};

/* ---- plan ------------------------------------------------------------------------------------ */

static int is_optimizer(const char *key)
{
    return br__starts(key, "optimizer.") || br__starts(key, "chained_");
}

/* Bytes items stay, but for the optimizer's of dp_reshardable, whose contents go to the common
 * state. */
static void put_objects(struct repair *p)
{
    const struct br__td *td = p->ck->td;
    int rewrite = p->s->form == BR__OPTIM_DP;

    for (size_t i = 0; i < td->n_objects; i++) {
        struct br__td_item *it = &p->td.items[p->td.n_items];
        if (rewrite && is_optimizer(td->objects[i]))
            continue;
        it->tensor = BR__TD_OBJECT;
        it->object_key = td->objects[i];
        it->verbatim = !rewrite || strcmp(td->objects[i], BR__TD_COMMON) != 0;
        it->data_bytes = it->verbatim ? td->object_len[i] : 0;
        p->object_of[p->td.n_items++] = (uint32_t)i;
    }
}

static int put_weight(struct repair *p, const struct br__tensor *t, struct br__td_out *out)
{
    const struct br__td *td = p->ck->td;

    *out = (struct br__td_out){.key = t->name, .dtype = t->dtype, .ndim = t->ndim};
    memcpy(out->shape, t->shape, sizeof out->shape);
    for (size_t k = 0; k < td->n_chunks[t->priv]; k++) {
        struct br__td_item *it = &p->td.items[p->td.n_items++];
        it->tensor = (uint32_t)p->td.n_tensors;
        memcpy(it->off, td->chunks[t->priv][k].off, sizeof it->off);
        memcpy(it->size, td->chunks[t->priv][k].size, sizeof it->size);
        int rc = br_shape_bytes(it->size, t->ndim, br_dtype_size(t->dtype), &it->data_bytes);
        if (rc)
            return br_fail(p->err, rc, "tensor '%s' has an impossible chunk", t->name);
    }
    p->weight_of[p->td.n_tensors++] = (uint32_t)(t - p->ck->tensors);
    return BR_OK;
}

/* Tables for all tensors of the checkpoint; those of the optimizer are left out of the plan's. */
static int make_tables(struct repair *p, struct br__td_out **outs, uint8_t **trained)
{
    size_t n = p->ck->n_tensors, n_items = p->ck->td->n_objects;

    for (size_t i = 0; i < n; i++)
        n_items += p->ck->td->n_chunks[p->ck->tensors[i].priv];
    *outs = br__arena_alloc(&p->a, (n + 1) * sizeof **outs);
    *trained = br__arena_alloc(&p->a, n + 1);
    p->td.items = br__arena_alloc(&p->a, (n_items + 1) * sizeof *p->td.items);
    p->weight_of = br__arena_alloc(&p->a, (n + 1) * sizeof *p->weight_of);
    p->param_of = br__arena_alloc(&p->a, (n + 1) * sizeof *p->param_of);
    p->object_of = br__arena_alloc(&p->a, (p->ck->td->n_objects + 1) * sizeof *p->object_of);
    return *outs && *trained && p->td.items && p->weight_of && p->param_of && p->object_of
               ? BR_OK
               : br__nomem(p->err, "repairing a checkpoint");
}

static int make_common(struct repair *p)
{
    const struct br__train_save t = {p->s->experts_apart, p->s->groups, p->s->n_groups, NULL};

    if (p->s->form != BR__OPTIM_DP)
        return BR_OK;
    p->common.max = COMMON_MAX;
    int rc = br__td_train_common(&p->common, p->ck, &t, 1, p->err);
    p->td.common_pickle = p->common.p;
    p->td.common_pickle_size = p->common.n;
    return rc;
}

static int make_plan(struct repair *p)
{
    struct br__td_out *outs;
    uint8_t *trained;
    size_t param = 0;
    int rc = make_tables(p, &outs, &trained);

    if (!rc)
        put_objects(p);
    p->td.tensors = outs;
    for (size_t i = 0; i < p->ck->n_tensors && !rc; i++) {
        const struct br__tensor *t = &p->ck->tensors[i];
        size_t at = p->td.n_tensors;
        if (is_optimizer(t->name))
            continue;
        int has_state = param < p->s->n_params && p->s->params[param].weight == t;
        trained[at] = (uint8_t)has_state;
        p->param_of[at] = has_state ? (uint32_t)param++ : BR__NOT_FOUND;
        rc = put_weight(p, t, &outs[at]);
    }
    if (!rc)
        rc = make_common(p);
    if (!rc)
        rc = br__td_train_plan(&p->a, &p->td, trained, &p->source, p->err);
    return rc ? rc : br__td_layout(&p->a, &p->td, p->err);
}

/* ---- data ------------------------------------------------------------------------------------ */

static int repair_produce(void *arg, size_t item, uint64_t offset, void *dst, size_t n,
                          struct br_err *err)
{
    struct repair *p = arg;
    const struct br__td_item *it = &p->td.items[item];
    const struct br__td *td = p->ck->td;
    int rc;

    if (it->tensor == BR__TD_OBJECT) {
        uint32_t o = p->object_of[item];
        rc = br__file_read(&p->ck->files[td->object_file[o]], td->object_off[o] + offset, dst, n,
                           err);
    } else {
        const struct br__train_source *from = &p->source[it->tensor];
        if (from->kind < 0)
            rc = br__ckpt_read_box(p->ck, &p->ck->tensors[p->weight_of[from->weight]], it, offset,
                                   dst, n, err);
        else
            rc = br__train_state_read_box(p->s, p->param_of[from->weight], from->kind, it, offset,
                                          dst, n, err);
    }
    br__progress_add(&p->progress, n);
    return rc;
}

static int write_file(void *arg, size_t file, int worker, struct br_err *err)
{
    struct repair *p = arg;

    (void)worker;
    return br__td_write_file(&p->td, (uint32_t)file, &p->dir, !p->o->no_sync, repair_produce, p,
                             err);
}

/* ---- the other files ------------------------------------------------------------------------- */

static int copy_tree(struct repair *p, const char *from, const struct br__dir *to, const char *name,
                     int depth)
{
    struct br__dir d = {.fd = -1};
    char **names;
    size_t n = 0;

    if (!br__is_dir(from))
        return br__copy_in(to, name, from, !p->o->no_sync, p->err);
    if (depth > MAX_DEPTH)
        return br_fail(p->err, BR_E_UNSUPPORTED, "'%s' is nested too deeply", from);
    int rc = br__dir_child(&d, to, name, 1, p->err);
    if (!rc)
        rc = br__list_dir(&p->a, from, &names, &n, p->err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(&p->a, from, names[i]);
        rc = path ? copy_tree(p, path, &d, names[i], depth + 1)
                  : br__nomem(p->err, "repairing a checkpoint");
    }
    br__dir_close(&d);
    return rc;
}

/* Files that are written again, or would be wrong. */
static int is_replaced(const struct repair *p, const char *name)
{
    return strcmp(name, BR__METADATA) == 0 || br__ends(name, ".distcp") ||
           strcmp(name, "integrity.json") == 0 || strcmp(name, "bridge_manifest.json") == 0 ||
           (strcmp(name, "common.pt") == 0 && p->s->form == BR__OPTIM_DP);
}

static int copy_others(struct repair *p)
{
    char **names;
    size_t n = 0;
    int rc = br__list_dir(&p->a, p->ck->dir, &names, &n, p->err);

    for (size_t i = 0; i < n && !rc; i++) {
        const char *from = br__path_join(&p->a, p->ck->dir, names[i]);
        if (!is_replaced(p, names[i]))
            rc = from ? copy_tree(p, from, &p->dir, names[i], 0)
                      : br__nomem(p->err, "repairing a checkpoint");
    }
    return rc;
}

/* common.pt is used if both exist. */
static int put_common(struct repair *p)
{
    const struct br__train_save t = {p->s->experts_apart, p->s->groups, p->s->n_groups, NULL};
    struct br__buf b = {.max = COMMON_MAX};

    if (p->s->form != BR__OPTIM_DP || p->ck->td->common_from != 1)
        return BR_OK;
    int rc = br__td_train_common(&b, p->ck, &t, 0, p->err);
    if (!rc)
        rc = br__td_write_common(&p->dir, &b, !p->o->no_sync, p->err);
    br__buf_free(&b);
    return rc;
}

static int put_trackers(struct repair *p)
{
    const char *state = br__path_join(&p->a, p->ck->dir, BR__TRAIN_STATE);
    int64_t iteration = 0;
    char text[32] = "release";

    if (!state)
        return br__nomem(p->err, "repairing a checkpoint");
    if (br__starts(p->iter_name, "iter_")) {
        int rc = br__parse_i64(p->iter_name + strlen("iter_"), &iteration);
        if (rc)
            return br_fail(p->err, rc, "'%s' names no iteration", p->iter_name);
        snprintf(text, sizeof text, "%" PRId64, iteration);
        if (br__exists(state) &&
            (rc = br__copy_in(&p->w.tmp, BR__STATE_TRACKER, state, !p->o->no_sync, p->err)))
            return rc;
    }
    return br__write_in(&p->w.tmp, BR__TEXT_TRACKER, text, strlen(text), !p->o->no_sync, p->err);
}

/* ---- the job --------------------------------------------------------------------------------- */

/* Report what is wrong with it, if anything. */
static int repair_examine(struct repair *p)
{
    struct br__repair_result *r = p->r;
    int rc = br__train_state_repair(p->s, p->err);

    r->from_form = p->s->form;
    r->n_params = p->s->n_params;
    r->n_repaired = p->s->n_repaired;
    for (size_t i = 0; i < p->s->n_params; i++) {
        const uint64_t *lost = p->s->params[i].lost;
        r->lost_main += lost[BR__OPTIM_MAIN];
        r->lost_moments += lost[BR__OPTIM_EXP_AVG] + lost[BR__OPTIM_EXP_AVG_SQ];
    }
    r->needed = p->s->form == BR__OPTIM_DP || r->n_repaired || r->lost_main || r->lost_moments;
    if (!rc && r->needed && p->s->form == BR__OPTIM_PLAIN)
        rc = br_fail(p->err, BR_E_UNSUPPORTED,
                     "%zu main parameters of a run without distributed optimizer are not the "
                     "weights, or their moments are missing: the known defect is of "
                     "fully_reshardable, so what is right here cannot be told",
                     r->n_repaired);
    return rc;
}

/* The name that Megatron looks for. */
static int name_iteration(struct repair *p)
{
    const struct br__td *td = p->ck->td;
    const char *name = td->iteration_name;

    if (!br__starts(name, "iter_") && strcmp(name, "release") != 0)
        name = br__arena_printf(&p->a, "iter_%07" PRId64, BR__MAX(p->s->iteration, 0));
    p->iter_name = name;
    char *root;
    int rc = name ? br__path_abs(&p->a, p->o->to, &root, p->err)
                  : br__nomem(p->err, "repairing a checkpoint");
    p->root = rc ? NULL : root;
    return rc;
}

static int open_destination(struct repair *p)
{
    uint64_t need = 64u << 20, fingerprint;
    char **names;
    size_t n = 0;
    int rc = br__path_overlap(&p->a, p->ck->dir, p->root, p->err);

    if (!rc && br__exists(p->root) && !br__is_dir(p->root))
        rc = br_fail(p->err, BR_E_EXISTS, "'%s' exists and is no directory", p->root);
    if (!rc && br__is_dir(p->root))
        rc = br__list_dir(&p->a, p->root, &names, &n, p->err);
    if (!rc && n)
        rc = br_fail(p->err, BR_E_EXISTS, "'%s' is not empty; choose a new directory", p->root);
    for (uint32_t i = 0; i < p->td.n_files; i++)
        need += p->td.file_bytes[i] + (p->td.file_bytes[i] >> 6);
    /* A temporary directory of an earlier try is emptied, not resumed. */
    fingerprint = (uint64_t)br__clock_ns();
    if (!rc)
        rc = br__work_lock(&p->w, p->root, fingerprint, !p->o->no_sync, p->err);
    p->w.replace = br__is_dir(p->root); /* an empty one */
    if (!rc)
        rc = br__work_begin(&p->w, p->td.n_files, p->err);
    if (!rc)
        rc = br__dir_child(&p->dir, &p->w.tmp, p->iter_name, 1, p->err);
    return rc ? rc : br__work_space(&p->w, &p->dir, need, p->err);
}

/* .metadata last of the iteration: its presence says that the data is complete. */
static int write_all(struct repair *p)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < p->td.n_files; i++)
        total += p->td.file_bytes[i];
    br__progress_init(&p->progress, p->o->listener, "repairing", total);
    int rc = br__pool_run(p->o->threads, p->td.n_files, write_file, p, p->err);
    br__progress_end(&p->progress);
    if (rc || (rc = br__ckpt_settle(p->ck, p->err)) || (rc = copy_others(p)) ||
        (rc = put_common(p)) ||
        (rc = br__iteration_metadata(&p->td, &p->dir, !p->o->no_sync, p->err)) ||
        (rc = put_trackers(p)))
        goto end;
    if (!p->o->no_sync && (rc = br__dir_sync(&p->dir, p->err)))
        goto end;
    rc = br__work_commit(&p->w, &(struct br__names){0}, BR__METADATA, p->err);
end:
    p->r->n_tensors = p->td.n_tensors;
    p->r->bytes = total;
    snprintf(p->r->path, sizeof p->r->path, "%s/%s", p->root, p->iter_name);
    return rc;
}

int br__repair(const struct br__repair_opts *o, struct br__repair_result *r, struct br_err *err)
{
    struct repair p = {.o = o, .r = r, .dir.fd = -1, .err = err};

    memset(r, 0, sizeof *r);
    int rc = br__ckpt_open(&p.ck, o->from, err);
    if (!rc && p.ck->td)
        p.ck->td->no_verify = o->no_verify;
    if (!rc)
        rc = br__train_state_open(&p.s, p.ck, err);
    if (!rc)
        rc = repair_examine(&p);
    if (!rc && r->needed)
        rc = name_iteration(&p);
    if (!rc && r->needed)
        rc = make_plan(&p);
    if (!rc && r->needed)
        rc = open_destination(&p);
    if (!rc && r->needed)
        rc = write_all(&p);
    br__dir_close(&p.dir);
    br__work_close(&p.w);
    if (p.root)
        br__work_tidy(p.root);
    br__buf_free(&p.common);
    br__train_state_close(p.s);
    br__ckpt_close(p.ck);
    br__arena_free(&p.a);
    return rc;
}
