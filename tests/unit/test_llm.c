/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_llm.c - <bridge/llm.h> as a server uses it, with the public headers alone: two models at
 * once, sequences that come and go, and the probability of each token against that of one pass. */
#include "librun.h"
#include <bridge/llm.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HF BRIDGE_TEST_DATA "/hf/"
#define SEQUENCES 8
#define ROOM 3 /* at once */
#define LONGEST 40
#define TOLERANCE 3e-4 /* logits through caches and in batches are sums in another order */

/* ---- a server -------------------------------------------------------------------------------- */

struct served {
    uint64_t id;
    int32_t ids[LONGEST];
    double logprob[LONGEST]; /* of those from n_prompt on */
    size_t n_prompt, n;
    int running, finish;
};

struct server {
    const char *model;
    struct br_llm *m;
    struct served seqs[SEQUENCES];
    struct br_err err;
    int rc;
};

static struct br_llm_opts options(const char *dir)
{
    struct br_llm_opts o = BR_LLM_INIT;
    o.hf_model = dir;
    o.device = test_device();
    o.dtype = BR_F32;
    o.threads = 2;
    return o;
}

static int add(struct server *s, struct br_gen *g, int k)
{
    struct served *q = &s->seqs[k];
    struct br_gen_request r = BR_GEN_INIT;
    q->n_prompt = q->n = 3 + (size_t)k * 2;
    for (size_t i = 0; i < q->n; i++)
        q->ids[i] = (int32_t)((k * 31 + (int)i * 7 + 3) % 40);
    r.prompt = q->ids;
    r.n_prompt = q->n_prompt;
    r.max_new_tokens = 4 + k;
    r.ignore_eos = 1;
    r.logprobs = 1;
    r.temperature = k % 2 ? 0.9 : 0;
    r.top_k = k % 4 == 3 ? 5 : 0; /* what is cut off does not change the probability */
    r.seed = 7;
    r.number = (uint64_t)k;
    q->running = 1;
    return br_gen_add(g, &r, &q->id, &s->err);
}

static int take(struct server *s, const struct br_gen_token *t)
{
    for (int k = 0; k < SEQUENCES; k++) {
        struct served *q = &s->seqs[k];
        if (!q->running || q->id != t->sequence)
            continue;
        q->logprob[q->n] = t->logprob;
        q->ids[q->n++] = t->id;
        q->finish = t->finish;
        q->running = t->finish == BR_FINISH_NOT;
        return 0;
    }
    return br_fail(&s->err, BR_E_FORMAT, "a token of sequence %d, which nobody runs",
                   (int)t->sequence);
}

/* Sequence 2 is cancelled after two tokens, sequence 5 before its first. */
static void cancel(struct server *s, struct br_gen *g)
{
    if (s->seqs[2].running && s->seqs[2].n == s->seqs[2].n_prompt + 2) {
        br_gen_cancel(g, s->seqs[2].id);
        s->seqs[2].running = 0;
    }
    if (s->seqs[5].running && s->seqs[5].n == s->seqs[5].n_prompt) {
        br_gen_cancel(g, s->seqs[5].id);
        s->seqs[5].running = 0;
    }
}

/* Add a sequence when there is room, at most one per step, until all are done. */
static void *serve(void *arg)
{
    struct server *s = arg;
    struct br_gen *g;
    struct br_gen_token tokens[ROOM];
    size_t n = 1;
    s->rc = br_gen_begin(&g, s->m, ROOM, LONGEST, &s->err);
    for (int k = 0; !s->rc && (n || k < SEQUENCES);) {
        if (k < SEQUENCES && br_gen_room(g))
            s->rc = add(s, g, k++);
        if (!s->rc)
            cancel(s, g);
        if (!s->rc)
            s->rc = br_gen_step(g, tokens, ROOM, &n, &s->err);
        for (size_t i = 0; i < n && !s->rc; i++)
            s->rc = take(s, &tokens[i]);
    }
    br_gen_end(g);
    return NULL;
}

static void check_sequence(const struct server *s, int k)
{
    const struct served *q = &s->seqs[k];
    double logprob[LONGEST];
    struct br_err err = BR_ERR_INIT;
    size_t want = k == 2 ? 2 : k == 5 ? 0 : (size_t)(4 + k);
    ck_assert_uint_eq(q->n - q->n_prompt, want);
    ck_assert_int_eq(q->finish, k == 2 || k == 5 ? BR_FINISH_NOT : BR_FINISH_LENGTH);
    ck_assert_msg(!br_llm_score(s->m, q->ids, q->n, logprob, &err), "%s", err.msg);
    for (size_t i = q->n_prompt; i < q->n; i++)
        ck_assert_msg(fabs(logprob[i] - q->logprob[i]) <= TOLERANCE,
                      "%s: sequence %d, token %zu: log p %g, scored as %g", s->model, k, i,
                      q->logprob[i], logprob[i]);
}

/* Each model on a thread of its own, the first one scored by a third at the same time. */
START_TEST(test_server)
{
    struct server servers[] = {{.model = HF "qwen3_tied_bf16"}, {.model = HF "qwen3_moe_bf16"}};
    pthread_t threads[2];
    struct br_err err = BR_ERR_INIT;
    for (int i = 0; i < 2; i++) {
        const struct br_llm_opts o = options(servers[i].model);
        ck_assert_msg(!br_llm_open(&servers[i].m, &o, &err), "%s", err.msg);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, serve, &servers[i]), 0);
    const int32_t ids[] = {5, 6, 7, 8, 9};
    double first[5], again[5];
    for (int i = 0; i < 4; i++) {
        ck_assert_msg(!br_llm_score(servers[0].m, ids, 5, i ? again : first, &err), "%s", err.msg);
        ck_assert(isnan(first[0]) && first[4] < 0);
        ck_assert(i == 0 || memcmp(first + 1, again + 1, 4 * sizeof *first) == 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(!servers[i].rc, "%s: %s", servers[i].model, servers[i].err.msg);
        for (int k = 0; k < SEQUENCES; k++)
            check_sequence(&servers[i], k);
        br_llm_close(servers[i].m);
    }
}
END_TEST

/* ---- the rest of the door -------------------------------------------------------------------- */

/* Rows of logits are those that the greedy sequence follows. */
START_TEST(test_logits)
{
    struct br_llm *m;
    struct br_gen *g;
    struct br_gen_request r = BR_GEN_INIT;
    struct br_gen_token t;
    struct br_err err = BR_ERR_INIT;
    const struct br_llm_opts o = options(HF "qwen3_tied_bf16");
    const int32_t prompt[] = {5, 6, 7};
    uint64_t id;
    size_t n;
    ck_assert_msg(!br_llm_open(&m, &o, &err), "%s", err.msg);
    size_t vocab = (size_t)br_llm_vocab_size(m);
    float *logits = malloc(3 * vocab * sizeof *logits);
    ck_assert_msg(!br_llm_logits(m, prompt, 3, logits, &err), "%s", err.msg);
    ck_assert_msg(!br_gen_begin(&g, m, 1, 8, &err), "%s", err.msg);
    r.prompt = prompt;
    r.n_prompt = 3;
    ck_assert_msg(!br_gen_add(g, &r, &id, &err), "%s", err.msg);
    ck_assert_msg(!br_gen_step(g, &t, 1, &n, &err), "%s", err.msg);
    ck_assert_uint_eq(n, 1);
    ck_assert(isnan(t.logprob));
    for (size_t v = 0; v < vocab; v++)
        ck_assert(logits[2 * vocab + v] <= logits[2 * vocab + (size_t)t.id] + TOLERANCE);
    free(logits);
    br_gen_end(g);
    br_llm_close(m);
}
END_TEST

/* An id of `eos` ends a sequence; without one, the capacity does. */
START_TEST(test_finish)
{
    struct br_llm *m;
    struct br_gen *g;
    struct br_gen_token t;
    struct br_err err = BR_ERR_INIT;
    const struct br_llm_opts o = options(HF "qwen3_tied_bf16");
    const int32_t prompt[] = {5, 6, 7};
    int32_t first = 0;
    uint64_t id;
    size_t n;
    ck_assert_msg(!br_llm_open(&m, &o, &err), "%s", err.msg);
    ck_assert_msg(!br_gen_begin(&g, m, 1, 8, &err), "%s", err.msg);
    for (int stop = 0; stop < 2; stop++) {
        struct br_gen_request r = BR_GEN_INIT;
        r.prompt = prompt;
        r.n_prompt = 3;
        r.ignore_eos = !stop;
        r.eos = &first;
        r.n_eos = 1;
        int steps = 0;
        ck_assert_msg(!br_gen_add(g, &r, &id, &err), "%s", err.msg);
        ck_assert_uint_eq(br_gen_room(g), 0);
        do {
            ck_assert_msg(!br_gen_step(g, &t, 1, &n, &err), "%s", err.msg);
            ck_assert_uint_eq(n, 1);
            first = steps++ == 0 ? t.id : first;
        } while (t.finish == BR_FINISH_NOT);
        ck_assert_int_eq(t.finish, stop ? BR_FINISH_EOS : BR_FINISH_LENGTH);
        ck_assert_int_eq(steps, stop ? 1 : 6); /* 8 tokens, and one more that need not be read */
        ck_assert_uint_eq(br_gen_room(g), 1);
    }
    br_gen_end(g);
    br_llm_close(m);
}
END_TEST

START_TEST(test_refusals)
{
    struct br_llm *m;
    struct br_gen *g;
    struct br_err err = BR_ERR_INIT;
    struct br_llm_opts o = options(HF "qwen3_tied_bf16");
    const int32_t good[] = {1}, bad[] = {1 << 20};
    uint64_t id;
    size_t n;
    o.dtype = BR_F16;
    ck_assert_int_eq(br_llm_open(&m, &o, &err), BR_E_USAGE);
    ck_assert_ptr_null(m);
    o.dtype = BR_F32;
    ck_assert_msg(!br_llm_open(&m, &o, &err), "%s", err.msg);
    ck_assert_int_eq(br_gen_begin(&g, m, 1, (size_t)br_llm_max_tokens(m) + 1, &err), BR_E_USAGE);
    ck_assert_ptr_null(g);
    ck_assert_msg(!br_gen_begin(&g, m, 1, 4, &err), "%s", err.msg);
    struct br_gen_request r = BR_GEN_INIT;
    r.prompt = bad;
    ck_assert_int_eq(br_gen_add(g, &r, &id, &err), BR_E_USAGE);
    r.n_prompt = 1;
    ck_assert_int_eq(br_gen_add(g, &r, &id, &err), BR_E_USAGE);
    ck_assert_msg(strstr(err.msg, "token id 1048576") != NULL, "%s", err.msg);
    r.prompt = good;
    r.top_p = 2;
    ck_assert_int_eq(br_gen_add(g, &r, &id, &err), BR_E_USAGE);
    r.top_p = 0;
    ck_assert_msg(!br_gen_add(g, &r, &id, &err), "%s", err.msg);
    ck_assert_int_eq(br_gen_add(g, &r, &id, &err), BR_E_BUSY);
    ck_assert_int_eq(br_gen_step(g, NULL, 0, &n, &err), BR_E_USAGE);
    br_gen_cancel(g, id);
    br_gen_cancel(g, id);
    ck_assert_uint_eq(br_gen_room(g), 1);
    ck_assert_msg(!br_gen_step(g, &(struct br_gen_token){0}, 1, &n, &err), "%s", err.msg);
    ck_assert_uint_eq(n, 0);
    br_gen_end(g);
    br_llm_close(m);
    br_gen_end(NULL);
    br_llm_close(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm");
    TCase *c = tcase_create("llm");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_server);
    tcase_add_test(c, test_logits);
    tcase_add_test(c, test_finish);
    tcase_add_test(c, test_refusals);
    suite_add_tcase(s, c);
    return run_suite(s);
}
