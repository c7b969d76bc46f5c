/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* err.c - the error record: fail, wrap, and the texts of the status codes. */
#include "base.h"

#include <stdlib.h>
#include <string.h>

#define STR_(x) #x
#define STR(x) STR_(x)

/* Replace err->msg by `text`.  What does not fit ends in "...", never in half a UTF-8 sequence. */
static void set_msg(struct br_err *err, const char *text)
{
    size_t n = strlen(text), room = sizeof err->msg - 1;
    if (n <= room) {
        memcpy(err->msg, text, n + 1);
        return;
    }
    n = room - 3;
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    memcpy(err->msg, text, n);
    memcpy(err->msg + n, "...", 4);
}

int br_fail_at(struct br_err *err, int code, const char *where, const char *fmt, ...)
{
    if (!err)
        return code;
    /* Formatted aside: an argument may be err->msg itself. */
    char text[sizeof err->msg + 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    set_msg(err, text);
    err->code = code;
    snprintf(err->where, sizeof err->where, "%s", where);
    return code;
}

void br_wrap(struct br_err *err, const char *fmt, ...)
{
    if (!err || !err->code)
        return;
    char text[2 * sizeof err->msg + 2];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof err->msg, fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : BR__MIN((size_t)n, sizeof err->msg - 1);
    snprintf(text + at, sizeof text - at, ": %s", err->msg);
    set_msg(err, text);
}

const char *br_status_name(int code)
{
    switch (code) {
#define BR_X(name, value, text)                                                                    \
    case value:                                                                                    \
        return #name;
        BR_STATUS_MAP(BR_X)
#undef BR_X
    default:
        return "E_UNKNOWN";
    }
}

const char *br_status_text(int code)
{
    switch (code) {
#define BR_X(name, value, text)                                                                    \
    case value:                                                                                    \
        return text;
        BR_STATUS_MAP(BR_X)
#undef BR_X
    default:
        return "unknown status";
    }
}

const char *br_version(void)
{
    return STR(BR_VERSION_MAJOR) "." STR(BR_VERSION_MINOR) "." STR(BR_VERSION_PATCH);
}

_Noreturn void br__bug(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "bridge: bug at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
