/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_banks.c - which of a step's gradients are complete while its last backward pass goes on.
 *
 * A bank is complete when every graph of the rank that adds to it is through with its last micro
 * batch.  The graphs' steps tell: the last one that touches the gradients of a bank. */
#include "trainer.h"
#include <string.h>

/* The step of the pass after which the gradient of param i is complete; SIZE_MAX: when all are
 * done, as it is a value that is added by the host; 0: it has none. */
static size_t done_at(const struct br__train_pass *p, size_t i, const size_t *last)
{
    if (!p->grad[i])
        return 0;
    return p->leaf[i] ? last[p->leaf[i]] : SIZE_MAX;
}

static void note_param(const struct br__rank_trainer *t, const struct br__param *param, size_t at,
                       size_t *of_bank)
{
    const struct br__store *s = &t->store;
    for (size_t k = 0; k < param->n_parts && at; k++) {
        size_t bank = s->list[param->parts[k].source - s->own].bank;
        of_bank[bank] = BR__MAX(of_bank[bank], at);
    }
}

/* The marks in the order in which they are met. */
static void sort_marks(struct br__train_pass *p, const size_t *of_bank, size_t n_banks)
{
    for (uint32_t b = 0; b < n_banks; b++) {
        size_t k = p->n_marks;
        if (!of_bank[b])
            continue;
        for (; k > 0 && p->mark_at[k - 1] > of_bank[b]; k--) {
            p->mark_at[k] = p->mark_at[k - 1];
            p->mark_bank[k] = p->mark_bank[k - 1];
        }
        p->mark_at[k] = of_bank[b];
        p->mark_bank[k] = b;
        p->n_marks++;
    }
}

int br__banks_mark(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    size_t n = t->store.n_banks;
    if (!t->o->bank_ready || !p->backward)
        return 0;
    size_t *last = br__calloc(p->compiled->g.n, sizeof *last);
    size_t *of_bank = br__calloc(n + 1, sizeof *of_bank);
    p->mark_at = br__calloc(n + 1, sizeof *p->mark_at);
    p->mark_bank = br__calloc(n + 1, sizeof *p->mark_bank);
    int rc = last && of_bank && p->mark_at && p->mark_bank ? 0 : br__nomem(err, "for training");
    if (!rc) {
        br__program_last_steps(p->compiled->program, last);
        for (size_t i = 0; i < p->n_params; i++)
            note_param(t, t->rank->params->list[i], done_at(p, i, last), of_bank);
        sort_marks(p, of_bank, n);
    }
    br__free(last);
    br__free(of_bank);
    return rc;
}

void br__banks_begin(struct br__rank_trainer *t)
{
    const struct br__store *s = &t->store;
    memset(t->left, 0, s->n_banks * sizeof *t->left);
    /* The embedding's gradient waits for that of other stages. */
    int is_shared = t->rank->info->host[BR_GROUP_EMBED] != NULL;
    for (size_t i = 0; i < s->n && is_shared; i++)
        if (strcmp(s->list[i].megatron, BR__EMBEDDING) == 0)
            t->left[s->list[i].bank] = UINT32_MAX / 2; /* never */
}

void br__banks_expect(struct br__rank_trainer *t, const struct br__train_pass *p)
{
    for (size_t i = 0; i < p->n_marks; i++)
        t->left[p->mark_bank[i]]++;
}

/* Mark i of the pass is met. */
static int meet_mark(void *arg, size_t i, struct br_err *err)
{
    const struct br__last_pass *x = arg;
    struct br__rank_trainer *t = x->t;
    uint32_t bank = x->p->mark_bank[i];
    if (--t->left[bank])
        return 0;
    t->handed[bank] = 1;
    return t->o->bank_ready(t->o->bank_arg, t->rank->index, bank, err);
}

void br__last_pass_begin(struct br__last_pass *x, struct br__frame *f)
{
    const struct br__rank_trainer *t = x->t;
    int is_late = t->o->grads == BR_BF16; /* rounded when the pass is over */
    x->n_hooks = 0;
    while (!is_late && x->n_hooks < x->p->n_marks && x->p->mark_at[x->n_hooks] < SIZE_MAX)
        x->n_hooks++;
    x->hook = (struct br__frame_hook){x->p->mark_at, x->n_hooks, meet_mark, x};
    br__frame_hook(f, &x->hook);
}

int br__last_pass_end(struct br__last_pass *x, struct br__frame *f, int rc, struct br_err *err)
{
    br__frame_hook(f, NULL);
    for (size_t i = x->n_hooks; i < x->p->n_marks && !rc; i++)
        rc = meet_mark(x, i, err);
    return rc;
}
