/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.h - running a model: generation by steps, logits, scores.
 *
 *   struct br_llm *m;                         a model: weights, and the threads that compute
 *   struct br_gen *g;                         sequences that grow, each by a token a step
 *   br_llm_open(&m, &opts, &err);
 *   br_gen_begin(&g, m, 8, 512, &err);        8 sequences of at most 512 tokens each
 *   br_gen_add(g, &request, &id, &err);       at any time, while one of the 8 is free
 *   br_gen_step(g, tokens, 8, &n, &err);      one token of every sequence
 *   br_gen_end(g); br_llm_close(m);
 *
 * Text is the caller's business: <bridge/tokenizer.h> and <bridge/chat.h> turn it into ids and
 * back.
 *
 * Errors: as everywhere, see base.h.  Each function that can fail says in its text what to do.
 *
 * Ownership: a function that takes a pointer to a pointer makes an object, and NULL on failure; its
 * counterpart frees it (close, end; NULL is fine).  What is passed in is copied unless it is said
 * that it is borrowed.  End every br_gen before its br_llm is closed.
 *
 * Threads: different models know nothing of each other.  Calls on one model may come from several
 * threads and take turns with the computation; a br_gen belongs to one thread at a time. */
#ifndef BRIDGE_LLM_H
#define BRIDGE_LLM_H

#include <bridge/bridge.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a model --------------------------------------------------------------------------------- */

struct br_llm;

/* Zeroed members are defaults.  All strings are only read by br_llm_open. */
struct br_llm_opts {
    uint32_t struct_size;
    uint32_t merge_adapter;    /* change the weights; else the adapter works beside them */
    const char *hf_model;      /* id or directory */
    const char *megatron_path; /* torch_dist: weights from here, hf_model is its reference */
    const char *plugin;        /* plugin file, or NULL: found by the model's architecture */
    const char *adapter;       /* peft directory, or NULL */
    const char *device;        /* NULL = the best that this machine has */
    int32_t dtype;   /* of products: BR_F32 or BR_BF16; BR_NONE = as the weights are stored */
    int32_t threads; /* of all ranks together; 0 = one per CPU */
    uint32_t tp, pp, ep, etp;           /* parallel sizes, ranks of this process; 0 = 1 */
    const struct br_listener *listener; /* borrowed until br_llm_open returns; may be NULL */
};
#define BR_LLM_INIT                                                                                \
    {                                                                                              \
        sizeof(struct br_llm_opts), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL        \
    }

/* Opens the model and checks that it can run here; weights are read as they are needed. */
BR_API int br_llm_open(struct br_llm **out, const struct br_llm_opts *o,
                       struct br_err *err) BR_MUST_CHECK;
BR_API void br_llm_close(struct br_llm *m);
BR_API int64_t br_llm_vocab_size(const struct br_llm *m); /* ids are below it */
BR_API int64_t br_llm_max_tokens(const struct br_llm *m); /* of one sequence */
/* Ids after which a sequence is over, by generation_config.json or config.json; the model's own. */
BR_API size_t br_llm_eos(const struct br_llm *m, const int32_t **ids);

/* logits[n * vocab size], float32: row i is about the token after ids[i]. */
BR_API int br_llm_logits(struct br_llm *m, const int32_t *ids, size_t n, float *logits,
                         struct br_err *err) BR_MUST_CHECK;
/* logprob[n]: natural logarithm of the probability of ids[i] after those before it.  NAN for the
 * first token, and for the first of each further window where n is more than 2048 or the model's
 * longest sequence: windows do not overlap. */
BR_API int br_llm_score(struct br_llm *m, const int32_t *ids, size_t n, double *logprob,
                        struct br_err *err) BR_MUST_CHECK;

/* ---- generation by steps --------------------------------------------------------------------- */

struct br_gen;

/* Room for `sequences` at once, of at most `tokens` each, prompt and new ones. */
BR_API int br_gen_begin(struct br_gen **out, struct br_llm *m, size_t sequences, size_t tokens,
                        struct br_err *err) BR_MUST_CHECK;
BR_API void br_gen_end(struct br_gen *g);
BR_API size_t br_gen_room(const struct br_gen *g); /* sequences that may be added now */

/* Zeroed members are defaults: the most likely token each time, until the model's own end. */
struct br_gen_request {
    uint32_t struct_size;
    uint32_t logprobs; /* compute br_gen_token.logprob */
    const int32_t *prompt;
    size_t n_prompt;    /* >= 1 */
    const int32_t *eos; /* ids that end the sequence; NULL = those of br_llm_eos */
    size_t n_eos;
    uint32_t ignore_eos; /* no id ends it */
    uint32_t reserved;
    int64_t max_new_tokens;    /* 0 = as many as there is room for */
    double temperature;        /* 0 = greedy: the members below have no effect */
    uint64_t top_k;            /* 0 = off */
    double top_p;              /* 0 or 1 = off */
    double min_p;              /* 0 = off */
    double repetition_penalty; /* 0 or 1 = off; works for greedy too */
    uint64_t seed;   /* the draws depend on seed, number and step: not on other sequences */
    uint64_t number; /* tell apart sequences of one seed */
};
#define BR_GEN_INIT                                                                                \
    {                                                                                              \
        sizeof(struct br_gen_request), 0, NULL, 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0           \
    }

/* A new sequence; the next step reads its prompt.  *sequence is a number that no other sequence of
 * g has had.  BR_E_BUSY if there is no room; nothing is added on failure. */
BR_API int br_gen_add(struct br_gen *g, const struct br_gen_request *r, uint64_t *sequence,
                      struct br_err *err) BR_MUST_CHECK;
/* Forget a sequence; nothing happens if it has ended. */
BR_API void br_gen_cancel(struct br_gen *g, uint64_t sequence);

enum br_finish {
    BR_FINISH_NOT,
    BR_FINISH_EOS,   /* with an id that ends it */
    BR_FINISH_LENGTH /* with max_new_tokens, or no room is left */
};
struct br_gen_token {
    uint64_t sequence;
    int32_t id;
    int32_t finish; /* enum br_finish: the sequence has ended with this token and made room */
    double logprob; /* of id, as br_llm_score has it, whatever was cut off before the draw; NAN if
                       it was not asked for */
};
/* One token of every sequence, in no order: tokens[cap] gets *n of them, 0 if there are no
 * sequences.  cap must be at least the `sequences` of br_gen_begin.  After an error only br_gen_end
 * is left. */
BR_API int br_gen_step(struct br_gen *g, struct br_gen_token *tokens, size_t cap, size_t *n,
                       struct br_err *err) BR_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
