/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_fuzz.c - libFuzzer target: training state, from keys, run_config.yaml and the common state.
 *
 * Input: lines "key TAB dtype TAB size...", NUL, run_config.yaml, NUL, the pickle of the common
 * state.  The tensors have no bytes.  If the state is accepted, every element of a weight lies in
 * one local parameter, and every local parameter inside its bucket; a common state that can be
 * written again can be read again. */
#include "../../core/format/torchdist/train.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "key TAB dtype TAB size..." */
static int parse_tensor(struct br__ckpt *ck, char *line)
{
    struct br__tensor *t = &ck->tensors[ck->n_tensors];
    char *save = NULL, *word = strtok_r(line, "\t", &save);

    if (!word || ck->n_tensors == MAX_TENSORS)
        return 0;
    t->name = word;
    word = strtok_r(NULL, "\t", &save);
    t->dtype = word ? br_dtype_from_torch(word) : BR_NONE;
    t->ndim = 0;
    while ((word = strtok_r(NULL, "\t", &save)) && t->ndim < BR_MAX_DIMS)
        if (br__parse_i64(word, &t->shape[t->ndim++]))
            return 0;
    if (t->dtype == BR_NONE ||
        br_shape_bytes(t->shape, t->ndim, br_dtype_size(t->dtype), &t->bytes))
        return 0;
    return br__map_put(&ck->by_name, t->name, (uint32_t)ck->n_tensors) ? 0 : ++ck->n_tensors != 0;
}

static void parse_tensors(struct br__ckpt *ck, char *text)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (!parse_tensor(ck, line))
            memset(&ck->tensors[ck->n_tensors], 0, sizeof *ck->tensors);
}

static void check_layout(const struct br__train_state *s)
{
    const struct br__train_layout *l = s->layout;

    for (size_t r = 0; r < l->n_ranks; r++)
        for (size_t k = 0; k < l->ranks[r].n; k++) {
            const struct br__train_local *x = &l->ranks[r].list[k];
            uint64_t length = (uint64_t)l->buckets[x->bucket].tensor[0]->shape[0];
            if (x->bucket >= l->n_buckets || x->pos > length || x->n > length - x->pos)
                abort();
        }
    for (size_t i = 0; i < s->n_params; i++) {
        const struct br__train_param *p = &s->params[i];
        uint64_t seen = 0, elements = p->weight->bytes / br_dtype_size(p->weight->dtype);
        for (size_t b = 0; b < p->n_boxes; b++) {
            const struct br__td_chunk *c = &p->boxes[b];
            const struct br__train_local *x = &l->ranks[c->file].list[c->item_off];
            uint64_t n = 1;
            for (int d = 0; d < p->weight->ndim; d++)
                n *= (uint64_t)c->size[d];
            if (c->data_off / sizeof(float) + n > x->n)
                abort();
            seen += n;
        }
        if (seen != elements)
            abort();
    }
}

/* The buckets alone: their groups would be in items, which are not made here. */
static void try_buckets(const struct br__ckpt *ck)
{
    struct br__train_state *s = br__calloc(1, sizeof *s);
    if (!s)
        return;
    s->ck = ck;
    s->form = BR__OPTIM_DP;
    s->params = br__arena_alloc(&s->arena, (ck->n_tensors + 1) * sizeof *s->params);
    for (size_t i = 0; s->params && i < ck->n_tensors; i++)
        if (!br__td_is_state(ck->tensors[i].name) && ck->tensors[i].dtype <= BR_BF16)
            s->params[s->n_params++].weight = &ck->tensors[i];
    if (s->params && br__train_bind_buckets(s, NULL) == BR_OK)
        check_layout(s);
    br__train_state_close(s);
}

static void try_common(const struct br__ckpt *ck)
{
    struct br__train_state *s;
    struct br__arena a = {0};
    struct br__pk *again;
    struct br__buf b = {.max = 1u << 20};

    if (br__train_state_open(&s, ck, NULL))
        return;
    const struct br__train_save t = {s->experts_apart, s->groups, s->n_groups,
                                     s->has_scheduler ? &s->scheduler : NULL};
    if (br__td_train_common(&b, ck, &t, 0, NULL) == BR_OK &&
        br__pk_load(&a, (const unsigned char *)b.p, b.n, NULL, &again, NULL))
        abort();
    br__buf_free(&b);
    br__arena_free(&a);
    br__train_state_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *yaml = memchr(data, 0, size);
    const uint8_t *pickle = yaml ? memchr(yaml + 1, 0, size - (size_t)(yaml + 1 - data)) : NULL;
    struct br__tensor tensors[MAX_TENSORS + 1] = {{0}};
    struct br__td td = {.iteration = -1, .train_step = -1, .consumed_samples = -1};
    struct br__ckpt ck = {.format = BR__FMT_TORCH_DIST, .dir = "", .tensors = tensors, .td = &td};
    struct br__pk_limits limits = {.max_nodes = 20000};
    struct br__pk *common = NULL;

    if (!pickle)
        return 0;
    char *text = br__arena_strndup(&ck.arena, (const char *)data, (size_t)(yaml - data));
    td.run_config_text =
        br__arena_strndup(&ck.arena, (const char *)yaml + 1, (size_t)(pickle - yaml) - 1);
    if (text && td.run_config_text && br__map_init(&ck.by_name, MAX_TENSORS) == BR_OK) {
        td.run_config_size = strlen(td.run_config_text);
        size_t n = size - (size_t)(pickle + 1 - data);
        if (br__pk_load(&ck.arena, pickle + 1, n, &limits, &common, NULL) == BR_OK &&
            common->kind == BR__PK_DICT)
            td.common = common;
        parse_tensors(&ck, text);
        try_common(&ck);
        try_buckets(&ck);
    }
    br__map_free(&ck.by_name);
    br__arena_free(&ck.arena);
    return 0;
}
