/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* jinja_fuzz.c - libFuzzer target: chat templates.
 *
 * The input is a template, run with a small conversation under tight limits.  What runs prints
 * valid UTF-8 without NUL, what does not says why and prints nothing; both the same way twice.
 * Noting what the assistant says changes no text, unless it is refused. */
#include "../../core/text/jinja/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct br__jj_limits limits = {20000, 4u << 20, 1u << 18};
static const char variables[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hi \\u00e9\"}, {\"role\": \"assistant\", "
    "\"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": [1, 2.5, null, true]}}]}], "
    "\"tools\": null, \"l\": [3, 1, 2], \"s\": \"a,b \\n\", \"f\": 1e-7, \"i\": -7, "
    "\"big\": 123456789012345678901234567890}";

static int run(const struct br__jj_template *t, const br__json *vars, int spans, char **text,
               size_t *n, struct br_err *err)
{
    struct br__jj j;
    size_t at = 0;

    br__jj_begin(&j, t, &limits, err);
    for (const br__json *v = br__json_first(vars); v; v = br__json_next(v))
        br__jj_define(&j, br__json_key(v), br__jv_from_json(&j, v));
    j.spans_wanted = spans;
    int rc = br__jj_run(&j, text, n);
    for (size_t i = 0; i < j.n_span && !rc; at = j.span[i++].end)
        if (j.span[i].begin < at || j.span[i].end < j.span[i].begin || j.span[i].end > *n)
            abort();
    br__jj_end(&j);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br_err err = BR_ERR_INIT, again = BR_ERR_INIT;
    struct br__jj_template *t;
    br__json *vars;
    char *text, *second;
    size_t n, n_second;

    if (br__jj_compile(&t, (const char *)data, size, &err)) {
        if (!err.msg[0] || t)
            abort();
        return 0;
    }
    if (br__json_parse(&vars, variables, strlen(variables), NULL))
        abort();
    int rc = run(t, vars, 0, &text, &n, &err),
        rc_second = run(t, vars, 0, &second, &n_second, &again);
    if (rc != rc_second || strcmp(err.msg, again.msg) != 0)
        abort();
    if (rc ? text || !err.msg[0] : !br__utf8_valid(text, n) || strlen(text) != n)
        abort();
    if (!rc && (n != n_second || memcmp(text, second, n) != 0))
        abort();
    br__free(second);
    int rc_spans = run(t, vars, 1, &second, &n_second, &again);
    if (!rc_spans && (rc || n != n_second || memcmp(text, second, n) != 0))
        abort();
    br__free(text);
    br__free(second);
    br__json_free(vars);
    br__jj_template_free(t);
    return 0;
}
