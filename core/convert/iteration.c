/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* iteration.c - an iteration directory of a Megatron checkpoint and the trackers beside it, as an
 * import and a training run both write them.
 *
 * Source: directories written by Megatron Bridge 0.6.2; its training/utils/checkpoint_utils.py and
 * Megatron-LM's training/checkpointing.py, which read the trackers. */
#include "convert.h"
#include "job.h"

#include <inttypes.h>
#include <string.h>

#define TRACKERS_MS 60000 /* how long another process may write them */

/* ---- an iteration ---------------------------------------------------------------------------- */

static void add_object(struct br__td_plan *td, const char *key)
{
    td->items[td->n_items++] = (struct br__td_item){.tensor = BR__TD_OBJECT, .object_key = key};
}

int br__iteration_tables(struct br__arena *a, const struct br__plan *p, struct br__td_plan *td,
                         size_t *n_objects, struct br_err *err)
{
    const struct br__expansion *x = p->b.x;
    struct br__td_out *outs = br__arena_alloc(a, (p->n_outs + 1) * sizeof *outs);
    td->items = br__arena_alloc(a, (x->n_extra_state + 1 + p->n_pieces) * sizeof *td->items);
    if (!outs || !td->items)
        return br__nomem(err, "laying out a checkpoint");
    for (size_t i = 0; i < p->n_outs; i++) {
        const struct br__plan_out *o = &p->outs[i];
        outs[i] = (struct br__td_out){.key = o->name, .dtype = o->dtype, .ndim = o->ndim};
        memcpy(outs[i].shape, o->shape, sizeof o->shape);
    }
    for (size_t i = 0; i < x->n_extra_state; i++)
        add_object(td, x->extra_state[i]);
    add_object(td, BR__TD_COMMON);
    *n_objects = td->n_items;
    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct br__piece *pc = &p->pieces[i];
        struct br__td_item *t = &td->items[td->n_items++];
        *t = (struct br__td_item){.tensor = pc->out, .data_bytes = pc->bytes};
        memcpy(t->off, pc->off, sizeof t->off);
        memcpy(t->size, pc->size, sizeof t->size);
    }
    td->tensors = outs;
    td->n_tensors = p->n_outs;
    return BR_OK;
}

int br__iteration_metadata(const struct br__td_plan *td, const struct br__dir *d, int sync,
                           struct br_err *err)
{
    struct br__buf b = {.max = 1u << 31};
    int rc = br__td_metadata(td, &b, err);
    if (!rc)
        rc = br__write_in(d, BR__METADATA, b.p, b.n, sync, err);
    br__buf_free(&b);
    return rc;
}

int br__iteration_tokenizer(const struct br__side *side, const struct br__dir *d, int sync,
                            struct br_err *err)
{
    struct br__dir to;
    if (!side->n)
        return BR_OK;
    int rc = br__dir_child(&to, d, BR__TOKENIZER, 1, err);
    if (rc)
        return rc;
    rc = br__dir_empty(&to, NULL, 0, err); /* an interrupted run may have copied older files */
    if (!rc)
        rc = br__side_copy(side, &to, sync, err);
    if (!rc && sync)
        rc = br__dir_sync(&to, err);
    br__dir_close(&to);
    return rc;
}

/* ---- trackers -------------------------------------------------------------------------------- */

void br__tracker_text(const struct br__train_counters *c, char text[32])
{
    if (c)
        snprintf(text, 32, "%" PRId64, c->step);
    else
        snprintf(text, 32, "release");
}

int br__trackers_put(const struct br__dir *root, const struct br__train_counters *c, int sync,
                     struct br_err *err)
{
    char text[32];
    br__tracker_text(c, text);
    int rc = c ? br__td_write_counters(root, BR__STATE_TRACKER, c, sync, err)
               : br__dir_remove(root, BR__STATE_TRACKER, err);
    return rc ? rc : br__write_in(root, BR__TEXT_TRACKER, text, strlen(text), sync, err);
}

int br__tracker_is_stale(const char *name)
{
    return br__ends(name, BR__TMP) &&
           (br__starts(name, BR__STATE_TRACKER ".") || br__starts(name, BR__TEXT_TRACKER "."));
}

static int remove_stale(const struct br__dir *root, struct br_err *err)
{
    struct br__arena a = {0};
    char **names;
    size_t n = 0;
    int rc = br__dir_list(&a, root, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (br__tracker_is_stale(names[i]))
            rc = br__dir_remove(root, names[i], err);
    br__arena_free(&a);
    return rc;
}

int br__trackers_update(const char *root, const struct br__train_counters *c, int sync,
                        struct br_err *err)
{
    struct br__dir d;
    int locked, rc = br__dir_open(&d, root, err);
    if (rc)
        return rc;
    rc = br__dir_lock(&d, TRACKERS_MS, &locked, err);
    if (!rc)
        rc = remove_stale(&d, err);
    if (!rc)
        rc = br__trackers_put(&d, c, sync, err);
    if (!rc && sync)
        rc = br__dir_sync(&d, err);
    br__dir_close(&d);
    return rc;
}
