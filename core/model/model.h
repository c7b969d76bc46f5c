/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* model.h - the door of core/model: plugins, their architectures, configurations and weight rules.
 *
 * A plugin gives tables.  This folder finds and checks it, reads config.json by them, and expands
 * the weight rules into moves of rows between Hugging Face and Megatron tensors.  It knows formats
 * only as far as a toy checkpoint is written; it knows no conversion, no graph and no device. */
#ifndef BRIDGE_CORE_MODEL_H
#define BRIDGE_CORE_MODEL_H

#include "../format/format.h"
#include <bridge/plugin.h>

/* ---- registry.c: plugins found, checked and adopted ------------------------------------------ */

/* An architecture adopted from a plugin: tables copied to this build's row sizes. */
struct br__arch {
    const struct br__plugin *plugin;
    const char *model_type, *hf_class, *toy;
    const struct br_field *config;
    uint32_t n_config;
    const struct br_map *maps;
    uint32_t n_maps;
    const struct br_ignore *ignore;
    uint32_t n_ignore;
    const struct br_key *keys;
    uint32_t n_keys;
    int (*check)(struct br_config *cfg, struct br_err *err);
    uint32_t (*layer)(struct br_graph *g, uint32_t x, int layer);
};

struct br__plugin {
    const char *name, *path; /* path is "(static)" for a linked-in one */
    uint32_t built_with;
    struct br__arch *archs;
    uint32_t n_archs;
    const struct br_recipe *recipes;
    uint32_t n_recipes;
};

struct br__registry {
    struct br__arena arena;
    struct br__plugin **plugins;
    size_t n_plugins, cap_plugins;
    const struct br__plugin *given; /* that of plugin_file, or NULL */
    const char **dirs;              /* search order, for messages */
    size_t n_dirs, cap_dirs;
    const char **refused; /* "path: reason" of files that were looked at and not taken */
    size_t n_refused, cap_refused;
};

/* Search order: plugin_file (NULL ok), dirs of BRIDGE_PLUGIN_PATH, $XDG_DATA_HOME/bridge/1 (default
 * ~/.local/share/bridge/1), <libdir>/bridge/1 beside libbridge.so (dladdr), static ones.  Never the
 * working directory.  Opens nothing yet except plugin_file. */
int br__registry_open(struct br__registry **out, const char *plugin_file,
                      struct br_err *err) BR_MUST_CHECK;
void br__registry_close(struct br__registry *r);
/* Find by architectures[0] and model_type of a config.json: bridge_<model_type>.so first, then a
 * scan of all dirs.  hf_class may be NULL.  BR_E_ARCH names both, what is supported, what was
 * searched, near names and how to add one; also when class and type belong to different
 * architectures. */
int br__registry_find(struct br__registry *r, const char *model_type, const char *hf_class,
                      const struct br__arch **out, struct br_err *err) BR_MUST_CHECK;
/* Load every plugin of every dir (first of a name wins); bad ones are listed in r->refused. */
int br__registry_load_all(struct br__registry *r, struct br_err *err) BR_MUST_CHECK;
/* Load one file and adopt it: BR_E_PLUGIN says which rule it broke (no symbol, name and file
 * differ, newer rows with unknown values, truncated, ...). */
int br__registry_load_file(struct br__registry *r, const char *path, const struct br__plugin **out,
                           struct br_err *err) BR_MUST_CHECK;

/* ---- config.c, config_fields.c: config.json <-> canonical facts ------------------------------ */

/* What config.json asks for and the layer builder does not do: a sentence.  The weights can be
 * converted all the same, the model cannot run. */
struct br__finding {
    const char *text;
    const struct br__finding *next;
};

struct br_config {
    const struct br__arch *arch;
    double v[BR_N_CFG];
    const char *text[BR_N_CFG];
    uint8_t has[BR_N_CFG];
    int dtype;            /* torch_dtype of config.json; BR_NONE if silent */
    int fp8;              /* quantization_config says fp8 */
    int64_t fp8_block[2]; /* weight_block_size, default 128 x 128 */
    int64_t n_layers, n_experts, n_mtp;
    uint8_t *linear;   /* [n_layers] 1: delta-net layer */
    uint8_t *dense;    /* [n_layers] 1: dense MLP */
    int mixed_mlp;     /* some dense, some routed */
    int64_t window;    /* keys that a query of a windowed layer sees, its own included; 0 = all */
    uint8_t *windowed; /* [n_layers] 1: sliding-window attention */
    double router_aux_loss_coef; /* config.json's own, which Megatron Bridge overrides */
    int hybrid;                  /* the rules know delta-net layers */
    double rope_attention;       /* YaRN: factor of cos and sin */
    const struct br__finding *findings;
    const char *unknown_keys; /* a sentence, or NULL: keys that nobody knows */
    const br__json *json;     /* config.json, while the plugin's check() runs; else NULL */
    struct br__arena *arena;  /* of the texts that check() asks for */
};

/* Read config.json.  Refuses what the architecture's tables or its check() refuse, non-positive
 * sizes, heads not divisible by groups, lists of the wrong length. */
int br__config_from_json(struct br__arena *a, const struct br__arch *arch, const br__json *json,
                         struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
extern const struct br__cfg_key {
    const char *id, *key, *mlm;
    char kind; /* 'I' 'F' 'B' 'T' */
} br__cfg_keys[BR_N_CFG];
/* The rope that fact `id` belongs to, beside those that every rope has. */
enum br__rope { BR__ROPE_PLAIN, BR__ROPE_YARN, BR__ROPE_BANDS };
int br__config_rope(uint32_t id);
/* The row that governs canonical fact `id` for an arch (plugin's rows win), or NULL. */
const struct br_field *br__config_field(const struct br__arch *arch, uint32_t id);

/* ---- pattern.c: the name patterns of plugin.h ------------------------------------------------ */

enum br__set {
    BR__SET_NONE,
    BR__SET_LAYER,
    BR__SET_ATTN,
    BR__SET_GDN,
    BR__SET_MOE,
    BR__SET_DENSE,
    BR__SET_MTP
};
/* What a pattern contains.  BR_E_PLUGIN for an unknown placeholder, two sets, two lists, unbalanced
 * braces. */
struct br__pattern {
    const char *text;
    enum br__set set; /* of {layer} ... {mtp} */
    int n_list;       /* items of {a,b,c}; 1 without a list */
    int has_expert;   /* {expert}, or [expert] at the end */
};
int br__pattern_parse(const char *text, struct br__pattern *out, struct br_err *err) BR_MUST_CHECK;
/* The name for one index of the set, expert and list item (arena; NULL: out of memory).  layer < 0
 * leaves "{set}." out (the stacked form).  A trailing [expert] never becomes text. */
const char *br__pattern_name(struct br__arena *a, const struct br__pattern *p, int64_t layer,
                             int64_t expert, int item);
/* 1 if `name` is the pattern with any indices (digits) and any list item; a stacked name matches
 * too. */
int br__pattern_match(const struct br__pattern *p, const char *name);
/* Evaluate item `item` of a shape expression ("a*b+2*c,d;e,f") for a config. */
int br__shape_eval(const char *expr, int item, const struct br_config *cfg, int64_t *shape,
                   int *ndim, struct br_err *err) BR_MUST_CHECK;

/* ---- row_moves.c: layouts as moves of whole rows --------------------------------------------- */

/* Inputs and outputs of a layout (BR_LAYOUT_MAP) and its name, "QKV". */
int br__layout_n_hf(uint32_t layout);
int br__layout_n_mcore(uint32_t layout);
const char *br__layout_name(uint32_t layout);
#define BR__MAX_LIST 8

/* ---- rules.c: weight rules expanded for a config --------------------------------------------- */

/* One tensor that the rules say exists on one side. */
struct br__slot {
    const char *name;
    int ndim;
    int64_t shape[BR_MAX_DIMS]; /* of the whole stored tensor (stacked, with expert axis) */
    int lead;                   /* leading axes that are indices: layer, expert */
    uint64_t rows, row_elems;   /* flattened: leading axes and the next dim | the rest */
    uint32_t rule;              /* index into arch->maps of the rule that made it */
    uint8_t fused;              /* HF: a fused-expert tensor */
};
/* n rows of an HF tensor are n rows of a Megatron tensor. */
struct br__move {
    uint32_t hf, mc; /* slots */
    uint64_t hf_row, mc_row, n;
};
/* A box of a Megatron tensor that belongs to one rule instance: rows [row, row + rows). */
struct br__view {
    uint32_t mc;
    uint64_t row, rows;
    uint32_t parts; /* stored as this many equal chunks (CONCAT: 2) */
    uint32_t reserved;
    uint32_t first_move, n_moves; /* its moves, in mc_row order */
};
struct br__expansion {
    struct br__slot *hf, *mc;
    size_t n_hf, n_mc;
    struct br__move *moves;
    size_t n_moves;
    struct br__view
        *views; /* in the order in which they are stored: by Megatron tensor, then row */
    size_t n_views;
    const char **extra_state; /* keys of the _extra_state items, "…/shard_<i>_<n>" */
    size_t n_extra_state;
    int per_layer;
};
struct br__expand_opts {
    int per_layer; /* 0 = family default, 1 = per-layer keys, -1 = stacked (error if impossible) */
    int fused;     /* HF side in the fused-expert layout */
    int untied;    /* embedding and output layer are separate tensors */
    size_t max_hf; /* more Hugging Face tensors are BR_E_CONFIG; 0 = no limit but the
                      configuration's */
};
int br__rules_expand(struct br__arena *a, const struct br_config *cfg,
                     const struct br__expand_opts *o, struct br__expansion **out,
                     struct br_err *err) BR_MUST_CHECK;

/* ---- bind.c: the tensors of a checkpoint and the rules --------------------------------------- */

/* What became of a tensor of the checkpoint. */
enum br__use { BR__UNUSED, BR__USED, BR__IGNORED, BR__SCALE, BR__TIED_COPY, BR__LEFT_OUT };

struct br__bind_opts {
    int hf;         /* the checkpoint has Hugging Face names; else Megatron's */
    unsigned flags; /* enum br_job_flags */
    const struct br__ckpt
        *like;                  /* hf: keys per layer or stacked as in this torch_dist checkpoint */
    const struct br__ckpt *ref; /* Megatron: the HF reference whose layout is kept, or NULL */
};
struct br__binding {
    struct br__arena arena;
    struct br_config *cfg;      /* borrowed; n_mtp and the tie are settled by the checkpoint */
    const struct br__ckpt *src; /* borrowed */
    struct br__expansion *x;
    uint32_t *tensor_of; /* [slots of the checkpoint's side] its tensor, or BR__NOT_FOUND */
    uint8_t *use;        /* [src->n_tensors], enum br__use */
    uint32_t *scale_of;  /* [src->n_tensors] tensor with the FP8 block scales, or BR__NOT_FOUND */
    const char **notes;  /* sentences for the user */
    size_t n_notes, cap_notes;
    const char **skipped; /* --not-strict: what was skipped and why */
    size_t n_skipped, cap_skipped;
    int untied;               /* embedding and output layer are separate */
    int fused;                /* HF side uses the fused-expert layout */
    int tied_copy;            /* the HF side stores the output layer's copy although tied */
    int dropped_quantization; /* FP8: config.json's quantization_config is no longer true */
};
/* Find a tensor of its shape for every slot that the rules expect.  BR_E_PLAN names missing,
 * unexpected and misshapen ones.  On failure b is empty. */
int br__bind(struct br__binding *b, struct br_config *cfg, const struct br__ckpt *src,
             const struct br__bind_opts *o, struct br_err *err) BR_MUST_CHECK;
void br__binding_free(struct br__binding *b);
/* Keep a sentence for the user; BR_E_NOMEM. */
int br__binding_note(struct br__binding *b, const char *fmt, ...) BR_PRINTF(2, 3);
int br__binding_skip(struct br__binding *b, struct br_err *err, const char *fmt, ...)
    BR_PRINTF(3, 4);

/* The rules of the embedding and of the output layer that may be tied to it; NULL where there is
 * none. */
void br__tied_rules(const struct br__arch *arch, const struct br_map **embedding,
                    const struct br_map **output);
/* Does the name (of the HF or the Megatron side) belong to a multi-token-prediction layer? */
int br__is_mtp(const struct br__arch *arch, const char *name, int hf_side);
/* Is the HF name one that the architecture knows and does not want? */
int br__is_ignored(const struct br__arch *arch, const char *name);
/* Does any tensor of the HF checkpoint match a fused-expert pattern of the rules? */
int br__has_fused(const struct br__arch *arch, const struct br__ckpt *ck);
/* A Megatron key under any of its spellings. */
const struct br__tensor *br__find_key(const struct br__ckpt *ck, const char *name);
/* Keys of a training checkpoint that are no weights. */
int br__is_training_state(const char *key);

/* ---- elements.c: values of a bound tensor ---------------------------------------------------- */

struct br__scratch {
    unsigned char *buf; /* BR__OUT_BUF bytes */
};
struct br__elements {
    uint32_t src;   /* tensor of the checkpoint */
    int to;         /* dtype of the result */
    uint64_t first; /* elements [first, first + n) */
    size_t n;       /* n * size of either dtype <= BR__OUT_BUF */
    double add;     /* to each, before it is converted */
};
/* Read and convert them.  Thread-safe with one scratch per thread. */
int br__elements_read(const struct br__binding *b, const struct br__elements *e, void *dst,
                      struct br__scratch *s, struct br_err *err) BR_MUST_CHECK;

/* ---- source.c: a model to be read ------------------------------------------------------------ */

/* What an engine or a trainer needs of a model: configuration, architecture, tensors by their
 * Hugging Face names.  source.c reads Hugging Face directories; core/convert reads torch_dist. */
struct br__source_tensor {
    const char *name;
    int dtype, ndim; /* dtype: that of the values read, bfloat16 for FP8 blocks */
    int64_t shape[BR_MAX_DIMS];
    uint32_t from; /* the source's own number of it */
};
struct br__model_source {
    const struct br__source_ops *ops;
    struct br__registry *registry;
    const struct br_config *cfg;
    int untied;                  /* the output layer has a weight of its own */
    const char *config_text;     /* config.json, verbatim or rebuilt */
    const char *generation_text; /* generation_config.json, or NULL */
    const char *dir;             /* where the weights lie */
    const char *ref_dir; /* torch_dist: of the Hugging Face model that came with it, or NULL */
    struct br__source_tensor *tensors;
    size_t n_tensors;
};
struct br__source_ops {
    /* Bytes [off, off + n) of the tensor's values, n <= BR__OUT_BUF / 4; both are multiples of the
     * element size.  Thread-safe with one scratch per thread. */
    int (*read)(const struct br__model_source *s, const struct br__source_tensor *t, uint64_t off,
                void *dst, size_t n, struct br__scratch *scratch, struct br_err *err);
    /* The values where they lie in memory, aligned, as long as the source is open; NULL: only
     * read() gives them. */
    const void *(*map)(const struct br__model_source *s, const struct br__source_tensor *t);
    void (*close)(struct br__model_source *s);
};
struct br__source_opts {
    const char *hf_model;      /* id or directory */
    const char *megatron_path; /* torch_dist: root or iteration; hf_model is then its reference */
    const char *plugin;        /* or NULL */
    int threads;               /* for what is read while opening; 0 = one per CPU */
    int no_verify;             /* do not compare checksums of a Megatron checkpoint */
    const struct br_listener *listener;
};
/* The model o->hf_model; checks that its tensors fit.  A model of the hub is downloaded. */
int br__source_open_hf(struct br__model_source **out, const struct br__source_opts *o,
                       struct br_err *err) BR_MUST_CHECK;
void br__source_close(struct br__model_source *s); /* NULL is fine */

/* Configuration of a config.json's text; strings in the arena. */
int br__config_from_text(struct br__arena *a, struct br__registry *r, const char *text, size_t n,
                         struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
/* That of a Hugging Face checkpoint's config.json. */
int br__config_of_ckpt(struct br__arena *a, struct br__registry *r, const struct br__ckpt *hf,
                       struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
struct br__hf_how {
    struct br__registry *registry;
    unsigned flags; /* enum br__hf_flags */
    const struct br__hub_opts *hub;
};
/* Open a model's weights and read its configuration.  Of a model of the hub the configuration comes
 * first: one that cannot be used is refused before its download. */
int br__open_hf_model(struct br__arena *a, const char *model, const struct br__hf_how *how,
                      struct br__ckpt **out, struct br_config *cfg,
                      struct br_err *err) BR_MUST_CHECK;
/* Where config.json is silent about the dtype: that of most bytes of the checkpoint. */
void br__config_settle_dtype(struct br_config *cfg, const struct br__ckpt *src);

/* ---- rope.c: rotary frequencies -------------------------------------------------------------- */

#define BR__MAX_ROTARY 512 /* channel pairs */
/* inv_freq[*n] of the config's rotary embedding (*n = rotary channels / 2, at most max) and the
 * factor of cos and sin.  Plain: theta^(-2c/d); YaRN (Peng et al. 2023, transformers
 * _compute_yarn_parameters); llama3 (transformers _compute_llama3_parameters). */
int br__rope(const struct br_config *cfg, float *inv_freq, int64_t max, int64_t *n, double *scale,
             struct br_err *err) BR_MUST_CHECK;

/* The factor of cos and sin that Megatron's YarnRotaryEmbedding computes with. */
double br__yarn_megatron(const struct br_config *cfg);

/* ---- toy.c ----------------------------------------------------------------------------------- */

struct br__toy_opts {
    const char *const *sets; /* "key=value", config.json's own keys */
    size_t n_sets;
    uint64_t seed;
    int dtype;  /* BR_NONE = bfloat16 */
    int sparse; /* true headers over holes */
    int fused;  /* fused-expert layout */
};
/* Write a deterministic checkpoint of an architecture: its `toy` string, then sets.  dir must not
 * exist or be empty.  Values come from integer arithmetic only, so every machine writes the same
 * bytes. */
int br__toy_write(const struct br__arch *arch, const char *dir, const struct br__toy_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
/* config.json text of that toy. */
int br__toy_config(const struct br__arch *arch, const struct br__toy_opts *o, br__json **out,
                   struct br_err *err) BR_MUST_CHECK;

#endif
