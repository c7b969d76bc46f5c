/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* librecorded.c - see librecorded.h. */
#include "librecorded.h"
#include "train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

const char *recorded_path(const struct recorded *r, const char *file, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s", r->dir, file);
    ck_assert(n > 0 && (size_t)n < size);
    return out;
}

static br__json *open_file(const struct recorded *r, const char *file)
{
    char p[1100], *text;
    size_t n;
    br__json *j;
    must(br__read_text(recorded_path(r, file, p, sizeof p), 1 << 24, &text, &n, &err), &err);
    must(br__json_parse(&j, text, n, &err), &err);
    br__free(text);
    return j;
}

double recorded_opt(const br__json *j, const char *key, double dflt)
{
    return br__json_num(br__json_get(j, key), dflt);
}

static struct br__schedule schedule_of(const br__json *c)
{
    double gbs = recorded_opt(c, "gbs", NAN), wd = recorded_opt(c, "wd", NAN);
    double iters = recorded_opt(c, "iters", NAN);
    const br__json *wsd = br__json_first(br__json_get(c, "wsd"));
    return (struct br__schedule){
        .style = br__lr_style(br__json_str(br__json_get(c, "decay_style"), "cosine")),
        .wsd_style = wsd ? br__wsd_style(br__json_str(wsd, "")) : 0,
        .wd_style = br__wd_style(br__json_str(br__json_get(c, "wd_style"), "constant")),
        .init_lr = recorded_opt(c, "warmup_init", 0),
        .max_lr = recorded_opt(c, "lr", NAN),
        .min_lr = recorded_opt(c, "min_lr", NAN),
        .start_wd = wd,
        .end_wd = recorded_opt(c, "end_wd", wd),
        .warmup = (int64_t)(recorded_opt(c, "warmup", NAN) * gbs),
        .decay = (int64_t)(recorded_opt(c, "decay_iters", iters) * gbs),
        .wsd_decay = wsd ? (int64_t)(br__json_num(br__json_next(wsd), NAN) * gbs) : 0,
        .wd_incr = (int64_t)(iters * gbs),
    };
}

void recorded_open(struct recorded *r, const char *name)
{
    int n = snprintf(r->dir, sizeof r->dir, "%s/fixtures/train/%s", getenv("BRIDGE_SHARED"), name);
    ck_assert(n > 0 && (size_t)n < sizeof r->dir);
    r->config = open_file(r, "case.json");
    r->steps = open_file(r, "steps.json");
    r->batches = open_file(r, "batches.json");
    r->schedule = schedule_of(r->config);
    r->per_token = br__json_bool(br__json_get(r->config, "per_token"), 0);
    must(br__schedule_check(&r->schedule, &err), &err);
}

void recorded_close(struct recorded *r)
{
    br__json_free(r->config);
    br__json_free(r->steps);
    br__json_free(r->batches);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Numbers of one row of a batch, appended to what is there. */
static void append(const br__json *row, int64_t at, int32_t *ints, float *floats)
{
    for (const br__json *i = br__json_first(row); i; i = br__json_next(i), at++) {
        ck_assert_int_lt(at, RECORDED_MAX);
        if (ints)
            ints[at] = (int32_t)br__json_num(i, -1);
        else
            floats[at] = (float)br__json_num(i, NAN);
    }
}

static void sequences(struct recorded_micro *m, const br__json *packed, int64_t n_rows)
{
    const br__json *cu = br__json_first(br__json_get(packed, "cu_seqlens_q"));
    if (!cu) {
        for (m->n_seqs = 0; m->n_seqs < n_rows; m->n_seqs++)
            m->seqs[m->n_seqs] = (int32_t)(m->n_seqs * (m->n_tokens / n_rows));
        return;
    }
    int64_t last = -1;
    m->n_seqs = 0;
    for (const br__json *i = br__json_first(cu); i; i = br__json_next(i)) {
        int64_t from = (int64_t)br__json_num(i, NAN);
        if (from != last && from < m->n_tokens)
            m->seqs[m->n_seqs++] = (int32_t)from;
        last = from;
    }
}

void recorded_micro(struct recorded_micro *m, const br__json *micro_batch)
{
    int64_t n_rows = 0;
    m->n_tokens = 0;
    m->counted = 0;
    const br__json *labels = br__json_first(br__json_get(micro_batch, "labels")),
                   *mask = br__json_first(br__json_get(micro_batch, "loss_mask")),
                   *positions = br__json_first(br__json_get(micro_batch, "position_ids"));
    for (const br__json *ids = br__json_first(br__json_get(micro_batch, "tokens")); ids;
         ids = br__json_next(ids)) {
        append(ids, m->n_tokens, m->ids, NULL);
        append(labels, m->n_tokens, m->labels, NULL);
        append(positions, m->n_tokens, m->positions, NULL);
        append(mask, m->n_tokens, NULL, m->mask);
        m->n_tokens += (int64_t)br__json_count(ids);
        labels = br__json_next(labels);
        mask = br__json_next(mask);
        positions = br__json_next(positions);
        n_rows++;
    }
    for (int64_t i = 0; i < m->n_tokens; i++)
        m->counted += m->mask[i];
    sequences(m, br__json_get(micro_batch, "packed"), n_rows);
}

/* ---- a step ---------------------------------------------------------------------------------- */

void near_recorded(const char *what, int step, double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance, "step %d: %s is %.9g, recorded %.9g", step, what,
                  got, want);
}

struct br__adamw_opts recorded_adamw(const struct recorded *r, const br__json *want, int step,
                                     double norm)
{
    const struct br__schedule_group group = {r->schedule.max_lr, r->schedule.min_lr, 1, 1};
    int64_t samples = (step - 1) * (int64_t)recorded_opt(r->config, "gbs", NAN);
    const struct br__adamw_opts o = {
        .lr = br__lr_at(&r->schedule, &group, samples),
        .weight_decay = br__wd_at(&r->schedule, &group, samples),
        .beta1 = 0.9,
        .beta2 = recorded_opt(r->config, "beta2", NAN),
        .eps = recorded_opt(r->config, "eps", NAN),
        .step = step,
        .grad_scale = br__clip_scale(norm, recorded_opt(r->config, "clip", 1)),
    };
    near_recorded("the learning rate", step, o.lr,
                  br__json_num(br__json_first(br__json_get(want, "lr_used")), NAN), 0);
    near_recorded("the weight decay", step, o.weight_decay,
                  br__json_num(br__json_first(br__json_get(want, "wd_used")), NAN), 0);
    return o;
}
