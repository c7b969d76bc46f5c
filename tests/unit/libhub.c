/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
#include "libhub.h"
#include "librun.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256];
static pid_t server;

const char *hub_path(const char *fmt, ...)
{
    static char ring[16][700];
    static int at;
    char *out = ring[at = (at + 1) % 16];
    va_list ap;
    int n = snprintf(out, sizeof ring[0], "%s/", dir);
    va_start(ap, fmt);
    vsnprintf(out + n, sizeof ring[0] - (size_t)n, fmt, ap);
    va_end(ap);
    return out;
}

void hub_setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-hub");
    ck_assert_int_eq(br__mkdirs(hub_path("root"), NULL), BR_OK);
    unsetenv("HF_HUB_OFFLINE");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_TOKEN");
    unsetenv("http_proxy");
    setenv("HF_HOME", hub_path("home"), 1);
}

void hub_teardown(void)
{
    hub_stop();
    ck_assert_int_eq(br__remove_tree(dir, NULL), BR_OK);
}

static void put(const char *path, const void *p, size_t n)
{
    const char *at = hub_path("root/%s", path);
    char *parent = strdup(at);
    *strrchr(parent, '/') = 0;
    ck_assert_int_eq(br__mkdirs(parent, NULL), BR_OK);
    free(parent);
    ck_assert_int_eq(br__write_file(at, p, n, 0, NULL), BR_OK);
}

void hub_put(const char *path, size_t n, unsigned seed)
{
    unsigned char *p = malloc(n + 8);
    uint64_t x = seed * UINT64_C(2654435761) + 1;
    for (size_t i = 0; i < n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + i, &x, 8);
    }
    put(path, p, n);
    free(p);
}

void hub_put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

void hub_start(const char *option, ...)
{
    const char *argv[24] = {getenv("BRIDGE_TEST_HUB"), hub_path("root"), hub_path("log"),
                            hub_path("ports"),         "--seconds",      "1200"};
    int n = 6;
    va_list ap;
    va_start(ap, option);
    for (const char *o = option; o && n < 23; o = va_arg(ap, const char *))
        argv[n++] = o;
    va_end(ap);
    hub_stop();
    unlink(hub_path("ports"));
    unlink(hub_path("log"));
    ck_assert_msg(argv[0] != NULL, "BRIDGE_TEST_HUB is not set");
    server = fork();
    if (server == 0) {
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    for (int i = 0; i < 12000 && access(hub_path("ports"), R_OK); i++)
        usleep(5000);
    char *text = NULL, endpoint[64];
    ck_assert_int_eq(br__read_text(hub_path("ports"), 64, &text, NULL, NULL), BR_OK);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", (int)strtol(text, NULL, 10));
    setenv("HF_ENDPOINT", endpoint, 1);
    br__free(text);
}

void hub_stop(void)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

size_t hub_requests(const char *origin, const char *text, uint64_t *bytes)
{
    char *log = NULL, *save = NULL;
    size_t n = 0;
    *bytes = 0;
    int fd = open(hub_path("log"), O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0 && !flock(fd, LOCK_EX),
                  "no log"); /* every reply has its line in the log now */
    close(fd);
    if (br__read_text(hub_path("log"), 64u << 20, &log, NULL, NULL))
        return 0;
    for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned long long sent = 0;
        if (strncmp(line, origin, strlen(origin)) != 0 || !strstr(line, text))
            continue;
        ck_assert_int_eq(sscanf(line, "%*s %*s %*s %*s %*s %llu", &sent), 1);
        *bytes += sent;
        n++;
    }
    br__free(log);
    return n;
}

char *hub_sha256(const char *path)
{
    static char hex[65];
    struct br__sha256 *h = br__sha256_new();
    char *text = NULL;
    size_t n = 0;
    ck_assert_msg(br__read_text(path, 256u << 20, &text, &n, NULL) == BR_OK, "%s", path);
    br__sha256_update(h, text, n);
    br__sha256_hex(h, hex);
    br__sha256_free(h);
    br__free(text);
    return hex;
}
