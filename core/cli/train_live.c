/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_live.c - a view of a training run at the bottom of a terminal: the loss as a curve, and
 * what there is to say of the last step, as many lines as that takes. */
#include "train_cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_EVERY 0.1 /* seconds */
#define LABEL 10       /* columns before the curve */

/* ---- the curve ------------------------------------------------------------------------------- */

/* Two neighbours become one, when the room is used up. */
static void live_halve(struct br__train_live *v)
{
    for (size_t i = 0; i < BR__LIVE_POINTS / 2; i++)
        v->loss[i] = (v->loss[2 * i] + v->loss[2 * i + 1]) / 2;
    v->n = BR__LIVE_POINTS / 2;
    v->each *= 2;
}

static void live_add(struct br__train_live *v, double loss)
{
    if (!isfinite(loss))
        return;
    if (v->partial == v->each || !v->n) {
        if (v->n == BR__LIVE_POINTS)
            live_halve(v);
        v->loss[v->n++] = 0;
        v->partial = 0;
    }
    v->partial++;
    v->loss[v->n - 1] += (loss - v->loss[v->n - 1]) / (double)v->partial;
}

/* What column c of `width` stands for: the mean of its points. */
static double live_column(const struct br__train_live *v, size_t c, size_t width)
{
    size_t from = v->n > width ? c * v->n / width : c;
    size_t to = v->n > width ? (c + 1) * v->n / width : c + 1;
    double sum = 0;

    for (size_t i = from; i < to; i++)
        sum += v->loss[i];
    return sum / (double)(to - from);
}

/* Parts of a character's height, the lowest first; a full one last. */
static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
static const char *const marks[] = {" ", ".", ":", "#"};

static void put_curve(struct br__buf *b, const struct br__train_live *v, int columns, int height)
{
    const char *const *glyph = v->utf8 ? blocks : marks;
    int parts = v->utf8 ? 8 : 3, label = columns >= 40 ? LABEL : 0;
    size_t room = (size_t)(columns - 1 - label), width = BR__MIN(room, v->n);
    double low = INFINITY, high = -INFINITY;

    for (size_t c = 0; c < width; c++) {
        low = fmin(low, live_column(v, c, room));
        high = fmax(high, live_column(v, c, room));
    }
    for (int row = height - 1; row >= 0; row--) {
        if (label && (row == height - 1 || row == 0))
            br__buf_printf(b, "%*.4g ", LABEL - 1, row ? high : low);
        else
            br__buf_printf(b, "%*s", label, "");
        for (size_t c = 0; c < width; c++) {
            double share = high > low ? (live_column(v, c, room) - low) / (high - low) : 0.5;
            int level = 1 + (int)(share * (height * parts - 1) + 0.5) - row * parts;
            br__buf_puts(b, glyph[BR__MAX(0, BR__MIN(level, parts))]);
        }
        br__buf_putc(b, '\n');
    }
}

/* ---- the numbers ----------------------------------------------------------------------------- */

struct live_line {
    struct br__buf *b;
    int columns, used, lines;
};

/* One more number, on this line if it fits. */
static void live_put(struct live_line *l, const char *fmt, ...) BR_PRINTF(2, 3);
static void live_put(struct live_line *l, const char *fmt, ...)
{
    char text[64];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int n = BR__MIN((int)strlen(text), l->columns - 1);
    if (l->used && l->used + 3 + n >= l->columns) {
        br__buf_putc(l->b, '\n');
        l->lines++;
        l->used = 0;
    }
    br__buf_printf(l->b, "%s%.*s", l->used ? "   " : "", n, text);
    l->used += n + (l->used ? 3 : 0);
}

static const char *live_clock(double seconds, char out[32])
{
    uint64_t s = seconds > 0 && seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 0;

    snprintf(out, 32, "%" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60),
             (unsigned)(s % 60));
    return out;
}

/* Returns the number of lines; evaluations and checkpoints are part of the time that is left. */
static int put_numbers(struct br__buf *b, const struct br__train_live *v, int columns,
                       const struct br__step_report *s, int64_t all, double peak)
{
    struct live_line l = {.b = b, .columns = columns, .lines = 1};
    char text[32];
    double left = (br__now() - v->began) / (double)v->steps * (double)(all - s->iteration);

    live_put(&l, "step %" PRId64 "/%" PRId64, s->iteration, all);
    live_put(&l, "loss %.4f", s->lm_loss);
    if (!isnan(v->valid))
        live_put(&l, "validation %.4f", v->valid);
    live_put(&l, "%s left", live_clock(left, text));
    if (s->seconds > 0)
        live_put(&l, "%.0f tokens/s", (double)s->tokens / s->seconds);
    live_put(&l, "%s", br__human_bytes(s->private_bytes, text));
    live_put(&l, "lr %.2E", s->lr);
    if (!s->skipped)
        live_put(&l, "grad norm %.3f", s->grad_norm);
    if (peak > 0 && s->seconds > 0)
        live_put(&l, "%.0f%% of the peak", 100 * s->flops / s->seconds / peak);
    if (s->n_skipped)
        live_put(&l, "%" PRId64 " skipped", s->n_skipped);
    return l.lines;
}

/* ---- drawing --------------------------------------------------------------------------------- */

static int locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < BR_COUNTOF(names); i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return strstr(v, "UTF-8") || strstr(v, "utf8") || strstr(v, "UTF8");
    }
    return 0;
}

void br__train_live_init(struct br__train_live *v, struct br__report *r)
{
    *v = (struct br__train_live){
        .r = r, .utf8 = locale_is_utf8(), .each = 1, .valid = NAN, .began = br__now()};
}

void br__train_live_step(struct br__train_live *v, const struct br__step_report *s, int64_t all,
                         double peak)
{
    struct br__buf *b = &v->text;
    int columns, lines;
    double now = br__now();

    if (!v->steps++)
        v->began = now - s->seconds;
    live_add(v, s->lm_loss);
    if (!br__report_screen(v->r, &columns, &lines) ||
        (now - v->shown < LIVE_EVERY && s->iteration != all))
        return;
    int height = BR__MIN(columns < 40 ? 3 : 6, lines / 3);
    b->n = 0;
    if (v->n)
        put_curve(b, v, columns, height);
    v->lines = put_numbers(b, v, columns, s, all, peak) + (v->n ? height : 0);
    br__train_live_again(v);
    v->shown = now;
}

void br__train_live_clear(struct br__train_live *v)
{
    br__report_end(v->r);
}

void br__train_live_again(struct br__train_live *v)
{
    if (v->text.n && !v->text.failed)
        br__report_block(v->r, v->text.p, v->lines);
}

void br__train_live_end(struct br__train_live *v)
{
    br__train_live_again(v);
    if (v->r)
        br__report_leave(v->r);
    br__buf_free(&v->text);
}
