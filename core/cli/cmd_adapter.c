/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_adapter.c - adapter export, import, merge, verify: adapters between Megatron and peft. */
#include "../train/train.h"
#include "cli.h"

#include <inttypes.h>

typedef int adapter_verb(const struct br__peft_job *, struct br__peft_done *, struct br_err *);

static void adapter_line(void *ud, const char *text)
{
    struct br__report *r = ud;

    if (r->json)
        r->listener.note(r, text);
    else
        br__say(stdout, "%s", text);
}

static int adapter_json(struct br__report *r, const struct br__peft_job *job,
                        const struct br__peft_done *d, const struct br_err *failure, int status,
                        struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "status", br_status_name(status));
    br__js_str(&j, "error", status ? failure->msg : NULL);
    br__js_str(&j, "from", job->from);
    br__js_str(&j, "to", job->to);
    br__js_u64(&j, "tensors", d->n_tensors);
    br__js_u64(&j, "weights", d->n_weights);
    br__js_i64(&j, "dim", d->dim);
    br__js_bool(&j, "dora", d->dora);
    br__report_json(r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* Run a verb and print its result. */
static int adapter_run(struct br__cli *c, adapter_verb *verb, const char *from, const char *to,
                       const char *said, struct br_err *err)
{
    struct br__report r;
    struct br__peft_done done = {0};
    struct br__interrupt i;

    br__report_init(&r, c);
    const struct br__peft_job job = {.plugin = BR__TEXT(c, PLUGIN),
                                     .hf_model = BR__TEXT(c, HF_MODEL),
                                     .from = from,
                                     .to = to,
                                     .overwrite = BR__FLAG(c, OVERWRITE),
                                     .no_sync = BR__FLAG(c, NO_SYNC),
                                     .no_verify = BR__FLAG(c, NO_VERIFY),
                                     .threads = (int)BR__INT(c, THREADS),
                                     .listener = &r.listener,
                                     .line = adapter_line,
                                     .ud = &r};
    struct br__kept nothing = {c, NULL, 0};
    br__interrupt_begin(&i, NULL, br__tell_kept, &nothing);
    int rc = verb(&job, &done, err);
    br__interrupt_end(&i);
    br__report_end(&r);
    if (r.json) {
        int printed = adapter_json(&r, &job, &done, err, rc, rc ? NULL : err);
        rc = rc ? rc : printed;
    } else if (!rc) {
        br__say(stdout, "%s %s: %s of rank %" PRId64 " on %" PRIu64 " weights", said, to,
                done.dora ? "DoRA" : "LoRA", done.dim, done.n_weights);
    }
    br__report_free(&r);
    return rc;
}

int br__cmd_adapter_export(struct br__cli *c, struct br_err *err)
{
    return adapter_run(c, br__peft_export, BR__TEXT(c, MEGATRON_PATH), BR__TEXT(c, PEFT_PATH),
                       "exported to", err);
}

int br__cmd_adapter_import(struct br__cli *c, struct br_err *err)
{
    return adapter_run(c, br__peft_import, BR__TEXT(c, PEFT_PATH), BR__TEXT(c, MEGATRON_PATH),
                       "imported to", err);
}

int br__cmd_adapter_merge(struct br__cli *c, struct br_err *err)
{
    return adapter_run(c, br__peft_merge, BR__TEXT(c, MERGE_FROM), BR__TEXT(c, HF_PATH),
                       "merged into", err);
}

int br__cmd_adapter_verify(struct br__cli *c, struct br_err *err)
{
    return adapter_run(c, br__peft_verify, BR__TEXT(c, MEGATRON_PATH), BR__TEXT(c, PEFT_PATH),
                       "equal to", err);
}
