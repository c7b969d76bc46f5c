/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_repair.c - repair: write a training checkpoint again with sound optimizer state. */
#include "cli.h"

#include <inttypes.h>

static const char *form_name(int form)
{
    switch (form) {
    case BR__OPTIM_FULLY:
        return "fully_reshardable";
    case BR__OPTIM_DP:
        return "dp_reshardable";
    case BR__OPTIM_PLAIN:
        return "no distributed optimizer";
    default:
        return "none";
    }
}

static int print_json(const struct br__repair_result *r, struct br__report *report, double seconds,
                      struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_bool(&j, "needed", r->needed);
    br__js_str(&j, "from_form", form_name(r->from_form));
    br__js_str(&j, "path", r->needed ? r->path : NULL);
    br__js_u64(&j, "parameters", r->n_params);
    br__js_u64(&j, "repaired", r->n_repaired);
    br__js_u64(&j, "main_elements_from_weights", r->lost_main);
    br__js_u64(&j, "moment_elements_zero", r->lost_moments);
    br__js_u64(&j, "tensors", r->n_tensors);
    br__js_u64(&j, "bytes_written", r->bytes);
    br__js_num(&j, "seconds", seconds);
    br__report_json(report, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void print_text(const struct br__repair_result *r, double seconds)
{
    char bytes[32];

    if (!r->needed) {
        br__say(stdout, "nothing to repair: %zu parameters, %s; nothing was written", r->n_params,
                form_name(r->from_form));
        return;
    }
    if (r->from_form == BR__OPTIM_DP)
        br__say(stdout, "%zu parameters: dp_reshardable -> fully_reshardable", r->n_params);
    if (r->n_repaired)
        br__say(stdout, "%zu of %zu parameters had shifted optimizer state", r->n_repaired,
                r->n_params);
    if (r->lost_main || r->lost_moments)
        br__say(stdout,
                "lost: %" PRIu64 " elements of main parameters (now the weights'), %" PRIu64
                " of moments (now 0)",
                r->lost_main, r->lost_moments);
    br__say(stdout, "wrote %" PRIu64 " tensors (%s) to %s in %.2f s", r->n_tensors,
            br__human_bytes(r->bytes, bytes), r->path, seconds);
}

int br__cmd_repair(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct br__repair_result res;
    double began = br__now();

    br__report_init(&r, c);
    const struct br__repair_opts o = {.from = c->pos[0],
                                      .to = BR__TEXT(c, OUTPUT_DIR),
                                      .threads = (int)BR__INT(c, THREADS),
                                      .no_sync = BR__FLAG(c, NO_SYNC),
                                      .no_verify = BR__FLAG(c, NO_VERIFY),
                                      .listener = &r.listener};
    int rc = br__repair(&o, &res, err);
    br__report_end(&r);
    if (!rc && r.json)
        rc = print_json(&res, &r, br__now() - began, err);
    else if (!rc)
        print_text(&res, br__now() - began);
    br__report_free(&r);
    return rc;
}
