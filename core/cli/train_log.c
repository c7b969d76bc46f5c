/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_log.c - the log of a training run: Megatron's line on the console, one JSON object a step
 * in a file.
 *
 * The line's fields and formats: training_log of megatron.bridge.training.utils.train_utils. */
#include "train_cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* ---- the file -------------------------------------------------------------------------------- */

static void put_num(struct br__buf *b, const char *key, double v)
{
    br__buf_printf(b, ", \"%s\": ", key);
    if (isfinite(v))
        br__buf_double(b, v);
    else
        br__buf_puts(b, isnan(v) ? "null" : v > 0 ? "1e999" : "-1e999"); /* JSON's infinity */
}

static void put_int(struct br__buf *b, const char *key, int64_t v)
{
    br__buf_printf(b, ", \"%s\": %" PRId64, key, v);
}

static void write_line(struct br__train_log *l, struct br__buf *b)
{
    br__buf_puts(b, "}\n");
    if (b->failed && !l->err.code)
        br_fail(&l->err, b->failed, "out of memory for the log");
    if (!l->err.code && br__append(&l->file, b->p, b->n, &l->err))
        br_wrap(&l->err, "the log is not complete");
    br__buf_free(b);
}

static double log_balance(const struct br__train_log *l, double aux, int global)
{
    int is_global = l->run->aux == BR__AUX_GLOBAL;

    if (isnan(aux))
        return NAN;
    return global ? (is_global ? aux : NAN) : is_global ? 0 : aux;
}

static void write_step(struct br__train_log *l, const struct br__step_report *r)
{
    struct br__buf b = {0};
    double rate = r->seconds > 0 ? 1 / r->seconds : 0;

    br__buf_printf(&b, "{\"iteration\": %" PRId64, r->iteration);
    put_int(&b, "consumed_samples", r->consumed);
    put_num(&b, "lm_loss", r->lm_loss);
    put_num(&b, "load_balancing_loss", log_balance(l, r->aux, 0));
    put_num(&b, "global_load_balancing_loss", log_balance(l, r->aux, 1));
    put_num(&b, "z_loss", r->z);
    put_num(&b, "mtp_1_loss", r->mtp);
    put_num(&b, "learning_rate", r->lr);
    put_num(&b, "weight_decay", r->weight_decay);
    put_num(&b, "grad_norm", r->grad_norm);
    put_int(&b, "num_zeros", (int64_t)r->zeros);
    put_num(&b, "loss_scale", r->loss_scale);
    br__buf_printf(&b, ", \"skipped\": %s", r->skipped ? "true" : "false");
    put_int(&b, "tokens", r->tokens);
    put_int(&b, "loss_tokens", r->loss_tokens);
    put_num(&b, "step_ms", r->seconds * 1e3);
    put_num(&b, "pass_ms", r->pass_seconds * 1e3);
    put_num(&b, "update_ms", r->update_seconds * 1e3);
    put_num(&b, "wait_ms", r->waited * 1e3);
    put_num(&b, "tokens_per_second", (double)r->tokens * rate);
    put_num(&b, "tflops", r->flops * rate / 1e12);
    put_num(&b, "mfu", l->peak > 0 ? r->flops * rate / l->peak : NAN);
    put_int(&b, "private_bytes", (int64_t)r->private_bytes);
    write_line(l, &b);
}

static double log_perplexity(double loss)
{
    return exp(fmin(20, loss));
}

static void write_eval(struct br__train_log *l, const struct br__eval_report *r)
{
    struct br__buf b = {0};

    br__buf_printf(&b, "{\"split\": \"%s\"", br__split_names[r->split]);
    put_int(&b, "iteration", r->iteration);
    put_num(&b, "lm_loss", r->lm_loss);
    put_num(&b, "ppl", log_perplexity(r->lm_loss));
    put_int(&b, "samples", r->samples);
    put_int(&b, "loss_tokens", r->loss_tokens);
    put_num(&b, "seconds", r->seconds);
    write_line(l, &b);
}

/* ---- TensorBoard ----------------------------------------------------------------------------- */

static void write_events(struct br__train_log *l, int64_t step, const struct br__tb_scalar *v,
                         size_t n)
{
    struct br__tb_scalar known[16];
    size_t k = 0;

    for (size_t i = 0; i < n && k < BR_COUNTOF(known); i++)
        if (!isnan(v[i].value))
            known[k++] = v[i];
    if (!l->err.code && br__tb_write(&l->tb, step, known, k, &l->err))
        br_wrap(&l->err, "the events for TensorBoard are not complete");
}

/* The tags are Megatron Bridge's. */
static void write_step_events(struct br__train_log *l, const struct br__step_report *r)
{
    double rate = r->seconds > 0 ? 1 / r->seconds : 0;
    const struct br__tb_scalar v[] = {
        {"learning-rate", r->lr},
        {"batch-size", (double)r->batch},
        {"lm loss", r->lm_loss},
        {"load_balancing_loss", log_balance(l, r->aux, 0)},
        {"global_load_balancing_loss", log_balance(l, r->aux, 1)},
        {"z_loss", r->z},
        {"mtp_1 loss", r->mtp},
        {"loss-scale", r->loss_scale},
        {"grad-norm", r->skipped ? NAN : r->grad_norm},
        {"num-zeros", r->skipped ? NAN : (double)r->zeros},
        {"iteration-time", r->seconds},
        {"tokens-per-second", (double)r->tokens * rate},
        {"throughput/tflops/device", r->flops * rate / 1e12},
    };
    write_events(l, r->iteration, v, BR_COUNTOF(v));
}

static void write_eval_events(struct br__train_log *l, const struct br__eval_report *r)
{
    int test = r->split == BR__TEST;
    const struct br__tb_scalar v[] = {
        {test ? "lm loss test" : "lm loss validation", r->lm_loss},
        {test ? "lm loss test ppl" : "lm loss validation ppl", log_perplexity(r->lm_loss)}};
    write_events(l, r->iteration, v, BR_COUNTOF(v));
}

/* ---- the console ----------------------------------------------------------------------------- */

/* " [2026-01-01 00:00:00] iteration       20/      20 | consumed samples: ..." */
static void print_step(struct br__train_log *l, const struct br__step_report *r)
{
    char when[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    double n = (double)l->n, good = n - (double)l->n_skipped;
    struct br__buf b = {0};

    if (localtime_r(&now, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    br__buf_printf(&b, " [%s] iteration %8" PRId64 "/%8" PRId64 " |", when, r->iteration,
                   l->run->train_iters);
    br__buf_printf(&b, " consumed samples: %12" PRId64 " |", r->consumed);
    br__buf_printf(&b, " elapsed time per iteration (ms): %.1f |", l->seconds * 1e3 / n);
    br__buf_printf(&b, " learning rate: %.6E | global batch size: %5" PRId64 " |", r->next_lr,
                   r->batch);
    if (good > 0) {
        br__buf_printf(&b, " lm loss: %.6E |", l->lm_loss / good);
        if (!isnan(r->aux))
            br__buf_printf(&b, " load_balancing_loss: %.6E |", log_balance(l, l->aux / good, 0));
        if (!isnan(log_balance(l, r->aux, 1)))
            br__buf_printf(&b, " global_load_balancing_loss: %.6E |", l->aux / good);
        if (!isnan(r->z))
            br__buf_printf(&b, " z_loss: %.6E |", l->z / good);
        if (!isnan(r->mtp))
            br__buf_printf(&b, " mtp_1 loss: %.6E |", l->mtp / good);
    }
    br__buf_printf(&b, " loss scale: %.1f |", r->loss_scale);
    if (!r->skipped) /* Megatron has none of such a step */
        br__buf_printf(&b, " grad norm: %.3f | num zeros: %.1f |", r->grad_norm, (double)r->zeros);
    br__buf_printf(&b,
                   " number of skipped iterations: %3" PRId64
                   " | number of nan iterations: %3" PRId64 " |",
                   l->n_skipped, l->n_nan);
    br__say(stdout, "%s", b.n ? b.p : "");
    fflush(stdout);
    br__buf_free(&b);
}

/* The console's line, which is of the steps since the last one. */
static void end_interval(struct br__train_log *l, const struct br__step_report *r)
{
    if (l->lines) {
        br__train_live_clear(&l->live);
        print_step(l, r);
    }
    l->n = l->n_skipped = l->n_nan = 0;
    l->seconds = l->lm_loss = l->aux = l->z = l->mtp = 0;
}

/* A NaN of an operation may have a sign, which printf shows. */
static double log_unsigned(double v)
{
    return isnan(v) ? (double)NAN : v;
}

static void on_step(void *ud, const struct br__step_report *report)
{
    struct br__train_log *l = ud;
    struct br__step_report *r = &l->last;

    *r = *report;
    r->lm_loss = log_unsigned(r->lm_loss);
    r->grad_norm = log_unsigned(r->grad_norm);
    write_step(l, r);
    write_step_events(l, r);
    l->n_steps++;
    l->tokens += r->tokens;
    l->train_seconds += r->seconds;
    l->waited += r->waited;
    l->peak_bytes = BR__MAX(l->peak_bytes, r->private_bytes);
    l->n++;
    l->seconds += r->seconds;
    l->n_skipped += r->skipped;
    l->n_nan += isnan(r->lm_loss) != 0;
    if (!r->skipped) {
        l->lm_loss += r->lm_loss;
        l->aux += r->aux;
        l->z += r->z;
        l->mtp += r->mtp;
    }
    if (r->iteration % l->run->log_interval == 0 || r->iteration == l->run->train_iters)
        end_interval(l, r);
    br__train_live_step(&l->live, r, l->run->train_iters, l->peak);
}

static void on_eval(void *ud, const struct br__eval_report *r)
{
    struct br__train_log *l = ud;
    char line[200], rule[200];

    write_eval(l, r);
    write_eval_events(l, r);
    l->eval[r->split] = *r;
    if (r->split == BR__VALID)
        l->live.valid = r->lm_loss;
    if (!l->lines)
        return;
    br__train_live_clear(&l->live);
    int n =
        snprintf(line, sizeof line,
                 " %s loss at iteration %" PRId64 " | lm loss value: %.6E | lm loss PPL: %.6E | ",
                 r->split == BR__TEST ? "test" : "validation", r->iteration, r->lm_loss,
                 log_perplexity(r->lm_loss));
    memset(rule, '-', sizeof rule);
    rule[BR__MIN(n, (int)sizeof rule - 2) + 1] = '\0';
    br__say(stdout, "%s", rule);
    br__say(stdout, "%s", line);
    br__say(stdout, "%s", rule);
    fflush(stdout);
    br__train_live_again(&l->live);
}

static void on_saved(void *ud, int64_t iteration, const char *dir)
{
    struct br__train_log *l = ud;

    if (l->lines) {
        br__train_live_clear(&l->live);
        br__say(stdout, "  saved iteration %" PRId64 ": %s", iteration, dir);
        fflush(stdout);
        br__train_live_again(&l->live);
    }
}

/* ---- opening and closing --------------------------------------------------------------------- */

void br__train_log_init(struct br__train_log *l, const struct br__run *run, int lines,
                        struct br__report *r)
{
    *l = (struct br__train_log){
        .run = run, .lines = lines, .events = {l, on_step, on_eval, on_saved}};
    br__train_live_init(&l->live, r);
}

/* Size of the log up to the last step of the checkpoint.  A killed run may have logged later steps.
 */
static int find_end(const char *path, int64_t first, uint64_t *end, struct br_err *err)
{
    struct br__file f;
    int rc = br__file_open(&f, path, err);

    *end = 0;
    for (const char *p = (const char *)f.map; !rc && *end < f.size;) {
        const char *eol = memchr(p + *end, '\n', f.size - *end);
        size_t n = eol ? (size_t)(eol + 1 - p) - *end : 0;
        br__json *j = NULL;
        if (!eol || br__json_parse(&j, p + *end, n, NULL))
            break;
        double iteration = br__json_num(br__json_get(j, "iteration"), -1);
        br__json_free(j);
        if (iteration > (double)first)
            break;
        *end += n;
    }
    br__file_close(&f);
    return rc;
}

int64_t br__train_log_evals(const char *path, int64_t iteration)
{
    struct br__file f;
    int64_t n = 0;
    int rc = br__exists(path) ? br__file_open(&f, path, NULL) : BR_E_NOTFOUND;

    if (rc)
        return 0;
    for (uint64_t at = 0; at < f.size;) {
        const char *line = (const char *)f.map + at, *eol = memchr(line, '\n', f.size - at);
        br__json *j = NULL;
        if (!eol || br__json_parse(&j, line, (size_t)(eol - line), NULL))
            break;
        n += br__json_get(j, "split") &&
             br__json_num(br__json_get(j, "iteration"), -1) == (double)iteration;
        br__json_free(j);
        at = (uint64_t)(eol + 1 - (const char *)f.map);
    }
    br__file_close(&f);
    return n;
}

int br__train_log_open(struct br__train_log *l, const char *path, int64_t first, struct br_err *err)
{
    struct br__buf events = {0};
    uint64_t end = 0;
    int rc = first > 0 && br__exists(path) ? find_end(path, first, &end, err) : BR_OK;

    if (!rc)
        rc = br__append_open(&l->file, path, end, err);
    br__buf_printf(&events, "%s/tb_logs", l->run->dir);
    if (!rc)
        rc = events.failed ? br__nomem(err, "for the log") : br__tb_open(&l->tb, events.p, err);
    br__buf_free(&events);
    return rc;
}

int br__train_log_close(struct br__train_log *l, struct br_err *err)
{
    br__append_close(&l->file);
    br__tb_close(&l->tb);
    return l->err.code ? br_fail(err, l->err.code, "%s", l->err.msg) : BR_OK;
}
