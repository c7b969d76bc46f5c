/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_plan.c - what a training run will do, as text and as JSON. */
#include "train_cli.h"

#include <inttypes.h>
#include <string.h>

static const char *const data_kinds[] = {"mock data", "token files", "pretokenised records",
                                         "finetuning records"};

static const char *plan_precision(const struct br__run *run)
{
    return run->fp16               ? "float16 weights under a loss scale, float32 main weights"
           : run->values == BR_F32 ? "float32"
                                   : "bfloat16 weights and activations, float32 main weights";
}

/* ---- keys without effect --------------------------------------------------------------------- */

/* Keys that the recipe or the user sets and that have no effect in bridge. */
static int is_idle(const struct br__run *run, uint32_t id)
{
    const struct br__recipe_value *v = &run->recipe->v[id];

    return br__run_keys[id].use == BR__KEY_IDLE && v->tag && v->tag != '0' &&
           strcmp(v->from, "default") && strcmp(v->from, "computed") != 0;
}

static void put_idle(struct br__buf *b, const struct br__run *run)
{
    size_t line = 0;

    for (uint32_t id = 0; id < BR__N_RK; id++) {
        if (!is_idle(run, id))
            continue;
        size_t n = strlen(br__recipe_keys[id].name);
        int wrap = line > 0 && line + n > 84;
        br__buf_printf(b, "%s%s",
                       !line  ? "no effect   "
                       : wrap ? "\n            "
                              : " ",
                       br__recipe_keys[id].name);
        line = wrap ? n : line + n + 1;
    }
    if (line)
        br__buf_putc(b, '\n');
}

/* ---- text ------------------------------------------------------------------------------------ */

static void put_count(struct br__buf *b, double n)
{
    if (n >= 1e9)
        br__buf_printf(b, "%.3f billion", n / 1e9);
    else if (n >= 1e6)
        br__buf_printf(b, "%.3f million", n / 1e6);
    else
        br__buf_printf(b, "%.0f", n);
}

static void put_model(struct br__buf *b, const struct br__run *run, const struct br__train_plan *p)
{
    static const char *const what[] = {"all", "all", "LoRA", "DoRA"};

    br__buf_printf(b, "train       %s, mode %s\n", run->recipe->name, run->recipe->mode);
    br__buf_printf(b, "model       %s: ", p->model ? p->model : run->recipe->name);
    put_count(b, p->params);
    br__buf_puts(b, " parameters");
    if (p->active < p->params) {
        br__buf_puts(b, ", ");
        put_count(b, p->active);
        br__buf_puts(b, " active per token");
    }
    br__buf_puts(b, "; trained: ");
    if (p->trained < p->params) {
        br__buf_printf(b, "%s, ", what[run->mode]);
        put_count(b, p->trained);
    } else {
        br__buf_puts(b, "all");
    }
    br__buf_printf(b, "\nprecision   %s\n", plan_precision(run));
    if (p->resumed)
        br__buf_printf(b, "goes on     from %s, after iteration %" PRId64 "\n", p->resumed,
                       p->first);
    else
        br__buf_printf(b,
                       p->weights ? "begins      from %s\n" : "begins      from random weights\n",
                       p->weights);
}

static void put_part(struct br__buf *b, const char *split, const struct br__pretrain_part *part)
{
    br__buf_printf(b, "%-11s %s: ", split, part->path ? part->path : "?");
    if (part->sequences)
        br__buf_printf(b, "%" PRId64 " sequences, %" PRId64 " tokens, %" PRId64 " epoch%s, ",
                       part->sequences, part->tokens, part->epochs, part->epochs == 1 ? "" : "s");
    br__buf_printf(b, "%" PRId64 " samples\n", part->samples);
}

static void put_data(struct br__buf *b, const struct br__run *run, const struct br__train *t)
{
    struct br__pretrain_part part;

    br__buf_printf(b, "data        %s", data_kinds[run->data.kind]);
    if (run->data.split)
        br__buf_printf(b, ", split %s", run->data.split);
    br__buf_printf(b, ", seed %" PRIu32 "\n", run->data.seed);
    for (int i = 0; i < BR__N_SPLITS; i++)
        for (size_t k = 0; br__train_part(t, i, k, &part); k++)
            put_part(b, br__split_names[i], &part);
}

static void put_steps(struct br__buf *b, const struct br__run *run, const struct br__train_plan *p)
{
    int64_t n = run->global_batch / run->micro_batch;

    if (run->skip_train)
        br__buf_puts(b, "steps       none: skip_train\n");
    else if (p->first >= p->last)
        br__buf_printf(b, "steps       none: train_iters is %" PRId64 "\n", p->last);
    else
        br__buf_printf(b,
                       "steps       %" PRId64 " to %" PRId64 ", each %" PRId64
                       " samples of %" PRId64 " tokens in %" PRId64
                       " micro batch%s; %.0f tokens in all\n",
                       p->first + 1, p->last, run->global_batch, run->seq_length, n,
                       n == 1 ? "" : "es", p->tokens);
    if (run->eval_iters && p->samples[BR__VALID])
        br__buf_printf(b, "evaluation  every %" PRId64 " steps, %" PRId64 " batches\n",
                       run->eval_interval, run->eval_iters);
    br__buf_printf(b, "lr          %s from %g to %g, %" PRId64 " steps of warmup from %g\n",
                   run->recipe->v[BR__RK_lr_decay_style].text, run->schedule.max_lr,
                   run->schedule.min_lr, run->schedule.warmup / run->global_batch,
                   run->schedule.init_lr);
    br__buf_printf(b, "decay       %g", run->schedule.start_wd);
    if (run->schedule.end_wd != run->schedule.start_wd)
        br__buf_printf(b, " to %g", run->schedule.end_wd);
    br__buf_printf(b, " of weight on matrices%s; gradients are clipped at norm %g\n",
                   run->decay_qk_norms ? " and the norms of queries and keys" : "", run->clip);
}

/* Over several processes: whose memory it is, and who needs the most. */
static void put_most(struct br__buf *b, const struct br__run *run, const struct br__train_plan *p)
{
    uint32_t pp = run->topo.size[BR_AXIS_PP], stage = p->most_rank / (run->topo.world / pp);
    char text[32];

    if (p->most_bytes <= 0)
        return;
    if (!p->most_rank) {
        br__buf_puts(b, "            of rank 0, and of no other more\n");
        return;
    }
    br__buf_printf(b, "            of rank 0; %s of rank %" PRIu32,
                   br__human_bytes((uint64_t)p->most_bytes, text), p->most_rank);
    if (pp > 1)
        br__buf_printf(b, ", in stage %" PRIu32 " of %" PRIu32, stage + 1, pp);
    br__buf_puts(b, ", which needs most\n");
}

static void put_memory(struct br__buf *b, const struct br__train_plan *p)
{
    const struct {
        const char *what;
        double bytes;
    } rows[] = {{"weights", p->weight_bytes},        {"gradients", p->gradient_bytes},
                {"optimizer", p->optimizer_bytes},   {"activations", p->activation_bytes},
                {"copy to be saved", p->copy_bytes}, {"program", p->program_bytes}};
    char text[32];

    br__buf_printf(b, "memory      %s:", br__human_bytes((uint64_t)p->total_bytes, text));
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        if (rows[i].bytes > 0)
            br__buf_printf(b, "%s %s %s", i ? "," : "", rows[i].what,
                           br__human_bytes((uint64_t)rows[i].bytes, text));
    br__buf_puts(b, "\n");
}

/* "40 ms", "1.5 s", "12 min", "3.2 h" */
static void put_seconds(struct br__buf *b, double s)
{
    if (s < 1)
        br__buf_printf(b, "%.3g ms", s * 1e3);
    else if (s < 120)
        br__buf_printf(b, "%.3g s", s);
    else if (s < 7200)
        br__buf_printf(b, "%.3g min", s / 60);
    else
        br__buf_printf(b, "%.4g h", s / 3600);
}

static void put_time(struct br__buf *b, const struct br__train_plan *p)
{
    if (p->step_seconds <= 0)
        return;
    br__buf_puts(b, "time        about ");
    put_seconds(b, p->seconds);
    br__buf_puts(b, ": ");
    put_seconds(b, p->step_seconds);
    br__buf_puts(b, " a step");
    if (p->evals) {
        br__buf_puts(b, ", ");
        put_seconds(b, p->eval_seconds);
        br__buf_printf(b, " each of %" PRId64 " evaluation%s", p->evals, p->evals == 1 ? "" : "s");
    }
    br__buf_puts(b, p->most_bytes > 0 ? "; measured with a few layers, without waiting for ranks\n"
                                      : "; measured with a few layers\n");
}

static void put_files(struct br__buf *b, const struct br__run *run, const struct br__train_plan *p)
{
    char text[32];

    br__buf_printf(b, "files       %s/: log.jsonl, tb_logs", run->dir);
    if (run->data.kind != BR__RUN_MOCK)
        br__buf_puts(b, ", cache");
    br__buf_puts(b, "\n");
    if (!p->saves)
        return;
    br__buf_printf(b, "            %s/: %" PRId64 " checkpoint%s", run->checkpoints, p->saves,
                   p->saves == 1 ? "" : "s");
    if (run->save_interval)
        br__buf_printf(b, ", every %" PRId64 " steps and the last", run->save_interval);
    if (run->most_recent_k && run->most_recent_k < p->saves)
        br__buf_printf(b, ", %" PRId64 " of them kept", run->most_recent_k);
    br__buf_printf(b, ", each of %s\n", br__human_bytes((uint64_t)p->save_bytes, text));
}

int br__train_print_plan(const struct br__cli *c, const struct br__plan_view *v, struct br_err *err)
{
    const struct br__run *run = v->run;
    const struct br__train_plan *p = &v->plan;
    struct br__buf b = {0};

    put_model(&b, run, p);
    put_data(&b, run, v->t);
    put_steps(&b, run, p);
    put_memory(&b, p);
    put_most(&b, run, p);
    put_time(&b, p);
    put_files(&b, run, p);
    put_idle(&b, run);
    for (size_t i = 0; i < run->n_notes; i++)
        br__buf_printf(&b, "note        %s\n", run->notes[i]);
    int rc = b.failed ? br_fail(err, b.failed, "cannot hold the plan in memory") : BR_OK;
    if (!rc && !BR__FLAG(c, QUIET))
        br__print_safe(stdout, b.p, b.n, BR__TEXT_PROSE);
    fflush(stdout);
    br__buf_free(&b);
    return rc;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void data_json(struct br__js *j, const struct br__run *run, const struct br__train *t)
{
    struct br__pretrain_part part;

    br__js_object(j, "data", 0);
    br__js_str(j, "kind", data_kinds[run->data.kind]);
    br__js_str(j, "split", run->data.split);
    for (int i = 0; i < BR__N_SPLITS; i++) {
        br__js_array(j, br__split_names[i], 0);
        for (size_t k = 0; br__train_part(t, i, k, &part); k++) {
            br__js_object(j, NULL, BR__JS_INLINE);
            br__js_str(j, "path", part.path);
            br__js_i64(j, "sequences", part.sequences);
            br__js_i64(j, "tokens", part.tokens);
            br__js_i64(j, "epochs", part.epochs);
            br__js_i64(j, "samples", part.samples);
            br__js_end(j);
        }
        br__js_end(j);
    }
    br__js_end(j);
}

static void json_seconds(struct br__js *j, const char *key, double seconds, int known)
{
    if (known)
        br__js_num(j, key, seconds);
    else
        br__js_null(j, key);
}

void br__train_plan_json(struct br__js *j, const struct br__plan_view *v)
{
    const struct br__run *run = v->run;
    const struct br__train_plan *p = &v->plan;

    br__js_str(j, "recipe", run->recipe->name);
    br__js_str(j, "mode", run->recipe->mode);
    br__js_str(j, "model", p->model);
    br__js_str(j, "weights", p->weights);
    br__js_str(j, "resumed", p->resumed);
    br__js_i64(j, "parameters", (int64_t)p->params);
    br__js_i64(j, "active_parameters", (int64_t)p->active);
    br__js_i64(j, "trained_parameters", (int64_t)p->trained);
    br__js_str(j, "precision", plan_precision(run));
    br__js_i64(j, "first_iteration", p->first + 1);
    br__js_i64(j, "train_iters", p->last);
    br__js_i64(j, "global_batch_size", run->global_batch);
    br__js_i64(j, "micro_batches", run->global_batch / run->micro_batch);
    br__js_i64(j, "seq_length", run->seq_length);
    br__js_num(j, "tokens", p->tokens);
    br__js_num(j, "weight_bytes", p->weight_bytes);
    br__js_num(j, "gradient_bytes", p->gradient_bytes);
    br__js_num(j, "optimizer_bytes", p->optimizer_bytes);
    br__js_num(j, "activation_bytes", p->activation_bytes);
    br__js_num(j, "copy_bytes", p->copy_bytes);
    br__js_num(j, "program_bytes", p->program_bytes);
    br__js_num(j, "total_bytes", p->total_bytes);
    if (p->most_bytes > 0) {
        br__js_num(j, "most_bytes", p->most_bytes);
        br__js_i64(j, "most_rank", p->most_rank);
    }
    json_seconds(j, "step_seconds", p->step_seconds, p->step_seconds > 0);
    json_seconds(j, "evaluation_seconds", p->eval_seconds, p->step_seconds > 0 && p->evals);
    json_seconds(j, "seconds", p->seconds, p->step_seconds > 0);
    br__js_i64(j, "evaluations", p->evals);
    br__js_i64(j, "checkpoints", p->saves);
    br__js_num(j, "checkpoint_bytes", p->save_bytes);
    br__js_str(j, "dir", run->dir);
    data_json(j, run, v->t);
    br__js_array(j, "without_effect", BR__JS_INLINE);
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (is_idle(run, id))
            br__js_str(j, NULL, br__recipe_keys[id].name);
    br__js_end(j);
    br__js_strs(j, "remarks", run->notes, run->n_notes);
}
