/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_report.c - train report: the log of a run as one HTML page with SVG curves; it loads
 * nothing from elsewhere. */
#include "train_cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define LOG_MAX ((uint64_t)4 << 30)

/* ---- the log read ---------------------------------------------------------------------------- */

/* Fields of a step that are drawn, in their order on the page. */
static const struct {
    const char *key, *title;
} report_fields[] = {
    {"lm_loss", "lm loss"},
    {"grad_norm", "gradient norm"},
    {"learning_rate", "learning rate"},
    {"load_balancing_loss", "load balancing loss"},
    {"global_load_balancing_loss", "global load balancing loss"},
    {"mtp_1_loss", "multi-token prediction loss"},
    {"loss_scale", "loss scale"},
    {"tokens_per_second", "tokens per second"},
    {"private_bytes", "private memory, bytes"},
};
enum { N_FIELDS = BR_COUNTOF(report_fields) };

struct point {
    double iteration, v[N_FIELDS];
};
struct report {
    struct point *steps;
    size_t n, cap;
    struct point *evals; /* of validation: v[0] is the loss */
    size_t n_evals, cap_evals;
    double tokens, seconds, skipped;
};

static int report_line(struct report *r, const br__json *j)
{
    const char *split = br__json_str(br__json_get(j, "split"), NULL);
    struct point p = {.iteration = br__json_num(br__json_get(j, "iteration"), NAN)};

    for (size_t i = 0; i < N_FIELDS; i++)
        p.v[i] = br__json_num(br__json_get(j, report_fields[i].key), NAN);
    if (split && strcmp(split, "valid") != 0)
        return BR_OK;
    if (split) {
        if (br__grow(&r->evals, &r->cap_evals, r->n_evals, sizeof *r->evals))
            return BR_E_NOMEM;
        r->evals[r->n_evals++] = p;
        return BR_OK;
    }
    if (br__grow(&r->steps, &r->cap, r->n, sizeof *r->steps))
        return BR_E_NOMEM;
    r->steps[r->n++] = p;
    r->tokens += br__json_num(br__json_get(j, "tokens"), 0);
    r->seconds += br__json_num(br__json_get(j, "step_ms"), 0) / 1e3;
    r->skipped += br__json_bool(br__json_get(j, "skipped"), 0);
    return BR_OK;
}

static int report_read(struct report *r, const char *path, struct br_err *err)
{
    struct br__file f;
    int rc = br__file_open(&f, path, err);
    size_t line = 0;

    if (!rc && f.size > LOG_MAX)
        rc = br_fail(err, BR_E_FORMAT, "'%s' is no log: it is too large", path);
    for (uint64_t at = 0; !rc && at < f.size;) {
        const char *p = (const char *)f.map + at;
        const char *eol = memchr(p, '\n', f.size - at);
        size_t n = eol ? (size_t)(eol - p) : f.size - at;
        br__json *j = NULL;
        line++;
        if ((rc = br__json_parse(&j, p, n, err)) != 0)
            br_wrap(err, "'%s', line %zu", path, line);
        else if (report_line(r, j))
            rc = br__nomem(err, "reading '%s'", path);
        br__json_free(j);
        at += n + 1;
    }
    br__file_close(&f);
    if (!rc && !r->n && !r->n_evals)
        rc = br_fail(err, BR_E_FORMAT, "'%s' holds no step", path);
    return rc;
}

/* ---- HTML ------------------------------------------------------------------------------------ */

/* Text between tags, escaped. */
static void html_text(struct br__buf *b, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '<':
            br__buf_puts(b, "&lt;");
            break;
        case '>':
            br__buf_puts(b, "&gt;");
            break;
        case '&':
            br__buf_puts(b, "&amp;");
            break;
        default:
            br__buf_putc(b, *s);
        }
}

enum { WIDTH = 720, HEIGHT = 200, MARGIN = 70, MAX_POINTS = 1440 };

struct frame {
    double x0, x1, y0, y1;
};

static void frame_add(struct frame *f, double x, double y)
{
    if (!isfinite(y))
        return;
    f->x0 = fmin(f->x0, x);
    f->x1 = fmax(f->x1, x);
    f->y0 = fmin(f->y0, y);
    f->y1 = fmax(f->y1, y);
}

static void svg_point(struct br__buf *b, const struct frame *f, double x, double y)
{
    double w = f->x1 > f->x0 ? (x - f->x0) / (f->x1 - f->x0) : 0.5;
    double h = f->y1 > f->y0 ? (y - f->y0) / (f->y1 - f->y0) : 0.5;

    br__buf_printf(b, "%.1f,%.1f ", MARGIN + w * (WIDTH - MARGIN - 10),
                   10 + (1 - h) * (HEIGHT - 40));
}

/* A curve of at most MAX_POINTS points: every n-th of a long run. */
static void svg_line(struct br__buf *b, const struct frame *f, const struct point *p, size_t n,
                     size_t field, const char *colour)
{
    size_t every = n / MAX_POINTS + 1;

    br__buf_printf(b, "<polyline fill=\"none\" stroke=\"%s\" points=\"", colour);
    for (size_t i = 0; i < n; i++)
        if (isfinite(p[i].v[field]) && (i % every == 0 || i + 1 == n))
            svg_point(b, f, p[i].iteration, p[i].v[field]);
    br__buf_puts(b, "\"/>\n");
}

/* One curve with its axes; the losses of validation lie over those of training. */
static void svg_curve(struct br__buf *b, const struct report *r, size_t field)
{
    struct frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY};

    for (size_t i = 0; i < r->n; i++)
        frame_add(&f, r->steps[i].iteration, r->steps[i].v[field]);
    for (size_t i = 0; field == 0 && i < r->n_evals; i++)
        frame_add(&f, r->evals[i].iteration, r->evals[i].v[0]);
    if (f.x0 > f.x1)
        return;
    br__buf_printf(b, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\">\n", report_fields[field].title,
                   WIDTH, HEIGHT);
    br__buf_printf(b, "<path class=\"axes\" d=\"M%d 10V%dH%d\"/>\n", MARGIN, HEIGHT - 30,
                   WIDTH - 10);
    br__buf_printf(b, "<text x=\"%d\" y=\"18\" text-anchor=\"end\">%.4g</text>\n", MARGIN - 6,
                   f.y1);
    br__buf_printf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text>\n", MARGIN - 6,
                   HEIGHT - 30, f.y0);
    br__buf_printf(b, "<text x=\"%d\" y=\"%d\">%.0f</text>\n", MARGIN, HEIGHT - 12, f.x0);
    br__buf_printf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">step %.0f</text>\n", WIDTH - 10,
                   HEIGHT - 12, f.x1);
    svg_line(b, &f, r->steps, r->n, field, "#26c");
    if (field == 0 && r->n_evals)
        svg_line(b, &f, r->evals, r->n_evals, 0, "#c62");
    br__buf_puts(b, "</svg>\n");
}

static void html_row(struct br__buf *b, const char *what, const char *fmt, double v)
{
    br__buf_printf(b, "<tr><th>%s</th><td>", what);
    br__buf_printf(b, fmt, v); /* fmt: a literal of the caller with one double */
    br__buf_puts(b, "</td></tr>\n");
}

/* The configuration that the run's last checkpoint was written with, if there is one. */
static void html_config(struct br__buf *b, struct br__arena *a, const char *dir)
{
    const char *root = br__path_join(a, dir, "checkpoints");
    char **names = NULL, *text = NULL;
    const char *last = NULL, *path;
    size_t n = 0, size;

    if (!root || !br__is_dir(root) || br__list_dir(a, root, &names, &n, NULL))
        return;
    for (size_t i = 0; i < n; i++)
        if (br__starts(names[i], "iter_") && (!last || strcmp(names[i], last) > 0))
            last = names[i];
    path = last ? br__arena_printf(a, "%s/%s/run_config.yaml", root, last) : NULL;
    if (!path || br__read_text(path, 1 << 24, &text, &size, NULL))
        return;
    br__buf_puts(b, "<details><summary>configuration</summary><pre>");
    html_text(b, text);
    br__buf_puts(b, "</pre></details>\n");
    br__free(text);
}

static const char report_style[] =
    "body{font:15px sans-serif;max-width:760px;margin:2em auto;color:#222}"
    "h2{font-size:1em;margin:1.5em 0 0}svg{width:100%}.axes{fill:none;stroke:#999}"
    "text{font:11px sans-serif;fill:#555}th{text-align:left;padding-right:2em;font-weight:normal}"
    "pre{overflow:auto;background:#f6f6f6;padding:1em}";

static void html_page(struct br__buf *b, struct br__arena *a, const struct report *r,
                      const char *dir)
{
    const struct point *last = r->n ? &r->steps[r->n - 1] : NULL;

    br__buf_puts(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    html_text(b, dir);
    br__buf_printf(b, "</title><style>%s</style></head><body>\n<h1>", report_style);
    html_text(b, dir);
    br__buf_puts(b, "</h1>\n<table>\n");
    html_row(b, "steps", "%.0f", (double)r->n);
    if (last) {
        html_row(b, "last step", "%.0f", last->iteration);
        html_row(b, "its loss", "%.6f", last->v[0]);
        html_row(b, "tokens", "%.0f", r->tokens);
        html_row(b, "tokens per second", "%.1f", r->seconds > 0 ? r->tokens / r->seconds : 0);
        html_row(b, "skipped steps", "%.0f", r->skipped);
    }
    if (r->n_evals)
        html_row(b, "last loss of validation", "%.6f", r->evals[r->n_evals - 1].v[0]);
    br__buf_puts(b, "</table>\n");
    for (size_t i = 0; i < N_FIELDS; i++)
        svg_curve(b, r, i);
    html_config(b, a, dir);
    br__buf_puts(b, "</body></html>\n");
}

/* ---- the command ----------------------------------------------------------------------------- */

int br__cmd_train_report(struct br__cli *c, struct br_err *err)
{
    const char *dir = c->pos[0], *out = BR__TEXT(c, REPORT_OUTPUT);
    const char *log = br__path_join(&c->arena, dir, "log.jsonl");
    struct report r = {0};
    struct br__buf b = {0};

    if (!out)
        out = br__path_join(&c->arena, dir, "report.html");
    if (!log || !out)
        return br__nomem(err, "reading the command line");
    int rc = report_read(&r, log, err);
    if (!rc)
        html_page(&b, &c->arena, &r, dir);
    if (!rc && b.failed)
        rc = br__nomem(err, "for the page");
    if (!rc)
        rc = br__write_file(out, b.p, b.n, 0, err);
    if (!rc && !BR__FLAG(c, QUIET))
        br__say(stdout, "%s: %zu steps, %zu evaluations", out, r.n, r.n_evals);
    br__buf_free(&b);
    br__free(r.steps);
    br__free(r.evals);
    return rc;
}
