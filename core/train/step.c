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
    int32_t *ids, *labels, *positions, *numbers, *seqs;
    float *mask;
};

static void micro_room_free(struct br__micro_room *r)
{
    if (!r)
        return;
    br__free(r->ids);
    br__free(r->labels);
    br__free(r->positions);
    br__free(r->numbers);
    br__free(r->seqs);
    br__free(r->mask);
    br__free(r);
}

void br__train_rooms_free(struct br__train_rank *r)
{
    for (size_t i = 0; i < r->n_rooms; i++)
        micro_room_free(r->rooms[i]);
    br__free(r->rooms);
    r->rooms = NULL;
    r->n_rooms = 0;
}

/* A rank has room for n micro batches, none of which has memory yet. */
static int more_rooms(struct br__train_rank *r, size_t n, struct br_err *err)
{
    if (n <= r->n_rooms)
        return BR_OK;
    br__train_rooms_free(r);
    r->rooms = br__calloc(n, sizeof(struct br__micro_room *));
    r->n_rooms = r->rooms ? n : 0;
    return r->rooms ? BR_OK : br__nomem(err, "for micro batches");
}

static int make_room(struct br__micro_room **room, int64_t n, int64_t n_seqs, struct br_err *err)
{
    struct br__micro_room *r = *room;

    if (r && n <= r->cap && n_seqs <= r->cap_seqs)
        return BR_OK;
    micro_room_free(r);
    r = *room = br__calloc(1, sizeof *r);
    if (r) {
        r->cap = n;
        r->cap_seqs = n_seqs;
        r->ids = br__calloc((size_t)n, sizeof *r->ids);
        r->labels = br__calloc((size_t)n, sizeof *r->labels);
        r->positions = br__calloc((size_t)n, sizeof *r->positions);
        r->numbers = br__calloc((size_t)n, sizeof *r->numbers);
        r->mask = br__calloc((size_t)n, sizeof *r->mask);
        r->seqs = br__calloc((size_t)n_seqs, sizeof *r->seqs);
        if (r->ids && r->labels && r->positions && r->numbers && r->mask && r->seqs)
            return BR_OK;
        micro_room_free(r);
        *room = NULL;
    }
    return br__nomem(err, "for a micro batch of %" PRId64 " tokens", n);
}

/* A dense model drops padding: no real token attends to it.  An MoE model keeps Megatron's rows,
 * because padding counts in the aux loss.  Padding belongs to its row's sequence; in a packed row
 * it is a sequence of its own. */
static int64_t copy_rows(const struct br__train *t, struct br__micro_room *r,
                         const struct br__batch *b)
{
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

/* Rank i's micro batch k, and in which of its rooms it lies. */
struct micro_place {
    uint32_t i;
    int64_t k;
    size_t room;
};

/* Which of the step's samples row `row` of a micro batch is (data/sampler.c), of all ranks'. */
static int64_t sample_of(const struct br__train *t, const struct micro_place *p, int64_t row)
{
    const struct br__rank_info *info = t->ranks[p->i].info;
    int64_t dp = info->topo.size[BR_AXIS_DP], n = t->run->micro_batch;
    int64_t rank = br_topo_coord(&info->topo, info->rank, BR_AXIS_DP);

    return t->run->data.sampler == BR__SAMPLER_BATCH ? (p->k * n + row) * dp + rank
                                                     : (p->k * dp + rank) * n + row;
}

/* Tokens are numbered by their sample and place in it: as on one rank, and whatever is padding. */
static void number_tokens(const struct br__train *t, const struct micro_place *p,
                          const struct br__batch *b, int32_t *numbers)
{
    for (int64_t row = 0, n = 0; row < b->n_rows; row++)
        for (int64_t k = 0, len = t->moe ? b->length : b->n_real[row]; k < len; k++)
            numbers[n++] = (int32_t)(sample_of(t, p, row) * t->run->seq_length + k);
}

static int make_micro(struct br__train *t, const struct micro_place *p, const struct br__step *step,
                      struct br__micro *out, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_rank *r = &t->ranks[p->i];
    const struct br__batch *b = &step->micro[p->k];
    int64_t n = count_tokens(t, b);
    double each = 1.0 / (double)step->n_micro, scale = t->s.scaler.scale;
    double share = run->per_token ? (double)n : each;
    int rc = make_room(&r->rooms[p->room], b->n_rows * b->length, b->n_ends + 1, err);

    if (rc)
        return rc;
    struct br__micro_room *room = r->rooms[p->room];
    *out = (struct br__micro){
        .n_tokens = n,
        .n_seqs = copy_rows(t, room, b),
        .ids = room->ids,
        .labels = room->labels,
        .mask = room->mask,
        .positions = room->positions,
        .seqs = room->seqs,
        .loss_scale = (float)(scale * (run->per_token ? 1 : each / BR__MAX(b->n_loss, 1.0))),
        .aux_scale = (float)(scale * share),
        .mtp_scale = (float)(scale * run->mtp_scale * share),
        .dropout_key = dropout_key(t),
        .numbers = room->numbers,
    };
    number_tokens(t, p, b, room->numbers);
    return BR_OK;
}

/* What a rank's micro batch came to; losses are those of the last stage, and so are the counts. */
static void add_losses(const struct br__train_rank *r, const struct br__batch *b, int64_t n_tokens,
                       const struct br__micro_out *out, struct br__loss_sums *sums)
{
    const struct br_topo *t = &r->info->topo;
    int last = br_topo_coord(t, r->info->rank, BR_AXIS_PP) + 1 == t->size[BR_AXIS_PP];

    sums->loss += out->loss_sum;
    sums->mtp += out->mtp;
    sums->counted += last ? b->n_loss : 0;
    sums->tokens += last ? (double)n_tokens : 0;
    sums->routed += (double)out->n_moe;
    sums->has_aux |= out->n_moe && out->aux;
    sums->has_z |= out->n_moe && out->z;
    for (size_t i = 0; i < out->n_moe; i++) {
        sums->aux += out->aux ? out->aux[i] : 0;
        sums->z += out->z ? out->z[i] : 0;
    }
}

/* Micro batches [from, from + n) of each rank's step: mb[n * ranks], out[n * ranks].  Ranks that
 * read the same are given the same. */
struct at_once {
    const struct br__step *const *step;
    int64_t from;
    size_t n;
    struct br__micro *mb;
    struct br__micro_out *out;
};

/* Of a mean of its tokens each context-parallel rank computes its own, and gradients are divided by
 * how many there are (mcore's loss_func and DDP); losses of routed layers are of all.  The mean of
 * multi-token prediction counts the targets of all, too, as one rank does: Megatron's, of each
 * rank's own targets, would depend on where the sequences' ends fall. */
static void share_context(const struct br__train *t, uint32_t i, const struct br__batch *b,
                          struct br__micro *mb)
{
    const double cp = t->run->topo.size[BR_AXIS_CP];
    double counted = br__trainer_counted(t->trainer, i, mb);

    if (cp == 1 || t->run->per_token)
        return;
    mb->loss_scale *= (float)(BR__MAX(b->n_loss, 1.0) / BR__MAX(counted, 1.0));
    mb->aux_scale *= (float)cp;
    mb->mtp_scale *= (float)cp;
}

/* Those of rank i. */
static int fill_micros(struct br__train *t, const struct at_once *x, uint32_t i, struct br_err *err)
{
    size_t ranks = t->n_ranks;
    uint32_t same = 0;
    int rc = more_rooms(&t->ranks[i], x->n, err);

    while (x->step[same] != x->step[i])
        same++;
    for (size_t k = 0; k < x->n && !rc; k++) {
        const struct micro_place p = {i, x->from + (int64_t)k, k};
        struct br__micro *mb = &x->mb[k * ranks + i];
        if (same < i)
            *mb = x->mb[k * ranks + same];
        else
            rc = make_micro(t, &p, x->step[i], mb, err);
    }
    return rc;
}

static int run_micros(struct br__train *t, const struct at_once *x, int backward,
                      struct br__loss_sums *sums, struct br_err *err)
{
    size_t ranks = t->n_ranks;
    int rc = BR_OK;

    for (uint32_t i = 0; i < ranks && !rc; i++)
        rc = fill_micros(t, x, i, err);
    if (!rc)
        for (uint32_t i = 0; i < ranks; i++)
            for (size_t k = 0; k < x->n; k++)
                share_context(t, i, &x->step[i]->micro[x->from + (int64_t)k],
                              &x->mb[k * ranks + i]);
    if (!rc)
        rc = br__trainer_step(t->trainer, x->mb, x->n, backward, x->out, err);
    for (size_t k = 0; k < x->n && !rc; k++)
        for (uint32_t i = 0; i < ranks; i++)
            add_losses(&t->ranks[i], &x->step[i]->micro[x->from + (int64_t)k],
                       x->mb[k * ranks + i].n_tokens, &x->out[k * ranks + i], &sums[i]);
    return rc;
}

/* Stages of a pipeline work on several micro batches at once. */
int br__train_batches(struct br__train *t, const struct br__step *const *step, int backward,
                      struct br__loss_sums *sums, struct br_err *err)
{
    int64_t all = step[0]->n_micro;
    size_t n = t->run->topo.size[BR_AXIS_PP] > 1 ? (size_t)all : 1;
    struct at_once x = {.step = step,
                        .n = n,
                        .mb = br__calloc(n * t->n_ranks + 1, sizeof *x.mb),
                        .out = br__calloc(n * t->n_ranks + 1, sizeof *x.out)};
    int rc = x.mb && x.out ? BR_OK : br__nomem(err, "for micro batches");

    for (; !rc && x.from < all; x.from += (int64_t)n)
        rc = run_micros(t, &x, x.from + (int64_t)n < all ? backward != 0 : backward, sums, err);
    for (uint32_t i = 0; i < t->n_ranks && !rc; i++)
        sums[i].n_micro += all;
    br__free(x.mb);
    br__free(x.out);
    return rc;
}

/* ---- sums over ranks ------------------------------------------------------------------------- */

#define N_SUMS 9
_Static_assert(N_SUMS + 2 == BR__STEP_SUMS, "what ranks tell each other in a step");

/* What a rank adds to the sums of all: of tensor-parallel ranks one counts, context-parallel ones
 * have their part of the losses, and of the rest all.  Losses of routed layers are means over
 * data-parallel ranks, but for the global one, of which each has a part (mcore's
 * reduce_aux_losses_tracker_across_ranks). */
static void share_of(const struct br__train *t, const struct br__rank_info *r,
                     const struct br__loss_sums *s, double x[N_SUMS])
{
    double dp = r->topo.size[BR_AXIS_DP], cp = r->topo.size[BR_AXIS_CP];
    int counts = br_topo_coord(&r->topo, r->rank, BR_AXIS_TP) == 0;
    double mean = 1 / (dp * cp), aux = t->run->aux == BR__AUX_GLOBAL ? 1 / cp : mean;
    const double share[N_SUMS] = {s->loss,     s->counted / cp, s->tokens / cp,
                                  s->mtp / dp, s->z * mean,     s->aux * aux,
                                  s->has_z,    s->has_aux,      s->routed * mean};

    for (int i = 0; i < N_SUMS; i++)
        x[i] = counts ? share[i] : 0;
}

static int sum_losses(const struct br__train *t, uint32_t i, const struct br__loss_sums *s,
                      struct br__loss_sums *total, struct br_err *err)
{
    const struct br__rank_info *r = t->ranks[i].info;
    double x[N_SUMS];

    share_of(t, r, s, x);
    int rc = br__sum_doubles(r->host[BR_GROUP_WORLD], x, N_SUMS, err);
    *total = (struct br__loss_sums){.loss = x[0],
                                    .counted = x[1],
                                    .tokens = x[2],
                                    .mtp = x[3],
                                    .z = x[4],
                                    .aux = x[5],
                                    .has_z = x[6] > 0,
                                    .has_aux = x[7] > 0,
                                    .routed = x[8],
                                    .n_micro = s->n_micro};
    return rc;
}

struct total {
    const struct br__train *t;
    const struct br__loss_sums *sums;
    struct br__loss_sums *total;
};

static int rank_total(void *arg, uint32_t i, struct br_err *err)
{
    const struct total *x = arg;
    struct br__loss_sums total;
    int rc = sum_losses(x->t, i, &x->sums[i], &total, err);

    if (!rc && i == 0)
        *x->total = total;
    return rc;
}

int br__train_total(struct br__train *t, const struct br__loss_sums *sums,
                    struct br__loss_sums *total, struct br_err *err)
{
    return br__train_each(t, rank_total, &(struct total){t, sums, total}, err);
}

/* ---- from gradients to weights --------------------------------------------------------------- */

/* A step on every rank, each of which comes to the same report. */
struct update {
    struct br__train *t;
    const struct br__loss_sums *sums;
    struct br__step_report *r; /* [n_ranks] */
};

static void report_losses(const struct br__train *t, const struct br__loss_sums *s,
                          struct br__step_report *r)
{
    double n = (double)BR__MAX(s->n_micro, 1);

    r->lm_loss = s->loss / BR__MAX(s->counted, 1.0);
    r->aux = s->has_aux ? s->aux / s->routed : NAN; /* of a layer and micro batch */
    r->z = s->has_z ? s->z / s->routed : NAN;
    r->mtp = t->n_mtp ? s->mtp / n : NAN;
    r->tokens = (int64_t)s->tokens;
    r->loss_tokens = (int64_t)s->counted;
    r->flops = t->memory.flops_per_token * s->tokens;
}

/* The device rounds to bfloat16 while it has the new weights at hand. */
static int update_share(struct br__train *t, uint32_t i, const struct br__adamw *h,
                        const struct br__share *x, struct br_err *err)
{
    const struct br__adamw_arrays arrays = {.n = x->n,
                                            .param = x->main,
                                            .m = x->m,
                                            .v = x->v,
                                            .grad = x->grad,
                                            .copy = br__train_is_narrow(t) ? x->half : NULL};

    return br__adamw_step(br__trainer_device(t->trainer, i), h, &arrays, err);
}

/* h: without weight decay, and with, where the device reads them. */
static int update_bank(struct br__train *t, uint32_t i, const struct br__adamw *h, size_t bank,
                       struct br_err *err)
{
    const struct br__train_rank *r = &t->ranks[i];
    int rc = BR_OK;

    for (size_t k = 0; k < r->shard.n_shares && !rc; k++) {
        const struct br__share *x = &r->shard.shares[k];
        if (r->shard.o.tensors[x->tensor].bank == bank)
            rc = update_share(t, i, &h[r->decayed[x->tensor]], x, err);
    }
    return rc;
}

static int step_adamw(struct br__train *t, uint32_t i, float grad_scale,
                      const struct br__step_report *r, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_rank *rank = &t->ranks[i];
    struct br__adamw h[2]; /* without weight decay, with */
    const struct br__adamw *at;

    for (int g = 0; g < 2; g++) {
        const struct br__adamw_opts o = {
            .lr = r->lr,
            .weight_decay = br__wd_at(&run->schedule, &run->group[!g], t->s.sched_samples),
            .beta1 = run->beta1,
            .beta2 = run->beta2,
            .eps = run->eps,
            .step = t->s.adam_steps + 1,
            .grad_scale = grad_scale};
        h[g] = br__adamw_make(&o);
    }
    int rc = br__shard_hyper(&rank->shard, h, &at, err);
    for (size_t b = 0; b < rank->shard.o.n_banks && !rc; b++) {
        rc = update_bank(t, i, at, b, err);
        if (!rc)
            rc = br__overlap_gather(t, i, b, err);
    }
    return rc ? rc : br__overlap_gathered(t, i, err);
}

/* The tensor to blame for a gradient that is not finite; NULL: it is no part of this rank's. */
static int find_not_finite(struct br__train *t, uint32_t i, const char **name, struct br_err *err)
{
    const struct br__train_rank *r = &t->ranks[i];
    int rc = BR_OK, found;

    *name = NULL;
    for (size_t k = 0; k < r->shard.n_shares && !*name && !rc; k++) {
        rc = br__grad_not_finite(br__trainer_device(t->trainer, i), &r->grads[k], &found, err);
        if (!rc && found)
            *name = r->list[r->shard.shares[k].tensor].name;
    }
    return rc;
}

/* float16 skips the step and lowers the loss scale; otherwise there is no going on, and a rank that
 * has the tensor says so. */
static int not_a_number(struct br__train *t, uint32_t i, struct br__step_report *r,
                        struct br_err *err)
{
    const struct br__train_rank *rank = &t->ranks[i];
    const char *name;

    r->skipped = t->run->fp16;
    if (r->skipped || !t->run->check_nan)
        return BR_OK;
    int rc = find_not_finite(t, i, &name, err);
    double found = name != NULL;
    if (!rc)
        rc = br__sum_doubles(rank->info->host[BR_GROUP_WORLD], &found, 1, err);
    if (rc)
        return rc;
    if (!name && found > 0)
        return br_fail(err, BR_E_COMM, "the gradient of another rank is not finite");
    return br_fail(err, BR_E_NUMERIC,
                   "step %" PRId64 ": the loss is %g and the norm of the gradient %g; first tensor "
                   "whose gradient is not finite: %s",
                   t->s.iteration + 1, r->lm_loss, r->grad_norm,
                   name ? name : "none: the norm is too large");
}

/* The shares' gradients, as Megatron rounds them: before the norm. */
static int scale_gradients(struct br__train *t, uint32_t i, double counted, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_rank *r = &t->ranks[i];
    float scale = run->per_token ? (float)(1 / BR__MAX(counted, 1.0)) : 1;
    struct br__device *d = br__trainer_device(t->trainer, i);
    int rc = br__scale_grads(d, r->grads, r->shard.n_shares, scale, err);

    if (!rc && run->fp16)
        rc = br__scale_grads(d, r->grads, r->shard.n_shares, 1 / t->s.scaler.scale, err);
    return rc;
}

static int measure_norm(struct br__train *t, uint32_t i, double *norm, struct br_err *err)
{
    struct br__train_rank *r = &t->ranks[i];
    int rc =
        br__grad_squares(br__trainer_device(t->trainer, i), r->counted, r->n_counted, norm, err);

    if (!rc)
        rc = br__sum_doubles(r->info->host[BR_GROUP_WORLD], norm, 1, err);
    *norm = sqrt(*norm);
    return rc;
}

static int count_zeros(struct br__train *t, uint32_t i, float clip, uint64_t *zeros,
                       struct br_err *err)
{
    struct br__train_rank *r = &t->ranks[i];
    int rc = br__count_zeros(br__trainer_device(t->trainer, i), r->counted, r->n_counted, clip,
                             zeros, err);
    double n = (double)*zeros;

    if (!rc)
        rc = br__sum_doubles(r->info->host[BR_GROUP_WORLD], &n, 1, err);
    *zeros = (uint64_t)n;
    return rc;
}

static int rank_update(void *arg, uint32_t i, struct br_err *err)
{
    const struct update *u = arg;
    struct br__train *t = u->t;
    struct br__step_report *r = &u->r[i];
    struct br__loss_sums total;
    int rc = sum_losses(t, i, &u->sums[i], &total, err);

    if (rc)
        return rc;
    report_losses(t, &total, r);
    rc = br__overlap_reduce(t, i, err);
    if (!rc)
        rc = scale_gradients(t, i, total.counted, err);
    if (!rc)
        rc = measure_norm(t, i, &r->grad_norm, err);
    if (!rc && !(isfinite(r->grad_norm) && isfinite(r->lm_loss)))
        rc = not_a_number(t, i, r, err);
    if (rc || r->skipped)
        return rc;
    float clip = br__clip_scale(r->grad_norm, t->run->clip);
    rc = count_zeros(t, i, clip, &r->zeros, err);
    return rc ? rc : step_adamw(t, i, clip, r, err);
}

/* Shares round where they are made; all else is rounded by the trainer. */
static int finish_update(struct br__train *t, struct br_err *err)
{
    int shared = br__shard_is_shared(&t->ranks[0].shard);

    t->s.adam_steps++;
    return br__trainer_stepped(t->trainer, shared || br__train_is_narrow(t), err);
}

static int optimizer_step(struct br__train *t, const struct br__loss_sums *sums,
                          struct br__step_report *r, struct br_err *err)
{
    struct br__step_report *reports = br__calloc(t->n_ranks, sizeof *reports);
    int rc = reports ? br__trainer_gradients(t->trainer, err) : br__nomem(err, "for a step");

    for (uint32_t i = 0; i < t->n_ranks && !rc; i++)
        reports[i] = *r;
    if (!rc)
        rc = br__train_each(t, rank_update, &(struct update){t, sums, reports}, err);
    if (!rc)
        *r = reports[0];
    br__free(reports);
    return rc || r->skipped ? rc : finish_update(t, err);
}

/* ---- the step -------------------------------------------------------------------------------- */

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

int br__train_step(struct br__train *t, const struct br__step *const *step,
                   struct br__step_report *r, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__loss_sums *sums = br__calloc(t->n_ranks, sizeof *sums);

    *r = (struct br__step_report){.batch = step[0]->consumes, .loss_scale = t->s.scaler.scale};
    r->lr = br__lr_at(&run->schedule, &run->group[0], t->s.sched_samples);
    r->weight_decay = br__wd_at(&run->schedule, &run->group[0], t->s.sched_samples);
    double began = br__now();
    int rc = sums ? br__trainer_zero(t->trainer, err) : br__nomem(err, "for a step");
    if (!rc)
        rc = br__train_batches(t, step, BR__BACKWARD_LAST, sums, err);
    double passed = br__now();
    r->pass_seconds = passed - began;
    if (!rc)
        rc = optimizer_step(t, sums, r, err);
    r->update_seconds = br__now() - passed;
    if (rc)
        br__overlap_settle(t);
    br__free(sums);
    if (!rc)
        step_advance(t, step[0]->consumes, r);
    return rc;
}
