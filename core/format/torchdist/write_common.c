/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* write_common.c - the common state: the small dict that is the same for every rank.
 *
 * mcore up to 0.18 reads it from common.pt, newer ones also from a bytes item.  Megatron-LM puts
 * its argparse namespace into it.
 *
 * Source of keys and order: Megatron Bridge 0.6.2 and Megatron-LM core 0.19, checked with their
 * loaders. */
#include "train.h"

#include <string.h>

/* A value of the args namespace from its text; 0, or BR_E_FORMAT if it is none. */
static int put_scalar(struct br__pkw *w, const char *s)
{
    size_t n = strlen(s);
    int64_t i;
    double f;
    if (strcmp(s, "None") == 0) {
        br__pkw_none(w);
    } else if (strcmp(s, "True") == 0 || strcmp(s, "False") == 0) {
        br__pkw_bool(w, s[0] == 'T');
    } else if (n >= 2 && s[0] == '\'' && s[n - 1] == '\'') {
        char *text = br__arena_strndup(w->arena, s + 1, n - 2);
        if (!text)
            return BR_E_NOMEM;
        br__pkw_str(w, text);
    } else if (br__starts(s, "torch.") && br_dtype_from_torch(s) != BR_NONE) {
        br__pkw_global(w, "torch", s + strlen("torch."));
    } else if (br__parse_i64(s, &i) == 0) {
        br__pkw_int(w, i);
    } else if (br__parse_f64(s, &f) == 0) {
        br__pkw_float(w, f);
    } else {
        return BR_E_FORMAT;
    }
    return 0;
}

/* "[1, 'a', None]" */
static int put_list(struct br__pkw *w, const char *s)
{
    size_t len = strlen(s), n = len > 2;
    for (const char *c = s; *c; c++)
        n += *c == ',';
    br__pkw_op(w, ']');
    br__pkw_put(w);
    const char *at = s + 1, *end = s + len - 1;
    for (size_t i = 0; i < n; i++) {
        at += strspn(at, " ");
        size_t item = strcspn(at, ",]");
        char *text = br__arena_strndup(w->arena, at, item);
        if (!text)
            return BR_E_NOMEM;
        br__pkw_item_begin(w, i, n);
        int rc = put_scalar(w, text);
        if (rc)
            return rc;
        br__pkw_item_end(w, i, n, BR__PKW_LIST);
        at += item + (at + item < end);
    }
    return 0;
}

static int put_args(struct br__pkw *w, const struct br__td_common *c, struct br_err *err)
{
    br__pkw_new(w, "argparse", "Namespace");
    br__pkw_op(w, '}');
    br__pkw_put(w);
    for (size_t i = 0; i < c->n_args; i++) {
        const char *name = c->args[i][0], *text = c->args[i][1];
        br__pkw_item_begin(w, i, c->n_args);
        br__pkw_str(w, name);
        int list = text[0] == '[' && br__ends(text, "]");
        int rc = list ? put_list(w, text) : put_scalar(w, text);
        if (rc)
            return br_fail(err, rc, "args.%s: cannot store the value %s", name, text);
        br__pkw_item_end(w, i, c->n_args, BR__PKW_DICT);
    }
    br__pkw_op(w, 'b');
    return 0;
}

static int put_extra(struct br__pkw *w, const struct br__td_common *c, struct br_err *err)
{
    br__pkw_str(w, "bridge");
    br__pkw_dict(w);
    for (size_t i = 0; i < c->n_extra; i++) {
        br__pkw_str(w, c->extra[i][0]);
        int rc = put_scalar(w, c->extra[i][1]);
        if (rc)
            return br_fail(err, rc, "%s: cannot store the value %s", c->extra[i][0],
                           c->extra[i][1]);
    }
    br__pkw_op(w, 'u');
    return 0;
}

static int put_common(struct br__pkw *w, const struct br__td_common *c, struct br_err *err)
{
    br__pkw_dict(w);
    br__pkw_str(w, "checkpoint_version");
    br__pkw_float(w, 3.0);
    br__pkw_str(w, "iteration");
    br__pkw_int(w, c->iteration);
    if (c->train) {
        br__pkw_str(w, "optimizer");
        br__td_put_optimizer(w, c->train);
    }
    if (c->train && c->train->scheduler) {
        br__pkw_str(w, "opt_param_scheduler");
        br__td_put_scheduler(w, c->train->scheduler);
    }
    br__pkw_str(w, "num_floating_point_operations_so_far");
    br__pkw_int(w, 0);
    br__pkw_str(w, "content_metadata");
    br__pkw_dict(w);
    if (c->train) {
        br__pkw_str(w, "distrib_optim_sharding_type");
        br__pkw_str(w, "fully_reshardable");
        br__pkw_str(w, "distrib_optim_fully_reshardable_mem_efficient");
        br__pkw_bool(w, 0);
    }
    br__pkw_str(w, "singleton_local_shards");
    br__pkw_bool(w, 0);
    br__pkw_str(w, "chained_optim_avoid_prefix");
    br__pkw_bool(w, 1);
    if (c->non_homogeneous_layers) {
        br__pkw_str(w, "non_homogeneous_layers");
        br__pkw_bool(w, 1);
    }
    br__pkw_op(w, 'u');
    if (c->n_args) {
        br__pkw_str(w, "args");
        int rc = put_args(w, c, err);
        if (rc)
            return rc;
    }
    int rc = c->n_extra ? put_extra(w, c, err) : 0;
    if (rc)
        return rc;
    br__pkw_op(w, 'u');
    return 0;
}

int br__td_common_pickle(struct br__buf *out, const struct br__td_common *c, int as_list,
                         struct br_err *err)
{
    struct br__arena arena = {0};
    struct br__pkw w = {.out = out, .arena = &arena};
    br__pkw_begin(&w);
    if (as_list) {
        br__pkw_op(&w, ']');
        br__pkw_put(&w);
    }
    int rc = put_common(&w, c, err);
    if (as_list)
        br__pkw_op(&w, 'a');
    br__pkw_end(&w);
    br__arena_free(&arena);
    if (!rc && out->failed)
        rc = br_fail(err, out->failed, "out of memory for the common state");
    return rc;
}
