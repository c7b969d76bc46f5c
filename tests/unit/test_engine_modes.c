/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_engine_modes.c - the engine in its other modes: bfloat16, from a Megatron checkpoint,
 * through caches and in batches; and what it says of models and prompts that cannot be run. */
#include "engine/weights.h"
#include "infer/infer_internal.h"
#include "libgolden.h"
#include "librun.h"
#include <bridge/tokenizer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {
    "qwen2_sharded_fp32",      "qwen2_swa_bf16",  "qwen2_tied_fp16",
    "qwen2_untied_bf16",       "qwen3_moe_bf16",  "qwen3_moe_fused_bf16",
    "qwen3_moe_mlp_only_bf16", "qwen3_next_bf16", "qwen3_next_layer_types_fp32",
    "qwen3_tied_bf16",         "qwen3_yarn_fp32", "qwen3_moe_fp8",
};
#define N_MODELS ((int)BR_COUNTOF(models))

/* Every third model is a sample: a window, experts, the delta net, and YaRN. */
static int is_left_out(int model)
{
    return test_is_sampled() && model % 3 != 1;
}

static struct br__llm *open_as(const struct br__llm_opts *o)
{
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m;
    must(br__llm_open(&m, o, &err), &err);
    return m;
}

static const char *dir_of(const char *model, char dir[512])
{
    snprintf(dir, 512, "%s%s", HF, model);
    return dir;
}

/* ---- bfloat16 -------------------------------------------------------------------------------- */

static double squares(const float *a, const float *b, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return s;
}

/* As the fixtures measure transformers' own bfloat16 run, over the short and the long sequence. The
 * experts are those of the float32 run, because a changed choice would hide the rounding. */
START_TEST(test_bf16)
{
    if (is_left_out(_i))
        return;
    char dir[512];
    const char *const lengths[] = {"short", "long"};
    br__json *j = open_json(HF_GOLDEN, models[_i]);
    struct golden_file g = open_golden(HF_GOLDEN, models[_i], "golden.safetensors");
    struct br__llm *exact = open_model(dir_of(models[_i], dir), NULL, 0);
    struct br__llm *m = open_as(&(struct br__llm_opts){.weights = {.hf_model = dir},
                                                       .precision = BR_BF16,
                                                       .device = test_device(),
                                                       .threads = TEST_THREADS});
    double sum = 0;
    size_t count = 0;
    for (int k = 0; k < 2; k++) {
        char key[32], name[32];
        int32_t ids[64];
        const int32_t *all[1] = {ids};
        size_t n;
        struct br_err err = BR_ERR_INIT;
        struct br__trace a, b;
        snprintf(key, sizeof key, "input_ids_%s", lengths[k]);
        snprintf(name, sizeof name, "logits_%s", lengths[k]);
        int64_t n_ids = ids_of(j, key, ids, 64);
        trace(exact, ids, n_ids, 0, &a);
        const struct br__trace_opts o = {
            .ids = all, .n_batches = 1, .n = n_ids, .routes = a.routes};
        must(br__llm_trace(m, &o, &b, &err), &err);
        const float *want = golden(&g, name, &n);
        sum += squares(br__trace_find(&b, "logits")->data, want, n);
        count += n;
        br__trace_free(&a);
        br__trace_free(&b);
    }
    double rms = sqrt(sum / (double)count);
    double theirs = br__json_num(br__json_get(j, "measured.logits_bf16_vs_f32_rms"), -1);
    ck_assert_msg(theirs > 0 && rms <= 1.5 * theirs, "%s: rms %g, transformers' own is %g",
                  models[_i], rms, theirs);
    br__llm_close(exact);
    br__llm_close(m);
    close_golden(&g);
    br__json_free(j);
}
END_TEST

/* ---- from a Megatron checkpoint -------------------------------------------------------------- */

START_TEST(test_megatron)
{
    if (is_left_out(_i))
        return;
    char dir[512], out[512];
    struct br_err err = BR_ERR_INIT;
    struct br_job_result res = {.struct_size = sizeof res};
    make_temp_dir(out, sizeof out, "bridge-engine");
    const struct br_job job = {.struct_size = sizeof job,
                               .flags = BR_JOB_OVERWRITE | BR_JOB_NO_SYNC,
                               .hf_model = dir_of(models[_i], dir),
                               .megatron_path = out};
    must(br_import(&job, &res, &err), &err);
    br__json *j = open_json(HF_GOLDEN, models[_i]);
    struct br__llm *hf = open_model(dir, NULL, 0);
    /* Without the reference: config.json comes from the checkpoint. */
    struct br__llm *mc = open_as(&(struct br__llm_opts){.weights = {.megatron_path = out},
                                                        .precision = BR_F32,
                                                        .device = test_device(),
                                                        .threads = TEST_THREADS});
    int32_t ids[64];
    struct br__trace a, b;
    int64_t n = ids_of(j, "input_ids_long", ids, 64);
    trace(hf, ids, n, 0, &a);
    trace(mc, ids, n, 0, &b);
    size_t elems = (size_t)(n * a.list[0].shape[1]);
    ck_assert_str_eq(a.list[0].name, "logits");
    ck_assert_msg(memcmp(a.list[0].data, b.list[0].data, elems * sizeof(float)) == 0,
                  "%s: logits from the Megatron directory differ by %g", models[_i],
                  max_diff(a.list[0].data, b.list[0].data, elems));
    br__trace_free(&a);
    br__trace_free(&b);
    br__llm_close(hf);
    br__llm_close(mc);
    br__json_free(j);
    must(br__remove_tree(out, &err), &err);
}
END_TEST

/* Room for `slots` sequences of `capacity` tokens; 0: as many as the model allows. */
static struct br__llm_session *open_session(struct br__llm *m, int64_t slots, int64_t capacity)
{
    struct br__llm_session *s;
    struct br_err err = BR_ERR_INIT;
    if (!capacity)
        capacity = br_cfg_i(br__llm_config(m), BR_CFG_SEQ_LENGTH);
    must(br__llm_session_open(&s, m, slots, capacity, &err), &err);
    return s;
}

/* ---- caches and batches ---------------------------------------------------------------------- */

/* With a cache, in pieces of every size, equals without. */
START_TEST(test_cache)
{
    if (is_left_out(_i))
        return;
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    br__json *j = open_json(HF_GOLDEN, models[_i]);
    struct br__llm *m = open_model(dir_of(models[_i], dir), NULL, 0);
    int32_t ids[256];
    int64_t n = ids_of(j, "input_ids_xlong", ids, 256);
    if (n == 0)
        n = ids_of(j, "input_ids_long", ids, 256);
    struct br__trace t;
    trace(m, ids, n, 0, &t);
    size_t vocab = (size_t)t.list[0].shape[1];
    float *logits = malloc(vocab * sizeof *logits);
    struct br__llm_session *seqs = open_session(m, 1, 0);
    static const int64_t pieces[] = {1, 7, 2, 1, 20, 3, 1, 70};
    for (int64_t at = 0, k = 0; at < n; k++) {
        int64_t take = BR__MIN(pieces[k % 8], n - at);
        const struct br__forward_seq f = {0, ids + at, take};
        must(br__llm_forward(seqs, &f, 1, logits, &err), &err);
        at += take;
        double d = max_diff(logits, t.list[0].data + (size_t)(at - 1) * vocab, vocab);
        ck_assert_msg(d <= tolerance_of(models[_i]).logits, "%s: after %lld tokens: %g", models[_i],
                      (long long)at, d);
    }
    free(logits);
    br__trace_free(&t);
    br__llm_session_close(seqs);
    br__llm_close(m);
    br__json_free(j);
}
END_TEST

/* Sequences of a batch do not see each other, and a slot can be used again. */
START_TEST(test_batch)
{
    if (is_left_out(_i))
        return;
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m = open_model(dir_of(models[_i], dir), NULL, 0);
    struct br__llm_session *one = open_session(m, 1, 0), *many = open_session(m, 3, 48);
    size_t vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    float *a = malloc(vocab * sizeof *a), *b = malloc(3 * vocab * sizeof *b);
    int32_t ids[3][16];
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < 16; i++)
            ids[s][i] = (s * 31 + i * 7 + 3) % 40;
    for (int round = 0; round < 2; round++)
        for (int step = 0; step < 4; step++) {
            struct br__forward_seq f[3];
            for (uint32_t s = 0; s < 3; s++) {
                if (step == 0)
                    br__llm_reset(many, s);
                f[s] = step == 0 ? (struct br__forward_seq){s, ids[s], 5 + s}
                                 : (struct br__forward_seq){s, ids[s] + 4 + s + step, 1};
            }
            must(br__llm_forward(many, f, 3, b, &err), &err);
            for (int s = 0; s < 3; s++) {
                br__llm_reset(one, 0);
                const struct br__forward_seq whole = {0, ids[s], 5 + s + step};
                must(br__llm_forward(one, &whole, 1, a, &err), &err);
                double d = max_diff(a, b + (size_t)s * vocab, vocab);
                ck_assert_msg(d <= tolerance_of(models[_i]).logits, "%s: sequence %d: %g",
                              models[_i], s, d);
            }
        }
    free(a);
    free(b);
    br__llm_session_close(one);
    br__llm_session_close(many);
    br__llm_close(m);
}
END_TEST

/* A prompt longer than one piece. */
START_TEST(test_long_prompt)
{
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    struct br__registry *r;
    const struct br__arch *arch;
    const char *const sets[] = {"max_position_embeddings=2048"};
    const struct br__toy_opts toy = {.sets = sets, .n_sets = 1, .dtype = BR_F32};
    make_temp_dir(dir, sizeof dir, "bridge-long");
    must(br__registry_open(&r, NULL, &err), &err);
    must(br__registry_find(r, _i ? "qwen3_next" : "qwen3", NULL, &arch, &err), &err);
    must(br__toy_write(arch, dir, &toy, &err), &err);
    br__registry_close(r);
    struct br__llm *m = open_model(dir, NULL, 0);
    int32_t ids[1100];
    for (int i = 0; i < 1100; i++)
        ids[i] = (i * 37 + 5) % 300;
    struct br__trace t;
    trace(m, ids, 1100, 0, &t);
    size_t vocab = (size_t)t.list[0].shape[1];
    float *logits = malloc(vocab * sizeof *logits);
    struct br__llm_session *seqs = open_session(m, 1, 0);
    must(br__llm_forward(seqs, &(struct br__forward_seq){0, ids, 1100}, 1, logits, &err), &err);
    double d = max_diff(logits, t.list[0].data + (size_t)1099 * vocab, vocab);
    ck_assert_msg(d <= 3e-4, "%g", d);
    free(logits);
    br__trace_free(&t);
    br__llm_session_close(seqs);
    br__llm_close(m);
    must(br__remove_tree(dir, &err), &err);
}
END_TEST

/* A device may record a graph and replay it.  With BRIDGE_CUDA_SYNC that of CUDA does not. */
START_TEST(test_replayed)
{
    if (is_left_out(_i))
        return;
    enum { PROMPT = 5, STEPS = 5 };
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    float *logits[2] = {NULL, NULL};
    size_t vocab = 0;
    int32_t ids[PROMPT + STEPS];
    for (int i = 0; i < PROMPT + STEPS; i++)
        ids[i] = (i * 37 + 5) % 40;
    for (int k = 0; k < 2; k++) {
        setenv("BRIDGE_CUDA_SYNC", k ? "1" : "0", 1);
        struct br__llm *m = open_model(dir_of(models[_i], dir), NULL, 0);
        struct br__llm_session *s = open_session(m, 1, PROMPT + STEPS);
        vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
        logits[k] = calloc((STEPS + 1) * vocab, sizeof *logits[k]);
        for (int i = 0; i <= STEPS; i++) {
            const struct br__forward_seq f = {0, i ? ids + PROMPT + i - 1 : ids, i ? 1 : PROMPT};
            must(br__llm_forward(s, &f, 1, logits[k] + (size_t)i * vocab, &err), &err);
        }
        br__llm_session_close(s);
        br__llm_close(m);
    }
    ck_assert_msg(memcmp(logits[0], logits[1], (STEPS + 1) * vocab * sizeof(float)) == 0, "%s",
                  models[_i]);
    free(logits[0]);
    free(logits[1]);
}
END_TEST

/* Tokens that the device chooses among its largest logits are those of all logits. */
START_TEST(test_chosen)
{
    if (is_left_out(_i))
        return;
    enum { PROMPT = 6, STEPS = 3 };
    static const struct br__sample_opts opts[] = {
        BR__SAMPLE_GREEDY,
        {.temperature = 0.7, .top_k = 20, .top_p = 0.9, .repetition_penalty = 1, .seed = 5},
        {.temperature = 1.3, .top_k = 100, .top_p = 1, .min_p = 0.02, .repetition_penalty = 1}};
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    int32_t ids[PROMPT + STEPS] = {3, 1, 4, 15, 9, 2};
    struct br__llm *m =
        open_as(&(struct br__llm_opts){.weights = {.hf_model = dir_of(models[_i], dir)},
                                       .precision = BR_BF16,
                                       .device = test_device(),
                                       .threads = TEST_THREADS});
    const uint32_t vocab = (uint32_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    struct br__llm_session *s = open_session(m, 1, PROMPT + STEPS);
    float *logits = calloc(vocab, sizeof *logits);
    struct br__sampler *sampler;
    for (size_t k = 0; k < BR_COUNTOF(opts); k++) {
        int32_t chosen[STEPS], drawn;
        struct br__best best = {0};
        const uint32_t enough = br__sample_enough(&opts[k]);
        must(br__sampler_new(&sampler, &opts[k], vocab, &err), &err);
        ck_assert_uint_gt(enough, 0);
        for (int round = 0; round < 2; round++) {
            br__llm_reset(s, 0);
            for (int i = 0; i < STEPS; i++) {
                const struct br__forward_seq f = {0, i ? ids + PROMPT + i - 1 : ids,
                                                  i ? 1 : PROMPT};
                const struct br__pick pick = {enough, 0, &best};
                must(br__llm_forward_best(s, &f, 1, round ? &pick : NULL, logits, &err), &err);
                int found = best.n >= BR__MIN(enough, vocab) && best.n <= BR__BEST_ROOM;
                ck_assert_int_eq(found, round && strcmp(br__llm_device(m), "cpu") != 0);
                must(best.n ? (drawn = br__sample_best(sampler, &best, 7, (uint64_t)i), BR_OK)
                            : br__sample(sampler, logits, ids, 0, 7, (uint64_t)i, &drawn, &err),
                     &err);
                if (round)
                    ck_assert_msg(drawn == chosen[i], "%s: %d, not %d", models[_i], drawn,
                                  chosen[i]);
                ids[PROMPT + i] = chosen[i] = drawn;
            }
        }
        br__sampler_free(sampler);
    }
    free(logits);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

/* The graph of a pass is kept: run again, and after another one, it gives the same bits. */
START_TEST(test_pass_again)
{
    if (is_left_out(_i))
        return;
    char dir[512];
    struct br__llm *m = open_model(dir_of(models[_i], dir), NULL, 0);
    int32_t ids[24];
    for (int i = 0; i < 24; i++)
        ids[i] = (i * 37 + 5) % 40;
    const unsigned all = BR__TRACE_HIDDEN | BR__TRACE_GRADS;
    struct br__trace first, other, again[2];
    trace(m, ids, 24, all, &first);
    ck_assert(first.n > 8);
    trace(m, ids, 24, all, &again[0]);
    trace(m, ids, 7, 0, &other);
    trace(m, ids, 24, all, &again[1]);
    for (int k = 0; k < 2; k++) {
        ck_assert_uint_eq(again[k].n, first.n);
        for (size_t i = 0; i < first.n; i++) {
            const struct br__named *a = &first.list[i], *b = br__trace_find(&again[k], a->name);
            ck_assert(b != NULL);
            ck_assert_msg(memcmp(a->data, b->data, br__named_elems(a) * sizeof(float)) == 0,
                          "%s: %s", models[_i], a->name);
        }
        br__trace_free(&again[k]);
    }
    br__trace_free(&first);
    br__trace_free(&other);
    br__llm_close(m);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(test_refusals)
{
    char dir[512];
    struct br__llm *m = open_model(dir_of("qwen3_tied_bf16", dir), NULL, 0);
    struct br__llm_session *seqs = open_session(m, 1, 0);
    float *logits = malloc(1 << 20);
    int32_t ids[300] = {0}, outside[] = {1, 5000}, negative[] = {-1};
    int64_t max = br_cfg_i(br__llm_config(m), BR_CFG_SEQ_LENGTH);
    ck_assert_int_lt((int)max, 300);
    const struct {
        struct br__forward_seq feed;
        const char *says;
    } cases[] = {
        {{0, ids, max + 1}, "max_position_embeddings"},
        {{0, outside, 2}, "token id 5000 is outside the model's vocabulary"},
        {{0, negative, 1}, "token id -1"},
        {{1, ids, 1}, "slot 1"},
        {{0, ids, 0}, "0 tokens"},
    };
    for (size_t i = 0; i < BR_COUNTOF(cases); i++) {
        struct br_err err = BR_ERR_INIT;
        ck_assert_int_eq(br__llm_forward(seqs, &cases[i].feed, 1, logits, &err), BR_E_USAGE);
        ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s", err.msg);
    }
    free(logits);
    br__llm_session_close(seqs);
    br__llm_close(m);
}
END_TEST

/* A NaN in a weight is found and named. */
START_TEST(test_nan)
{
    char from[512], dir[512], path[600], to[600];
    struct br_err err = BR_ERR_INIT;
    make_temp_dir(dir, sizeof dir, "bridge-nan");
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir_of("qwen3_tied_bf16", from), files[i]);
        snprintf(to, sizeof to, "%s/%s", dir, files[i]);
        copy_file(path, to);
    }
    struct br__llm *m = open_model(dir, NULL, 0);
    struct br__ckpt *ck;
    must(br__ckpt_open(&ck, dir, &err), &err);
    const struct br__tensor *t = br__ckpt_find(ck, "model.layers.1.mlp.up_proj.weight");
    FILE *f = fopen(to, "r+b");
    ck_assert(f && fseek(f, (long)t->offset + 10, SEEK_SET) == 0);
    const unsigned char nan[2] = {0xc0, 0x7f};
    ck_assert_int_eq((int)fwrite(nan, 1, 2, f), 2);
    fclose(f);
    br__ckpt_close(ck);
    struct br__llm_session *seqs = open_session(m, 1, 0);
    float *logits = malloc(1 << 20);
    const int32_t ids[3] = {1, 2, 3};
    struct br__best best;
    const struct br__pick pick = {1, 1, &best};
    for (int by_choice = 0; by_choice < 2; by_choice++) {
        const struct br__forward_seq feed = {0, ids, by_choice ? 1 : 3};
        ck_assert_int_eq(
            br__llm_forward_best(seqs, &feed, 1, by_choice ? &pick : NULL, logits, &err),
            BR_E_NUMERIC);
        ck_assert_msg(strstr(err.msg, "model.layers.1.mlp.up_proj.weight") != NULL, "%s", err.msg);
    }
    free(logits);
    br__llm_session_close(seqs);
    br__llm_close(m);
    must(br__remove_tree(dir, &err), &err);
}
END_TEST

/* Only the routed experts of a token are read: NaN in all other experts changes nothing. */
START_TEST(test_routed_only)
{
    char from[512], dir[512], path[600], to[600];
    struct br_err err = BR_ERR_INIT;
    make_temp_dir(dir, sizeof dir, "bridge-routed");
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir_of("qwen3_moe_bf16", from), files[i]);
        snprintf(to, sizeof to, "%s/%s", dir, files[i]);
        copy_file(path, to);
    }
    struct br__llm *m = open_model(dir, NULL, 0);
    const struct br_config *cfg = br__llm_config(m);
    struct br__ckpt *ck;
    must(br__ckpt_open(&ck, dir, &err), &err);
    const int32_t ids[1] = {17};
    struct br__trace t, again;
    trace(m, ids, 1, 0, &t);
    int64_t experts = cfg->n_experts, poisoned = 0;
    for (int64_t layer = 0; layer < cfg->n_layers; layer++)
        for (int64_t e = 0; e < experts; e++) {
            char name[128];
            int routed = 0;
            for (int64_t k = 0; k < t.topk; k++)
                routed |= t.routes[layer * t.topk + k] == e;
            snprintf(name, sizeof name, "model.layers.%lld.mlp.experts.%lld.down_proj.weight",
                     (long long)layer, (long long)e);
            const struct br__tensor *stored = br__ckpt_find(ck, name);
            ck_assert(stored != NULL);
            FILE *f = routed ? NULL : fopen(to, "r+b");
            if (!f)
                continue;
            fseek(f, (long)stored->offset, SEEK_SET);
            for (uint64_t i = 0; i < stored->bytes; i++)
                fputc(0xff, f);
            fclose(f);
            poisoned++;
        }
    br__ckpt_close(ck);
    ck_assert_int_eq((int)poisoned, (int)(cfg->n_layers * (experts - t.topk)));
    trace(m, ids, 1, 0, &again);
    size_t vocab = (size_t)t.list[0].shape[1];
    ck_assert(memcmp(t.list[0].data, again.list[0].data, vocab * sizeof(float)) == 0);
    br__trace_free(&t);
    br__trace_free(&again);
    br__llm_close(m);
    must(br__remove_tree(dir, &err), &err);
}
END_TEST

/* The same bits for any number of threads, also for many more than rows, heads or experts.  The
 * largest number is tried on one model, because threads that outnumber CPUs wait for each other. */
START_TEST(test_threads)
{
    if (is_left_out(_i))
        return;
    const int threads[] = {1, 3, _i == 0 ? 256 : 16};
    char dir[512];
    int32_t ids[32];
    struct br__trace want, got;
    for (int i = 0; i < 32; i++)
        ids[i] = (i * 37 + 5) % 40;
    for (size_t i = 0; i < BR_COUNTOF(threads); i++) {
        struct br__llm *m =
            open_as(&(struct br__llm_opts){.weights = {.hf_model = dir_of(models[_i], dir)},
                                           .precision = BR_BF16,
                                           .device = test_device(),
                                           .threads = threads[i]});
        trace(m, ids, 32, 0, i ? &got : &want);
        br__llm_close(m);
        if (i == 0)
            continue;
        const struct br__named *a = br__trace_find(&want, "logits");
        const struct br__named *b = br__trace_find(&got, "logits");
        size_t n = (size_t)a->shape[0] * (size_t)a->shape[1] * sizeof(float);
        ck_assert_msg(memcmp(a->data, b->data, n) == 0, "%s: %d threads", models[_i], threads[i]);
        br__trace_free(&got);
    }
    br__trace_free(&want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine modes");
    TCase *c = tcase_create("modes");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_bf16, 0, N_MODELS);
    tcase_add_loop_test(c, test_megatron, 0, N_MODELS);
    tcase_add_loop_test(c, test_cache, 0, N_MODELS);
    tcase_add_loop_test(c, test_pass_again, 0, N_MODELS);
    tcase_add_loop_test(c, test_batch, 0, N_MODELS);
    tcase_add_loop_test(c, test_replayed, 0, N_MODELS);
    tcase_add_loop_test(c, test_chosen, 0, N_MODELS);
    if (!test_is_sampled()) /* a device that is slow takes thousands of tokens at once */
        tcase_add_loop_test(c, test_long_prompt, 0, 2);
    tcase_add_test(c, test_refusals);
    tcase_add_test(c, test_nan);
    tcase_add_test(c, test_routed_only);
    tcase_add_loop_test(c, test_threads, 0, N_MODELS);
    suite_add_tcase(s, c);
    return run_suite(s);
}
