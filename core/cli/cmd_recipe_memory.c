/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_recipe_memory.c - recipe memory: what a recipe takes on its GPUs, and in one process here. */
#include "../train/train.h"
#include "recipe_cli.h"

#include <inttypes.h>
#include <math.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

/* The hardware that the estimate is compared with. */
struct machine {
    double gib, tflops, mfu; /* of one GPU; mfu 0..1 */
    int64_t world;
};

static struct machine machine_of(const struct br__cli *c, const struct br__recipe *r)
{
    struct br__recipe_grid g;

    br__recipe_grid(r, 0, &g);
    return (struct machine){
        .gib = BR__FLAG(c, GPU_MEM) ? (double)BR__INT(c, GPU_MEM) : 80,
        .tflops = BR__FLAG(c, GPU_TFLOPS) ? (double)BR__INT(c, GPU_TFLOPS) : 989,
        .mfu = (BR__FLAG(c, MFU) ? (double)BR__INT(c, MFU) : 40) / 100,
        .world = g.world ? g.world : g.min_world,
    };
}

/* What the recipe takes in one process of bridge train. */
struct in_one {
    struct br__train_plan plan;
    struct br_err why; /* it cannot be trained so; code 0: it can */
};

static void estimate_here(struct br__cli *c, struct br__registry *registry,
                          const struct br__recipe *recipe, struct in_one *x)
{
    const struct br__run_opts ro = {.single_rank = 1};
    struct br__recipe *r = br__arena_alloc(&c->arena, sizeof *r);
    struct br__run run;

    *x = (struct in_one){.why = BR_ERR_INIT};
    if (!r) {
        br_fail(&x->why, BR_E_NOMEM, "out of memory");
        return;
    }
    *r = *recipe;
    if (!br__run_make(&c->arena, registry, r, &ro, &run, &x->why) &&
        !br__train_estimate(&run, &x->plan, &x->why))
        x->why.code = BR_OK;
}

static double step_seconds(const struct br__recipe_memory *m, const struct machine *x)
{
    return m->flops_per_step / (x->tflops * 1e12 * x->mfu * (double)x->world);
}

static double tokens_per_step(const struct br__recipe *r)
{
    return (double)br__recipe_i(r, BR__RK_seq_length, 0) *
           (double)br__recipe_i(r, BR__RK_global_batch_size, 0);
}

static void in_one_json(struct br__js *j, const struct in_one *one)
{
    if (one->why.code) {
        br__js_null(j, "one_process");
        br__js_str(j, "one_process_error", one->why.msg);
        return;
    }
    br__js_object(j, "one_process", BR__JS_INLINE);
    br__js_num(j, "weight_bytes", one->plan.weight_bytes);
    br__js_num(j, "gradient_bytes", one->plan.gradient_bytes);
    br__js_num(j, "optimizer_bytes", one->plan.optimizer_bytes);
    br__js_num(j, "activation_bytes", one->plan.activation_bytes);
    br__js_num(j, "copy_bytes", one->plan.copy_bytes);
    br__js_num(j, "program_bytes", one->plan.program_bytes);
    br__js_num(j, "total_bytes", one->plan.total_bytes);
    br__js_end(j);
}

static int memory_json(const struct br__recipe *r, const struct br__recipe_memory *m,
                       const struct machine *x, const struct in_one *one, struct br_err *err)
{
    const struct {
        const char *key;
        double v;
    } rows[] = {
        {"total_parameters", m->total_params},
        {"active_parameters", m->active_params},
        {"rank_parameters", m->rank_params},
        {"rank_trained_parameters", m->trained_params},
        {"weight_bytes", m->weights},
        {"gradient_bytes", m->gradients},
        {"optimizer_bytes", m->optimizer},
        {"activation_bytes", m->activations},
        {"total_bytes", m->total},
        {"gpu_bytes", x->gib * GIB},
        {"flops_per_token", m->flops_per_token},
        {"flops_per_step", m->flops_per_step},
        {"tokens_per_step", tokens_per_step(r)},
        {"mfu", x->mfu},
        {"gpu_tflops", x->tflops},
        {"seconds_per_step", step_seconds(m, x)},
    };
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "recipe", r->name);
    br__js_str(&j, "mode", r->mode);
    br__js_i64(&j, "world_size", x->world);
    br__js_i64(&j, "microbatches", m->microbatches);
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        if (rows[i].v == floor(rows[i].v) && rows[i].v < 9e15)
            br__js_i64(&j, rows[i].key, (int64_t)rows[i].v);
        else
            br__js_num(&j, rows[i].key, rows[i].v);
    br__js_bool(&j, "fits", m->total <= x->gib * GIB);
    in_one_json(&j, one);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void put_bytes(struct br__buf *b, const char *what, double bytes)
{
    br__buf_printf(b, "  %-12s %9.2f GiB\n", what, bytes / GIB);
}

static void put_in_one(struct br__buf *b, const struct in_one *one)
{
    const struct br__train_plan *p = &one->plan;

    if (one->why.code) {
        br__buf_printf(b, "\none process of bridge train: %s\n", one->why.msg);
        return;
    }
    br__buf_puts(b, "\none process of bridge train --single-rank, private memory\n");
    put_bytes(b, "weights", p->weight_bytes);
    put_bytes(b, "gradients", p->gradient_bytes);
    put_bytes(b, "optimizer", p->optimizer_bytes);
    put_bytes(b, "activations", p->activation_bytes);
    if (p->copy_bytes > 0)
        put_bytes(b, "copy", p->copy_bytes);
    put_bytes(b, "program", p->program_bytes);
    put_bytes(b, "total", p->total_bytes);
}

static int memory_text(const struct br__recipe *r, const struct br__recipe_memory *m,
                       const struct machine *x, const struct in_one *one, struct br_err *err)
{
    double left = x->gib - m->total / GIB, tokens = tokens_per_step(r),
           seconds = step_seconds(m, x);
    struct br__buf b = {0};

    br__buf_printf(&b, "%s, mode %s: ", r->name, r->mode);
    br__put_grid(&b, r);
    br__buf_printf(&b, "\n%.3f billion parameters", m->total_params / 1e9);
    if (m->active_params < m->total_params)
        br__buf_printf(&b, ", %.3f billion active per token", m->active_params / 1e9);
    br__buf_printf(&b, "\n\nfullest rank: %.3f billion parameters, %.3f billion trained\n",
                   m->rank_params / 1e9, m->trained_params / 1e9);
    put_bytes(&b, "weights", m->weights);
    put_bytes(&b, "gradients", m->gradients);
    put_bytes(&b, "optimizer", m->optimizer);
    put_bytes(&b, "activations", m->activations);
    put_bytes(&b, "total", m->total);
    br__buf_printf(&b,
                   left >= 0 ? "fits in %.0f GiB: %.2f GiB left\n"
                             : "does not fit in %.0f GiB: %.2f GiB too much\n",
                   x->gib, left >= 0 ? left : -left);
    br__buf_printf(&b, "\n%.4g operations per token, %.4g per step of %.0f tokens\n",
                   m->flops_per_token, m->flops_per_step, tokens);
    br__buf_printf(&b,
                   "%.3g s per step at %.0f%% of %.0f TFLOP/s on %" PRId64 " GPUs: %.4g tokens/s\n",
                   seconds, x->mfu * 100, x->tflops, x->world, tokens / seconds);
    br__buf_puts(&b,
                 "\nby the formulas of Megatron-LM (theoretical_memory_usage.py, "
                 "num_floating_point_operations);\nworkspaces and communication buffers come on "
                 "top\n");
    put_in_one(&b, one);
    return br__print_buf(&b, err);
}

int br__cmd_recipe_memory(struct br__cli *c, struct br_err *err)
{
    struct br__opened o = {0};
    struct br__recipe_memory m;
    int rc = br__open_recipe(c, 0, &o, err);

    if (!rc)
        rc = br__recipe_memory(o.recipe, 0, &m, err);
    if (!rc) {
        struct machine x = machine_of(c, o.recipe);
        struct in_one one;
        estimate_here(c, o.registry, o.recipe, &one);
        rc = BR__FLAG(c, JSON) ? memory_json(o.recipe, &m, &x, &one, err)
                               : memory_text(o.recipe, &m, &x, &one, err);
        if (!rc && m.total > x.gib * GIB) /* said on stdout already: a status alone */
            rc = BR_E_NOFIT;
    }
    br__registry_close(o.registry);
    return rc;
}
