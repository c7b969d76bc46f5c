/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recipe.h - the door of core/recipe: training recipes, resolved, typed and checked.
 *
 * Rows come from plugins, keys from keys.def.  This folder knows which values fit each other, what
 * a model needs in memory, and how Megatron Bridge's configuration file is written; it trains
 * nothing and knows no graph and no device. */
#ifndef BRIDGE_CORE_RECIPE_H
#define BRIDGE_CORE_RECIPE_H

#include "../convert/convert.h"
#include "../dist/dist.h"

/* ---- opening a recipe ------------------------------------------------------------------------ */

enum br__recipe_flags { BR__RECIPE_NULLABLE = 1, BR__RECIPE_COMPUTED = 2 };
enum br__recipe_id {
#define KEY(id, kind, flags, low, high, choices, dflt, config, aliases, help) BR__RK_##id,
#include "keys.def"
#undef KEY
    BR__N_RK
};
/* The flat table that other tools print: keys [FIRST, END). */
enum { BR__RK_FLAT_FIRST = BR__RK_tp, BR__RK_FLAT_END = BR__RK_eff_recompute_modules + 1 };
struct br__recipe_value {
    char tag; /* 0 absent, '0' null, 'B' 'I' (i), 'F' (f), 'T' (text), 'L' 'O' (text is JSON) */
    int64_t i;
    double f;
    const char *text;
    uint32_t ref;         /* written as $key: its id + 1; 0 = no reference */
    const char *from;     /* "page", "v0.2.0", "default", "--set", or a file's name */
    const char *row;      /* row of a plugin that set it, or NULL */
    int line;             /* of the file, or 0 */
    const char *upstream; /* what upstream's code has where `from` says otherwise, or NULL */
};

struct br__recipe_opts {
    const char *name; /* recipe, or upstream's newer name of one; NULL: the file says it */
    const struct br__plugin *plugin; /* look only here; NULL: in all */
    const char *file;                /* recipe file, or NULL */
    const char *mode, *peft;         /* or NULL */
    const char *const *sets;         /* "key=value" */
    size_t n_sets;
    int64_t world;  /* processes in place of the recipe's own number; 0 = that */
    int incomplete; /* leave contradictions to br__recipe_check */
};
struct br__recipe {
    const char *name;  /* "qwen3_8b_pretrain_config" */
    const char *asked; /* as it was asked for, when that is another name; else NULL */
    const char *mode;
    const struct br__plugin *plugin;
    const char *example; /* settings of the model page's example, or NULL */
    struct br__recipe_value v[BR__N_RK];
};
/* Resolve a recipe: rows from base to override, then file, then sets; every value is typed and in
 * range, nothing contradicts.  BR_E_NOTFOUND names near recipes, BR_E_UNSUPPORTED is a recipe's own
 * refusal, BR_E_CONFIG everything else.  Texts live in the arena or the registry. */
int br__recipe_open(struct br__arena *a, struct br__registry *r, const struct br__recipe_opts *o,
                    struct br__recipe *out, struct br_err *err) BR_MUST_CHECK;
/* 1 for the row of a recipe, 0 for a base. */
int br__recipe_is_listed(const struct br_recipe *row);
/* 1 if the key has a number, and the number. */
int br__recipe_has(const struct br__recipe *r, uint32_t id);
int64_t br__recipe_i(const struct br__recipe *r, uint32_t id, int64_t dflt);

/* 1 if the user set the value, in a file or on the command line. */
int br__recipe_is_set(const struct br__recipe *r, uint32_t id);
/* The model that a recipe describes: config.json (free with br__json_free) and its facts.
 * BR_E_CONFIG when the recipe does not give all sizes, or gives some that the architecture refuses.
 */
int br__recipe_config(struct br__arena *a, const struct br__recipe *r, br__json **json,
                      struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
/* Another model's sizes and tokenizer, hf_model's, in place of the recipe's, but for those that the
 * user set.  The recipe then borrows texts of the configuration. */
void br__recipe_adopt_model(struct br__recipe *r, const struct br_config *cfg);
/* A size in which the recipe and a configuration differ, or NULL.  Prediction layers, which
 * training may leave out, and the longest sequence do not count. */
const char *br__recipe_unlike(const struct br__recipe *r, const struct br_config *cfg);
/* One process: parallel sizes become 1, and what hangs on them is turned off. */
void br__recipe_single_rank(struct br__recipe *r);

/* ---- its keys and values --------------------------------------------------------------------- */

struct br__recipe_key {
    const char *name;
    char kind;     /* B I F T C L O X, see keys.def */
    uint8_t flags; /* enum br__recipe_flags */
    double low, high;
    const char *choices, *dflt, *config, *aliases, *help; /* dflt NULL: absent unless set */
};
extern const struct br__recipe_key br__recipe_keys[BR__N_RK];
/* Its type and range as a sentence part, "integer from 1 to 64, or null". */
void br__recipe_key_range(const struct br__recipe_key *k, struct br__buf *out);
/* A word that stands for several settings, by index; NULL beyond the last. */
struct br__recipe_word {
    const char *name, *value, *settings, *help;
};
const struct br__recipe_word *br__recipe_word(size_t i);
/* As JSON, and in the recipes' own grammar. */
void br__recipe_value_json(struct br__buf *out, const struct br__recipe_value *v);
void br__recipe_value_text(struct br__buf *out, const struct br__recipe_value *v);

/* ---- do the values fit each other? ----------------------------------------------------------- */

/* One call of `line` per contradiction (NULL: only counted), each with its equation and the place
 * that set the value.  world 0: the recipe's own number of processes. */
size_t br__recipe_check(const struct br__recipe *r, int64_t world,
                        void (*line)(void *ud, const char *text), void *ud);
/* The parallel grids.  dp and edp are 0 when the number of processes is unknown. */
struct br__recipe_grid {
    int64_t world, tp, pp, cp, ep, etp, vpp, dp, edp;
    int64_t min_world; /* least number of processes that fills both grids */
};
void br__recipe_grid(const struct br__recipe *r, int64_t world, struct br__recipe_grid *g);
/* How pipeline stages share the layers; texts are the recipe's. */
struct br__stage_opts br__recipe_stage_opts(const struct br__recipe *r);

/* ---- bytes and work -------------------------------------------------------------------------- */

struct br__recipe_memory {
    double total_params, active_params; /* of the whole model                                */
    double rank_params;                 /* on the fullest rank, adapters included            */
    double trained_params;              /* of these, trained                                 */
    double weights, gradients, optimizer, activations, total; /* bytes on the fullest rank   */
    double flops_per_token, flops_per_step; /* forward and backward                          */
    int64_t microbatches;                   /* per step and data-parallel rank               */
};
/* Estimate by Megatron-LM's formulas.  BR_E_CONFIG when the recipe gives no sizes. */
int br__recipe_memory(const struct br__recipe *r, int64_t world, struct br__recipe_memory *out,
                      struct br_err *err) BR_MUST_CHECK;

/* ---- a step without the GPUs: hardware.c, simulate.c ----------------------------------------- */

struct br__sim_gpu {
    const char *name;
    double flops;      /* peak of bfloat16 products, operations per second */
    double efficiency; /* share of it that products reach, 0..1 */
    double memory;     /* bytes */
    double bandwidth;  /* of memory, bytes per second */
};
/* How GPUs of a node, and those of different nodes, are connected; bandwidths in bytes per second,
 * of one GPU and in one direction; latencies in seconds. */
struct br__sim_network {
    const char *name;
    double node_gpus; /* ranks of a node, one after another */
    double node_bandwidth, node_latency, net_bandwidth, net_latency;
};
/* By name, or from a file; NULL: the first that is known.  Names are borrowed. */
int br__sim_gpu_find(struct br__arena *a, const char *name, struct br__sim_gpu *out,
                     struct br_err *err) BR_MUST_CHECK;
int br__sim_network_find(struct br__arena *a, const char *name, struct br__sim_network *out,
                         struct br_err *err) BR_MUST_CHECK;

/* Numbers that each rank tells all others in a step: sums of losses, the gradient's norm, and how
 * many zeros it has. */
#define BR__STEP_SUMS 11

/* What a rank spends its step on. */
enum br__sim_cost {
    BR__SIM_COMPUTE, /* products, or reading weights where that takes longer */
    BR__SIM_TP,
    BR__SIM_CP,
    BR__SIM_EP,
    BR__SIM_WAIT,   /* for other stages */
    BR__SIM_REDUCE, /* gradients and parameters over data-parallel ranks, where nothing hides it */
    BR__SIM_OPTIMIZER,
    BR__N_SIM
};
const char *br__sim_cost_name(enum br__sim_cost c);

struct br__sim_stage {
    uint32_t rank;
    double seconds[BR__N_SIM];       /* their sum is the step */
    struct br__recipe_memory memory; /* bytes; activations at their highest */
    double bytes[BR_N_GROUPS];       /* that the rank sends in a step, by group */
    double after[BR_N_GROUPS];       /* those among them that are sent when all passes are done */
};
struct br__sim_pass;
struct br__sim {
    struct br__sim_gpu gpu;
    struct br__sim_network network;
    struct br__recipe_grid grid;
    struct br_topo topo;
    struct br__stages stages;
    struct br__pipe_opts schedule;
    struct br__pipe *pipes; /* [pp] */
    struct br__pipe_times times;
    struct br__sim_stage *stage; /* [pp], the pipeline that has `rank` */
    double *frame_bytes;         /* [vpp * pp] a micro batch's activations in each chunk */
    struct br__sim_pass *passes; /* [vpp * pp][2] of each chunk: forward, backward */
    double hidden_bytes;         /* of a micro batch's hidden states, as a rank sends them */
    double step;                 /* seconds */
    double bubble;               /* share of the pipeline's time that the stages wait, on average */
    double mfu, flops_per_step;  /* of the peak */
    enum br__sim_cost limit;     /* what takes most time, on average over the stages */
    int across[BR_N_GROUPS];     /* a group of the rank has ranks of several nodes */
};
struct br__sim_opts {
    struct br__sim_gpu gpu;
    struct br__sim_network network;
    int64_t world; /* 0: the recipe's own */
    int64_t rank;
};
/* A step of the pipeline that opts->rank is in; the others are taken to be like it.  BR_E_CONFIG
 * where the recipe has no such step.  All in the arena. */
int br__recipe_simulate(struct br__arena *a, const struct br__recipe *r,
                        const struct br__sim_opts *opts, struct br__sim *out,
                        struct br_err *err) BR_MUST_CHECK;

/* ---- Megatron Bridge's own configuration file ------------------------------------------------ */

/* A ConfigContainer file, which megatron.bridge.training.config reads.  run_model: as it stands in
 * the checkpoints of a run of that model; NULL: the recipe's own. */
int br__recipe_yaml(struct br__arena *a, const struct br__recipe *r,
                    const struct br_config *run_model, struct br__buf *out,
                    struct br_err *err) BR_MUST_CHECK;

#endif
