/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_simulate.c - recipe simulate: a step of a recipe as text, JSON or a page. */
#include "recipe_cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define GB 1e9
#define COLUMNS 96 /* of the timeline */
#define MAX_ROWS 64

/* ---- text ------------------------------------------------------------------------------------ */

static void put_rates(struct br__buf *b, const struct br__sim *s)
{
    const struct br__sim_network *w = &s->network;
    br__buf_printf(
        b,
        "gpu      %s: %.4g TFLOP/s, of which products reach %.3g%%; %.4g GB at %.4g GB/s\n"
        "network  %s: %.0f GPUs a node at %.4g GB/s, %.3g us; between nodes %.4g GB/s, %.3g "
        "us\n\n",
        s->gpu.name, s->gpu.flops / 1e12, s->gpu.efficiency * 100, s->gpu.memory / GB,
        s->gpu.bandwidth / GB, w->name, w->node_gpus, w->node_bandwidth / GB, w->node_latency * 1e6,
        w->net_bandwidth / GB, w->net_latency * 1e6);
}

/* The stage whose memory is fullest. */
static uint32_t fullest(const struct br__sim *s)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->stages.pp; i++)
        if (s->stage[i].memory.total > s->stage[best].memory.total)
            best = i;
    return best;
}

static void put_summary(struct br__buf *b, const struct br__sim *s)
{
    uint32_t full = fullest(s);
    double have = s->gpu.memory, need = s->stage[full].memory.total;
    br__buf_printf(b, "step      %.4g s: %.3g%% MFU, %.4g TFLOP/s a GPU\n", s->step, s->mfu * 100,
                   s->mfu * s->gpu.flops / 1e12);
    br__buf_printf(b,
                   "schedule  %" PRIu32 " stages × %" PRIu32 " chunks, %" PRIu32
                   " micro batches: %.4g s, bubble %.3g%%\n",
                   s->stages.pp, s->stages.vpp, s->schedule.micro_batches, s->times.total,
                   s->bubble * 100);
    br__buf_printf(b, "memory    stage %" PRIu32 " is the fullest: %.4g of %.4g GB%s\n", full,
                   need / GB, have / GB, need > have ? ", which is too much" : "");
    br__buf_printf(b, "limit     %s\n\n", br__sim_cost_name(s->limit));
}

/* One letter for each moment: the last digit of the micro batch that goes forward, its letter when
 * it goes back (a is 0), a dot where the stage waits. */
static void put_timeline(struct br__buf *b, const struct br__sim *s)
{
    uint32_t rows = BR__MIN(s->stages.pp, MAX_ROWS);
    for (uint32_t i = 0; i < rows; i++) {
        const struct br__pipe *t = &s->pipes[i];
        char line[COLUMNS + 1];
        memset(line, '.', COLUMNS);
        line[COLUMNS] = 0;
        for (uint32_t k = 0; k < t->n_jobs; k++) {
            double scale = COLUMNS / s->times.total;
            int from = (int)ceil(s->times.start[i][k] * scale - 0.5);
            int to = (int)ceil(s->times.end[i][k] * scale - 0.5);
            int digit = (int)(t->jobs[k].micro_batch % 10);
            for (int x = BR__MAX(from, 0); x < to && x < COLUMNS; x++)
                line[x] = (char)((t->jobs[k].backward ? 'a' : '0') + digit);
        }
        br__buf_printf(b, "%5" PRIu32 "  %s\n", i, line);
    }
    if (rows < s->stages.pp)
        br__buf_printf(b, "       ... %" PRIu32 " more stages\n", s->stages.pp - rows);
    br__buf_puts(
        b,
        "       0-9: last digit of a micro batch going forward; a-j: going back; .: waiting\n\n");
}

static const char *cell(struct br__arena *a, const char *fmt, double v)
{
    char text[64];
    snprintf(text, sizeof text, fmt, v); /* fmt is one of this file's */
    const char *kept = br__arena_strdup(a, text);
    return kept ? kept : "?";
}

static uint32_t layers_of(const struct br__sim *s, uint32_t stage)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < s->stages.vpp; c++)
        n += s->stages.chunks[c * s->stages.pp + stage].n_layers +
             s->stages.chunks[c * s->stages.pp + stage].n_mtp;
    return n;
}

static int print_times(struct br__cli *c, const struct br__sim *s, struct br_err *err)
{
    struct br__table t = {.cols = 10};
    br__table_row(&t, ">stage", ">rank", ">layers", ">compute", ">tp", ">cp", ">ep", ">wait",
                  ">reduce", ">optimizer");
    for (uint32_t i = 0; i < s->stages.pp; i++) {
        const char *sec[BR__N_SIM];
        for (int k = 0; k < BR__N_SIM; k++)
            sec[k] = cell(&c->arena, "%.4g", s->stage[i].seconds[k]);
        br__table_row(&t, cell(&c->arena, "%.0f", i), cell(&c->arena, "%.0f", s->stage[i].rank),
                      cell(&c->arena, "%.0f", layers_of(s, i)), sec[BR__SIM_COMPUTE],
                      sec[BR__SIM_TP], sec[BR__SIM_CP], sec[BR__SIM_EP], sec[BR__SIM_WAIT],
                      sec[BR__SIM_REDUCE], sec[BR__SIM_OPTIMIZER]);
    }
    br__say(stdout, "seconds of a step:");
    return br__table_print(&t, err);
}

static int print_memory(struct br__cli *c, const struct br__sim *s, struct br_err *err)
{
    struct br__table t = {.cols = 7};
    br__table_row(&t, ">stage", ">weights", ">gradients", ">optimizer", ">activations", ">in all",
                  ">frames");
    for (uint32_t i = 0; i < s->stages.pp; i++) {
        const struct br__recipe_memory *m = &s->stage[i].memory;
        br__table_row(
            &t, cell(&c->arena, "%.0f", i), cell(&c->arena, "%.3f", m->weights / GB),
            cell(&c->arena, "%.3f", m->gradients / GB), cell(&c->arena, "%.3f", m->optimizer / GB),
            cell(&c->arena, "%.3f", m->activations / GB), cell(&c->arena, "%.3f", m->total / GB),
            cell(&c->arena, "%.0f", s->pipes[i].n_frames));
    }
    br__say(stdout, "%s", "");
    br__say(stdout, "GB of a rank at its fullest, and micro batches that it holds at once:");
    return br__table_print(&t, err);
}

/* The stage that has --rank. */
static const struct br__sim_stage *own_stage(const struct br__cli *c, const struct br__sim *s)
{
    uint32_t rank = (uint32_t)BR__INT(c, RANK);
    return &s->stage[br_topo_coord(&s->topo, rank, BR_AXIS_PP)];
}

static int print_bytes(struct br__cli *c, const struct br__sim *s, struct br_err *err)
{
    const struct br__sim_stage *x = own_stage(c, s);
    struct br__table t = {.cols = 4};
    br__table_row(&t, "group", ">ranks", ">sent GB", "link");
    for (int g = 0; g < BR_N_GROUPS; g++) {
        if (x->bytes[g] <= 0)
            continue;
        uint32_t *ranks = br__arena_alloc(&c->arena, s->topo.world * sizeof *ranks);
        uint32_t n =
            ranks ? br__group_ranks(&s->topo, &s->stages, x->rank, (enum br_group)g, ranks) : 0;
        br__table_row(&t, br__group_name((enum br_group)g), cell(&c->arena, "%.0f", n),
                      cell(&c->arena, "%.6f", x->bytes[g] / GB),
                      s->across[g] ? "between nodes" : "in the node");
    }
    br__say(stdout, "%s", "");
    br__say(stdout, "rank %" PRIu32 " in a step:", x->rank);
    return br__table_print(&t, err);
}

static int simulate_text(struct br__cli *c, const struct br__recipe *r, const struct br__sim *s,
                         struct br_err *err)
{
    struct br__buf b = {0};
    br__buf_printf(&b, "%s, mode %s: ", r->name, r->mode);
    br__put_grid(&b, r);
    br__buf_putc(&b, '\n');
    put_rates(&b, s);
    put_summary(&b, s);
    put_timeline(&b, s);
    int rc = br__print_buf(&b, err);
    if (!rc)
        rc = print_times(c, s, err);
    if (!rc)
        rc = print_memory(c, s, err);
    return rc ? rc : print_bytes(c, s, err);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void stage_json(struct br__js *j, const struct br__sim *s, uint32_t i)
{
    const struct br__sim_stage *x = &s->stage[i];
    br__js_object(j, NULL, 0);
    br__js_i64(j, "stage", i);
    br__js_i64(j, "rank", x->rank);
    br__js_i64(j, "layers", layers_of(s, i));
    br__js_object(j, "seconds", BR__JS_INLINE);
    for (int k = 0; k < BR__N_SIM; k++)
        br__js_num(j, br__sim_cost_name((enum br__sim_cost)k), x->seconds[k]);
    br__js_end(j);
    br__js_object(j, "memory_bytes", BR__JS_INLINE);
    br__js_num(j, "weights", x->memory.weights);
    br__js_num(j, "gradients", x->memory.gradients);
    br__js_num(j, "optimizer", x->memory.optimizer);
    br__js_num(j, "activations", x->memory.activations);
    br__js_num(j, "total", x->memory.total);
    br__js_end(j);
    br__js_object(j, "sent_bytes", BR__JS_INLINE);
    for (int g = 0; g < BR_N_GROUPS; g++)
        if (x->bytes[g] > 0)
            br__js_num(j, br__group_name((enum br_group)g), x->bytes[g]);
    br__js_end(j);
    br__js_end(j);
}

static int simulate_json(const struct br__recipe *r, const struct br__sim *s, struct br_err *err)
{
    struct br__js j = {0};
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "recipe", r->name);
    br__js_str(&j, "mode", r->mode);
    br__js_str(&j, "gpu", s->gpu.name);
    br__js_str(&j, "network", s->network.name);
    br__js_i64(&j, "world_size", s->grid.world);
    br__js_i64(&j, "pp", s->stages.pp);
    br__js_i64(&j, "vpp", s->stages.vpp);
    br__js_i64(&j, "microbatches", s->schedule.micro_batches);
    br__js_num(&j, "step_seconds", s->step);
    br__js_num(&j, "pipeline_seconds", s->times.total);
    br__js_num(&j, "bubble", s->bubble);
    br__js_num(&j, "mfu", s->mfu);
    br__js_num(&j, "flops_per_step", s->flops_per_step);
    br__js_str(&j, "limit", br__sim_cost_name(s->limit));
    br__js_array(&j, "stages", 0);
    for (uint32_t i = 0; i < s->stages.pp; i++)
        stage_json(&j, s, i);
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int write_page(const struct br__cli *c, const struct br__recipe *r, const struct br__sim *s,
                      struct br_err *err)
{
    struct br__buf page = {0};
    int rc = br__simulate_page(r, s, &page, err);
    if (!rc)
        rc = br__write_file(BR__TEXT(c, HTML), page.p, page.n, 0, err);
    br__buf_free(&page);
    return rc;
}

int br__cmd_recipe_simulate(struct br__cli *c, struct br_err *err)
{
    struct br__opened o = {0};
    struct br__sim *s = br__arena_alloc(&c->arena, sizeof *s);
    struct br__sim_opts opts = {.rank = BR__INT(c, RANK)};
    int rc = s ? br__open_recipe(c, 0, &o, err) : br__nomem(err, "for the simulation");

    if (!rc)
        rc = br__sim_gpu_find(&c->arena, BR__TEXT(c, GPU), &opts.gpu, err);
    if (!rc)
        rc = br__sim_network_find(&c->arena, BR__TEXT(c, NETWORK), &opts.network, err);
    if (!rc)
        rc = br__recipe_simulate(&c->arena, o.recipe, &opts, s, err);
    if (!rc && BR__FLAG(c, HTML))
        rc = write_page(c, o.recipe, s, err);
    if (!rc)
        rc = BR__FLAG(c, JSON) ? simulate_json(o.recipe, s, err)
                               : simulate_text(c, o.recipe, s, err);
    br__registry_close(o.registry);
    return rc;
}
