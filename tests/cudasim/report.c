/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* report.c - what the simulator prints, and where in the source an address of the program lies. */
#include "sim.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

long sim_setting(const char *name, long otherwise)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return otherwise;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || *end) {
        fprintf(stderr, "cudasim: %s=%s is no number\n", name, text);
        abort();
    }
    return v;
}

/* The text after the last slash. */
static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Inlined functions give one line each, from the inside out; the simulator's own header is not
 * where a fault is. */
static void read_places(FILE *f, char *out, size_t size)
{
    char line[1024];
    size_t used = 0;
    while (fgets(line, sizeof line, f)) {
        char *end = strpbrk(line, " \n");
        if (end)
            *end = 0;
        const char *place = base_of(line);
        if (!strncmp(place, "words.h:", 8) || !strncmp(place, "tuple:", 6))
            continue;
        int n = snprintf(out + used, size - used, "%s%s", used ? " in " : "", place);
        if (n < 0 || used + (size_t)n >= size)
            break;
        used += (size_t)n;
    }
}

const char *sim_place(const void *pc)
{
    static char texts[4][400]; /* those of one report */
    static unsigned next;
    char *out = texts[next++ % 4], command[600];
    Dl_info info;
    snprintf(out, sizeof texts[0], "%p", pc);
    if (!pc || !dladdr(pc, &info))
        return out;
    const char *file = access(info.dli_fname, R_OK) ? "/proc/self/exe" : info.dli_fname;
    char path[400];
    ssize_t n = readlink(file, path, sizeof path - 1);
    if (n > 0 && !strcmp(file, "/proc/self/exe")) {
        path[n] = 0;
        file = path;
    }
    /* A return address is behind the call. */
    snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%zx 2>/dev/null", file,
             (size_t)((const char *)pc - (const char *)info.dli_fbase) - 1);
    FILE *f = popen(command, "r");
    if (f) {
        read_places(f, out, sizeof texts[0]);
        pclose(f);
    }
    return out;
}

void sim_report(const char *checker, const void *pc, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "cudasim: %s: ", checker);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n    at %s", sim_place(pc));
    if (sim_current)
        fprintf(stderr, "\n    in %s", sim_who());
    fprintf(stderr, "\n");
    abort();
}
