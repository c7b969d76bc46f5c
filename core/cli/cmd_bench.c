/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_bench.c - bench: prefill and decode rates beside this machine's ceilings, in one run. */
#include "../train/train.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RUNS 64                  /* as options.def has it */
#define DECODE_PARTS 4               /* of a run; the ceilings are measured after each */
#define CONFIG_MAX ((size_t)1 << 20) /* bytes of a config.json */
#define MAX_LOOKS (MAX_RUNS * (1 + DECODE_PARTS)) /* one more after each prompt */

struct bench {
    struct br__cli *c;
    struct br__report r;
    struct br__llm *m;
    struct br__llm_session *s;
    int64_t prefill, decode, runs, batch;
    double prefill_s[MAX_RUNS], decode_s[MAX_RUNS];        /* seconds of each run */
    double read_bytes[MAX_LOOKS], matmul_flops[MAX_LOOKS]; /* ceilings, measured between parts */
    int64_t n_looks;
    struct br__forward_seq *inputs; /* [batch] */
    int32_t *ids;                   /* [prefill] */
    float *logits;                  /* [batch, vocab] */
    struct br__best *best;          /* [batch] */
    int32_t *next;                  /* [batch] ids of a step */
    int warm;                       /* the first run, which maps pages and builds graphs, is over */
    char tier[sizeof((struct br_roofline *)0)->tier];
    struct br__llm_cost cost;
};

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}
static double bench_median(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static int64_t bench_option(const struct br__cli *c, int id, int64_t dflt)
{
    return c->opt[id].set ? c->opt[id].i : dflt;
}

/* The speed of a machine varies from second to second, so the ceilings are measured between the
 * runs. */
static int bench_look(struct bench *b, struct br_err *err)
{
    struct br_roofline now;
    if (!b->warm)
        return BR_OK;
    int rc = br__llm_roofline(b->m, &now, err);
    if (rc)
        return rc;
    b->read_bytes[b->n_looks] = now.read_bytes;
    b->matmul_flops[b->n_looks++] = now.matmul_flops;
    memcpy(b->tier, now.tier, sizeof b->tier);
    return BR_OK;
}

/* Decode tokens first to end - 1 of every sequence.  The ids are those that the device has chosen,
 * if it chooses, so that it may begin the next step; else they are arbitrary, as they do not change
 * the cost. */
static int decode_some(struct bench *b, int64_t first, int64_t end, struct br_err *err)
{
    int rc = BR_OK;
    for (int64_t i = first; i < end && !rc; i++) {
        for (int64_t s = 0; s < b->batch; s++) {
            b->next[s] = b->best[s].n ? b->best[s].ids[0] : b->ids[(i + s) % b->prefill];
            b->inputs[s].ids = b->next + s;
            b->inputs[s].n = 1;
        }
        const struct br__pick pick = {1, i + 1 < b->decode, b->best};
        rc = br__llm_forward_best(b->s, b->inputs, (size_t)b->batch, &pick, b->logits, err);
    }
    return rc;
}

/* Prefill one prompt, then decode token by token. */
static int one_run(struct bench *b, int64_t run, struct br_err *err)
{
    for (uint32_t s = 0; s < (uint32_t)b->batch; s++) {
        br__llm_reset(b->s, s);
        b->inputs[s] = (struct br__forward_seq){s, b->ids, b->prefill};
    }
    double t0 = br__now();
    int rc = br__llm_forward(b->s, b->inputs, 1, b->logits, err);
    b->prefill_s[run] = br__now() - t0;
    if (!rc && b->batch > 1) /* prompts of the other sequences are not timed */
        rc = br__llm_forward(b->s, b->inputs + 1, (size_t)b->batch - 1, b->logits, err);
    if (!rc)
        rc = bench_look(b, err);
    b->decode_s[run] = 0;
    for (int64_t p = 0; p < DECODE_PARTS && !rc; p++) {
        t0 = br__now();
        rc = decode_some(b, b->decode * p / DECODE_PARTS, b->decode * (p + 1) / DECODE_PARTS, err);
        b->decode_s[run] += br__now() - t0;
        if (!rc)
            rc = bench_look(b, err);
    }
    return rc;
}

/* Run -1 warms up. */
static int all_runs(struct bench *b, struct br_err *err)
{
    int64_t vocab = br_cfg_i(br__llm_config(b->m), BR_CFG_VOCAB_SIZE);
    b->ids = br__alloc((size_t)b->prefill * sizeof *b->ids);
    b->logits = br__alloc((size_t)(vocab * b->batch) * sizeof *b->logits);
    b->best = br__calloc((size_t)b->batch, sizeof *b->best);
    b->next = br__calloc((size_t)b->batch, sizeof *b->next);
    b->inputs = br__calloc((size_t)b->batch, sizeof *b->inputs);
    int rc = b->ids && b->logits && b->best && b->next && b->inputs ? BR_OK
                                                                    : br__nomem(err, "for prompts");

    for (int64_t i = 0; !rc && i < b->prefill; i++)
        b->ids[i] = (int32_t)((i * 7919 + 13) % vocab);
    for (int64_t run = -1; run < b->runs && !rc; run++) {
        b->warm = run >= 0;
        rc = one_run(b, BR__MAX(run, 0), err);
    }
    if (!rc)
        rc = br__llm_cost(b->s, b->prefill + b->decode / 2, &b->cost, err);
    br__free(b->inputs);
    br__free(b->ids);
    br__free(b->logits);
    br__free(b->best);
    br__free(b->next);
    return rc;
}

/* Multiplications of the prompt: linear layers for every token, the head for the last one, and
 * causal attention (scores and values, half of the square). */
static double prefill_flops(const struct bench *b)
{
    const struct br_config *cfg = br__llm_config(b->m);
    double head =
        2.0 * (double)br_cfg_i(cfg, BR_CFG_VOCAB_SIZE) * (double)br_cfg_i(cfg, BR_CFG_HIDDEN_SIZE);
    double t = (double)b->prefill, attention = 0;
    for (int64_t i = 0; i < cfg->n_layers; i++)
        if (!cfg->linear[i])
            attention += 2 * t * t * (double)br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS) *
                         (double)br_cfg_i(cfg, BR_CFG_KV_CHANNELS);
    return (b->cost.flops_per_token - head) * t + head + attention;
}

/* Bytes that a decode step of the batch reads: the weights once (of routed experts those of one
 * sequence, as if all sequences chose the same), and the keys and values of each sequence at half
 * its length. */
static double step_bytes(const struct bench *b)
{
    return (double)b->cost.weight_bytes + (double)b->batch * (double)b->cost.cache_bytes;
}

struct summary {
    double prefill_rate, decode_rate; /* tokens per second */
    double flops, bytes;              /* per second, reached by the runs */
    double read_bytes, matmul_flops;  /* ceilings */
};

static struct summary sum_up(struct bench *b)
{
    struct summary s;
    double prefill = bench_median(b->prefill_s, b->runs),
           decode = bench_median(b->decode_s, b->runs);

    s.prefill_rate = (double)b->prefill / prefill;
    s.decode_rate = (double)(b->decode * b->batch) / decode;
    s.flops = prefill_flops(b) / prefill;
    s.bytes = step_bytes(b) * (double)b->decode / decode;
    s.read_bytes = bench_median(b->read_bytes, b->n_looks);
    s.matmul_flops = bench_median(b->matmul_flops, b->n_looks);
    return s;
}

static int print_summary(struct bench *b, struct br_err *err)
{
    struct summary s = sum_up(b);
    struct br__js j = {0};

    if (BR__FLAG(b->c, JSON)) {
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "device", br__llm_device(b->m));
        br__js_str(&j, "tier", b->tier);
        br__js_num(&j, "prefill_tokens_per_second", s.prefill_rate);
        br__js_num(&j, "decode_tokens_per_second", s.decode_rate);
        br__js_num(&j, "matmul_peak_flops", s.matmul_flops);
        br__js_num(&j, "read_peak_bytes", s.read_bytes);
        br__js_num(&j, "prefill_ratio", s.flops / s.matmul_flops);
        br__js_num(&j, "decode_ratio", s.bytes / s.read_bytes);
        br__js_u64(&j, "weight_bytes_per_token", b->cost.weight_bytes);
        br__js_u64(&j, "cache_bytes_per_token", b->cost.cache_bytes);
        br__js_u64(&j, "private_bytes", br__private_memory());
        br__report_json(&b->r, &j);
        br__js_end(&j);
        return br__js_print(&j, err);
    }
    br__say(stdout, "%s, %s: read %.1f GB/s, matmul %.0f GFLOP/s", br__llm_device(b->m), b->tier,
            s.read_bytes / 1e9, s.matmul_flops / 1e9);
    br__say(stdout, "prefill %lld tokens: %.1f tokens/s, %.0f GFLOP/s, %.2f of the matmul peak",
            (long long)b->prefill, s.prefill_rate, s.flops / 1e9, s.flops / s.matmul_flops);
    br__say(
        stdout,
        "decode %lld tokens x %lld: %.2f tokens/s, %.1f GB/s (%.1f MB a step: weights, keys and "
        "values), %.2f of the read ceiling",
        (long long)b->decode, (long long)b->batch, s.decode_rate, s.bytes / 1e9,
        step_bytes(b) / 1e6, s.bytes / s.read_bytes);
    br__say(stdout, "private memory %.0f MB", (double)br__private_memory() / 1e6);
    return BR_OK;
}

/* --random: weights of the sizes that MODEL's config.json says, which no file has. */
static int random_weights(struct br__cli *c, struct br__llm_opts *o, struct br_err *err)
{
    const char *dir = BR__TEXT(c, HF_MODEL);
    char *text;
    size_t n;

    if (!dir || o->weights.megatron_path || o->weights.adapter)
        return br_fail(err, BR_E_USAGE,
                       "option '--random' needs MODEL, a directory with a config.json, and neither "
                       "--megatron-path nor --adapter");
    const char *path = br__path_join(&c->arena, dir, "config.json");
    int rc = path ? br__read_text(path, CONFIG_MAX, &text, &n, err) : br__nomem(err, "for a path");
    if (rc)
        return rc;
    rc = br__random_model(&o->weights.source, text, o->precision == BR_F32 ? BR_F32 : BR_BF16, err);
    br__free(text);
    return rc;
}

int br__cmd_bench(struct br__cli *c, struct br_err *err)
{
    struct bench b = {.c = c,
                      .prefill = bench_option(c, BR__OPT_PREFILL_TOKENS, 512),
                      .decode = bench_option(c, BR__OPT_DECODE_TOKENS, 64),
                      .runs = bench_option(c, BR__OPT_REPEAT, 3),
                      .batch = bench_option(c, BR__OPT_BATCH, 1)};
    struct br__llm_opts o;

    br__report_init(&b.r, c);
    int rc = br__llm_opts_from_cli(c, &b.r, &o, err);
    if (!rc && BR__FLAG(c, RANDOM))
        rc = random_weights(c, &o, err);
    if (!rc)
        rc = br__llm_open(&b.m, &o, err);
    if (!rc)
        rc = br__llm_session_open(&b.s, b.m, b.batch, b.prefill + b.decode, err);
    if (!rc)
        rc = all_runs(&b, err);
    br__report_end(&b.r);
    if (!rc)
        rc = print_summary(&b, err);
    br__llm_session_close(b.s);
    br__llm_close(b.m);
    br__report_free(&b.r);
    return rc;
}
