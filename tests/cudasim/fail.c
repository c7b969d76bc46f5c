/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* fail.c - a model that runs on the simulated device, and one on two of them, again and again, each
 * time with another call of the vendor's libraries that fails.
 *
 * Each run is a process of its own.  It must end with an error and a text, or with the right result
 * (what failed may not have mattered); never by a signal, which a crash, a leak, a report of the
 * simulator and a rank that waits in vain are.  Of many calls a sample is tried, and of each
 * function the first call and the last; all with BRIDGE_FAIL_ALL=1. */
#include "engine/engine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST 40  /* calls that are all tried: what opens a device */
#define SAMPLE 30 /* of the others */
#define TEXT 8192
#define PATIENCE 100 /* seconds; a rank that waits for one that failed would wait longer */

static const int32_t ids[8] = {1, 5, 2, 7, 3, 6, 4, 8};

/* Tokens that the device chooses, steps ahead of the host.  After a failure those that came before
 * it are the right ones. */
static int choose_tokens(struct br__llm_session *s, float *logits, struct br_err *err)
{
    struct br__best best = {.n = 1, .ids = {1}};
    int rc = BR_OK;
    printf("chosen:");
    br__llm_reset(s, 0);
    for (int i = 0; i < 5 && !rc; i++) {
        const int32_t id = best.ids[0];
        const struct br__pick pick = {1, i < 4, &best};
        rc = br__llm_forward_best(s, &(struct br__forward_seq){0, &id, 1}, 1, &pick, logits, err);
        if (!rc)
            printf(" %d", best.ids[0]);
    }
    printf("\n");
    return rc;
}

/* Logits of a session with a cache, whose graph of one token is walked, recorded and replayed, and
 * a forward and backward pass. */
static int use_model(struct br__llm *m, float *logits, struct br_err *err)
{
    const int32_t *sequences[] = {ids};
    const struct br__trace_opts all = {
        .ids = sequences, .n_batches = 1, .n = 8, .flags = BR__TRACE_GRADS};
    struct br__llm_session *s = NULL;
    struct br__trace t;
    int rc = br__llm_session_open(&s, m, 1, 16, err);
    for (int i = 0; i < 4 && !rc; i++) {
        const struct br__forward_seq feed = {.ids = ids + i, .n = i ? 1 : 8};
        rc = br__llm_forward(s, &feed, 1, logits, err);
    }
    if (!rc)
        rc = choose_tokens(s, logits, err);
    if (!rc && !(rc = br__llm_trace(m, &all, &t, err)))
        br__trace_free(&t);
    br__llm_session_close(s);
    return rc;
}

/* Logits of two ranks, who add up what each has, and tokens. */
static int use_ranks(struct br__llm *m, float *logits, struct br_err *err)
{
    const struct br__forward_seq feed = {.ids = ids, .n = 4};
    struct br__llm_session *s = NULL;
    int rc = br__llm_session_open(&s, m, 1, 16, err);
    if (!rc)
        rc = br__llm_forward(s, &feed, 1, logits, err);
    if (!rc)
        rc = choose_tokens(s, logits, err);
    br__llm_session_close(s);
    return rc;
}

/* What the device can do, then what a model does. */
static int use_device(struct br__llm *m, float *logits, struct br_err *err)
{
    struct br_roofline peaks;
    int rc = br__llm_roofline(m, &peaks, err);
    return rc ? rc : use_model(m, logits, err);
}

static const struct scenario {
    const char *what;
    uint32_t tp;
    int (*use)(struct br__llm *m, float *logits, struct br_err *err);
    int first, sample; /* calls that are all tried, and how many of the others */
} scenarios[] = {{"one device", 1, use_device, FIRST, SAMPLE}, {"two ranks", 2, use_ranks, 1, 12}};

/* Prints a line behind that of the tokens: the sum of the logits, or the error. */
static int run_model(const struct scenario *on)
{
    const struct br__llm_opts o = {.weights = {.hf_model = BRIDGE_TEST_DATA "/hf/qwen3_tied_bf16"},
                                   .device = "cuda",
                                   .tp = on->tp,
                                   .threads = (int)on->tp};
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m = NULL;
    float *logits = NULL;
    double sum = 0;
    int rc = br__llm_open(&m, &o, &err);
    if (!rc) {
        size_t n = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
        logits = calloc(n, sizeof *logits);
        rc = logits ? on->use(m, logits, &err) : BR_E_NOMEM;
        for (size_t i = 0; logits && i < n; i++)
            sum += (double)logits[i];
    }
    if (rc)
        printf("error: %s\n", err.msg);
    else
        printf("sum: %.9g\n", sum);
    free(logits);
    br__llm_close(m);
    return rc != 0;
}

/* What the process printed, and its wait status. */
static int run_child(const struct scenario *on, long fail, char *text)
{
    int ends[2], status = -1;
    size_t n = 0;
    ssize_t got;
    char number[24];
    fflush(NULL);
    if (pipe(ends))
        return -1;
    snprintf(number, sizeof number, "%ld", fail);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv("CUDASIM_FAIL", number, 1);
        if (!fail)
            setenv("CUDASIM_CALLS", "1", 1);
        alarm(PATIENCE);
        exit(run_model(on));
    }
    close(ends[1]);
    while (n < TEXT - 1 && (got = read(ends[0], text + n, TEXT - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = 0;
    close(ends[0]);
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

/* right: two lines, of the tokens and of the sum. */
static int is_right(int status, const char *text, const char *right)
{
    size_t n = strcspn(text, "\n"), first = strcspn(right, "\n") + 1;
    if (!WIFEXITED(status))
        return 0;
    if (WEXITSTATUS(status) == 0)
        return !strncmp(text, right, first + strcspn(right + first, "\n") + 1);
    if (!strncmp(text, "chosen:", 7)) {
        if (strncmp(text, right, n) != 0)
            return 0;
        text += n + 1;
    }
    return !strncmp(text, "error: ", 7) && strlen(text) > 20;
}

/* Is `call` a function's first or last?  lines: NAME FIRST LAST. */
static bool is_an_end(const char *lines, long call)
{
    long first, last;
    for (; lines; lines = strchr(lines, '\n')) {
        lines += *lines == '\n';
        if (sscanf(lines, "%*s %ld %ld", &first, &last) == 2 && (call == first || call == last))
            return true;
    }
    return false;
}

/* 0: each call that fails ends as it should. */
static long all_calls(const struct scenario *on)
{
    char right[TEXT], text[TEXT];
    long calls = 0, tried = 0, wrong = 0;
    int status = run_child(on, 0, right);
    const char *count = strstr(right, "cudasim: "), *all = strstr(right, "chosen:");
    if (status || !count || !all || sscanf(count, "cudasim: %ld calls", &calls) != 1) {
        printf("%s, without a failure: wait status %#x, said:\n%s", on->what, (unsigned)status,
               right);
        return 1;
    }
    long step = getenv("BRIDGE_FAIL_ALL") || calls <= on->sample ? 1 : calls / on->sample;
    for (long i = 1; i <= calls; i++) {
        if (i > on->first && (i - on->first) % step != 0 && !is_an_end(strchr(count, '\n'), i))
            continue;
        status = run_child(on, i, text);
        tried++;
        if (is_right(status, text, all))
            continue;
        wrong++;
        printf("%s, call %ld fails: wait status %#x, said:\n%s\n", on->what, i, (unsigned)status,
               text);
    }
    printf("%s: %ld calls, %ld tried, %ld wrong\n", on->what, calls, tried, wrong);
    return wrong;
}

int main(void)
{
    long wrong = 0;
    setenv("BRIDGE_COMM_TIMEOUT", "600", 1);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        wrong += all_calls(&scenarios[i]);
    return wrong != 0;
}
