/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* base.h - status codes and errors: the one convention that every floor, plugin
 * and kernel of bridge shares.
 *
 * Functions return 0 (BR_OK) or a positive enum br_status and take a caller-owned
 * `struct br_err *` last; NULL is allowed.  The frame that detects a problem calls
 * br_fail(), frames that know the context call br_wrap() on the way up.  The library
 * never prints and never exits. */
#ifndef BRIDGE_BASE_H
#define BRIDGE_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
static_assert(sizeof(void *) == 8, "bridge needs a 64-bit machine");
#else
_Static_assert(sizeof(void *) == 8, "bridge needs a 64-bit machine");
#endif

#define BR_VERSION_MAJOR 1
#define BR_VERSION_MINOR 0
#define BR_VERSION_PATCH 0
#define BR_VERSION (BR_VERSION_MAJOR * 10000 + BR_VERSION_MINOR * 100 + BR_VERSION_PATCH)

#if defined(__GNUC__)
#define BR_API __attribute__((visibility("default")))
#define BR_MUST_CHECK __attribute__((warn_unused_result))
#define BR_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#else
#define BR_API
#define BR_MUST_CHECK
#define BR_PRINTF(fmt_at, args_at)
#endif

#define BR_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))

/* X(name, exit code, text).  The values are the exit codes of the program; append only. */
#define BR_STATUS_MAP(X)                                                                           \
    X(OK, 0, "ok")                                                                                 \
    X(E_DIFF, 1, "the two sides differ")                                                           \
    X(E_USAGE, 2, "wrong usage")                                                                   \
    X(E_IO, 3, "input/output error")                                                               \
    X(E_FORMAT, 4, "malformed file")                                                               \
    X(E_CONFIG, 5, "bad model configuration")                                                      \
    X(E_ARCH, 6, "unsupported architecture")                                                       \
    X(E_PLUGIN, 7, "plugin refused")                                                               \
    X(E_PLAN, 8, "tensors do not fit the model")                                                   \
    X(E_EXISTS, 9, "destination exists")                                                           \
    X(E_NOSPC, 10, "not enough space")                                                             \
    X(E_NOTFOUND, 11, "not found")                                                                 \
    X(E_UNSUPPORTED, 12, "not supported")                                                          \
    X(E_NOMEM, 13, "out of memory")                                                                \
    X(E_BUSY, 14, "in use by another process")                                                     \
    X(E_COMM, 15, "another rank failed")                                                           \
    X(E_NUMERIC, 16, "numbers are not finite")                                                     \
    X(E_NETWORK, 17, "the network or the hub failed")                                              \
    X(E_ACCESS, 18, "access denied")                                                               \
    X(E_STOPPED, 19, "stopped by a signal")                                                        \
    X(E_NOFIT, 20, "it does not fit into memory")

enum br_status {
#define BR_X(name, value, text) BR_##name = value,
    BR_STATUS_MAP(BR_X)
#undef BR_X
};

/* One error: code and full text.  Lives on the caller's stack; nothing to free.
 * Start from BR_ERR_INIT (all zero). */
struct br_err {
    int code;
    uint32_t reserved;
    char msg[1000];
    char where[120]; /* function that detected it, for -v */
};
#define BR_ERR_INIT                                                                                \
    {                                                                                              \
        0, 0, {0},                                                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Record `code` and the text, and return `code`.  Text: lower case, no full stop, the
 * subject quoted, then got, expected and the next step.  err may be NULL. */
BR_API int br_fail_at(struct br_err *err, int code, const char *where, const char *fmt, ...)
    BR_PRINTF(4, 5);
#define br_fail(err, code, ...) br_fail_at((err), (code), __func__, __VA_ARGS__)

/* Put "context: " before the text that err already holds. */
BR_API void br_wrap(struct br_err *err, const char *fmt, ...) BR_PRINTF(2, 3);

/* Name ("E_FORMAT") and text of a status; "E_UNKNOWN" for a value outside the map. */
BR_API const char *br_status_name(int code);
BR_API const char *br_status_text(int code);

/* "1.0.0" */
BR_API const char *br_version(void);

#ifdef __cplusplus
}
#endif
#endif
