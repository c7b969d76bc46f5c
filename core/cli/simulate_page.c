/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* simulate_page.c - a simulated step as one page of HTML: a drawing (SVG) of the schedule, memory
 * of each stage over time, and numbers.  No script, and nothing is fetched. */
#include "recipe_cli.h"

#include <inttypes.h>
#include <math.h>

#define WIDTH 1400.0
#define LEFT 60.0
#define ROW 18.0
#define CURVE 34.0 /* of memory, below each row */

/* Text where the page wants letters: & and < are the only ones that could be something else. */
static void put_escaped(struct br__buf *b, const char *s)
{
    for (; *s; s++)
        if (*s == '&')
            br__buf_puts(b, "&amp;");
        else if (*s == '<')
            br__buf_puts(b, "&lt;");
        else
            br__buf_putc(b, *s);
}

static double page_x(const struct br__sim *s, double seconds)
{
    return LEFT + (WIDTH - LEFT) * seconds / s->step;
}

static void put_job(struct br__buf *b, const struct br__sim *s, uint32_t stage, uint32_t i,
                    double y)
{
    const struct br__job *j = &s->pipes[stage].jobs[i];
    double from = page_x(s, s->times.start[stage][i]), to = page_x(s, s->times.end[stage][i]);
    br__buf_printf(b,
                   "<rect class=\"%c%" PRIu32
                   "\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\">"
                   "<title>stage %" PRIu32 ", %s of micro batch %" PRIu32 ", chunk %" PRIu32
                   ": %.6g to %.6g s</title></rect>\n",
                   j->backward ? 'b' : 'f', j->chunk % 4, from, y, fmax(to - from, 0.2), ROW - 2,
                   stage, j->backward ? "backward" : "forward", j->micro_batch, j->chunk,
                   s->times.start[stage][i], s->times.end[stage][i]);
}

/* Memory of the stage over the step, as far as the device's memory goes. */
static void put_curve(struct br__buf *b, const struct br__sim *s, uint32_t stage, double y)
{
    const struct br__pipe *t = &s->pipes[stage];
    const struct br__recipe_memory *m = &s->stage[stage].memory;
    double now = m->total - m->activations, most = fmax(m->total, s->gpu.memory);
    double bottom = y + CURVE - 4, scale = (CURVE - 6) / most;
    br__buf_printf(b, "<path class=\"m\" d=\"M%.2f %.2f V%.2f", LEFT, bottom, bottom - now * scale);
    for (uint32_t i = 0; i < t->n_jobs; i++) {
        double bytes = s->frame_bytes[t->jobs[i].chunk * s->stages.pp + stage];
        double at = t->jobs[i].backward ? s->times.end[stage][i] : s->times.start[stage][i];
        now += t->jobs[i].backward ? -bytes : bytes;
        br__buf_printf(b, " H%.2f V%.2f", page_x(s, at), bottom - now * scale);
    }
    br__buf_printf(b,
                   " H%.2f V%.2f Z\"><title>stage %" PRIu32 ": %.4g GB at most, of %.4g GB</title>"
                   "</path>\n",
                   WIDTH, bottom, stage, m->total / 1e9, s->gpu.memory / 1e9);
}

static void put_drawing(struct br__buf *b, const struct br__sim *s)
{
    double y = 0;
    br__buf_printf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\">\n",
                   WIDTH, (ROW + CURVE) * s->stages.pp);
    for (uint32_t i = 0; i < s->stages.pp; i++, y += ROW + CURVE) {
        br__buf_printf(b, "<text x=\"0\" y=\"%.1f\">stage %" PRIu32 "</text>\n", y + ROW - 6, i);
        for (uint32_t k = 0; k < s->pipes[i].n_jobs; k++)
            put_job(b, s, i, k, y);
        br__buf_printf(b,
                       "<rect class=\"e\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\">"
                       "<title>gradients, parameters, optimizer</title></rect>\n",
                       page_x(s, s->times.total), y, WIDTH - page_x(s, s->times.total), ROW - 2);
        put_curve(b, s, i, y + ROW);
    }
    br__buf_puts(b, "</svg>\n");
}

static void put_table(struct br__buf *b, const struct br__sim *s)
{
    br__buf_puts(b, "<table><tr><th>stage<th>rank");
    for (int k = 0; k < BR__N_SIM; k++)
        br__buf_printf(b, "<th>%s, s", br__sim_cost_name((enum br__sim_cost)k));
    br__buf_puts(b, "<th>memory, GB</tr>\n");
    for (uint32_t i = 0; i < s->stages.pp; i++) {
        br__buf_printf(b, "<tr><td>%" PRIu32 "<td>%" PRIu32, i, s->stage[i].rank);
        for (int k = 0; k < BR__N_SIM; k++)
            br__buf_printf(b, "<td>%.4g", s->stage[i].seconds[k]);
        br__buf_printf(b, "<td>%.4g</tr>\n", s->stage[i].memory.total / 1e9);
    }
    br__buf_puts(b, "</table>\n");
}

int br__simulate_page(const struct br__recipe *r, const struct br__sim *s, struct br__buf *out,
                      struct br_err *err)
{
    br__buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>");
    put_escaped(out, r->name);
    br__buf_puts(out,
                 "</title>\n<style>body{font:14px sans-serif;margin:2em}text{font:11px sans-serif}"
                 "td,th{text-align:right;padding:0 .6em}"
                 ".f0{fill:#4477aa}.f1{fill:#66aadd}.f2{fill:#335588}.f3{fill:#88bbee}"
                 ".b0{fill:#cc7733}.b1{fill:#eeaa66}.b2{fill:#aa5522}.b3{fill:#ffcc99}"
                 ".e{fill:#999}.m{fill:#ccddcc;stroke:#779977}</style>\n<h1>");
    put_escaped(out, r->name);
    br__buf_puts(out, "</h1>\n<p>mode ");
    put_escaped(out, r->mode);
    br__buf_puts(out, ": ");
    br__put_grid(out, r);
    br__buf_puts(out, "; gpu ");
    put_escaped(out, s->gpu.name);
    br__buf_puts(out, ", network ");
    put_escaped(out, s->network.name);
    br__buf_printf(out,
                   "</p>\n<p>step %.4g s, MFU %.3g%%, bubble %.3g%%; most time goes to %s. Blue: "
                   "forward, orange: backward, grey: reduction and optimizer; below each stage its "
                   "memory.</p>\n",
                   s->step, s->mfu * 100, s->bubble * 100, br__sim_cost_name(s->limit));
    put_drawing(out, s);
    put_table(out, s);
    br__buf_puts(out, "</html>\n");
    return out->failed ? br_fail(err, out->failed, "cannot hold the page in memory") : BR_OK;
}
