/* model.h - floor 3, the door of core/model: architectures, the conversion plan, and the jobs.
 *
 * A job is: registry -> architecture -> config -> rules expanded into moves of rows -> plan, where
 * every check happens -> write.  This floor knows plugins and formats; it knows no graph, no device and
 * never prints. */
#ifndef BRIDGE_CORE_MODEL_H
#define BRIDGE_CORE_MODEL_H

#include "../format/format.h"
#include <bridge/bridge.h>
#include <bridge/plugin.h>

/* ---- registry.c: plugins found, checked and adopted ------------------------------------------- */

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
    const char **dirs; /* search order, for messages */
    size_t n_dirs;
    const char **refused; /* "path: reason" of files that were looked at and not taken */
    size_t n_refused, cap_refused;
};

/* Search order: plugin_file (NULL ok), dirs of BRIDGE_PLUGIN_PATH, $XDG_DATA_HOME/bridge/1 (default
 * ~/.local/share/bridge/1), <libdir>/bridge/1 beside libbridge.so (dladdr), static ones.  Never the working
 * directory.  Opens nothing yet except plugin_file. */
int br__registry_open(struct br__registry **out, const char *plugin_file, struct br_err *err)
    BR_MUST_CHECK;
void br__registry_close(struct br__registry *r);
/* Find by architectures[0] and model_type of a config.json: bridge_<model_type>.so first, then a scan of all
 * dirs.  hf_class may be NULL.  BR_E_ARCH names both, what is supported, what was searched, near names and how to add
 * one; also when class and type belong to different architectures. */
int br__registry_find(struct br__registry *r, const char *model_type, const char *hf_class,
                      const struct br__arch **out, struct br_err *err) BR_MUST_CHECK;
/* Load every plugin of every dir (first of a name wins); bad ones are listed in r->refused. */
int br__registry_load_all(struct br__registry *r, struct br_err *err) BR_MUST_CHECK;
/* Load one file and adopt it: BR_E_PLUGIN says which rule it broke (no symbol, name and file differ, newer rows
 * with unknown values, truncated, ...). */
int br__registry_load_file(struct br__registry *r, const char *path, const struct br__plugin **out,
                           struct br_err *err) BR_MUST_CHECK;
/* Copy a versioned struct: shorter is zero-extended, longer must end in zeros (else BR_E_PLUGIN). */
int br__adopt(void *dst, size_t dst_size, const void *src, size_t src_size) BR_MUST_CHECK;

/* ---- config.c: config.json <-> canonical facts ------------------------------------------------- */

struct br_config {
    const struct br__arch *arch;
    double v[BR_N_CFG];
    const char *text[BR_N_CFG];
    uint8_t has[BR_N_CFG];
    int dtype;               /* torch_dtype of config.json; BR_NONE if silent */
    int fp8;                 /* quantization_config says fp8 */
    int64_t fp8_block[2];    /* weight_block_size, default 128 x 128 */
    int64_t n_layers, n_experts, n_mtp;
    uint8_t *linear;         /* [n_layers] 1: delta-net layer */
    uint8_t *dense;          /* [n_layers] 1: dense MLP */
    int mixed_mlp;           /* some dense, some routed */
};

/* Read config.json.  Refuses what the architecture's tables or its check() refuse, non-positive sizes, heads not
 * divisible by groups, lists of the wrong length. */
int br__config_from_json(struct br__arena *a, const struct br__arch *arch, const br__json *json,
                         struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
/* Value of a canonical key ("hidden_size") by its Megatron name, for shape expressions; 0 if unknown name (*known = 0). */
int64_t br__config_dim(const struct br_config *cfg, const char *key, size_t key_len, int *known);
extern const struct br__cfg_key {
    const char *id, *key, *mlm;
    char kind; /* 'I' 'F' 'B' 'T' */
} br__cfg_keys[BR_N_CFG];
/* Architecture-independent rows of config.json (hidden_size, ...). */
extern const struct br_field br__common_fields[];
extern const size_t br__n_common_fields;
/* The row that governs canonical fact `id` for an arch (plugin's rows win), or NULL. */
const struct br_field *br__config_field(const struct br__arch *arch, uint32_t id);

/* ---- run_config.c: Megatron Bridge's run_config.yaml, written and read ---------------------------- */

struct br__run_config_opts {
    const char *hf_model_id; /* as the user gave it */
    const char *save;        /* destination root as given */
    int per_layer_moe_list;  /* mixed dense/MoE: moe_layer_freq as list + decoder block spec */
};
/* The whole file as Megatron Bridge 0.6.2 writes it (every section and key, sorted), with the model's facts. */
int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err) BR_MUST_CHECK;
/* config.json of an architecture from a checkpoint's run_config.yaml or, when that is NULL, Megatron-LM args.  *guessed:
 * sentences naming each value that had to be guessed (arena). */
int br__config_rebuild(struct br__arena *a, const struct br__arch *arch, const struct br__yaml *run_config,
                       const struct br__pk *args, br__json **config, const char ***guessed, size_t *n_guessed,
                       struct br_err *err) BR_MUST_CHECK;

/* ---- pattern.c, spans.c, rules.c: weight rules expanded for a config ---------------------------------- */

/* One tensor that the rules say exists on one side. */
struct br__slot {
    const char *name;
    int ndim;
    int64_t shape[BR_MAX_DIMS]; /* of the whole stored tensor (stacked, with expert axis) */
    int lead;                   /* Megatron: leading axes that are indices (layer, expert) */
    uint64_t rows, row_elems;   /* flattened: leading axes and dim 0 | the rest */
    uint32_t rule;              /* index into arch->maps of the first rule that made it */
    uint8_t fused;              /* HF: a fused-expert tensor */
};
/* n rows of an HF tensor are n rows of a Megatron tensor. */
struct br__move {
    uint32_t hf, mc;            /* slots */
    uint64_t hf_row, mc_row, n;
    uint32_t rule;
    uint32_t view;              /* which box of the Megatron tensor: views count up per (rule, indices, output) */
};
/* A box of a Megatron tensor that belongs to one rule instance: rows [row, row + rows). */
struct br__view {
    uint32_t mc;
    uint64_t row, rows;
    uint32_t parts;             /* stored as this many equal chunks (CONCAT: 2) */
    uint32_t first_move, n_moves; /* its moves, in mc_row order */
};
struct br__expansion {
    struct br__slot *hf, *mc;
    size_t n_hf, n_mc;
    struct br__move *moves;
    size_t n_moves;
    struct br__view *views;     /* in the order in which they are stored: by Megatron tensor, then row */
    size_t n_views;
    const char **extra_state;   /* keys of the _extra_state items, "…/shard_<i>_<n>" */
    size_t n_extra_state;
    int per_layer;
};
struct br__expand_opts {
    int per_layer;              /* 0 = family default, 1 = per-layer keys, -1 = stacked (error if impossible) */
    int fused;                  /* HF side in the fused-expert layout */
    int untied;                 /* embedding and output layer are separate tensors */
};
int br__rules_expand(struct br__arena *a, const struct br_config *cfg, const struct br__expand_opts *o,
                     struct br__expansion **out, struct br_err *err) BR_MUST_CHECK;

/* ---- plan.c ------------------------------------------------------------------------------------------- */

enum br__exactness {
    BR__EXACT,       /* bytes move                                       */
    BR__EXACT_SHIFT, /* w - 1 / w + 1, exact for every element           */
    BR__WIDENED,     /* w - 1 kept exact in a wider dtype                */
    BR__DEQUANT,     /* e4m3 * scale, rounded once                       */
    BR__ROUNDED      /* cast asked for by --torch-dtype, or not exact    */
};
const char *br__exactness_text(int e);

enum br__direction { BR__IMPORT = 1, BR__EXPORT = 2 };

/* How the bytes of one output tensor come about. */
struct br__seg {
    uint32_t src;          /* tensor of the source checkpoint; BR__SRC_ZERO = zeros */
    uint64_t src_row, dst_row, n; /* rows of row_elems elements; dst_row relative to the output piece */
};
#define BR__SRC_ZERO UINT32_MAX
struct br__piece {         /* one stored box (import) or one HF tensor (export) */
    uint32_t out;
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
    uint64_t rows, bytes;
    uint32_t first_seg, n_segs;
};
struct br__plan_out {      /* one output tensor */
    const char *name;
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    uint64_t row_elems;
    uint32_t rule;
    uint8_t exactness;
    int8_t add;            /* -1, 0, +1 */
    uint32_t file;         /* export: shard */
};
struct br__plan {
    int direction;
    struct br__arena arena;
    const struct br_config *cfg;
    const struct br__ckpt *src;      /* borrowed */
    struct br__expansion *x;
    struct br__plan_out *outs;
    size_t n_outs;
    struct br__piece *pieces;        /* in storage order */
    size_t n_pieces;
    struct br__seg *segs;
    size_t n_segs;
    const float **scales;            /* per source tensor: FP8 block scales in f32, or NULL */
    uint8_t *used;                   /* per source tensor: 1 used, 2 ignored, 3 scale, 4 tied copy, 5 left out */
    const char **notes;              /* sentences for the user */
    size_t n_notes, cap_notes;
    const char **skipped;            /* --not-strict: what was skipped */
    size_t n_skipped, cap_skipped;
    uint64_t out_bytes;
    int tied_copy;                   /* the source stores lm_head.weight although tied */
};
/* Bytes [off, off + n) of a piece, into dst.  n <= BR__OUT_BUF.  Thread-safe; scratch per caller. */
struct br__scratch {
    unsigned char *buf;    /* BR__OUT_BUF bytes */
};
int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err) BR_MUST_CHECK;
void br__plan_free(struct br__plan *p);

/* ---- job.c: what the verbs share ---------------------------------------------------------------------- */

/* Everything that a job opened, up to and including its plan: all checks are done, nothing is written. */
struct br__session {
    struct br__arena arena;
    struct br_job job;
    struct br__registry *registry;
    const struct br__arch *arch;
    struct br_config cfg;
    struct br__ckpt *src;   /* what is read */
    struct br__ckpt *ref;   /* export: the HF reference, or NULL */
    struct br__plan *plan;
    const char *dest;       /* absolute destination root or directory; NULL when none was given */
};
/* job->config_file set: the source's headers are invented from that config.json (plan only). */
int br__session_open(struct br__session **out, const struct br_job *job, int direction, struct br_err *err)
    BR_MUST_CHECK;
void br__session_close(struct br__session *s);

/* Compare two checkpoints of either format key by key; each difference is one line to `line`.  *n_diff counts. */
int br__ckpt_diff(const struct br__ckpt *a, const struct br__ckpt *b, int threads,
                  void (*line)(void *ud, const char *text), void *ud, size_t *n_diff, struct br_err *err)
    BR_MUST_CHECK;
/* sha256 of the contiguous global tensor, hex. */
int br__ckpt_sha256(const struct br__ckpt *ck, const struct br__tensor *t, char hex[65], struct br_err *err)
    BR_MUST_CHECK;
/* What a torch_dist checkpoint says of a training run: NULL fields when it is weights only. */
struct br__training {
    int present;                  /* any optimizer, rng or rerun item */
    int64_t iteration, consumed_samples; /* -1 unknown */
    const char *optimizer;        /* "adam (distributed)", ... or NULL */
    const char *sharding;         /* "fully_reshardable", "dp_reshardable", "none" or NULL */
    size_t n_optimizer_tensors, n_rng_items, n_rerun_items;
    int has_scheduler;
    const char **warnings;        /* e.g. stored main parameters that do not round to the weights */
    size_t n_warnings;
};
/* check_main_params compares bf16(optimizer.state.param.X) with X and warns where they differ. */
int br__training_summary(struct br__arena *a, const struct br__ckpt *ck, int check_main_params,
                         struct br__training *out, struct br_err *err) BR_MUST_CHECK;

/* ---- toy.c ---------------------------------------------------------------------------------------------- */

struct br__toy_opts {
    const char *const *sets; /* "key=value", config.json's own keys */
    size_t n_sets;
    uint64_t seed;
    int dtype;               /* BR_NONE = bfloat16 */
    int sparse;              /* true headers over holes */
    int fused;               /* fused-expert layout */
};
/* Write a deterministic checkpoint of an architecture: its `toy` string, then sets.  dir must not exist or be
 * empty.  Values come from integer arithmetic only, so every machine writes the same bytes. */
int br__toy_write(const struct br__arch *arch, const char *dir, const struct br__toy_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
/* config.json text of that toy. */
int br__toy_config(const struct br__arch *arch, const struct br__toy_opts *o, br__json **out,
                   struct br_err *err) BR_MUST_CHECK;

#endif
