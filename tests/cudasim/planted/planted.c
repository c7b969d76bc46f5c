/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* planted.c - runs the faults of bugs.def, each in a process of its own, and reads what the
 * simulator says of them.
 *
 *     planted            all: as planted each is reported at its line, repaired none is
 *     planted NAME       one, without looking: for who wants to see the report */
#include "planted.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef REPAIRED
#define IS_REPAIRED true
#else
#define IS_REPAIRED false
#endif
#define TAKEN 32
#define REPORT 4096

static const struct bug {
    const char *name, *checker, *what;
    int (*run)(void);
} bugs[] = {
#define BUG(name, checker, what) {#name, checker, what, br__planted_##name},
#include "bugs.def"
#undef BUG
};
#define N_BUGS (sizeof bugs / sizeof *bugs)

/* ---- what the faults are written with -------------------------------------------------------- */

static struct {
    void *device[TAKEN], *pinned[TAKEN], *host[TAKEN];
    size_t n_device, n_pinned, n_host;
    cudaStream_t stream[2];
} taken;

void planted_ok(cudaError_t rc, const char *call)
{
    if (rc == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s\n", call, cudaGetErrorString(rc));
    exit(3);
}

static void keep(void **list, size_t *n, void *p)
{
    if (!p || *n == TAKEN) {
        fprintf(stderr, "no room for the test's memory\n");
        exit(3);
    }
    list[(*n)++] = p;
}

cudaStream_t planted_stream(int number)
{
    if (!taken.stream[number])
        OK(cudaStreamCreateWithFlags(&taken.stream[number], cudaStreamNonBlocking));
    return taken.stream[number];
}

void *planted_room(size_t n)
{
    void *p;
    OK(cudaMalloc(&p, n));
    keep(taken.device, &taken.n_device, p);
    return p;
}

void *planted_pinned(size_t n)
{
    void *p;
    OK(cudaMallocHost(&p, n));
    keep(taken.pinned, &taken.n_pinned, p);
    return p;
}

void *planted_upload(const void *host, size_t n)
{
    void *p = planted_room(n), *staging = planted_pinned(n);
    memcpy(staging, host, n);
    OK(cudaMemcpyAsync(p, staging, n, cudaMemcpyHostToDevice, planted_stream(0)));
    return p;
}

float *planted_floats(size_t n)
{
    float *host = malloc(n * sizeof *host);
    keep(taken.host, &taken.n_host, host);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)(i % 64);
    return planted_upload(host, n * sizeof *host);
}

const void *planted_download(const void *device, size_t n)
{
    void *staging = planted_pinned(n);
    OK(cudaMemcpyAsync(staging, device, n, cudaMemcpyDeviceToHost, planted_stream(0)));
    OK(cudaStreamSynchronize(planted_stream(0)));
    return staging;
}

int planted_differs(const float *device, const float *expected, size_t n)
{
    return memcmp(planted_download(device, n * sizeof *expected), expected, n * sizeof *expected) !=
           0;
}

static void give_back(void)
{
    for (int i = 0; i < 2; i++)
        if (taken.stream[i])
            OK(cudaStreamDestroy(taken.stream[i]));
    OK(cudaSetDevice(0));
    for (size_t i = 0; i < taken.n_device; i++)
        OK(cudaFree(taken.device[i]));
    for (size_t i = 0; i < taken.n_pinned; i++)
        OK(cudaFreeHost(taken.pinned[i]));
    for (size_t i = 0; i < taken.n_host; i++)
        free(taken.host[i]);
}

static int run(const struct bug *b)
{
    int differs = b->run();
    give_back();
    return differs;
}

/* ---- lines that carry a fault's name --------------------------------------------------------- */

/* "kernels.cu:12" of the line that is marked with the name. */
static bool find_line(const char *file, const char *name, char *place, size_t size)
{
    char path[512], line[512];
    int number = 0;
    bool found = false;
    snprintf(path, sizeof path, "%s/%s", PLANTED_DIR, file);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f)) {
        number++;
        const char *mark = strstr(line, "/* planted: ");
        size_t n = strlen(name);
        for (const char *at = mark; at && (at = strstr(at, name)) != NULL; at += n)
            found = found || (at[-1] == ' ' && at[n] == ' ');
    }
    fclose(f);
    snprintf(place, size, "%s:%d", file, number);
    return found;
}

static bool names_line(const char *report, const char *place)
{
    size_t n = strlen(place);
    for (const char *at = report; (at = strstr(at, place)) != NULL; at += n)
        if (at[n] < '0' || at[n] > '9')
            return true;
    return false;
}

/* ---- the test -------------------------------------------------------------------------------- */

/* Run it in a child; what it printed is in `report`. */
static int run_child(const struct bug *b, char *report)
{
    int ends[2], status = -1;
    size_t n = 0;
    ssize_t got;
    fflush(NULL);
    if (pipe(ends))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        exit(run(b));
    }
    close(ends[1]);
    while (n < REPORT - 1 && (got = read(ends[0], report + n, REPORT - 1 - n)) > 0)
        n += (size_t)got;
    report[n] = 0;
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return status;
}

static bool is_right(const struct bug *b, int status, const char *report)
{
    char place[100], checker[40];
    bool exited = WIFEXITED(status);
    if (IS_REPAIRED)
        return exited && WEXITSTATUS(status) == 0 && !*report;
    if (!strcmp(b->checker, "result"))
        return exited && WEXITSTATUS(status) == 1 && !*report;
    snprintf(checker, sizeof checker, "cudasim: %s: ", b->checker);
    if (!find_line("kernels.cu", b->name, place, sizeof place) &&
        !find_line("calls.c", b->name, place, sizeof place))
        return false;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
           !strncmp(report, checker, strlen(checker)) && names_line(report, place);
}

int main(int argc, char **argv)
{
    int wrong = 0;
    setenv("CUDASIM_DEVICES", "2", 0);
    setenv("CUDASIM_PATIENCE", "1", 0);
    for (size_t i = 0; i < N_BUGS; i++) {
        char report[REPORT] = "";
        if (argc > 1) {
            if (!strcmp(argv[1], bugs[i].name))
                return run(&bugs[i]);
            continue;
        }
        int status = run_child(&bugs[i], report);
        if (is_right(&bugs[i], status, report))
            continue;
        wrong++;
        printf("%s (%s): %s, wait status %#x, said:\n%s\n", bugs[i].name, bugs[i].what,
               IS_REPAIRED ? "expected nothing" : bugs[i].checker, (unsigned)status, report);
    }
    printf("%zu faults, %d not as they should be\n", N_BUGS, wrong);
    return wrong != 0 || argc > 1;
}
