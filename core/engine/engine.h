/* engine.h - floor 4, the door of core/engine: graphs, blocks, gradients, execution, weights, and
 * the model that generates.
 *
 * The engine asks the model floor for the architecture, its config and its rules, and a backend
 * for kernels.  It never prints; the command line above it does. */
#ifndef BRIDGE_CORE_ENGINE_H
#define BRIDGE_CORE_ENGINE_H

#include "../model/model.h"
#include <bridge/backend.h>
#include <bridge/graph.h>
#include <bridge/topo.h>

/* ---- backend.c: backends found and opened ------------------------------------------------------
 */

struct br__device {
    const struct br_backend *backend;
    void *device;
    uint64_t features;
    const struct br_kernel *kernels; /* adopted rows */
    uint32_t n_kernels, reserved;
};
/* name: "cpu", "auto" (best probe), or a backend's; n_lanes 0 = one per CPU. */
int br__device_open(struct br__device *d, const char *name, uint32_t n_lanes,
                    struct br_err *err) BR_MUST_CHECK;
void br__device_close(struct br__device *d);
/* First row that fits, or NULL. */
const struct br_kernel *br__device_kernel(const struct br__device *d, uint32_t op,
                                          uint32_t weight_dtype);

/* ---- graph.c: nodes ----------------------------------------------------------------------------
 */

#define BR__NO_VIEW 0
struct br__node {
    uint32_t op, n_in;
    br_val in[BR_MAX_IN];
    uint32_t dtype, n_dim;
    int64_t shape[BR_VIEW_DIMS], stride[BR_VIEW_DIMS];
    struct br_attr attr;
    br_val base;      /* a view: the node that owns the memory; else the node itself */
    int64_t offset;   /* elements from the base's first */
    const char *name; /* of a PARAM (Hugging Face name), INPUT or STATE; else NULL */
    const void *data; /* CONST: values (arena) */
    const struct br__param *param;
};

struct br_graph {
    struct br__arena arena;
    struct br__node *nodes; /* [0] is poison */
    size_t n, cap;
    struct br_err err; /* sticky: err.code != 0 */
    struct br__build *build;
};

/* Add a node; its shape comes from the op's rule.  Returns 0 once the graph has failed. */
br_val br__op(struct br_graph *g, uint32_t op, const br_val *in, uint32_t n_in,
              const struct br_attr *attr);
#define BR__ATTR(...) (&(struct br_attr){__VA_ARGS__})
#define BR__OP(g, op, attr, ...)                                                                   \
    br__op(g, BR_OP_##op, (const br_val[]){__VA_ARGS__},                                           \
           sizeof((const br_val[]){__VA_ARGS__}) / sizeof(br_val), attr)
br_val br__leaf(struct br_graph *g, uint32_t op, uint32_t dtype, const char *name, uint32_t n_dim,
                const int64_t *shape);
br_val br__const(struct br_graph *g, const float *v, int64_t n); /* copied; shape [n] */
br_val br__slice(struct br_graph *g, br_val x, int axis, int64_t from, int64_t n);
br_val br__reshape(struct br_graph *g, br_val x, uint32_t n_dim, const int64_t *shape);
const struct br__node *br__node(const struct br_graph *g, br_val v);
/* Record the first error; returns 0 (poison). */
br_val br__graph_fail(struct br_graph *g, int code, const char *fmt, ...) BR_PRINTF(3, 4);
void br__graph_free(struct br_graph *g);

struct br__grads;

/* ---- ops.c: the rules of ops.def ----------------------------------------------------------------
 */

struct br__op_row {
    const char *name;
    uint32_t min_in, max_in;
    /* Set n->dtype, shape, stride, base, offset from n->op, in, attr.  0 or BR_E_FORMAT. */
    int (*shape)(const struct br_graph *g, struct br__node *n, struct br_err *err);
    /* dy: gradient of node v.  Add each input's part with br__grad_add; NULL: no gradient. */
    void (*grad)(struct br__grads *gs, br_val v, br_val dy);
    int kind; /* enum br__op_kind */
};
enum br__op_kind { BR__OP_LEAF, BR__OP_VIEW, BR__OP_COMPUTE, BR__OP_COMM };
extern const struct br__op_row br__ops[BR_N_OPS];

/* ---- sample.c: from logits to the next token ---------------------------------------------------
 */

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
                       size_t n_history, struct br__choices *out,
                       struct br_err *err) BR_MUST_CHECK;
/* The generator: Philox4x32-10. */
void br__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* ---- stop.c: stop strings in streamed text -----------------------------------------------------
 */

struct br__stop;
/* n >= 0 strings, copied.  BR_E_USAGE: an empty one, or one that is not UTF-8. */
int br__stop_new(struct br__stop **out, const char *const *strings, size_t n,
                 struct br_err *err) BR_MUST_CHECK;
void br__stop_free(struct br__stop *s);
/* Add text (whole code points), and append to *out what can be shown: all but the end that may yet
 * become a stop string.  Returns the index of the stop string that ended the text, or -1.  The
 * text before it has then been shown; itself and what follows never is, and later text is
 * ignored.  The outcome does not depend on how the text is cut into pieces. */
int br__stop_feed(struct br__stop *s, const char *text, size_t n, struct br__buf *out);
/* The text is at its end: append what was held back.  Afterwards the object is as new. */
void br__stop_end(struct br__stop *s, struct br__buf *out);

#endif
