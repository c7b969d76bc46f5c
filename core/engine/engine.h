/* engine.h - floor 4, the door of core/engine: graphs, blocks, gradients, execution, weights, and
 * the model that generates.
 *
 * The engine asks the model floor for the architecture, its config and its rules, and a backend
 * for kernels.  It never prints; the command line above it does. */
#ifndef BRIDGE_CORE_ENGINE_H
#define BRIDGE_CORE_ENGINE_H

#include "../convert/convert.h"
#include "../graph/graph.h"

/* ---- weights.c: a model's Hugging Face tensors, wherever they come from ---------------------- */

/* One stored tensor as a matrix: everything but its last axis is rows (conv1d.weight [C, 1, K] is
 * C rows of K).  A vector is one row. */
struct br__source {
    const char *name; /* Hugging Face name */
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    int64_t rows, cols;
    const void *data; /* mapped file, or memory of the weights; NULL until br__weights_load */
    uint32_t index;   /* in weights->sources */
    uint32_t origin;  /* HF: tensor of the file; Megatron: piece of the plan */
};

struct br__weights {
    struct br__session *session; /* configuration, architecture, open files */
    const struct br_config *cfg;
    struct br__source *sources;
    size_t n_sources;
    struct br__map by_name;
    void **owned; /* [n_sources] memory that load made */
    int threads;
    struct br__adapter *adapter; /* or NULL */
    uint64_t owned_bytes;
};
struct br__weights_opts {
    const char *hf_model, *megatron_path; /* one of them, or both: weights from the second */
    const char *plugin, *adapter;         /* or NULL */
    int merge_adapter;
    int threads;
    const struct br_listener *listener;
};
/* Set shape, rows and cols. */
void br__source_shape(struct br__source *s, int ndim, const int64_t *shape);
int br__weights_open(struct br__weights **out, const struct br__weights_opts *o,
                     struct br_err *err) BR_MUST_CHECK;
void br__weights_close(struct br__weights *w);
struct br__source *br__weights_find(const struct br__weights *w, const char *name);
/* Make s->data valid: a pointer into the mapped safetensors file where the bytes can be used as
 * they are; else memory filled once (FP8 blocks dequantised to bfloat16, rows gathered from a
 * Megatron checkpoint, a merged adapter). */
int br__weights_load(struct br__weights *w, struct br__source *s, struct br_err *err) BR_MUST_CHECK;
/* Name of a tensor of the model or its adapter with a NaN or infinity, or NULL. */
const char *br__weights_not_finite(struct br__weights *w);

/* ---- adapter.c: LoRA and DoRA of a peft directory -------------------------------------------- */

struct br__adapter_pair {
    const char *target;                /* name of the weight it changes */
    struct br__source a, b, magnitude; /* a [r, in], b [out, r], magnitude [out] or no data */
    float scaling;                     /* alpha / r, or alpha / sqrt(r) */
    uint32_t index;                    /* in adapter->pairs */
};
struct br__adapter {
    struct br__arena arena;
    struct br__file file;
    struct br__adapter_pair *pairs;
    size_t n_pairs;
    struct br__map by_target;
    int merge; /* weights are changed when they are loaded */
};
int br__adapter_open(struct br__adapter **out, const char *dir, struct br_err *err) BR_MUST_CHECK;
void br__adapter_close(struct br__adapter *a);
const struct br__adapter_pair *br__adapter_find(const struct br__adapter *a, const char *target);
/* w[rows, cols] in float32 becomes the merged weight: w + s b a, for DoRA scaled row by row to
 * magnitude / |w + s b a| (Liu et al. 2024, peft's DoraLinearLayer). */
int br__adapter_merge(const struct br__adapter_pair *p, float *w, int64_t rows, int64_t cols,
                      struct br_err *err) BR_MUST_CHECK;

/* ---- params.c: the part of each weight that a rank owns -------------------------------------- */

enum br__split {
    BR__SPLIT_NONE, /* the whole                                               */
    BR__SPLIT_ROWS, /* an equal share of the rows: column-parallel in Megatron */
    BR__SPLIT_KV,   /* the same of key or value heads, of which several ranks may share one */
    BR__SPLIT_COLS, /* an equal share of the columns: row-parallel             */
    BR__SPLIT_CONV  /* conv1d of the delta net: a share of the query, key and value channels */
};
/* n rows and m columns of a source, which are consecutive rows of the param. */
struct br__part {
    struct br__source *source;
    int64_t row, n_rows, col, n_cols;
};
struct br__param {
    struct br__stored stored; /* first: nodes of a graph hold its address */
    const char *key;               /* by which it is found again */
    const struct br__part *pieces; /* where its gradient belongs, in its own row order */
    size_t n_pieces;
    int adapter; /* 0; else 'A', 'B' or 'M' of a pair */
    int split;   /* enum br__split */
    int shared;  /* all ranks of the tensor-parallel group hold the same */
    int expert;  /* belongs to the expert grid */
};
/* The param that a PARAM node was made of; NULL for other nodes. */
static inline const struct br__param *br__node_param(const struct br__node *n)
{
    return (const struct br__param *)n->stored;
}
struct br__params {
    struct br__arena arena;
    struct br__weights *w;
    struct br__param **list;
    size_t n, cap;
    struct br__map by_key;
    void **owned;
    size_t n_owned, cap_owned;
};
/* Ranks see one weights object and each has its own params.  Loading takes a lock. */
int br__params_open(struct br__params **out, struct br__weights *w,
                    struct br_err *err) BR_MUST_CHECK;
void br__params_close(struct br__params *p);
/* The weight whose Megatron name is `mcore`; `item` chooses from the rule's Hugging Face list where
 * the layout merges several (q, k, v: 0, 1, 2).  Share `rank` of `size`.  A vector (one axis, or
 * conv1d) is converted to float32, a matrix keeps its dtype. */
int br__param_get(struct br__params *p, const char *mcore, int item, enum br__split split,
                  uint32_t rank, uint32_t size, const struct br__param **out,
                  struct br_err *err) BR_MUST_CHECK;
/* The same of experts [first, first + n), as one [n, rows, cols]. */
int br__param_experts(struct br__params *p, const char *mcore, int item, int64_t first, int64_t n,
                      enum br__split split, uint32_t rank, uint32_t size,
                      const struct br__param **out, struct br_err *err) BR_MUST_CHECK;
/* A tensor of an adapter pair, in float32: of A its columns, of B and M their rows go with those of
 * the weight, which is split so. */
int br__param_adapter(struct br__params *p, const struct br__adapter_pair *pair, int which,
                      enum br__split split, uint32_t rank, uint32_t size,
                      const struct br__param **out, struct br_err *err) BR_MUST_CHECK;

/* ---- build.c: the whole forward pass of a rank, around a plugin's layers --------------------- */

enum br__build_flags {
    BR__BUILD_CACHE = 1,      /* read and write key, value and delta-net caches */
    BR__BUILD_ALL_LOGITS = 2, /* logits of every token; else of the rows in `out_rows` */
    BR__BUILD_LOSS = 4,
    BR__BUILD_ROUTES_GIVEN = 8, /* chosen experts are an input */
    BR__BUILD_MTP = 16          /* the logits of the multi-token-prediction layer too */
};

struct br__state { /* a cache: a STATE leaf and how big it is */
    br_val v;
    const char *name; /* "key.3", "value.3", "conv.2", "delta.2" */
    uint32_t dtype;
    int64_t elems;
};

struct br__build {
    struct br__params *params;
    const struct br_config *cfg;
    const struct br__place *place;
    uint32_t flags;                  /* enum br__build_flags */
    uint32_t precision;              /* BR_F32 or BR_BF16: inputs of matrix products */
    int64_t n_tokens, n_seqs, n_out; /* rows of a batch, sequences in it, rows of logits */
    int64_t slots, capacity;         /* of the caches: sequences, tokens of each */
    /* inputs */
    br_val ids, positions, seqs, cache_rows, out_rows, labels, mtp_ids, mtp_labels;
    br_val received; /* RECV of a stage that is not the first */
    /* outputs */
    br_val logits, loss, aux_loss, sent, mtp_logits, mtp_loss;
    br_val *hidden; /* [n_layers + 2]: embedding, after each layer of this stage, after the final
                       norm */
    br_val *routes; /* [n_layers]: chosen experts, or 0 */
    struct br__state *states;
    size_t n_states, cap_states;
    /* while building */
    char prefix[64]; /* "decoder.layers.3." */
    int layer;
    br_val inv_freq;
    double rope_scale;
    br_val aux_counts, aux_probs; /* sums over the layers so far */
    int64_t n_moe;
};
/* Build into an empty graph.  b->params, cfg, place, flags, precision and sizes are set. */
int br__build(struct br_graph *g, struct br__build *b, struct br_err *err) BR_MUST_CHECK;

/* What blocks need of it (blocks.c, block_gdn.c, block_moe.c). */
br_val br__weight(struct br_graph *g, const char *name, int item, enum br__split split);
/* The leaf of a weight that br__linear does not multiply: refused if it has an adapter, which would
 * do nothing. */
br_val br__plain_leaf(struct br_graph *g, const struct br__param *p);
/* y = x w' with the weight, its adapter if there is one, and the bias of that name or NULL. */
br_val br__linear(struct br_graph *g, br_val x, const char *name, int item, enum br__split split,
                  const char *bias);
/* x enters work that the tensor-parallel ranks share; and a partial sum leaves it. */
br_val br__enter_tp(struct br_graph *g, br_val x);
br_val br__leave_tp(struct br_graph *g, br_val x);
br_val br__state(struct br_graph *g, const char *kind, uint32_t dtype, uint32_t n_dim,
                 const int64_t *shape);
uint32_t br__tp(const struct br_graph *g);
uint32_t br__tp_rank(const struct br_graph *g);

/* ---- llm.c: a model that runs: ranks, graphs, caches ----------------------------------------- */

struct br__llm_opts {
    struct br__weights_opts weights;
    const char *device; /* NULL = auto */
    int precision;      /* BR_F32 or BR_BF16; BR_NONE = BR_F32 for a float32 model, else BR_BF16 */
    uint32_t tp, pp, ep, etp; /* 0 = 1 */
    int threads;              /* of all ranks together; 0 = one per CPU */
};
struct br__llm;
/* Opens the model and checks that it can run; reads no weights yet. */
int br__llm_open(struct br__llm **out, const struct br__llm_opts *o,
                 struct br_err *err) BR_MUST_CHECK;
void br__llm_close(struct br__llm *m);
/* Room for `slots` sequences of `capacity` tokens; before the first tokens are fed. */
int br__llm_caches(struct br__llm *m, int64_t slots, int64_t capacity,
                   struct br_err *err) BR_MUST_CHECK;
const struct br_config *br__llm_config(const struct br__llm *m);
struct br__weights *br__llm_weights(const struct br__llm *m);
const struct br_topo *br__llm_topo(const struct br__llm *m);
int64_t br__llm_capacity(const struct br__llm *m);
int64_t br__llm_slots(const struct br__llm *m);
const char *br__llm_device(const struct br__llm *m); /* "cpu" */

/* The next tokens of a sequence that lives in cache slot `slot`. */
struct br__feed {
    uint32_t slot;
    const int32_t *ids;
    int64_t n; /* >= 1 */
};
/* Feed tokens to n sequences at once and get, for each, the logits after its last token:
 * logits[n, vocab_size], float32.  Long prompts are cut into pieces that bound memory.
 * BR_E_USAGE: an id outside the vocabulary, a slot used twice, more tokens than the cache holds.
 * BR_E_NUMERIC: logits that are not finite; names the weight at fault if there is one. */
int br__llm_feed(struct br__llm *m, const struct br__feed *feeds, size_t n, float *logits,
                 struct br_err *err) BR_MUST_CHECK;
void br__llm_reset(struct br__llm *m, uint32_t slot); /* forget the sequence */
int64_t br__llm_length(const struct br__llm *m, uint32_t slot);

/* What running costs, for reports and for `bench`. */
struct br__llm_cost {
    uint64_t weight_bytes;  /* read by one decode step of one sequence */
    uint64_t cache_bytes;   /* keys and values that its attention reads, after `context` tokens */
    uint64_t private_bytes; /* caches, activations, scratch, weights that are not mapped */
    double flops_per_token; /* of the matrix products of a forward pass, attention left out */
};
int br__llm_cost(struct br__llm *m, int64_t context, struct br__llm_cost *out,
                 struct br_err *err) BR_MUST_CHECK;
/* Ceilings of the device, measured now, reading the model's own weights. */
int br__llm_peaks(struct br__llm *m, struct br_peaks *out, struct br_err *err) BR_MUST_CHECK;

/* ---- trace.c: one whole forward (and backward) pass without caches, with all that it made ---- */

enum br__trace_flags {
    BR__TRACE_HIDDEN = 1,
    BR__TRACE_LOSS = 2,
    BR__TRACE_GRADS = 4, /* and the loss */
    BR__TRACE_AUX = 8,   /* and the gradients of loss + router_aux_loss_coef * aux_loss */
    BR__TRACE_MTP = 16   /* mtp.logits, of the token after the next; with gradients, mtp.loss and
                            those of loss + mtp.loss in grad_mtp.<name> */
};
struct br__named { /* a result: float32, contiguous */
    const char *name;
    int ndim;
    int64_t shape[BR_MAX_DIMS];
    float *data;
};
struct br__trace {
    struct br__arena arena;
    struct br__named *list; /* logits; hidden.<i>, hidden.norm; loss; grad.<name>; ... */
    size_t n, cap;
    int32_t *routes; /* [layers, tokens, k] chosen experts, -1 in dense layers; or NULL */
    int64_t topk;
};
/* ids[n_batches][n]: one sequence per data-parallel rank (all of one length); the first's logits
 * and hidden states are reported, losses and gradients are averaged.  labels: NULL = the next
 * token. routes: NULL, or those of an earlier trace, to be used in place of the router's own. */
struct br__trace_opts {
    const int32_t *const *ids;
    const int32_t *const *labels;
    size_t n_batches;
    int64_t n;
    unsigned flags; /* enum br__trace_flags */
    const int32_t *routes;
};
int br__llm_trace(struct br__llm *m, const struct br__trace_opts *o, struct br__trace *out,
                  struct br_err *err) BR_MUST_CHECK;
size_t br__named_elems(const struct br__named *r);
const struct br__named *br__trace_find(const struct br__trace *t, const char *name);
void br__trace_free(struct br__trace *t);

/* ---- sample.c: from logits to the next token ------------------------------------------------- */

/* As in generation_config.json; each step can be switched off. */
struct br__sample_opts {
    double temperature;        /* 0: greedy, the steps after it are skipped */
    uint64_t top_k;            /* 0: off */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off */
    uint64_t seed;
};
#define BR__SAMPLE_GREEDY                                                                          \
    {                                                                                              \
        0, 0, 1, 0, 1, 0                                                                           \
    }
struct br__sampler; /* has room for one vocabulary; serves any number of sequences, in one thread */
/* BR_E_USAGE names the value that is out of range. */
int br__sampler_new(struct br__sampler **out, const struct br__sample_opts *o, uint32_t vocab,
                    struct br_err *err) BR_MUST_CHECK;
void br__sampler_free(struct br__sampler *s);

/* The next token of a sequence, from logits[vocab].  history: all ids so far, prompt and new ones.
 * (seed, sequence, step) decide the draw: number sequences from the user's point of view (the line
 * of a prompt, say) and steps from 0.  Greedy: the largest logit, of equals the lowest id.
 * BR_E_NUMERIC: a logit that is not finite. */
int br__sample(struct br__sampler *s, const float *logits, const int32_t *history, size_t n_history,
               uint64_t sequence, uint64_t step, int32_t *id, struct br_err *err) BR_MUST_CHECK;
/* What br__sample would draw from: ascending ids, the probability of each is weight / total.
 * Valid until the sampler's next call. */
struct br__choices {
    const int32_t *ids;
    const double *weights;
    uint32_t n;
    double total;
};
int br__sample_choices(struct br__sampler *s, const float *logits, const int32_t *history,
                       size_t n_history, struct br__choices *out, struct br_err *err) BR_MUST_CHECK;
/* The generator: Philox4x32-10. */
void br__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* ---- generate.c: the decoding loop ----------------------------------------------------------- */

struct br_tokenizer;
struct br__gen_opts {
    struct br__sample_opts sample;
    int64_t max_new_tokens;
    const int32_t *eos; /* any of these ends a sequence */
    size_t n_eos;
    const char *const *stop; /* so does any of these texts, which is then left out */
    size_t n_stop;
    const struct br_tokenizer *tok; /* NULL: ids only, no text and no stop texts */
    /* Text of a sequence as it comes, whole code points, without special tokens; may be NULL. */
    void (*on_text)(void *ud, size_t sequence, const char *text, size_t n);
    void *ud;
};
struct br__gen_sequence {
    const int32_t *prompt; /* given */
    size_t n_prompt;
    int32_t *ids; /* the new ones, the one that ended it included; freed by br__gen_free */
    size_t n_ids, cap_ids;
    struct br__buf text;
    const char *finish; /* "eos", "stop" or "length" */
};
struct br__gen_stats {
    size_t prompt_tokens, new_tokens;
    double first_token;     /* seconds until the first token of the first sequence */
    double prefill, decode; /* seconds in steps that read prompts, and in the others */
    size_t decoded;         /* tokens that the latter gave */
};
/* Continue n sequences, as many at once as there are cache slots; a slot that becomes free takes
 * the next one.  The result of a sequence does not depend on the others. */
int br__generate(struct br__llm *m, const struct br__gen_opts *o, struct br__gen_sequence *seqs,
                 size_t n, struct br__gen_stats *stats, struct br_err *err) BR_MUST_CHECK;
void br__gen_free(struct br__gen_sequence *seqs, size_t n);

#endif
