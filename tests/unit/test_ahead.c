/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_ahead.c - decoding where the device begins a step before the host has read the one before:
 * the same tokens, texts and caches as without, which is what asking for probabilities gives, since
 * then the host chooses.  On a device that does not go ahead both are one. */
#include "infer/infer_internal.h"
#include "librun.h"
#include <bridge/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 12
#define PROMPT 5
#define NEW (CAPACITY - PROMPT + 1) /* tokens that a full sequence gets */
#define MOST CAPACITY

/* The second has a delta net: it goes ahead in sessions of one sequence. */
static const char *const models[] = {"qwen3_tiny_chat", "qwen3_next_bf16"};
static const int32_t prompt[PROMPT] = {3, 14, 15, 9, 26};

static void must(int rc, const struct br_err *err)
{
    ck_assert_msg(rc == BR_OK, "%s", err->msg);
}

static struct br__llm *open_model(const char *name, uint32_t tp)
{
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m;
    snprintf(dir, sizeof dir, "%s/hf/%s", BRIDGE_TEST_DATA, name);
    const struct br__llm_opts o = {.weights = {.hf_model = dir},
                                   .precision = BR_BF16,
                                   .device = test_device(),
                                   .tp = tp,
                                   .threads = (int)tp};
    must(br__llm_open(&m, &o, &err), &err);
    return m;
}

static struct br__llm_session *open_session(struct br__llm *m, int64_t slots)
{
    struct br_err err = BR_ERR_INIT;
    struct br__llm_session *s;
    must(br__llm_session_open(&s, m, slots, CAPACITY, &err), &err);
    return s;
}

static int goes_ahead(const struct br__llm *m)
{
    return strcmp(br__llm_device(m), "cpu") != 0;
}

/* ---- tokens, by steps ------------------------------------------------------------------------ */

#define SEQUENCES 5
#define GREEDY                                                                                     \
    {                                                                                              \
        0, 0, 1, 0, 1, 0                                                                           \
    }
#define DRAWN                                                                                      \
    {                                                                                              \
        0.8, 20, 0.95, 0, 1, 3                                                                     \
    }

struct wish {
    size_t n_prompt;
    int64_t most;
    struct br__sample_opts sample;
    int64_t cancelled_after; /* tokens; 0: never */
};
struct got {
    uint64_t id;
    int32_t ids[MOST];
    size_t n;
    int finish, is_running;
};

static void add_wish(struct br__gen *g, const struct wish *w, size_t number, int32_t eos, int plain,
                     struct got *got)
{
    struct br_err err = BR_ERR_INIT;
    const struct br__gen_request r = {.prompt = prompt,
                                      .n_prompt = w->n_prompt,
                                      .eos = &eos,
                                      .n_eos = eos >= 0,
                                      .sample = w->sample,
                                      .number = number,
                                      .max_new_tokens = w->most,
                                      .logprob = plain};
    must(br__gen_add(g, &r, &got->id, &err), &err);
    got->is_running = 1;
}

static void take_token(struct br__gen *g, const struct wish *wishes, size_t n, struct got *got,
                       const struct br__gen_token *t)
{
    for (size_t k = 0; k < n; k++) {
        if (!got[k].is_running || got[k].id != t->sequence)
            continue;
        ck_assert_uint_lt(got[k].n, MOST);
        got[k].ids[got[k].n++] = t->id;
        got[k].finish = t->finish;
        got[k].is_running = t->finish == BR_FINISH_NOT;
        if (got[k].is_running && (int64_t)got[k].n == wishes[k].cancelled_after) {
            br__gen_cancel(g, t->sequence);
            got[k].is_running = 0;
        }
    }
}

/* All of them, as slots become free; plain: by what the host chooses from all logits. */
static void run_wishes(struct br__llm_session *s, const struct wish *wishes, size_t n, int32_t eos,
                       int plain, struct got *got)
{
    struct br_err err = BR_ERR_INIT;
    struct br__gen *g;
    struct br__gen_step step = {.n = 1};
    memset(got, 0, n * sizeof *got);
    must(br__gen_begin(&g, s, &err), &err);
    for (size_t begun = 0; step.n || begun < n;) {
        for (; begun < n && br__gen_free_slots(g); begun++)
            add_wish(g, &wishes[begun], begun, eos, plain, &got[begun]);
        must(br__gen_step(g, &step, &err), &err);
        for (size_t i = 0; i < step.n; i++)
            take_token(g, wishes, n, got, &step.tokens[i]);
    }
    br__gen_end(g);
}

/* got[n]: what they came to, which is the same either way. */
static void check_wishes(struct br__llm_session *s, const struct wish *wishes, size_t n,
                         int32_t eos, struct got *got)
{
    struct got want[SEQUENCES];
    run_wishes(s, wishes, n, eos, 1, want);
    run_wishes(s, wishes, n, eos, 0, got);
    for (size_t k = 0; k < n; k++) {
        ck_assert_uint_eq(got[k].n, want[k].n);
        ck_assert_int_eq(got[k].finish, want[k].finish);
        ck_assert_mem_eq(got[k].ids, want[k].ids, want[k].n * sizeof *want[k].ids);
    }
}

/* To the end of the context, to a number of tokens, to a token that ends it, and again to the end,
 * in a slot where a step too far was made. */
START_TEST(test_one)
{
    static const struct wish whole = {PROMPT, INT64_MAX, GREEDY, 0}, few = {1, 5, GREEDY, 0};
    static const struct wish drawn = {PROMPT, 4, DRAWN, 0};
    if (_i == 3 && test_is_sampled())
        return;
    struct br__llm *m = open_model(models[_i % 2], _i < 2 ? 1 : 2);
    struct br__llm_session *s = open_session(m, 1);
    struct got got;
    check_wishes(s, &whole, 1, -1, &got);
    ck_assert_uint_eq(got.n, NEW);
    ck_assert_int_eq(got.finish, BR_FINISH_LENGTH);
    check_wishes(s, &whole, 1, got.ids[3], &got);
    ck_assert_uint_le(got.n, 4);
    ck_assert_int_eq(got.finish, BR_FINISH_EOS);
    check_wishes(s, &few, 1, -1, &got);
    ck_assert_uint_eq(got.n, 5);
    check_wishes(s, &drawn, 1, -1, &got);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

/* Two at once, of unequal lengths, one drawn and one cancelled: a step that was begun for sequences
 * of which one has ended, or beside which one has come, is not theirs. */
START_TEST(test_several)
{
    static const struct wish wishes[SEQUENCES] = {{5, 7, GREEDY, 0},
                                                  {3, 3, GREEDY, 0},
                                                  {1, 2, DRAWN, 0},
                                                  {4, INT64_MAX, GREEDY, 4},
                                                  {1, 6, GREEDY, 0}};
    struct br__llm *m = open_model(models[_i], 1);
    struct br__llm_session *s = open_session(m, 2);
    struct got got[SEQUENCES];
    check_wishes(s, wishes, SEQUENCES, -1, got);
    if (!test_is_sampled())
        check_wishes(s, wishes, SEQUENCES, got[0].ids[4], got);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

/* ---- texts and an interrupt ------------------------------------------------------------------ */

struct until { /* cancelled after so many steps */
    int left;
};

static int is_cancelled(void *ud)
{
    struct until *u = ud;
    return --u->left <= 0;
}

static struct br__gen_sequence text_of(struct br__llm_session *s, struct br__gen_opts *o)
{
    struct br_err err = BR_ERR_INIT;
    struct br__gen_stats stats;
    struct br__gen_sequence q = {.prompt = prompt, .n_prompt = PROMPT};
    o->sample = (struct br__sample_opts)GREEDY;
    o->max_new_tokens = NEW;
    must(br__generate(s, o, &q, 1, &stats, &err), &err);
    return q;
}

START_TEST(test_texts)
{
    if (_i > 0 && test_is_sampled())
        return;
    struct br__llm *m = open_model(models[_i], 1);
    struct br__llm_session *s = open_session(m, 1);
    struct br_err err = BR_ERR_INIT;
    struct br_tokenizer *tok;
    must(br_tokenizer_open(&tok, BRIDGE_TEST_DATA "/hf/qwen3_tiny_chat", &err), &err);
    struct br__gen_sequence whole = text_of(s, &(struct br__gen_opts){.tok = tok});
    ck_assert_uint_eq(whole.n_ids, NEW);
    struct until four = {4};
    struct br__gen_sequence part =
        text_of(s, &(struct br__gen_opts){.tok = tok, .cancelled = is_cancelled, .ud = &four});
    ck_assert_str_eq(part.finish, "cancelled");
    ck_assert_uint_eq(part.n_ids, 4);
    ck_assert_mem_eq(part.ids, whole.ids, 4 * sizeof *whole.ids);
    /* A character of the middle. */
    ck_assert_uint_gt(whole.text.n, 2);
    char stop[8] = {0};
    size_t at = whole.text.n / 2, n = 1;
    while (at > 0 && ((unsigned char)whole.text.p[at] & 0xC0) == 0x80)
        at--;
    while (at + n < whole.text.n && ((unsigned char)whole.text.p[at + n] & 0xC0) == 0x80)
        n++;
    ck_assert_uint_lt(n, sizeof stop);
    memcpy(stop, whole.text.p + at, n);
    const char *const stops[] = {stop};
    struct br__gen_sequence stopped =
        text_of(s, &(struct br__gen_opts){.tok = tok, .stop = stops, .n_stop = 1});
    ck_assert_str_eq(stopped.finish, "stop");
    ck_assert_uint_le(stopped.text.n, at);
    ck_assert_mem_eq(stopped.text.p ? stopped.text.p : "", whole.text.p, stopped.text.n);
    struct br__gen_sequence again = text_of(s, &(struct br__gen_opts){.tok = tok});
    ck_assert_uint_eq(again.text.n, whole.text.n);
    ck_assert_mem_eq(again.text.p, whole.text.p, whole.text.n);
    br__gen_free(&whole, 1);
    br__gen_free(&part, 1);
    br__gen_free(&stopped, 1);
    br__gen_free(&again, 1);
    br_tokenizer_close(tok);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

/* ---- caches ---------------------------------------------------------------------------------- */

#define STEPS 4

/* Greedy steps, and then the logits of a token of ours, which are of what lies in the caches.
 * too_far: a step more was begun when that token comes. */
static void greedy_then(struct br__llm_session *s, int ahead, int too_far, float *logits)
{
    struct br_err err = BR_ERR_INIT;
    struct br__best best;
    const int32_t ours = 17;
    int32_t id = 0;
    size_t vocab = (size_t)br_cfg_i(br__llm_config(br__llm_session_model(s)), BR_CFG_VOCAB_SIZE);
    br__llm_reset(s, 0);
    for (int i = 0; i < STEPS; i++) {
        const struct br__forward_seq f = {0, i ? &id : prompt, i ? 1 : PROMPT};
        const struct br__pick pick = {1, ahead && (too_far || i + 1 < STEPS), &best};
        must(br__llm_forward_best(s, &f, 1, ahead ? &pick : NULL, logits, &err), &err);
        if (!ahead || !best.n) {
            best.ids[0] = 0;
            for (size_t v = 1; v < vocab; v++)
                if (logits[v] > logits[best.ids[0]])
                    best.ids[0] = (int32_t)v;
        }
        id = best.ids[0];
    }
    must(br__llm_forward(s, &(struct br__forward_seq){0, &ours, 1}, 1, logits, &err), &err);
}

START_TEST(test_caches)
{
    struct br__llm *m = open_model(models[_i], 1);
    struct br__llm_session *a = open_session(m, 1), *b = open_session(m, 1);
    size_t vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    float *want = calloc(vocab, sizeof *want), *got = calloc(vocab, sizeof *got);
    greedy_then(a, 0, 0, want);
    greedy_then(b, 1, 0, got);
    ck_assert_mem_eq(got, want, vocab * sizeof *want);
    if (_i == 0) { /* the row of a step too far is overwritten */
        greedy_then(b, 1, 1, got);
        ck_assert_mem_eq(got, want, vocab * sizeof *want);
    }
    /* A new sequence that begins with the token which another was to go on with. */
    struct br_err err = BR_ERR_INIT;
    struct br__best best = {.ids = {0}};
    const struct br__pick on = {1, 1, &best};
    must(br__llm_forward_best(b, &(struct br__forward_seq){0, prompt, 1}, 1, &on, got, &err), &err);
    br__llm_reset(a, 0);
    br__llm_reset(b, 0);
    const struct br__forward_seq first = {0, best.ids, 1};
    must(br__llm_forward(a, &first, 1, want, &err), &err);
    must(br__llm_forward_best(b, &first, 1, &on, got, &err), &err);
    int32_t largest = 0;
    for (size_t v = 1; v < vocab; v++)
        largest = want[v] > want[largest] ? (int32_t)v : largest;
    ck_assert(!goes_ahead(m) || best.n == 1);
    ck_assert(!best.n || best.ids[0] == largest);
    free(want);
    free(got);
    br__llm_session_close(a);
    br__llm_session_close(b);
    br__llm_close(m);
}
END_TEST

/* What is in the state of a delta net is not taken back: the sequence is reset, or goes on as was
 * said. */
START_TEST(test_delta_net)
{
    struct br__llm *m = open_model(models[1], 1);
    struct br__llm_session *s = open_session(m, 1);
    struct br_err err = BR_ERR_INIT;
    struct br__best best;
    const struct br__pick on = {1, 1, &best};
    float *logits = calloc((size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE), sizeof *logits);
    const struct br__forward_seq f = {0, prompt, 1};
    must(br__llm_forward_best(s, &f, 1, &on, logits, &err), &err);
    if (goes_ahead(m)) {
        int32_t other = !best.ids[0];
        ck_assert_uint_eq(best.n, 1);
        ck_assert_int_eq(
            br__llm_forward_best(s, &(struct br__forward_seq){0, &other, 1}, 1, &on, logits, &err),
            BR_E_USAGE);
        ck_assert_msg(strstr(err.msg, "reset it to go on otherwise") != NULL, "%s", err.msg);
    }
    br__llm_reset(s, 0);
    must(br__llm_forward_best(s, &f, 1, &on, logits, &err), &err);
    free(logits);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ahead");
    TCase *t = tcase_create("ahead");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_one, 0, 4);
    tcase_add_loop_test(t, test_several, 0, 2);
    tcase_add_loop_test(t, test_texts, 0, 2);
    tcase_add_loop_test(t, test_caches, 0, 2);
    tcase_add_test(t, test_delta_net);
    suite_add_tcase(s, t);
    return run_suite(s);
}
