/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recipe_internal.h - what the files of core/recipe share. */
#ifndef BRIDGE_CORE_RECIPE_INTERNAL_H
#define BRIDGE_CORE_RECIPE_INTERNAL_H

#include "recipe.h"

/* ---- keys.c ---------------------------------------------------------------------------------- */

/* Id of a key by its name, an alias or its path in ConfigContainer; BR__N_RK if there is none. */
uint32_t br__recipe_key_find(const char *name);
/* Read a value of a key: 0, or BR_E_CONFIG with got and expected.  Texts go into the arena. */
int br__recipe_value_parse(struct br__arena *a, const struct br__recipe_key *k, const char *text,
                           int quoted, struct br__recipe_value *out,
                           struct br_err *err) BR_MUST_CHECK;

/* ---- text.c ---------------------------------------------------------------------------------- */

/* The grammar of rows, recipe files and --set: key=value, any number of them; blanks may stand
 * around the sign; a value is a word, a "quoted text" with JSON's escapes, a [list] or an {object};
 * # begins a comment. */
struct br__pairs {
    const char *p;     /* rest of the text */
    const char *where; /* what the text is, for messages */
    int line;          /* > 0: lines are counted, and named in messages */
    int whole;         /* one pair: a word runs to the end of the text */
};
struct br__pair {
    const char *key, *value; /* in the arena; key NULL: no more */
    int quoted, line;
};
int br__pairs_next(struct br__arena *a, struct br__pairs *t, struct br__pair *out,
                   struct br_err *err) BR_MUST_CHECK;

/* ---- check.c, memory.c: what the simulator plays --------------------------------------------- */

/* The layers of each pipeline stage, in the arena; the recipe has num_layers. */
int br__recipe_stages(struct br__arena *a, const struct br__recipe *r, struct br__stages *out,
                      struct br_err *err) BR_MUST_CHECK;
/* The schedule of a step over stages of vpp chunks.  BR_E_CONFIG where there is none. */
int br__recipe_pipe(const struct br__recipe *r, const struct br__recipe_grid *g, uint32_t vpp,
                    struct br__pipe_opts *out, struct br_err *err) BR_MUST_CHECK;
double br__recipe_dtype_bytes(const struct br__recipe *r, uint32_t id); /* 4 or 2, of a dtype key */

/* What one chunk of the model is to one rank of its stage. */
struct br__recipe_part {
    struct br__recipe_memory memory; /* bytes; activations are those of one micro batch */
    double trained_experts;          /* parameters among memory.trained_params that EP shares out */
    double weights_read;             /* bytes of a pass through all weights */
    double flops;                    /* a forward pass of a micro batch */
    double hidden;                   /* elements of its hidden states, all tp ranks together */
    double key_values;               /* elements of keys and values of an attention layer */
    double delta_in, delta_out;      /* the same of what a delta net reads, and makes */
    double embedding;                /* parameters of the rank's rows of it */
    int shared_gate;                 /* the shared expert's output is multiplied by a gate */
    double replicated; /* parameters whose gradients tensor-parallel ranks have parts of, and whole
                          values */
};
int br__recipe_part(const struct br__recipe *r, int64_t world, const struct br__chunk *c,
                    struct br__recipe_part *out, struct br_err *err) BR_MUST_CHECK;
/* Is the decoder layer a delta net?  All but every so manyth are, if the recipe has any. */
int br__recipe_is_delta(const struct br__recipe *r, int64_t layer);

/* ---- sim_pass.c, simulate.c: what ranks exchange --------------------------------------------- */

/* One direction of one chunk on a rank: seconds by cost, and bytes sent by group. */
struct br__sim_pass {
    double seconds[BR__N_SIM], bytes[BR_N_GROUPS];
};
struct br__sim_state {
    const struct br__recipe *r;
    const struct br__sim_opts *opts;
    struct br__sim *out;
    struct br__recipe_part *parts; /* [vpp * pp] */
    double value_bytes;            /* of an activation */
    int sp;
    uint32_t n[BR_N_GROUPS]; /* ranks of the groups */
};
/* Seconds in which a rank sends so many bytes, in so many messages one after another. */
double br__sim_send(const struct br__sim_state *s, int across, double bytes, double messages);
/* `times` collectives over group g, each of a buffer of so many bytes in all: gathered, scattered
 * as sums, or exchanged by all with all; a sum that all ranks get is two of them. */
void br__sim_ring(const struct br__sim_state *s, struct br__sim_pass *p, enum br_group g,
                  enum br__sim_cost cost, double times, double bytes);
/* What a pass of the chunk exchanges with ranks of the same stage. */
void br__sim_exchange(const struct br__sim_state *s, const struct br__chunk *c, int backward,
                      struct br__sim_pass *p);
/* Bytes of a message that the stage sends or receives. */
double br__sim_message(const struct br__sim *o, uint32_t stage, const struct br__message *m);

#endif
