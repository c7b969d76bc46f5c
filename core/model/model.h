/* model.h - floor 3, the door of core/model: architectures, the conversion plan, and the jobs.
 *
 * A job is: registry -> architecture -> config -> rules expanded into moves of rows -> plan, where
 * every check happens -> write.  This floor knows plugins and formats; it knows no graph, no device
 * and never prints. */
#ifndef BRIDGE_CORE_MODEL_H
#define BRIDGE_CORE_MODEL_H

#include "../format/format.h"
#include <bridge/bridge.h>
#include <bridge/plugin.h>

/* ---- registry.c: plugins found, checked and adopted -------------------------------------------
 */

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
/* Whether a file's bytes are a complete shared object for this machine.  dlopen faults on one that
 * was cut short, so this comes first.  BR_E_PLUGIN. */
int br__elf_check(const unsigned char *p, size_t n, struct br_err *err) BR_MUST_CHECK;

/* ---- adopt.c: a plugin's descriptor checked and copied ------------------------------------------
 */

/* Where a plugin's file is mapped: all that its descriptor points to must lie inside.  No segments
 * = not checked (a linked-in plugin). */
#define BR__IMAGE_MAX 16
struct br__image {
    struct {
        uintptr_t begin, end;
    } seg[BR__IMAGE_MAX];
    size_t n;
};
/* Adopt a whole descriptor into the arena; strings stay in the plugin.  name: the one the file
 * promises. BR_E_PLUGIN names the table and the row that broke a rule, and the version that the
 * plugin was built with. */
int br__plugin_adopt(struct br__arena *a, const struct br_plugin *d, const struct br__image *image,
                     const char *name, struct br__plugin **out, struct br_err *err) BR_MUST_CHECK;

/* ---- config.c: config.json <-> canonical facts -------------------------------------------------
 */

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
};

/* Read config.json.  Refuses what the architecture's tables or its check() refuse, non-positive
 * sizes, heads not divisible by groups, lists of the wrong length. */
int br__config_from_json(struct br__arena *a, const struct br__arch *arch, const br__json *json,
                         struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
/* Value of a canonical key ("hidden_size") by its Megatron name, for shape expressions; 0 if
 * unknown name (*known = 0). */
int64_t br__config_dim(const struct br_config *cfg, const char *key, size_t key_len, int *known);
extern const struct br__cfg_key {
    const char *id, *key, *mlm;
    char kind; /* 'I' 'F' 'B' 'T' */
} br__cfg_keys[BR_N_CFG];
/* Architecture-independent rows of config.json (hidden_size, ...). */
extern const struct br_field br__common_fields[];
extern const size_t br__n_common_fields;
/* The rope that fact `id` belongs to, beside those that every rope has. */
enum br__rope { BR__ROPE_PLAIN, BR__ROPE_YARN, BR__ROPE_BANDS };
int br__config_rope(uint32_t id);
/* The row that governs canonical fact `id` for an arch (plugin's rows win), or NULL. */
const struct br_field *br__config_field(const struct br__arch *arch, uint32_t id);

/* ---- run_config.c: Megatron Bridge's run_config.yaml, written and read ----------------------- */

struct br__run_config_opts {
    const char *hf_model_id; /* as the user gave it */
    const char *save;        /* destination root as given */
    int per_layer_moe_list;  /* moe_layer_freq as list + decoder block spec although no layer is
                                dense */
    int64_t pad_vocab_to;    /* --pad-vocab-to MULTIPLE; 0 = not padded */
};
/* The whole file as Megatron Bridge 0.6.2 writes it (every section and key, sorted), with the
 * model's facts. */
int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err) BR_MUST_CHECK;
/* The model section alone, without the lines that only repeat a default.  `value` may write " text"
 * for a key of its own and return 1. */
int br__run_config_model(struct br__buf *out, const struct br_config *cfg,
                         const struct br__run_config_opts *o,
                         int (*value)(void *ud, const char *key, struct br__buf *out), void *ud,
                         struct br_err *err) BR_MUST_CHECK;
/* Entries of Megatron-LM's args namespace for br__td_common (arena): what its own loader, slime,
 * miles and Megatron Bridge without a run_config.yaml look for. */
int br__mlm_args(struct br__arena *a, const struct br_config *cfg,
                 const struct br__run_config_opts *o, const char *const (**args)[2], size_t *n,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- config_rebuild.c: config.json of a checkpoint that came without one --------------------- */

/* config.json of an architecture from a checkpoint's run_config.yaml or, when that is NULL,
 * Megatron-LM args (which may be NULL too: BR_E_NOTFOUND).  BR_E_CONFIG when the checkpoint is of
 * another family, so that a caller may try all.  *guessed: sentences naming each value that had to
 * be guessed (arena).  Free *config with br__json_free. */
int br__config_rebuild(struct br__arena *a, const struct br__arch *arch,
                       const struct br__yaml *run_config, const struct br__pk *args,
                       br__json **config, const char ***guessed, size_t *n_guessed,
                       struct br_err *err) BR_MUST_CHECK;

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

/* ---- spans.c: layouts as spans of rows ------------------------------------------------------- */

/* n rows from hf_row of HF input `hf` are n rows from mc_row of Megatron output `mc`. */
struct br__span {
    int hf, mc;
    int64_t hf_row, mc_row, n;
};
/* All spans of a layout other than COPY, ordered by (mc, mc_row).  hf_rows: rows of each HF input,
 * which the layout must use up exactly. mc_rows gets the rows of each output. */
int br__layout_spans(struct br__arena *a, uint32_t layout, const struct br_config *cfg,
                     const int64_t *hf_rows, struct br__span **out, size_t *n, int64_t *mc_rows,
                     struct br_err *err) BR_MUST_CHECK;
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
};
int br__rules_expand(struct br__arena *a, const struct br_config *cfg,
                     const struct br__expand_opts *o, struct br__expansion **out,
                     struct br_err *err) BR_MUST_CHECK;

/* ---- plan.c: which bytes of the source become which bytes of the destination ----------------- */

enum br__exactness {
    BR__EXACT,       /* bytes move                                       */
    BR__EXACT_SHIFT, /* w - 1 / w + 1, and back gives every bit          */
    BR__WIDENED,     /* w - 1 kept exact in a wider dtype                */
    BR__DEQUANT,     /* e4m3 * scale, rounded once                       */
    BR__ROUNDED      /* a cast asked for by --torch-dtype, or w - 1 that is not exact */
};
const char *br__exactness_text(int e);

enum br__direction { BR__IMPORT = 1, BR__EXPORT = 2 };

/* n rows of the piece from dst_row are n rows of source tensor `src` from src_row. */
struct br__seg {
    uint32_t src; /* BR__SRC_ZERO = zeros */
    uint32_t reserved;
    uint64_t src_row, dst_row, n;
};
#define BR__SRC_ZERO UINT32_MAX

/* What is stored as one unit: a box of a Megatron tensor (import), a whole HF tensor (export). */
struct br__piece {
    uint32_t out;
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
    uint64_t bytes;
    size_t first_seg;
    uint32_t n_segs;
};

struct br__plan_out { /* one output tensor */
    const char *name;
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    uint64_t row_elems;
    uint32_t rule;
    uint8_t exactness;
    int8_t add;    /* -1, 0, +1 */
    uint32_t file; /* export: which of out_files */
};

/* What became of a tensor of the source. */
enum br__use { BR__UNUSED, BR__USED, BR__IGNORED, BR__SCALE, BR__TIED_COPY, BR__LEFT_OUT };

struct br__plan {
    int direction;
    struct br__arena arena;
    struct br_config *cfg;      /* borrowed; n_mtp and the tie are settled by the plan */
    const struct br__ckpt *src; /* borrowed */
    struct br__expansion *x;
    struct br__plan_out *outs;
    size_t n_outs;
    struct br__piece *pieces; /* in storage order */
    size_t n_pieces;
    struct br__seg *segs;
    size_t n_segs;
    uint8_t *use;       /* [src->n_tensors], enum br__use */
    uint32_t *scale_of; /* [src->n_tensors] tensor with the FP8 block scales, or BR__NOT_FOUND */
    const char **notes; /* sentences for the user */
    size_t n_notes, cap_notes;
    const char **skipped; /* --not-strict: what was skipped and why */
    size_t n_skipped, cap_skipped;
    uint64_t out_bytes;        /* tensor bytes written */
    int untied;                /* embedding and output layer are separate in the destination */
    int fused;                 /* HF side uses the fused-expert layout */
    int tied_copy;             /* the HF side stores the output layer's copy although tied */
    int dropped_quantization;  /* FP8 source: config.json's quantization_config is no longer true */
    const char **out_files;    /* export: shard names */
    const char **out_metadata; /* export: "__metadata__" JSON of each, or NULL */
    size_t n_out_files;
};

struct br__plan_opts {
    unsigned flags;              /* enum br_job_flags */
    int dtype;                   /* cast every float tensor; BR_NONE = keep */
    int64_t pad_vocab_to;        /* import: rows become a multiple of this; 0 = no padding */
    const struct br__ckpt *like; /* verify: follow the layout of this torch_dist checkpoint */
    const struct br__ckpt
        *ref; /* export: HF reference whose shard map, dtypes and layout are kept, or NULL */
    uint64_t max_shard_size;
};
/* Every check of a conversion happens here, before a byte is written.  BR_E_PLAN names missing,
 * unexpected, misshapen tensors; BR_E_UNSUPPORTED foreign dialects. */
int br__plan_make(struct br__plan **out, int direction, struct br_config *cfg,
                  const struct br__ckpt *src, const struct br__plan_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
/* The rules of the embedding and of the output layer that may be tied to it; NULL where there is
 * none. */
void br__plan_tied_rules(const struct br__arch *arch, const struct br_map **embedding,
                         const struct br_map **output);
void br__plan_free(struct br__plan *p);
int br__plan_note(struct br__plan *p, const char *fmt, ...) BR_PRINTF(2, 3);

/* ---- produce.c: the bytes of a plan's pieces ------------------------------------------------- */

/* Bytes [off, off + n) of a piece, into dst: rows gathered, dequantised, shifted, cast.  n <=
 * BR__OUT_BUF; off and n are multiples of the element size.  Thread-safe with one scratch per
 * thread. */
struct br__scratch {
    unsigned char *buf; /* BR__OUT_BUF bytes */
};
int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err) BR_MUST_CHECK;
/* Elements [e0, e0 + n) of a source tensor, converted to dtype `to` after adding `add`.  n * size
 * of either dtype <= BR__OUT_BUF. */
int br__elements_read(const struct br__plan *p, uint32_t src, uint64_t e0, size_t n, int to,
                      double add, void *dst, struct br__scratch *s,
                      struct br_err *err) BR_MUST_CHECK;

/* ---- job.c: what the verbs share ------------------------------------------------------------- */

/* Everything that a job opened, up to and including its plan: all checks are done, nothing is
 * written. */
struct br__session {
    struct br__arena arena;
    struct br_job job;
    struct br__registry *registry;
    const struct br__arch *arch;
    struct br_config cfg;
    struct br__ckpt *src; /* what is read */
    struct br__ckpt *ref; /* export: the HF reference, or NULL */
    struct br__plan *plan;
    const char
        *config_text; /* config.json of the HF side: verbatim, or rebuilt from the checkpoint */
    const char *generation_text; /* generation_config.json verbatim, or NULL */
};
/* job->config_file set: the source's headers are invented from that config.json (plan only). */
int br__session_open(struct br__session **out, const struct br_job *job, int direction,
                     struct br_err *err) BR_MUST_CHECK;
void br__session_close(struct br__session *s);

/* ---- diff.c, inspect.c: looking at checkpoints --------------------------------------------------
 */

/* Compare two checkpoints of one format key by key; each difference is one line to `line` (NULL:
 * only counted), in key order.  *n_diff counts them; the return value is about failures only.
 * BR_E_USAGE if the formats differ. */
int br__ckpt_diff(const struct br__ckpt *a, const struct br__ckpt *b, int threads,
                  void (*line)(void *ud, const char *text), void *ud, size_t *n_diff,
                  struct br_err *err) BR_MUST_CHECK;
/* sha256 of the contiguous global tensor, hex. */
int br__ckpt_sha256(const struct br__ckpt *ck, const struct br__tensor *t, char hex[65],
                    struct br_err *err) BR_MUST_CHECK;
/* What a torch_dist checkpoint says of a training run: NULL fields when it is weights only. */
struct br__training {
    int present;                         /* any optimizer, rng or rerun item */
    int64_t iteration, consumed_samples; /* -1 unknown */
    const char *optimizer;               /* "adam (distributed)", ... or NULL */
    const char *sharding;                /* "fully_reshardable", "dp_reshardable", "none" or NULL */
    size_t n_optimizer_tensors, n_rng_items, n_rerun_items;
    int has_scheduler;
    const char **warnings; /* e.g. stored main parameters that do not round to the weights */
    size_t n_warnings;
};
/* Whether to compare optimizer.state.param.X, rounded, with X, and to warn where they differ: not
 * at all, the two ends of each tensor (bounded reading, and enough for the known defect, which
 * shifts whole tensors), every element. */
enum br__main_check { BR__MAIN_NONE, BR__MAIN_ENDS, BR__MAIN_ALL };
int br__training_summary(struct br__arena *a, const struct br__ckpt *ck, int check_main_params,
                         struct br__training *out, struct br_err *err) BR_MUST_CHECK;

/* ---- check.c: is a plugin sound? ------------------------------------------------------------- */

/* Prove what a plugin promises: every row parses, its rules claim every name and row once at toy
 * size, a toy converts there and back bit for bit, in each layout it has.  One call of `line` per
 * check; *failed counts those that are not ok, and the return value is about the checking itself
 * (no memory, no place for the toy). */
int br__plugin_check(struct br__registry *r, const struct br__plugin *p,
                     void (*line)(void *ud, const char *what, int ok, const char *detail), void *ud,
                     int *failed, struct br_err *err) BR_MUST_CHECK;
/* A new directory "<name>-XXXXXX" under $TMPDIR, else /tmp (path in the arena). */
int br__temp_dir(struct br__arena *a, const char *name, const char **dir,
                 struct br_err *err) BR_MUST_CHECK;

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

/* ---- recipe_keys.c, recipe_text.c, recipe.c: training recipes -------------------------------- */

enum br__recipe_flags { BR__RECIPE_NULLABLE = 1, BR__RECIPE_COMPUTED = 2 };

enum br__recipe_id {
#define KEY(id, kind, flags, low, high, choices, dflt, config, aliases, help) BR__RK_##id,
#include "recipe_keys.def"
#undef KEY
    BR__N_RK
};
/* The flat table that other tools print: keys [FIRST, END). */
enum { BR__RK_FLAT_FIRST = BR__RK_tp, BR__RK_FLAT_END = BR__RK_eff_recompute_modules + 1 };

struct br__recipe_key {
    const char *name;
    char kind;     /* B I F T C L O X, see recipe_keys.def */
    uint8_t flags; /* enum br__recipe_flags */
    double low, high;
    const char *choices, *dflt, *config, *aliases, *help; /* dflt NULL: absent unless set */
};
extern const struct br__recipe_key br__recipe_keys[BR__N_RK];
/* Id of a key by its name, an alias or its path in ConfigContainer; BR__N_RK if there is none. */
uint32_t br__recipe_key_find(const char *name);
/* Its type and range as a sentence part, "integer from 1 to 64, or null". */
void br__recipe_key_range(const struct br__recipe_key *k, struct br__buf *out);
/* A word that stands for several settings, by index; NULL beyond the last. */
struct br__recipe_word {
    const char *name, *value, *settings, *help;
};
const struct br__recipe_word *br__recipe_word(size_t i);

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
/* Read a value of a key: 0, or BR_E_CONFIG with got and expected.  Texts go into the arena. */
int br__recipe_value_parse(struct br__arena *a, const struct br__recipe_key *k, const char *text,
                           int quoted, struct br__recipe_value *out,
                           struct br_err *err) BR_MUST_CHECK;
/* As JSON, and in the recipes' own grammar. */
void br__recipe_value_json(struct br__buf *out, const struct br__recipe_value *v);
void br__recipe_value_text(struct br__buf *out, const struct br__recipe_value *v);

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

/* ---- recipe_check.c: do the values of a recipe fit each other? ------------------------------- */

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

/* ---- recipe_memory.c: bytes and work --------------------------------------------------------- */

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

/* ---- recipe_yaml.c: a recipe's model, and Megatron Bridge's own configuration file ----------- */

/* The model that a recipe describes: config.json (free with br__json_free) and its facts.
 * BR_E_CONFIG when the recipe does not give all sizes, or gives some that the architecture refuses.
 */
int br__recipe_config(struct br__arena *a, const struct br__recipe *r, br__json **json,
                      struct br_config *cfg, struct br_err *err) BR_MUST_CHECK;
/* A ConfigContainer file, which megatron.bridge.training.config reads. */
int br__recipe_yaml(struct br__arena *a, const struct br__recipe *r, struct br__buf *out,
                    struct br_err *err) BR_MUST_CHECK;

#endif
