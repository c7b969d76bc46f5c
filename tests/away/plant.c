/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plant.c - a model that runs forward, backward and with a cache on the device `away`, linked with
 * one file of the engine in which CMakeLists.txt has planted an access to device memory.  The exit
 * status is 0 if the process behaved as FAULTS says: 1, it died of touching protected memory; 0, it
 * did not (the program without a plant, which shows that the plants cause the faults). */
#include "engine/engine.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULTED 42

/* Only memory that is mapped and protected counts, no stray pointer. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    _exit(info->si_code == SEGV_ACCERR ? FAULTED : 2);
}

static int run_model(struct br_err *err)
{
    int32_t ids[8] = {1, 5, 2, 7, 3, 6, 4, 8};
    const int32_t *sequences[] = {ids};
    const struct br__llm_opts o = {.weights = {.hf_model = BRIDGE_TEST_DATA "/hf/qwen3_tied_bf16"},
                                   .device = "away",
                                   .threads = 2};
    const struct br__trace_opts all = {
        .ids = sequences, .n_batches = 1, .n = 8, .flags = BR__TRACE_GRADS | BR__TRACE_HIDDEN};
    const struct br__forward_seq feed = {.ids = ids, .n = 8};
    struct br__llm *m;
    struct br__llm_session *s = NULL;
    struct br__trace t;
    int rc = br__llm_open(&m, &o, err);
    if (rc)
        return rc;
    float *logits =
        br__calloc((size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE), sizeof(float));
    rc = logits ? br__llm_session_open(&s, m, 1, 16, err) : BR_E_NOMEM;
    if (!rc)
        rc = br__llm_forward(s, &feed, 1, logits, err);
    if (!rc && !(rc = br__llm_trace(m, &all, &t, err)))
        br__trace_free(&t);
    br__free(logits);
    br__llm_session_close(s);
    br__llm_close(m);
    return rc;
}

int main(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct br_err err = BR_ERR_INIT;
        sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO},
                  NULL);
        int rc = run_model(&err);
        if (rc)
            fprintf(stderr, "%s\n", err.msg);
        _exit(rc ? 1 : 0);
    }
    int status = 0, want = FAULTS ? FAULTED : 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == want)
        return 0;
    printf("wait status %#x, expected exit status %d\n", (unsigned)status, want);
    return 1;
}
