/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* detect.c - the architecture of a torch_dist checkpoint, from its keys alone; needed when there is
 * no Hugging Face reference.  Every key must match a pattern of the architecture.  Of several
 * architectures that pass, the one with the fewest unmatched rules is taken (a dense Qwen3
 * checkpoint also passes Qwen3-MoE's rules, but leaves those of the experts unmatched).  Between
 * equals the plugin that the user named decides. */
#include "job.h"

#include <string.h>

static int is_weight(const char *key)
{
    return !br__starts(key, "optimizer.") && !br__starts(key, "chained_");
}

/* Rules of `arch` that no key matches; -1 if some key matches no rule. */
static int unmatched_rules(const struct br__arch *arch, const struct br__ckpt *ck, uint8_t *hit)
{
    memset(hit, 0, arch->n_maps);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        int found = 0;
        if (!is_weight(ck->tensors[i].name))
            continue;
        for (uint32_t r = 0; r < arch->n_maps && !found; r++) {
            struct br__pattern p;
            found = !br__pattern_parse(arch->maps[r].mcore, &p, NULL) &&
                    br__pattern_match(&p, ck->tensors[i].name);
            hit[r] |= (uint8_t)found;
        }
        if (!found && !strstr(ck->tensors[i].name, ".mtp_model_layer."))
            return -1;
    }
    int missed = 0;
    for (uint32_t r = 0; r < arch->n_maps; r++)
        missed += !hit[r] && !(arch->maps[r].flags & (BR_MAP_IF_MTP | BR_MAP_IF_UNTIED)) &&
                  !strstr(arch->maps[r].mcore, "{mtp}");
    return missed;
}

static void add_name(struct br__buf *b, const char *name)
{
    br__buf_printf(b, "%s%s", b->n ? ", " : "", name);
}

/* 1 if `arch` with `missed` unmatched rules is better than the best so far, 0 if it is as good, -1
 * if not. */
static int detect_compare(const struct br__registry *reg, const struct br__arch *best,
                          int best_missed, const struct br__arch *arch, int missed)
{
    if (!best || missed != best_missed)
        return !best || missed < best_missed ? 1 : -1;
    return (arch->plugin == reg->given) - (best->plugin == reg->given);
}

int br__detect_arch(struct br__registry *reg, const struct br__ckpt *ck,
                    const struct br__arch **out, struct br_err *err)
{
    struct br__buf tied = {0}, all = {0};
    int best = -1, rc = br__registry_load_all(reg, err);
    *out = NULL;
    for (size_t p = 0; p < reg->n_plugins && !rc; p++)
        for (uint32_t a = 0; a < reg->plugins[p]->n_archs && !rc; a++) {
            const struct br__arch *arch = &reg->plugins[p]->archs[a];
            uint8_t *hit = br__alloc(arch->n_maps + 1u);
            if (!hit) {
                rc = br__nomem(err, "looking at the checkpoint");
                break;
            }
            int missed = unmatched_rules(arch, ck, hit);
            br__free(hit);
            add_name(&all, arch->model_type);
            int better = missed < 0 ? -1 : detect_compare(reg, *out, best, arch, missed);
            if (better < 0)
                continue;
            if (better > 0)
                br__buf_free(&tied);
            add_name(&tied, arch->model_type);
            best = missed;
            *out = arch;
        }
    if (!rc && !*out)
        rc = br_fail(
            err, BR_E_ARCH,
            "no known architecture has the tensor names of '%s'; known: %s. Give --hf-model a "
            "directory with the model's config.json",
            ck->dir, all.p ? all.p : "none");
    else if (!rc && strchr(tied.p, ','))
        rc = br_fail(err, BR_E_ARCH,
                     "the tensor names of '%s' fit several architectures (%s); give --hf-model a "
                     "directory with the model's config.json",
                     ck->dir, tied.p);
    br__buf_free(&tied);
    br__buf_free(&all);
    return rc;
}
