/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bind_util.c - notes of a binding, and kinds of names. */
#include "model_internal.h"

#include <string.h>

static int append_text(struct br__binding *b, const char ***list, size_t *n, size_t *cap,
                       const char *fmt, va_list ap)
{
    struct br__buf text = {0};
    br__buf_vprintf(&text, fmt, ap);
    char *s = text.failed || !text.p ? NULL : br__arena_strdup(&b->arena, text.p);
    br__buf_free(&text);
    if (!s || br__grow(list, cap, *n, sizeof **list))
        return BR_E_NOMEM;
    (*list)[(*n)++] = s;
    return BR_OK;
}

int br__binding_note(struct br__binding *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = append_text(b, &b->notes, &b->n_notes, &b->cap_notes, fmt, ap);
    va_end(ap);
    return rc;
}

int br__binding_skip(struct br__binding *b, struct br_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = append_text(b, &b->skipped, &b->n_skipped, &b->cap_skipped, fmt, ap);
    va_end(ap);
    return rc ? br__nomem(err, "fitting the tensors to the model") : BR_OK;
}

const char *br__map_side(const struct br_map *m, int hf_side)
{
    return hf_side ? m->hf : m->mcore;
}

/* Does any tensor match a fused-expert pattern of the rules? */
int br__has_fused(const struct br__arch *arch, const struct br__ckpt *ck)
{
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        struct br__pattern pat;
        if (!arch->maps[r].hf_fused || br__pattern_parse(arch->maps[r].hf_fused, &pat, NULL))
            continue;
        for (size_t i = 0; i < ck->n_tensors; i++)
            if (br__pattern_match(&pat, ck->tensors[i].name))
                return 1;
    }
    return 0;
}

/* The rules of the embedding and of the output layer that may be tied to it. */
void br__tied_rules(const struct br__arch *arch, const struct br_map **embedding,
                    const struct br_map **output)
{
    *embedding = *output = NULL;
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        const struct br_map *m = &arch->maps[r];
        if (m->flags & BR_MAP_IF_UNTIED)
            *output = m;
        else if (m->flags & BR_MAP_VOCAB)
            *embedding = m;
    }
}

/* Other spellings of Megatron keys: the prediction layer's inner module was renamed in memory, and
 * the local (not Transformer Engine) layer spec keeps the norm before a routed MLP under the dense
 * name. */
const struct br__tensor *br__find_key(const struct br__ckpt *ck, const char *name)
{
    static const char *const aliases[][2] = {
        {".transformer_layer", ".mtp_model_layer"},
        {".pre_mlp_layernorm.weight", ".mlp.linear_fc1.layer_norm_weight"},
    };
    const struct br__tensor *t = br__ckpt_find(ck, name);
    char other[512];
    for (unsigned pick = 1; !t && pick < 4; pick++) {
        const char *s = name;
        size_t n = 0;
        for (size_t i = 0; i < BR_COUNTOF(aliases); i++) {
            const char *at = (pick >> i & 1) ? strstr(s, aliases[i][0]) : NULL;
            if (!at)
                continue;
            n += (size_t)snprintf(other + n, sizeof other - n, "%.*s%s", (int)(at - s), s,
                                  aliases[i][1]);
            s = at + strlen(aliases[i][0]);
            if (n >= sizeof other)
                return NULL;
        }
        n += (size_t)snprintf(other + n, sizeof other - n, "%s", s);
        if (n < sizeof other)
            t = br__ckpt_find(ck, other);
    }
    return t;
}

/* Keys of a training checkpoint that are no weights. */
int br__is_training_state(const char *key)
{
    return br__starts(key, "optimizer.") || br__starts(key, "chained_") ||
           br__starts(key, "rng_state") || br__starts(key, "rerun_state") ||
           br__starts(key, "common_state") || strstr(key, "_extra_state") != NULL;
}

int br__is_ignored(const struct br__arch *arch, const char *name)
{
    for (uint32_t i = 0; i < arch->n_ignore; i++) {
        struct br__pattern pat;
        if (!br__pattern_parse(arch->ignore[i].hf, &pat, NULL) && br__pattern_match(&pat, name))
            return 1;
    }
    return 0;
}

int br__is_mtp(const struct br__arch *arch, const char *name, int hf_side)
{
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        const struct br_map *m = &arch->maps[r];
        struct br__pattern pat;
        if (!(m->flags & BR_MAP_IF_MTP) && !strstr(m->mcore, "{mtp}"))
            continue;
        if (!br__pattern_parse(br__map_side(m, hf_side), &pat, NULL) &&
            br__pattern_match(&pat, name))
            return 1;
        if (hf_side && m->hf_fused && !br__pattern_parse(m->hf_fused, &pat, NULL) &&
            br__pattern_match(&pat, name))
            return 1;
    }
    return 0;
}
