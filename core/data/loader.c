/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* loader.c - steps prepared ahead by a thread.
 *
 * A ring of steps: the thread fills the slot behind the last filled one, the caller holds the one
 * that it was given last.  Which samples a step has is computed from the samples consumed before
 * it. */
#include "data.h"
#include "samples.h"

#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH 16

struct br__loader {
    struct br__loader_opts o;
    int slots;
    struct br__step *ring; /* [slots] */
    struct br__sample *samples;
    int64_t *index, n_index, per_step;
    int64_t consumed; /* the thread's */
    pthread_t thread;
    int has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Guarded by the lock: */
    int64_t filled, taken; /* steps so far */
    int stop, ended, rc;
    struct br_err err;
    double waited; /* the caller's */
};

/* ---- sources --------------------------------------------------------------------------------- */

static int pretrain_sample(const struct br__data_source *s, int64_t i, struct br__sample *out,
                           struct br_err *err)
{
    return br__pretrain_sample(s->data, s->split, i, out, NULL, err);
}

static int pretok_sample(const struct br__data_source *s, int64_t i, struct br__sample *out,
                         struct br_err *err)
{
    return br__pretok_sample(s->data, i, out, err);
}

static int sft_sample(const struct br__data_source *s, int64_t i, struct br__sample *out,
                      struct br_err *err)
{
    return br__sft_sample(s->data, i, out, err);
}

struct br__data_source br__data_source_pretrain(const struct br__pretrain *p, int split)
{
    return (struct br__data_source){p, split, br__pretrain_count(p, split), pretrain_sample};
}

struct br__data_source br__data_source_pretok(const struct br__pretok *p)
{
    return (struct br__data_source){p, 0, br__pretok_count(p), pretok_sample};
}

struct br__data_source br__data_source_sft(const struct br__sft *s)
{
    return (struct br__data_source){s, 0, br__sft_count(s), sft_sample};
}

/* ---- one step -------------------------------------------------------------------------------- */

/* The indices of a step into l->index; none: fewer samples are left than a step has. */
static int loader_choose(struct br__loader *l, struct br__step *s, struct br_err *err)
{
    l->n_index = 0;
    s->consumed = l->consumed;
    s->consumes = 0;
    while (s->consumes < l->o.global_batch) {
        int64_t n, used;
        int rc = br__data_sampler_next(&l->o.sampler, l->consumed, l->index + l->n_index, &n, &used,
                                       err);
        if (rc)
            return rc;
        if (used == 0) {
            l->n_index = 0;
            break;
        }
        l->n_index += n;
        l->consumed += used;
        s->consumes += used;
        if (l->o.sampler.kind == BR__SAMPLER_BATCH)
            break;
    }
    return BR_OK;
}

/* Finetuning collates a global batch as one, so that all its micro batches have one length. */
static struct br__collate rule_of(const struct br__loader *l)
{
    struct br__collate c = l->o.collate;
    if (l->o.sampler.kind != BR__SAMPLER_BATCH)
        return c;
    c.max = br__batch_length(l->samples, l->n_index, &c);
    c.to_max = 1;
    return c;
}

static int loader_fill(struct br__loader *l, struct br__step *s, struct br_err *err)
{
    int64_t micro = l->o.sampler.micro_batch;
    int rc = loader_choose(l, s, err);
    for (int64_t i = 0; i < l->n_index && !rc; i++)
        rc = l->o.source.sample(&l->o.source, l->index[i], &l->samples[i], err);
    struct br__collate c = rule_of(l);
    s->n_micro = (l->n_index + micro - 1) / micro;
    for (int64_t m = 0; m < s->n_micro && !rc; m++)
        rc = br__batch_fill(&s->micro[m], l->samples + m * micro,
                            BR__MIN(micro, l->n_index - m * micro), &c, err);
    return rc;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *loader_prepare(void *arg)
{
    struct br__loader *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->stop && !l->ended) {
        /* One slot is the caller's: the step that was taken last. */
        if (l->filled - l->taken >= l->slots - 1) {
            pthread_cond_wait(&l->changed, &l->lock);
            continue;
        }
        struct br__step *s = &l->ring[l->filled % l->slots];
        struct br_err err = BR_ERR_INIT;
        pthread_mutex_unlock(&l->lock);
        int rc = loader_fill(l, s, &err);
        pthread_mutex_lock(&l->lock);
        l->rc = rc;
        l->err = err;
        l->ended = rc || s->n_micro == 0;
        l->filled += !l->ended;
        l->ended |= l->filled == l->o.n_steps;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int br__loader_next(struct br__loader *l, const struct br__step **out, struct br_err *err)
{
    int rc = BR_OK;
    double began = br__now();
    *out = NULL;
    pthread_mutex_lock(&l->lock);
    while (l->filled == l->taken && !l->ended)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->filled > l->taken) {
        *out = &l->ring[l->taken++ % l->slots];
        pthread_cond_broadcast(&l->changed);
    } else if (l->rc) {
        rc = l->rc;
        if (err)
            *err = l->err;
    }
    pthread_mutex_unlock(&l->lock);
    l->waited += br__now() - began;
    return rc;
}

double br__loader_waited(const struct br__loader *l)
{
    return l->waited;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int make_room(struct br__loader *l, struct br_err *err)
{
    int64_t per_rank = l->o.global_batch / l->o.sampler.dp;
    int64_t micro = l->o.sampler.micro_batch;
    l->per_step = per_rank;
    l->index = br__calloc((size_t)per_rank, sizeof *l->index);
    l->samples = br__calloc((size_t)per_rank, sizeof *l->samples);
    l->ring = br__calloc((size_t)l->slots, sizeof *l->ring);
    int ok = l->index && l->samples && l->ring;
    for (int i = 0; i < l->slots && ok; i++)
        ok = (l->ring[i].micro = br__calloc((size_t)((per_rank + micro - 1) / micro),
                                            sizeof *l->ring[i].micro)) != NULL;
    return ok ? BR_OK : br__nomem(err, "for the loader");
}

int br__loader_open(struct br__loader **out, const struct br__loader_opts *o, struct br_err *err)
{
    const struct br__data_sampler *s = &o->sampler;
    *out = NULL;
    if (s->micro_batch < 1 || s->dp < 1 || o->global_batch < 1 ||
        o->global_batch % (s->micro_batch * s->dp))
        return br_fail(err, BR_E_CONFIG,
                       "global_batch_size %" PRId64 " is no multiple of micro_batch_size x "
                       "data-parallel size = %" PRId64,
                       o->global_batch, s->micro_batch * s->dp);
    struct br__loader *l = br__calloc(1, sizeof *l);
    if (!l)
        return br__nomem(err, "for the loader");
    l->o = *o;
    l->o.sampler.total = o->source.n;
    l->o.sampler.global_batch = o->global_batch;
    l->o.sampler.order = NULL;
    l->slots = BR__MAX(1, BR__MIN(o->depth ? o->depth : 2, MAX_DEPTH)) + 1;
    l->consumed = o->consumed;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    int rc = make_room(l, err);
    if (!rc && pthread_create(&l->thread, NULL, loader_prepare, l) != 0)
        rc = br_fail(err, BR_E_NOMEM, "cannot start the loader's thread");
    l->has_thread = !rc;
    if (rc)
        br__loader_close(l);
    else
        *out = l;
    return rc;
}

void br__loader_close(struct br__loader *l)
{
    if (!l)
        return;
    if (l->has_thread) {
        pthread_mutex_lock(&l->lock);
        l->stop = 1;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    int64_t per_rank = l->per_step, micro = l->o.sampler.micro_batch;
    for (int i = 0; i < l->slots && l->ring; i++) {
        for (int64_t m = 0; m < (per_rank + micro - 1) / micro && l->ring[i].micro; m++)
            br__batch_free(&l->ring[i].micro[m]);
        br__free(l->ring[i].micro);
    }
    for (int64_t i = 0; i < per_rank && l->samples; i++)
        br__sample_free(&l->samples[i]);
    br__free(l->ring);
    br__free(l->samples);
    br__free(l->index);
    br__data_sampler_free(&l->o.sampler);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    br__free(l);
}
