/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* run_config.c - a model's configuration as the two Megatron programs keep it beside the weights:
 * Megatron Bridge's run_config.yaml, byte for byte as 0.6.2 writes it, and Megatron-LM's args.
 *
 * run_config.def and mlm_args.def list what does not depend on the model; this file computes the
 * rest.  The last section writes text as PyYAML does, because paths and ids come from the user. */
#include "job.h"

#include <math.h>
#include <regex.h>
#include <string.h>

static void put_text(struct br__buf *b, const char *s);

struct writer {
    struct br__buf *out;
    const struct br_config *cfg;
    const struct br__run_config_opts *o;
    int python; /* Megatron-LM's args; else YAML */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

static void put_bool(struct br__buf *b, int v)
{
    br__buf_puts(b, v ? " true" : " false");
}

static void put_int(struct br__buf *b, int64_t v)
{
    br__buf_printf(b, " %lld", (long long)v);
}

static void put_float(struct br__buf *b, double v)
{
    br__buf_putc(b, ' ');
    br__yaml_put_double(b, v);
}

/* A function, class or dtype by its Python name. */
static void put_object(struct br__buf *b, const char *prefix, const char *name)
{
    br__buf_printf(b, "\n    _call_: false\n    _target_: %s%s", prefix, name);
}

static void put_normal(struct br__buf *b, double std)
{
    br__buf_puts(b, "\n    _args_: []\n    _partial_: true\n    _target_: torch.nn.init.normal_\n"
                    "    mean: 0.0\n    std:");
    put_float(b, std);
}

/* One number per layer: 1 where the layer's flag equals `is`. */
static void put_layer_list(struct br__buf *b, const uint8_t *flags, int64_t n, int is)
{
    for (int64_t i = 0; i < n; i++)
        br__buf_printf(b, "\n  - %d", flags[i] == is);
}

static void py_bool(struct br__buf *b, int v)
{
    br__buf_puts(b, v ? "True" : "False");
}

static void py_int(struct br__buf *b, int64_t v)
{
    br__buf_printf(b, "%lld", (long long)v);
}

static void py_layer_list(struct br__buf *b, const uint8_t *flags, int64_t n, int is)
{
    for (int64_t i = 0; i < n; i++)
        br__buf_printf(b, "%s%d", i ? ", " : "[", flags[i] == is);
    br__buf_putc(b, ']');
}

/* The same in the language of w. */
static void write_bool(struct writer *w, int v)
{
    (w->python ? py_bool : put_bool)(w->out, v);
}

static void write_int(struct writer *w, int64_t v)
{
    (w->python ? py_int : put_int)(w->out, v);
}

static void write_none(struct writer *w)
{
    br__buf_puts(w->out, w->python ? "None" : " null");
}

/* One number per layer: whether its flag is `is`. */
static void write_layers(struct writer *w, const uint8_t *flags, int is)
{
    (w->python ? py_layer_list : put_layer_list)(w->out, flags, w->cfg->n_layers, is);
}

/* ---- computed values ------------------------------------------------------------------------- */

/* Megatron Bridge takes a config.json without dtype as float32. */
static int params_dtype(const struct br_config *cfg)
{
    return cfg->dtype == BR_NONE ? BR_F32 : cfg->dtype;
}

static void put_text_or_null(struct br__buf *b, const char *s)
{
    if (s)
        put_text(b, s);
    else
        br__buf_puts(b, " null");
}

static void put_save(struct writer *w)
{
    put_text_or_null(w->out, w->o->save);
}

static void put_hf_model_id(struct writer *w)
{
    put_text_or_null(w->out, w->o->hf_model_id);
}

static void put_bf16(struct writer *w)
{
    write_bool(w, params_dtype(w->cfg) == BR_BF16);
}

static void put_fp16(struct writer *w)
{
    write_bool(w, params_dtype(w->cfg) == BR_F16);
}

static void put_params_dtype(struct writer *w)
{
    put_object(w->out, "torch.", br_dtype_torch(params_dtype(w->cfg)));
}

static void put_init_std(struct writer *w)
{
    put_float(w->out, br_cfg_f(w->cfg, BR_CFG_INIT_METHOD_STD));
}

static void put_init_method(struct writer *w)
{
    put_normal(w->out, br_cfg_f(w->cfg, BR_CFG_INIT_METHOD_STD));
}

/* Megatron scales the last projection of each residual branch by the depth. */
static void put_output_init_method(struct writer *w)
{
    double depth = sqrt(2.0 * (double)w->cfg->n_layers);
    put_normal(w->out, br_cfg_f(w->cfg, BR_CFG_INIT_METHOD_STD) / depth);
}

static int64_t vocab_divisor(const struct writer *w)
{
    int64_t vocab = br_cfg_i(w->cfg, BR_CFG_VOCAB_SIZE), d = 128;
    if (w->o->pad_vocab_to)
        return w->o->pad_vocab_to;
    while (vocab % d)
        d /= 2;
    return d;
}

static void put_vocab_divisor(struct writer *w)
{
    write_int(w, vocab_divisor(w));
}

/* vocab_size stays the model's own; a loader pads it by the divisor when this is true. */
static void put_should_pad(struct writer *w)
{
    put_bool(w->out, w->o->pad_vocab_to != 0);
}

static void put_linear_attention(struct writer *w)
{
    if (!br_cfg_s(w->cfg, BR_CFG_EXPERIMENTAL_ATTENTION_VARIANT))
        write_none(w);
    else
        write_layers(w, w->cfg->linear, 1);
}

static int moe_listed(const struct writer *w)
{
    return w->cfg->mixed_mlp || (w->o->per_layer_moe_list && w->cfg->n_experts);
}

static void put_moe_layers(struct writer *w)
{
    if (moe_listed(w))
        write_layers(w, w->cfg->dense, 0);
    else
        write_int(w, 1);
}

static void put_mtp_layers(struct writer *w)
{
    if (w->cfg->n_mtp)
        write_int(w, w->cfg->n_mtp);
    else
        write_none(w);
}

/* The default spec builds every layer alike: with dense layers among routed ones, the loader would
 * ask for router weights that are not there.  A family's own spec follows moe_layer_freq itself. */
static void put_layer_spec(struct writer *w)
{
    const char *own = br_cfg_s(w->cfg, BR_CFG_TRANSFORMER_LAYER_SPEC);
    if (own)
        put_object(w->out, "", own);
    else if (!moe_listed(w))
        put_object(w->out, "megatron.bridge.models.gpt_provider.", "default_layer_spec");
    else
        br__buf_puts(w->out, "\n    _partial_: true\n    _target_: megatron.core.models.gpt."
                             "gpt_layer_specs.get_gpt_decoder_block_spec\n"
                             "    use_transformer_engine: true");
}

/* clang-format off */
static const struct computed {
    const char *section, *key;
    void (*put)(struct writer *w);
} computed[] = {
    {"checkpoint", "save",                        put_save},
    {"model",      "bf16",                        put_bf16},
    {"model",      "embedding_init_method",       put_init_method},
    {"model",      "embedding_init_method_std",   put_init_std},
    {"model",      "fp16",                        put_fp16},
    {"model",      "hf_model_id",                 put_hf_model_id},
    {"model",      "init_method",                 put_init_method},
    {"model",      "linear_attention_freq",       put_linear_attention},
    {"model",      "make_vocab_size_divisible_by", put_vocab_divisor},
    {"model",      "moe_layer_freq",              put_moe_layers},
    {"model",      "mtp_num_layers",              put_mtp_layers},
    {"model",      "output_layer_init_method",    put_output_init_method},
    {"model",      "params_dtype",                put_params_dtype},
    {"model",      "should_pad_vocab",            put_should_pad},
    {"model",      "transformer_layer_spec",      put_layer_spec},
    {"tokenizer",  "tokenizer_model",             put_hf_model_id},
};
/* clang-format on */

/* ---- the whole file -------------------------------------------------------------------------- */

struct row {
    char kind; /* 'T' top-level scalar, 'S' section, 'R' key of the section */
    const char *key, *text;
};

#define COMPUTED NULL
#define OBJECT(name) "\n    _call_: false\n    _target_: " name
#define ENUM(value, name, cls)                                                                     \
    "\n    _args_:\n    - " value "\n    _call_: true\n    _name_: " name "\n    _target_: " cls
#define ONE_ITEM(item) "\n  - " item

static const struct row rows[] = {
#define TOP(key, text) {'T', #key, text},
#define SECTION(key) {'S', #key, NULL},
#define ROW(key, text) {'R', #key, text},
#include "run_config.def"
#undef TOP
#undef SECTION
#undef ROW
};

static const struct computed *find_computed(const char *section, const char *key)
{
    for (size_t i = 0; i < BR_COUNTOF(computed); i++)
        if (!strcmp(computed[i].section, section) && !strcmp(computed[i].key, key))
            return &computed[i];
    return NULL;
}

/* Canonical fact of that Megatron name which the model has, or BR_N_CFG. */
static uint32_t find_fact(const struct br_config *cfg, const char *key)
{
    uint32_t id = 0;
    while (id < BR_N_CFG && (!cfg->has[id] || strcmp(br__cfg_keys[id].key, key)))
        id++;
    return id;
}

static void put_fact(struct br__buf *b, const struct br_config *cfg, uint32_t id)
{
    switch (br__cfg_keys[id].kind) {
    case 'I':
        put_int(b, br_cfg_i(cfg, id));
        break;
    case 'F':
        put_float(b, br_cfg_f(cfg, id));
        break;
    case 'B':
        put_bool(b, br_cfg_i(cfg, id) != 0);
        break;
    default:
        put_text(b, br_cfg_s(cfg, id));
    }
}

static int put_value(struct writer *w, const char *section, const struct row *r, struct br_err *err)
{
    const struct computed *c = find_computed(section, r->key);
    uint32_t id = strcmp(section, "model") ? BR_N_CFG : find_fact(w->cfg, r->key);
    if (c)
        c->put(w);
    else if (id < BR_N_CFG)
        put_fact(w->out, w->cfg, id);
    else if (!r->text)
        return br_fail(err, BR_E_CONFIG, "run_config.yaml needs '%s', which %s does not give",
                       r->key, w->cfg->arch->model_type);
    else
        br__buf_printf(w->out, r->text[0] == '\n' ? "%s" : " %s", r->text);
    return BR_OK;
}

int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err)
{
    struct writer w = {out, cfg, o, 0};
    const char *section = "";
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        const struct row *r = &rows[i];
        if (r->kind != 'R')
            section = r->kind == 'S' ? r->key : "";
        br__buf_printf(out, "%s%s:", r->kind == 'R' ? "  " : "", r->key);
        int rc = r->kind == 'S' ? BR_OK : put_value(&w, section, r, err);
        if (rc)
            return rc;
        br__buf_putc(out, '\n');
    }
    if (out->failed)
        return br_fail(err, out->failed, "cannot build run_config.yaml in memory");
    return BR_OK;
}

/* Rows of the model section that describe the model and are neither facts nor computed. */
static int is_identity(const char *key)
{
    static const char *const keys[] = {"_target_",       "activation_func", "add_bias_linear",
                                       "autocast_dtype", "hidden_dropout",  "gated_linear_unit",
                                       "normalization"};
    for (size_t i = 0; i < BR_COUNTOF(keys); i++)
        if (!strcmp(keys[i], key))
            return 1;
    return 0;
}

/* Whether a row describes the model.  Initialisers do not: Megatron Bridge makes them itself, from
 * init_method_std. */
static int describes_model(const struct br_config *cfg, const char *key)
{
    if (br__ends(key, "init_method"))
        return 0;
    return find_computed("model", key) || is_identity(key) || find_fact(cfg, key) < BR_N_CFG;
}

int br__run_config_model(struct br__buf *out, const struct br_config *cfg,
                         const struct br__run_config_opts *o,
                         int (*value)(void *ud, const char *key, struct br__buf *out), void *ud,
                         struct br_err *err)
{
    struct writer w = {out, cfg, o, 0};
    const char *section = "";
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        const struct row *r = &rows[i];
        if (r->kind != 'R')
            section = r->kind == 'S' ? r->key : "";
        if (r->kind != 'R' || strcmp(section, "model"))
            continue;
        size_t before = out->n;
        br__buf_printf(out, "  %s:", r->key);
        int rc = BR_OK, given = value(ud, r->key, out);
        if (!given && describes_model(cfg, r->key))
            rc = put_value(&w, "model", r, err);
        else if (!given)
            out->n = before;
        if (rc)
            return rc;
        if (out->n > before)
            br__buf_putc(out, '\n');
    }
    return out->failed ? br_fail(err, out->failed, "cannot build the model section in memory")
                       : BR_OK;
}

/* ---- Megatron-LM's args ---------------------------------------------------------------------- */

static void py_gqa(struct writer *w)
{
    py_bool(w->out, br_cfg_i(w->cfg, BR_CFG_NUM_QUERY_GROUPS) !=
                        br_cfg_i(w->cfg, BR_CFG_NUM_ATTENTION_HEADS));
}

/* --rotary-base is an integer option; only an odd model would need the float. */
static void py_rotary_base(struct writer *w)
{
    double base = br_cfg_f(w->cfg, BR_CFG_ROTARY_BASE);
    if (base == floor(base) && fabs(base) < 9e15)
        py_int(w->out, (int64_t)base);
    else
        br__buf_double(w->out, base);
}

static void py_padded_vocab(struct writer *w)
{
    int64_t vocab = br_cfg_i(w->cfg, BR_CFG_VOCAB_SIZE), m = vocab_divisor(w);
    py_int(w->out, (vocab + m - 1) / m * m);
}

static void py_tokenizer_model(struct writer *w)
{
    br__buf_printf(w->out, w->o->hf_model_id ? "'%s'" : "None", w->o->hf_model_id);
}

static void py_params_dtype(struct writer *w)
{
    br__buf_printf(w->out, "torch.%s", br_dtype_torch(params_dtype(w->cfg)));
}

static void py_no_save_optim(struct writer *w)
{
    py_bool(w->out, !w->o->training);
}

/* clang-format off */
static const struct {
    const char *name;
    void (*put)(struct writer *w);
} computed_args[] = {
    {"no_save_optim",                py_no_save_optim},
    {"group_query_attention",        py_gqa},
    {"rotary_base",                  py_rotary_base},
    {"linear_attention_freq",        put_linear_attention},
    {"moe_layer_freq",               put_moe_layers},
    {"mtp_num_layers",               put_mtp_layers},
    {"padded_vocab_size",            py_padded_vocab},
    {"make_vocab_size_divisible_by", put_vocab_divisor},
    {"tokenizer_model",              py_tokenizer_model},
    {"params_dtype",                 py_params_dtype},
    {"bf16",                         put_bf16},
    {"fp16",                         put_fp16},
};
/* clang-format on */

#define N_COUNTERS 3

static const struct {
    const char *name, *text;
} arg_rows[] = {
#define ROW(name, text) {#name, text},
#include "mlm_args.def"
#undef ROW
};

/* The fact of that name which the model has, or BR_N_CFG: Megatron-LM's own name first, which may
 * be the opposite (*inverted). */
static uint32_t find_arg_fact(const struct br_config *cfg, const char *name, int *inverted)
{
    for (uint32_t id = 0; id < BR_N_CFG; id++) {
        const char *mlm = br__cfg_keys[id].mlm;
        *inverted = *mlm == '!';
        if (cfg->has[id] && !strcmp(mlm + *inverted, name))
            return id;
    }
    *inverted = 0;
    return find_fact(cfg, name);
}

static void put_arg_fact(struct br__buf *b, const struct br_config *cfg, uint32_t id, int inverted)
{
    switch (br__cfg_keys[id].kind) {
    case 'I':
        py_int(b, br_cfg_i(cfg, id));
        break;
    case 'F':
        br__buf_double(b, br_cfg_f(cfg, id));
        break;
    case 'B':
        py_bool(b, (br_cfg_i(cfg, id) != 0) != inverted);
        break;
    default:
        br__buf_printf(b, "'%s'", br_cfg_s(cfg, id));
    }
}

static int put_arg(struct writer *w, const char *name, const char *text, struct br_err *err)
{
    for (size_t i = 0; i < BR_COUNTOF(computed_args); i++) {
        if (!strcmp(computed_args[i].name, name)) {
            computed_args[i].put(w);
            return BR_OK;
        }
    }
    int inverted;
    uint32_t id = find_arg_fact(w->cfg, name, &inverted);
    if (id < BR_N_CFG)
        put_arg_fact(w->out, w->cfg, id, inverted);
    else if (text)
        br__buf_puts(w->out, text);
    else
        return br_fail(err, BR_E_CONFIG, "the args need '%s', which %s does not give", name,
                       w->cfg->arch->model_type);
    return BR_OK;
}

/* Megatron-LM keeps the counters of a run among its args. */
static int put_counters(struct br__arena *a, const struct br__train_counters *c,
                        const char *(*list)[2])
{
    const struct {
        const char *name;
        int64_t v;
    } counters[N_COUNTERS] = {{"consumed_train_samples", c->consumed_samples},
                              {"skipped_train_samples", c->skipped_samples},
                              {"consumed_valid_samples", c->valid_samples}};
    for (size_t i = 0; i < N_COUNTERS; i++) {
        list[i][0] = counters[i].name;
        list[i][1] = br__arena_printf(a, "%lld", (long long)counters[i].v);
        if (!list[i][1])
            return BR_E_NOMEM;
    }
    return BR_OK;
}

int br__mlm_args(struct br__arena *a, const struct br_config *cfg,
                 const struct br__run_config_opts *o, const char *const (**args)[2], size_t *n,
                 struct br_err *err)
{
    struct br__buf b = {0};
    struct writer w = {&b, cfg, o, 1};
    size_t n_rows = BR_COUNTOF(arg_rows);
    const char *(*list)[2] = br__arena_alloc(a, (n_rows + N_COUNTERS) * sizeof *list);
    int rc = list ? BR_OK : BR_E_NOMEM;
    for (size_t i = 0; i < n_rows && !rc; i++) {
        b.n = 0;
        rc = put_arg(&w, arg_rows[i].name, arg_rows[i].text, err);
        list[i][0] = arg_rows[i].name;
        list[i][1] = rc || b.failed ? NULL : br__arena_strndup(a, b.p, b.n);
        if (!rc && !list[i][1])
            rc = BR_E_NOMEM;
    }
    if (!rc && o->training)
        rc = put_counters(a, o->training, list + n_rows);
    br__buf_free(&b);
    if (rc == BR_E_NOMEM)
        br_fail(err, rc, "out of memory building the args");
    *args = rc ? NULL : (const char *const(*)[2])list;
    *n = rc ? 0 : n_rows + (o->training ? N_COUNTERS : 0);
    return rc;
}

/* ---- text as PyYAML's safe_dump writes it ---------------------------------------------------- */

#define BEST_WIDTH 80
#define CONTINUED "\n    " /* values stand at depth two */

/* Plain text that a YAML 1.1 reader would take for something else than text (PyYAML resolver.py);
 * -1: out of memory. */
static int is_ambiguous(const char *s)
{
    static const char patterns[] =
        "^(|~|null|Null|NULL|<<|=|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|"
        "off|Off|OFF|"
        /* int */
        "[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|"
        "[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+|"
        /* float */
        "[-+]?[0-9][0-9_]*\\.[0-9_]*([eE][-+][0-9]+)?|\\.[0-9][0-9_]*([eE][-+][0-9]+)?|"
        "[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\\.[0-9_]*|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN)|"
        /* timestamp */
        "[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)"
        "[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)$";
    regex_t re;
    if (regcomp(&re, patterns, REG_EXTENDED | REG_NOSUB))
        return -1;
    int found = !regexec(&re, s, 0, NULL, 0);
    regfree(&re);
    return found;
}

/* May not stand unquoted as a block value (PyYAML emitter.py, analyze_scalar). */
static int has_indicator(const char *s)
{
    size_t n = strlen(s);
    if (br__starts(s, "---") || br__starts(s, "...") || strchr("#,[]{}&*!|>'\"%@` ", s[0]))
        return 1;
    if (strchr("?:-", s[0]) && (s[1] == ' ' || !s[1]))
        return 1;
    return s[n - 1] == ':' || s[n - 1] == ' ' || strstr(s, ": ") || strstr(s, " #");
}

static int is_printable_ascii(const char *s)
{
    while (*s >= ' ' && *s <= '~')
        s++;
    return !*s;
}

/* Words and the spaces between them; a single space beyond the width becomes a line break. */
static void put_words(struct br__buf *b, const char *s, size_t column, int quoted)
{
    for (const char *p = s; *p;) {
        size_t spaces = strspn(p, " ");
        if (spaces == 1 && column > BEST_WIDTH && p > s && p[1]) {
            br__buf_puts(b, CONTINUED);
            column = strlen(CONTINUED) - 1;
        } else {
            br__buf_put(b, p, spaces);
            column += spaces;
        }
        for (p += spaces; *p && *p != ' '; p++, column++) {
            if (quoted && *p == '\'') {
                br__buf_putc(b, '\'');
                column++;
            }
            br__buf_putc(b, *p);
        }
    }
}

/* Code point at *s, which moves on; U+FFFD for a byte that is not UTF-8 (paths may hold any). */
static uint32_t next_char(const char **s)
{
    static const uint8_t mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *p = (const unsigned char *)*s;
    size_t n = *p < 0x80 ? 1 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
    if (strnlen(*s, n) < n || !br__utf8_valid(*s, n)) {
        *s += 1;
        return 0xFFFD;
    }
    uint32_t c = p[0] & mask[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3F);
    *s += n;
    return c;
}

/* The escape of a code point into out, or its own letter; returns the length. */
static int run_config_escape(uint32_t c, char *out, size_t size)
{
    static const struct {
        uint32_t c;
        char as;
    } named[] = {{7, 'a'},    {8, 'b'},    {9, 't'},      {10, 'n'},    {11, 'v'},
                 {12, 'f'},   {13, 'r'},   {27, 'e'},     {'"', '"'},   {'\\', '\\'},
                 {0x85, 'N'}, {0xA0, '_'}, {0x2028, 'L'}, {0x2029, 'P'}};
    for (size_t i = 0; i < BR_COUNTOF(named); i++)
        if (named[i].c == c)
            return snprintf(out, size, "\\%c", named[i].as);
    if (c >= ' ' && c <= '~')
        return snprintf(out, size, "%c", (char)c);
    return snprintf(out, size, c > 0xFFFF ? "\\U%08X" : c > 0xFF ? "\\u%04X" : "\\x%02X", c);
}

/* Double quotes, everything but printable ASCII escaped.  PyYAML breaks lines before a space, and
 * before or after an escape; the rule looks one character behind itself, hence `after_escape`. */
static void put_escaped(struct br__buf *b, const char *s, size_t column)
{
    int after_escape = 0;
    for (const char *p = s; *p;) {
        char text[16];
        int first = p == s, n = run_config_escape(next_char(&p), text, sizeof text),
            is_escape = n > 1;
        int may_break = !first && *p && (is_escape || after_escape || text[0] == ' ');
        size_t before = column;
        column += (size_t)n;
        if (is_escape)
            br__buf_put(b, text, (size_t)n);
        if (may_break && (is_escape ? column - 1 : before) > BEST_WIDTH) {
            int space = (is_escape ? *p : text[0]) == ' ';
            br__buf_puts(b, "\\" CONTINUED);
            br__buf_puts(b, space ? "\\" : "");
            column = strlen(CONTINUED) - 1 + (size_t)space + (is_escape ? 0 : 1);
        }
        if (!is_escape)
            br__buf_put(b, text, (size_t)n);
        after_escape = is_escape;
    }
}

/* " text" after a key, in the style that PyYAML would choose.  One departure: a line break in the
 * text gives double quotes, where PyYAML would write a folded line. */
static void put_text(struct br__buf *b, const char *s)
{
    const char *line = b->n ? memrchr(b->p, '\n', b->n) : NULL;
    size_t column = b->n - (line ? (size_t)(line + 1 - b->p) : 0) + 1;
    int ambiguous = is_ambiguous(s);
    if (ambiguous < 0)
        b->failed = BR_E_NOMEM;
    br__buf_putc(b, ' ');
    if (!is_printable_ascii(s)) {
        br__buf_putc(b, '"');
        put_escaped(b, s, column + 1);
        br__buf_putc(b, '"');
    } else if (ambiguous || has_indicator(s)) {
        br__buf_putc(b, '\'');
        put_words(b, s, column + 1, 1);
        br__buf_putc(b, '\'');
    } else {
        put_words(b, s, column, 0);
    }
}
