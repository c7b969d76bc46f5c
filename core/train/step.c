/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* step.c - one optimizer step: micro batches to gradients, gradients to weights.
 *
 * The order is Megatron's train_step (megatron.bridge.training.train, mcore's finalize_model_grads
 * and MixedPrecisionOptimizer.step): sum of gradients, per-token scale, loss scale, found infinity,
 * norm, clip, zeros, Adam, scheduler. */
#include "optim.h"
#include "state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- micro batches --------------------------------------------------------------------------- */

/* Arrays of a micro batch whose padding is left out, or whose sequences are other than the batch's.
 */
struct br__micro_room {
    int64_t cap, cap_seqs;
    int32_t *ids, *labels, *positions, *seqs;
    float *mask;
};

void br__micro_room_free(struct br__micro_room *r)
{
    if (!r)
        return;
    br__free(r->ids);
    br__free(r->labels);
    br__free(r->positions);
    br__free(r->seqs);
    br__free(r->mask);
    br__free(r);
}

static int make_room(struct br__train *t, int64_t n, int64_t n_seqs, struct br_err *err)
{
    struct br__micro_room *r = t->room;

    if (r && n <= r->cap && n_seqs <= r->cap_seqs)
        return BR_OK;
    br__micro_room_free(r);
    r = t->room = br__calloc(1, sizeof *r);
    if (r) {
        r->cap = n;
        r->cap_seqs = n_seqs;
        r->ids = br__calloc((size_t)n, sizeof *r->ids);
        r->labels = br__calloc((size_t)n, sizeof *r->labels);
        r->positions = br__calloc((size_t)n, sizeof *r->positions);
        r->mask = br__calloc((size_t)n, sizeof *r->mask);
        r->seqs = br__calloc((size_t)n_seqs, sizeof *r->seqs);
        if (r->ids && r->labels && r->positions && r->mask && r->seqs)
            return BR_OK;
        br__micro_room_free(r);
        t->room = NULL;
    }
    return br__nomem(err, "for a micro batch of %" PRId64 " tokens", n);
}

/* A dense model drops padding: no real token attends to it.  An MoE model keeps Megatron's rows,
 * because padding counts in the aux loss.  Padding belongs to its row's sequence; in a packed row
 * it is a sequence of its own. */
static int64_t copy_rows(const struct br__train *t, const struct br__batch *b)
{
    struct br__micro_room *r = t->room;
    int packed = t->run->data.sft.packing != 0;
    int64_t n = 0, n_seqs = 0, k = 0;

    for (int64_t row = 0; row < b->n_rows; row++) {
        int64_t at = row * b->length, real = b->n_real[row], len = t->moe ? b->length : real;
        for (int64_t first = at; k < b->n_ends && b->ends[k] <= at + b->length;
             first = b->ends[k++]) {
            int is_padding = first >= at + real;
            if (!is_padding || (t->moe && packed))
                r->seqs[n_seqs++] = (int32_t)(n + first - at);
        }
        memcpy(r->ids + n, b->ids + at, (size_t)len * sizeof *r->ids);
        memcpy(r->labels + n, b->labels + at, (size_t)len * sizeof *r->labels);
        memcpy(r->positions + n, b->positions + at, (size_t)len * sizeof *r->positions);
        memcpy(r->mask + n, b->weights + at, (size_t)len * sizeof *r->mask);
        n += len;
    }
    return n_seqs;
}

static int64_t count_tokens(const struct br__train *t, const struct br__batch *b)
{
    int64_t n = 0;

    for (int64_t row = 0; row < b->n_rows; row++)
        n += t->moe ? b->length : b->n_real[row];
    return n;
}

/* What adapters drop in this step, which a run that goes on from a checkpoint drops as well. */
static uint64_t dropout_key(const struct br__train *t)
{
    uint64_t seed = t->run->seed, step = (uint64_t)t->s.iteration;
    const uint32_t key[] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[] = {(uint32_t)step, (uint32_t)(step >> 32), 0, 0x64726f70}; /* "drop" */
    uint32_t bits[4];

    br__philox(counter, key, bits);
    return bits[0] | (uint64_t)bits[1] << 32;
}

static int run_micro(struct br__train *t, const struct br__batch *b, int64_t n_micro, int backward,
                     struct br__loss_sums *sums, struct br_err *err)
{
    const struct br__run *run = t->run;
    double each = 1.0 / (double)n_micro, scale = t->s.scaler.scale;
    int64_t n = count_tokens(t, b);
    struct br__micro_out out;
    int rc = make_room(t, b->n_rows * b->length, b->n_ends + 1, err);

    if (rc)
        return rc;
    int64_t n_seqs = copy_rows(t, b);
    double share = run->per_token ? (double)n : each;
    const struct br__micro mb = {
        .n_tokens = n,
        .n_seqs = n_seqs,
        .ids = t->room->ids,
        .labels = t->room->labels,
        .mask = t->room->mask,
        .positions = t->room->positions,
        .seqs = t->room->seqs,
        .loss_scale = (float)(scale * (run->per_token ? 1 : each / BR__MAX(b->n_loss, 1.0))),
        .aux_scale = (float)(scale * share),
        .mtp_scale = (float)(scale * run->mtp_scale * share),
        .dropout_key = dropout_key(t),
        .first_token = sums->tokens,
    };
    rc = br__trainer_run(t->trainer, &mb, backward, &out, err);
    sums->loss += out.loss_sum;
    sums->counted += b->n_loss;
    sums->mtp += out.mtp;
    sums->tokens += n;
    for (size_t i = 0; !rc && i < out.n_moe; i++) {
        sums->has_aux |= out.aux != NULL;
        sums->has_z |= out.z != NULL;
        sums->aux += out.aux ? out.aux[i] / (double)out.n_moe : 0;
        sums->z += out.z ? out.z[i] / (double)out.n_moe : 0;
    }
    return rc;
}

int br__train_batches(struct br__train *t, const struct br__step *step, int backward,
                      struct br__loss_sums *sums, struct br_err *err)
{
    int rc = BR_OK;

    for (int64_t i = 0; i < step->n_micro && !rc; i++)
        rc = run_micro(t, &step->micro[i], step->n_micro, backward, sums, err);
    sums->n_micro += step->n_micro;
    return rc;
}

/* ---- from gradients to weights --------------------------------------------------------------- */

/* The device rounds to bfloat16 while it has the new weights at hand. */
static int update_tensor(struct br__train *t, const struct br__adamw *h, size_t i,
                         struct br_err *err)
{
    const struct br__trained *x = &t->list[i];
    const struct br__adamw_arrays arrays = {.n = x->n,
                                            .param = x->main,
                                            .m = t->m[i],
                                            .v = t->v[i],
                                            .grad = x->grad,
                                            .copy = t->run->values == BR_BF16 ? x->bf16 : NULL};

    return br__adamw_step(br__trainer_device(t->trainer, 0), h, &arrays, err);
}

static int step_adamw(struct br__train *t, float grad_scale, const struct br__step_report *r,
                      struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__adamw h[2]; /* without weight decay, with */
    int rc = BR_OK;

    t->s.adam_steps++;
    for (int g = 0; g < 2; g++) {
        const struct br__adamw_opts o = {
            .lr = r->lr,
            .weight_decay = br__wd_at(&run->schedule, &run->group[!g], t->s.sched_samples),
            .beta1 = run->beta1,
            .beta2 = run->beta2,
            .eps = run->eps,
            .step = t->s.adam_steps,
            .grad_scale = grad_scale};
        h[g] = br__adamw_make(&o);
    }
    for (size_t i = 0; i < t->n && !rc; i++)
        rc = update_tensor(t, &h[t->decayed[i]], i, err);
    return rc ? rc : br__trainer_updated(t->trainer, run->values == BR_BF16, err);
}

/* The tensor to blame for a gradient that is not finite. */
static const char *not_finite(const struct br__train *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (br__first_not_finite(t->list[i].grad, t->list[i].n) < t->list[i].n)
            return t->list[i].name;
    return "none: the norm is too large";
}

/* float16 skips the step and lowers the loss scale; otherwise there is no going on. */
static int not_a_number(struct br__train *t, struct br__step_report *r, struct br_err *err)
{
    r->skipped = t->run->fp16;
    if (r->skipped)
        return BR_OK;
    if (!t->run->check_nan)
        return BR_OK;
    return br_fail(err, BR_E_NUMERIC,
                   "step %" PRId64 ": the loss is %g and the norm of the gradient %g; first tensor "
                   "whose gradient is not finite: %s",
                   t->s.iteration + 1, r->lm_loss, r->grad_norm, not_finite(t));
}

static int optimizer_step(struct br__train *t, const struct br__loss_sums *sums,
                          struct br__step_report *r, struct br_err *err)
{
    const struct br__run *run = t->run;
    float scale = run->per_token ? (float)(1 / BR__MAX(sums->counted, 1.0)) : 1;

    int rc = br__trainer_gradients(t->trainer, err);
    /* As Megatron rounds it: before the norm. */
    if (!rc)
        rc = br__scale_grads(t->grads, t->n, scale, t->o.threads, err);
    if (!rc && run->fp16)
        rc = br__scale_grads(t->grads, t->n, 1 / t->s.scaler.scale, t->o.threads, err);
    if (!rc)
        rc = br__grad_norm(br__trainer_device(t->trainer, 0), t->grads, t->n, &r->grad_norm, err);
    if (!rc && !(isfinite(r->grad_norm) && isfinite(r->lm_loss)))
        rc = not_a_number(t, r, err);
    if (rc || r->skipped)
        return rc;
    float clip = br__clip_scale(r->grad_norm, run->clip);
    rc = br__count_zeros(t->grads, t->n, clip, t->o.threads, &r->zeros, err);
    return rc ? rc : step_adamw(t, clip, r, err);
}

/* ---- the step -------------------------------------------------------------------------------- */

static void report_losses(const struct br__loss_sums *s, struct br__step_report *r)
{
    double n = (double)BR__MAX(s->n_micro, 1);

    r->lm_loss = s->loss / BR__MAX(s->counted, 1.0);
    r->aux = s->has_aux ? s->aux / n : NAN;
    r->z = s->has_z ? s->z / n : NAN;
    r->mtp = s->mtp / n;
    r->tokens = s->tokens;
    r->loss_tokens = (int64_t)s->counted;
}

/* Counters after a step, and what the next one will use. */
static void step_advance(struct br__train *t, int64_t batch, struct br__step_report *r)
{
    const struct br__run *run = t->run;

    t->s.iteration++;
    t->s.consumed += batch;
    t->s.skipped += r->skipped;
    if (!r->skipped)
        t->s.sched_samples += batch;
    if (run->fp16)
        br__scaler_update(&t->s.scaler, r->skipped);
    t->s.flops += r->flops;
    r->iteration = t->s.iteration;
    r->consumed = t->s.consumed;
    r->n_skipped = t->s.skipped;
    r->next_lr = br__lr_at(&run->schedule, &run->group[0], t->s.sched_samples);
}

int br__train_step(struct br__train *t, const struct br__step *step, struct br__step_report *r,
                   struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__loss_sums sums = {0};

    *r = (struct br__step_report){.batch = step->consumes, .loss_scale = t->s.scaler.scale};
    r->lr = br__lr_at(&run->schedule, &run->group[0], t->s.sched_samples);
    r->weight_decay = br__wd_at(&run->schedule, &run->group[0], t->s.sched_samples);
    double began = br__now();
    int rc = br__trainer_zero(t->trainer, err);
    if (!rc)
        rc = br__train_batches(t, step, 1, &sums, err);
    if (rc)
        return rc;
    double passed = br__now();
    r->pass_seconds = passed - began;
    report_losses(&sums, r);
    r->mtp = t->n_mtp ? r->mtp : NAN;
    r->flops = t->memory.flops_per_token * (double)sums.tokens;
    rc = optimizer_step(t, &sums, r, err);
    r->update_seconds = br__now() - passed;
    if (!rc)
        step_advance(t, step->consumes, r);
    return rc;
}
