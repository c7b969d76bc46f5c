/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* write_rng.c - the rng_state item of a training checkpoint: the generators of Python, numpy, torch
 * and Megatron as they are right after they were seeded.
 *
 * bridge draws by counters, so none of its own goes into a checkpoint; a run that Megatron takes
 * over draws on from here.  Source of the layout: checkpoints of Megatron Bridge 0.6.2, and the
 * legacy state of torch's CPUGeneratorImpl. */
#include "train.h"

#include <string.h>

#define WORDS BR__MT_WORDS
#define TORCH_STATE 5056   /* bytes of torch.get_rng_state() */
#define DEVICE_STATE 16    /* of a CUDA generator: seed and offset */
#define MODEL_OFFSET 2718  /* tensor-parallel rank 0 of megatron.core.tensor_parallel.random */
#define EXPERT_OFFSET 1024 /* expert ranks 0 */

/* 624 words of MT19937 and where the next is taken: all are used up. */
static void rng_words(struct br__pkw *w, const uint32_t *key, int with_place)
{
    br__pkw_op(w, '(');
    for (int i = 0; i < WORDS; i++)
        br__pkw_int(w, key[i]);
    if (with_place)
        br__pkw_int(w, WORDS);
    br__pkw_op(w, 't');
    br__pkw_put(w);
}

/* What random.setstate and numpy.random.set_state take. */
static void rng_python(struct br__pkw *w, const struct br__td_rng *r)
{
    br__pkw_str(w, "random_rng_state");
    br__pkw_op(w, '(');
    br__pkw_int(w, 3);
    rng_words(w, r->python, 1);
    br__pkw_none(w);
    br__pkw_op(w, 't');
    br__pkw_put(w);
    br__pkw_str(w, "np_rng_state");
    br__pkw_op(w, '(');
    br__pkw_str(w, "MT19937");
    rng_words(w, r->numpy, 0);
    br__pkw_int(w, WORDS);
    br__pkw_int(w, 0);
    br__pkw_float(w, 0);
    br__pkw_op(w, 't');
    br__pkw_put(w);
}

/* torch seeds its MT19937 as numpy does, and keeps the words as 64 bits each. */
static void rng_torch(unsigned char out[TORCH_STATE], const struct br__td_rng *r)
{
    const uint64_t seed = r->seed;
    const int32_t left_and_seeded[] = {1, 1};

    memset(out, 0, TORCH_STATE);
    memcpy(out, &seed, sizeof seed);
    memcpy(out + 8, left_and_seeded, sizeof left_and_seeded);
    for (int i = 0; i < WORDS; i++) {
        uint64_t word = r->numpy[i];
        memcpy(out + 24 + 8 * i, &word, sizeof word);
    }
}

int br__td_rng_object(struct br__arena *a, const struct br__td_rng *r, struct br__td_object *out,
                      struct br_err *err)
{
    static const char *const names[] = {"torch_rng_state", "cuda_rng_state", "data-parallel-rng",
                                        "model-parallel-rng", "expert-parallel-rng"};
    const uint64_t offsets[] = {0, 0, 0, MODEL_OFFSET, EXPERT_OFFSET};
    struct br__buf b = {0};
    struct br__pkw w = {.out = &b, .arena = a};

    memset(out, 0, sizeof *out);
    br__pkw_begin(&w);
    br__pkw_op(&w, ']'); /* what is stored is one object ... */
    br__pkw_op(&w, ']'); /* ... with the state of one rank */
    br__pkw_dict(&w);
    rng_python(&w, r);
    for (int i = 0; i < BR__TD_OBJECT_DATAS; i++) {
        int64_t size = i ? DEVICE_STATE : TORCH_STATE;
        unsigned char *data = br__arena_alloc(a, (size_t)size);
        uint64_t seed = r->seed + offsets[i];
        char storage[2] = {(char)('0' + i), 0};
        if (!data)
            return br__nomem(err, "for the state of generators");
        if (i)
            memcpy(data, &seed, sizeof seed);
        else
            rng_torch(data, r);
        if (i == 2) {
            br__pkw_str(&w, "rng_tracker_states");
            br__pkw_dict(&w);
        }
        br__pkw_str(&w, names[i]);
        br__pkw_tensor(&w, storage, BR_U8, 1, &size);
        out->data[i] = data;
        out->size[i] = (uint64_t)size;
    }
    br__pkw_op(&w, 'u');
    br__pkw_op(&w, 'u');
    br__pkw_op(&w, 'a');
    br__pkw_op(&w, 'a');
    br__pkw_end(&w);
    out->n_data = BR__TD_OBJECT_DATAS;
    out->pickle_size = b.n;
    out->pickle = b.failed ? NULL : br__arena_strndup(a, b.p, b.n);
    br__buf_free(&b);
    return out->pickle ? BR_OK : br__nomem(err, "for the state of generators");
}
