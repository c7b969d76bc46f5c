/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* path.c - paths as texts, and where they lead. */
#include "base_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *br__path_join(struct br__arena *a, const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == '\0')
        return br__arena_strdup(a, name);
    return br__arena_printf(a, "%s%s%s", dir, br__ends(dir, "/") ? "" : "/", name);
}

/* Append one component to the canonical path in out, resolving a link if it is one; an errno. */
static int path_step(char out[PATH_MAX], const char *name, size_t n)
{
    char next[PATH_MAX], real[PATH_MAX];
    if (n == 0 || (n == 1 && name[0] == '.'))
        return 0;
    if (n == 2 && name[0] == '.' && name[1] == '.') {
        char *slash = strrchr(out, '/');
        if (slash) /* the root's parent is the root */
            *slash = '\0';
        return 0;
    }
    if (n > NAME_MAX)
        return ENAMETOOLONG;
    int len = snprintf(next, sizeof next, "%s/%.*s", out, (int)n, name);
    if (len < 0 || (size_t)len >= sizeof next)
        return ENAMETOOLONG;
    const char *to = realpath(next, real);
    if (!to && errno != ENOENT)
        return errno;
    memcpy(out, to ? to : next, strlen(to ? to : next) + 1);
    if (strcmp(out, "/") == 0)
        out[0] = '\0';
    return 0;
}

int br__path_abs(struct br__arena *a, const char *path, char **abs, struct br_err *err)
{
    /* `out` never ends in a slash, so the root is the empty string. */
    char out[PATH_MAX] = "";
    *abs = NULL;
    if (path[0] != '/' && !getcwd(out, sizeof out))
        return br_fail(err, BR_E_IO,
                       "cannot tell where '%s' is: the working directory was removed or cannot be "
                       "reached; change into another",
                       path);
    if (strcmp(out, "/") == 0)
        out[0] = '\0';
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        int e = path_step(out, p, n);
        if (e) /* a path that is too long would leave no room for the reason */
            return br_fail(err, BR_E_IO, "cannot resolve the path '%.200s%s': %s", path,
                           strlen(path) > 200 ? "..." : "", strerror(e));
        p += n + (p[n] == '/');
    }
    *abs = br__arena_strdup(a, out[0] ? out : "/");
    return *abs ? BR_OK : br__nomem(err, "for '%s'", path);
}

int br__path_inside(struct br__arena *a, const char *dir, const char *path, int *inside,
                    struct br_err *err)
{
    char *d, *p;
    int rc = br__path_abs(a, dir, &d, err);
    if (!rc)
        rc = br__path_abs(a, path, &p, err);
    size_t n = rc ? 0 : strlen(d);
    *inside = !rc && !strncmp(d, p, n) && (n == 1 || p[n] == '/' || !p[n]);
    return rc;
}

int br__path_overlap(struct br__arena *a, const char *source, const char *dest, struct br_err *err)
{
    int in, holds = 0;
    int rc = br__path_inside(a, source, dest, &in, err);
    if (!rc && !in)
        rc = br__path_inside(a, dest, source, &holds, err);
    if (!rc && (in || holds))
        rc = br_fail(err, BR_E_USAGE,
                     "source '%s' and destination '%s' overlap; choose a destination outside",
                     source, dest);
    return rc;
}

const char *br__path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
