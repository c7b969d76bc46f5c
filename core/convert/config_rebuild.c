/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* config_rebuild.c - config.json of a checkpoint that has none.  The field rows of config.c are
 * read backwards: Megatron's name of a fact is looked up in run_config.yaml's model section or in
 * Megatron-LM's args, and its first Hugging Face spelling is written (transformers 4 names, which
 * transformers 5 reads too).  A key that neither source has comes from the architecture's toy
 * configuration and is reported as a guess. */
#include "convert.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_LAYERS 100000

/* ---- the two sources ------------------------------------------------------------------------- */

/* A value of either source; kind 0: absent or null, 'b' bool, 'n' number, 's' text, 'l' list,
 * 'o' anything else. */
struct value {
    char kind;
    double v;
    const char *text;
    const struct br__yaml *yaml;
    const struct br__pk *pk;
};

static struct value yaml_value(const struct br__yaml *y)
{
    struct value out = {.yaml = y};
    int b;
    if (!y || br__yaml_is_null(y))
        return out;
    if (y->kind != BR__YAML_SCALAR) {
        out.kind = y->kind == BR__YAML_LIST ? 'l' : 'o';
    } else if (!br__yaml_bool(y, &b)) {
        out.kind = 'b';
        out.v = b;
    } else if (!br__yaml_f64(y, &out.v)) {
        out.kind = 'n';
    } else {
        out.kind = 's';
        out.text = y->text;
    }
    return out;
}

static struct value pickle_value(const struct br__pk *p)
{
    struct value out = {.pk = p};
    switch (p ? p->kind : BR__PK_NONE) {
    case BR__PK_NONE:
        break;
    case BR__PK_BOOL:
        out.kind = 'b';
        out.v = p->b;
        break;
    case BR__PK_INT:
        out.kind = p->big ? 'o' : 'n';
        out.v = p->big ? 0 : (double)p->u.i;
        break;
    case BR__PK_FLOAT:
        out.kind = 'n';
        out.v = p->u.f;
        break;
    case BR__PK_STR:
        out.kind = 's';
        out.text = p->u.s;
        break;
    default:
        out.kind = p->kind == BR__PK_LIST || p->kind == BR__PK_TUPLE ? 'l' : 'o';
    }
    return out;
}

static size_t list_length(const struct value *list)
{
    return list->yaml ? list->yaml->n : list->pk->n;
}

static struct value list_item(const struct value *list, size_t i)
{
    return list->yaml ? yaml_value(list->yaml->items[i]) : pickle_value(list->pk->u.item[i]);
}

struct rebuild {
    struct br__arena *a;
    const struct br__arch *arch;
    const struct br__yaml *model; /* of run_config.yaml, or NULL */
    const struct br__pk *args;    /* of Megatron-LM, when model is NULL */
    br__json *json;
    int64_t n_layers;
    const char **guessed; /* br__alloc'ed while it grows */
    size_t n_guessed, cap_guessed;
    struct br_err *err;
};

static const char *source_name(const struct rebuild *r)
{
    return r->model ? "run_config.yaml" : "the checkpoint's args";
}

static struct value rebuild_lookup(const struct rebuild *r, const char *key)
{
    return r->model ? yaml_value(br__yaml_get(r->model, key))
                    : pickle_value(br__pk_get(r->args, key));
}

/* A canonical fact as the source has it.  Megatron-LM has its own name for some, also inverted;
 * its newer versions have the common name as well. */
static struct value rebuild_fact(const struct rebuild *r, uint32_t id)
{
    const char *key = br__cfg_keys[id].key, *mlm = br__cfg_keys[id].mlm;
    if (r->model || !*mlm || !strcmp(mlm, "-"))
        return rebuild_lookup(r, key);
    struct value v = rebuild_lookup(r, mlm + (*mlm == '!'));
    if (!v.kind)
        return rebuild_lookup(r, key);
    if (*mlm == '!')
        v.v = !v.v;
    return v;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int rebuild_set(struct rebuild *r, const char *key, const char *json)
{
    return json ? br__json_set(r->json, key, json, r->err)
                : br__nomem(r->err, "rebuilding config.json");
}

static int set_text(struct rebuild *r, const char *key, const char *text)
{
    struct br__buf b = {0};
    br__buf_json_str(&b, text);
    int rc = b.failed ? br__nomem(r->err, "rebuilding config.json") : rebuild_set(r, key, b.p);
    br__buf_free(&b);
    return rc;
}

static int rebuild_guess(struct rebuild *r, const char *sentence)
{
    if (!sentence || br__grow(&r->guessed, &r->cap_guessed, r->n_guessed, sizeof *r->guessed))
        return br__nomem(r->err, "rebuilding config.json");
    r->guessed[r->n_guessed++] = sentence;
    return BR_OK;
}

/* JSON text of a fact as its row wants it, after checking its type. */
static int field_text(struct rebuild *r, const struct br_field *f, const struct value *v,
                      struct br__buf *out)
{
    const struct br__cfg_key *key = &br__cfg_keys[f->field];
    if (v->kind != (key->kind == 'B' ? 'b' : 'n') || !isfinite(v->v))
        return br_fail(r->err, BR_E_CONFIG, "%s: '%s' is not %s", source_name(r), key->key,
                       key->kind == 'B' ? "true or false" : "a finite number");
    if (key->kind == 'I' && (v->v != floor(v->v) || fabs(v->v) > 9007199254740992.0))
        return br_fail(r->err, BR_E_CONFIG, "%s: '%s' is %g, expected an integer", source_name(r),
                       key->key, v->v);
    if (key->kind == 'B')
        br__buf_puts(out, (v->v != 0) != !!(f->flags & BR_FIELD_NOT) ? "true" : "false");
    else if (key->kind == 'I')
        br__buf_printf(out, "%" PRId64, (int64_t)v->v);
    else
        br__buf_double(out, v->v);
    return out->failed ? br__nomem(r->err, "rebuilding config.json") : BR_OK;
}

/* The spelling that is written: the first alternative; NULL on a failed allocation. */
static const char *first_key(struct rebuild *r, const struct br_field *f)
{
    return br__arena_strndup(r->a, f->hf_key, strcspn(f->hf_key, "|"));
}

static int set_field(struct rebuild *r, const struct br_field *f, const struct value *v)
{
    struct br__buf b = {0};
    const char *key = first_key(r, f);
    int rc = key ? field_text(r, f, v, &b) : br__nomem(r->err, "rebuilding config.json");
    if (!rc)
        rc = rebuild_set(r, key, b.p);
    br__buf_free(&b);
    return rc;
}

/* ---- facts ----------------------------------------------------------------------------------- */

static int64_t int_fact(const struct rebuild *r, uint32_t id)
{
    struct value v = rebuild_fact(r, id);
    return v.kind == 'n' && v.v >= 0 && v.v < 9e15 ? (int64_t)v.v : 0;
}

/* Megatron-LM's vocab_size is the tokenizer's, which for its NullTokenizer is one short, and it is
 * None for most others: then the padded size is all there is. */
static int args_vocab_size(struct rebuild *r, struct value *v)
{
    struct value type = rebuild_lookup(r, "tokenizer_type");
    if (v->kind == 'n' && type.kind == 's' && !strcmp(type.text, "NullTokenizer"))
        v->v += 1;
    if (v->kind)
        return BR_OK;
    *v = rebuild_lookup(r, "padded_vocab_size");
    return v->kind
               ? rebuild_guess(r, "vocab_size is the padded vocabulary: the args do not give the "
                                  "real one")
               : BR_OK;
}

/* Fill facts that both sources may omit because they follow from others. */
static int rebuild_derive(struct rebuild *r, uint32_t id, struct value *v)
{
    int64_t heads = int_fact(r, BR_CFG_NUM_ATTENTION_HEADS);
    if (id == BR_CFG_VOCAB_SIZE && !r->model)
        return args_vocab_size(r, v);
    if (id == BR_CFG_NUM_QUERY_GROUPS) {
        /* without grouping, Megatron-LM's num_query_groups is a meaningless 1 */
        struct value grouped = rebuild_lookup(r, "group_query_attention");
        if (!v->kind || (!r->model && grouped.kind == 'b' && !grouped.v))
            *v = (struct value){.kind = 'n', .v = (double)heads};
    }
    if (id == BR_CFG_KV_CHANNELS && !v->kind && heads)
        *v = (struct value){.kind = 'n', .v = (double)(int_fact(r, BR_CFG_HIDDEN_SIZE) / heads)};
    if (id == BR_CFG_SEQ_LENGTH && v->kind && r->model)
        return rebuild_guess(
            r, br__arena_printf(r->a,
                                "max_position_embeddings is %.0f, the seq_length of "
                                "run_config.yaml, which a training run may have changed",
                                v->v));
    return BR_OK;
}

/* Whether the architecture's own configurations have that key. */
static int toy_has(const struct br__arch *arch, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = arch->toy; p; p = strchr(p, ' ')) {
        p += strspn(p, " ");
        if (!strncmp(p, key, n) && p[n] == '=')
            return 1;
    }
    return 0;
}

/* Common keys that most architectures do not have: written only when they are not the default. */
static int says_nothing(const struct rebuild *r, const struct br_field *f, const struct value *v)
{
    const char *key = f->field == BR_CFG_MTP_NUM_LAYERS   ? "num_nextn_predict_layers"
                      : f->field == BR_CFG_ROTARY_PERCENT ? "partial_rotary_factor"
                      : f->field == BR_CFG_KV_CHANNELS    ? "head_dim"
                                                          : NULL;
    if (!key || toy_has(r->arch, key))
        return 0;
    if (f->field != BR_CFG_KV_CHANNELS)
        return !v->kind || v->v == f->value;
    return v->v * (double)int_fact(r, BR_CFG_NUM_ATTENTION_HEADS) ==
           (double)int_fact(r, BR_CFG_HIDDEN_SIZE);
}

static int rebuild_field(struct rebuild *r, const struct br_field *f)
{
    struct value v = rebuild_fact(r, f->field);
    int rc = rebuild_derive(r, f->field, &v);
    if (rc || says_nothing(r, f, &v))
        return rc;
    if (v.kind)
        return set_field(r, f, &v);
    if (f->flags & BR_FIELD_REQUIRED)
        return br_fail(r->err, BR_E_CONFIG,
                       "%s does not give '%s', which %s needs; give the model with --hf-model",
                       source_name(r), br__cfg_keys[f->field].key, r->arch->model_type);
    if (!(f->flags & BR_FIELD_DEFAULT))
        return BR_OK;
    v.kind = br__cfg_keys[f->field].kind == 'B' ? 'b' : 'n';
    v.v = (f->flags & BR_FIELD_NOT) ? !f->value : f->value;
    rc = set_field(r, f, &v);
    return rc ? rc
              : rebuild_guess(r, br__arena_printf(r->a, "%s has its default: %s does not give it",
                                                  br__cfg_keys[f->field].key, source_name(r)));
}

static int rebuild_fields(struct rebuild *r)
{
    int rc = BR_OK;
    for (uint32_t id = 0; id < BR_N_CFG && !rc; id++) {
        const struct br_field *f = br__config_field(r->arch, id);
        if (f && !(f->flags & (BR_FIELD_FACT | BR_FIELD_READ)) && !br__config_rope(id))
            rc = rebuild_field(r, f);
    }
    return rc;
}

/* ---- does the checkpoint fit the architecture ------------------------------------------------ */

/* Facts that tell families apart; a training run may change the other constants. */
static const uint32_t structural[] = {BR_CFG_ADD_QKV_BIAS, BR_CFG_QK_LAYERNORM,
                                      BR_CFG_LAYERNORM_ZERO_CENTERED_GAMMA,
                                      BR_CFG_ATTENTION_OUTPUT_GATE, BR_CFG_MOE_SHARED_EXPERT_GATE};

static int rebuild_mismatch(struct rebuild *r, const char *key, const char *value)
{
    return br_fail(r->err, BR_E_CONFIG, "%s says %s is %s, which is not %s", source_name(r), key,
                   value, r->arch->model_type);
}

static int check_activation(struct rebuild *r)
{
    if (!r->model) {
        struct value swiglu = rebuild_lookup(r, "swiglu");
        return swiglu.kind == 'b' && !swiglu.v ? rebuild_mismatch(r, "swiglu", "false") : BR_OK;
    }
    struct value act = rebuild_lookup(r, "activation_func._target_");
    return act.kind == 's' && !br__ends(act.text, "silu")
               ? rebuild_mismatch(r, "activation_func", act.text)
               : BR_OK;
}

static int check_architecture(struct rebuild *r)
{
    for (size_t i = 0; i < BR_COUNTOF(structural); i++) {
        struct value v = rebuild_fact(r, structural[i]);
        const struct br_field *f = br__config_field(r->arch, structural[i]);
        int known = !f || (f->flags & BR_FIELD_FACT);
        if (v.kind == 'b' && known && (v.v != 0) != (f && f->value != 0))
            return rebuild_mismatch(r, br__cfg_keys[structural[i]].key,
                                    v.v != 0 ? "true" : "false");
    }
    struct value variant = rebuild_fact(r, BR_CFG_EXPERIMENTAL_ATTENTION_VARIANT);
    const struct br_field *f = br__config_field(r->arch, BR_CFG_EXPERIMENTAL_ATTENTION_VARIANT);
    if (variant.kind == 's' && (!f || strcmp(f->text, variant.text)))
        return rebuild_mismatch(r, "experimental_attention_variant", variant.text);
    if (rebuild_fact(r, BR_CFG_NUM_MOE_EXPERTS).kind &&
        !br__config_field(r->arch, BR_CFG_NUM_MOE_EXPERTS))
        return rebuild_mismatch(r, "num_moe_experts", "set");
    return check_activation(r);
}

/* ---- rope ------------------------------------------------------------------------------------ */

/* Megatron has constants in place of three of the band numbers, which are the rows' defaults. */
static int put_rope_field(struct rebuild *r, uint32_t id, struct br__buf *b)
{
    const struct br_field *f = br__config_field(r->arch, id);
    struct value v = rebuild_fact(r, id);
    if (!v.kind && f && br__config_rope(id) == BR__ROPE_BANDS) {
        v = (struct value){.kind = 'n', .v = f->value};
        if (rebuild_guess(r, br__arena_printf(r->a, "%s is %g, as Megatron computes",
                                              br__cfg_keys[id].key, v.v)))
            return BR_E_NOMEM;
    }
    if (!f || !f->hf_key || (!v.kind && id != BR_CFG_YARN_ROTARY_SCALING_FACTOR))
        return BR_OK;
    const char *key = first_key(r, f);
    if (!key)
        return br__nomem(r->err, "rebuilding config.json");
    const char *dot = strrchr(key, '.');
    br__buf_printf(b, ", \"%s\": ", dot ? dot + 1 : key);
    return field_text(r, f, &v, b);
}

static int put_rope(struct rebuild *r, const char *type, int kind, struct br__buf *b)
{
    int rc = BR_OK;
    br__buf_puts(b, "{\"rope_type\": ");
    br__buf_json_str(b, type);
    for (uint32_t id = 0; id < BR_N_CFG && !rc; id++)
        rc = br__config_rope(id) == kind ? put_rope_field(r, id, b) : BR_OK;
    br__buf_putc(b, '}');
    return rc;
}

static int rebuild_rope(struct rebuild *r)
{
    const struct br_field *bands = br__config_field(r->arch, BR_CFG_ROPE_SCALING_TYPE);
    struct value type = rebuild_fact(r, BR_CFG_POSITION_EMBEDDING_TYPE);
    struct value scaled = rebuild_fact(r, BR_CFG_ROPE_SCALING);
    struct br__buf b = {0};
    int rc = BR_OK;
    if (type.kind == 's' && !strcmp(type.text, "yarn")) {
        rc = put_rope(r, "yarn", BR__ROPE_YARN, &b);
    } else if (type.kind == 's' && strcmp(type.text, "rope")) {
        rc = rebuild_mismatch(r, "position_embedding_type", type.text);
    } else if (scaled.kind == 'b' && scaled.v != 0) {
        rc = bands ? put_rope(r, bands->text, BR__ROPE_BANDS, &b)
                   : rebuild_mismatch(r, "rope_scaling", "true");
    } else {
        br__buf_puts(&b, "null");
    }
    if (!rc)
        rc = b.failed ? br__nomem(r->err, "rebuilding config.json")
                      : rebuild_set(r, "rope_scaling", b.p);
    br__buf_free(&b);
    return rc;
}

/* ---- layer lists ----------------------------------------------------------------------------- */

/* A "frequency" of Megatron: a list of 0 and 1, or N: for experts one routed layer every N, from
 * the first; for attention one softmax layer every N, at the end of each run. */
static int read_flags(struct rebuild *r, const char *key, int attention, uint8_t **out)
{
    struct value freq = rebuild_lookup(r, key);
    size_t n = (size_t)r->n_layers;
    *out = br__arena_alloc(r->a, n);
    if (!*out)
        return br__nomem(r->err, "rebuilding config.json");
    if (freq.kind == 'n' && freq.v >= 1 && freq.v == floor(freq.v)) {
        for (size_t i = 0; i < n; i++)
            (*out)[i] = attention ? fmod((double)i + 1, freq.v) != 0 : fmod((double)i, freq.v) == 0;
        return BR_OK;
    }
    if (freq.kind != 'l' || list_length(&freq) != n)
        return br_fail(r->err, BR_E_CONFIG,
                       "%s: '%s' is neither a positive integer nor a list with one entry for each "
                       "of %zu layers",
                       source_name(r), key, n);
    for (size_t i = 0; i < n; i++) {
        struct value v = list_item(&freq, i);
        if ((v.kind != 'n' && v.kind != 'b') || (v.v != 0 && v.v != 1))
            return br_fail(r->err, BR_E_CONFIG, "%s: '%s' entry %zu is neither 0 nor 1",
                           source_name(r), key, i);
        (*out)[i] = v.v != 0;
    }
    return BR_OK;
}

/* mlp_only_layers can express any pattern, decoder_sparse_step cannot. */
static int rebuild_moe_layers(struct rebuild *r)
{
    uint8_t *routed = NULL;
    struct br__buf b = {0};
    if (!br__config_field(r->arch, BR_CFG_NUM_MOE_EXPERTS))
        return BR_OK;
    int listed = rebuild_lookup(r, "moe_layer_freq").kind != 0;
    int rc = listed ? read_flags(r, "moe_layer_freq", 0, &routed) : BR_OK;
    if (rc || (rc = rebuild_set(r, "decoder_sparse_step", "1")))
        return rc;
    br__buf_putc(&b, '[');
    for (int64_t i = 0; listed && i < r->n_layers; i++)
        if (!routed[i])
            br__buf_printf(&b, "%s%" PRId64, b.n > 1 ? ", " : "", i);
    br__buf_putc(&b, ']');
    rc = b.failed ? br__nomem(r->err, "rebuilding config.json")
                  : rebuild_set(r, "mlp_only_layers", b.p);
    br__buf_free(&b);
    return rc;
}

/* N when every N-th layer and no other is softmax attention, else 0. */
static int64_t full_interval(const uint8_t *linear, int64_t n)
{
    int64_t every = 1;
    while (every <= n && linear[every - 1])
        every++;
    for (int64_t i = 0; i < n; i++)
        if (linear[i] != ((i + 1) % every != 0))
            return 0;
    return every <= n ? every : 0;
}

static int rebuild_attention_layers(struct rebuild *r)
{
    uint8_t *linear = NULL;
    struct br__buf b = {0};
    if (!toy_has(r->arch, "full_attention_interval") ||
        !rebuild_lookup(r, "linear_attention_freq").kind)
        return BR_OK;
    int rc = read_flags(r, "linear_attention_freq", 1, &linear);
    if (rc)
        return rc;
    int64_t every = full_interval(linear, r->n_layers);
    if (every)
        return rebuild_set(r, "full_attention_interval", br__arena_printf(r->a, "%" PRId64, every));
    for (int64_t i = 0; i < r->n_layers; i++)
        br__buf_printf(&b, "%s\"%s_attention\"", i ? ", " : "[", linear[i] ? "linear" : "full");
    br__buf_putc(&b, ']');
    rc =
        b.failed ? br__nomem(r->err, "rebuilding config.json") : rebuild_set(r, "layer_types", b.p);
    br__buf_free(&b);
    return rc;
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* As Megatron Bridge's loader decides it: the two flags, else float32. */
static int rebuild_dtype(struct rebuild *r)
{
    struct value bf16 = rebuild_lookup(r, "bf16"), fp16 = rebuild_lookup(r, "fp16");
    if (!bf16.kind && !fp16.kind) {
        int rc = set_text(r, "torch_dtype", "bfloat16");
        return rc ? rc : rebuild_guess(r, "torch_dtype is bfloat16 by assumption");
    }
    return set_text(r, "torch_dtype",
                    bf16.v != 0   ? "bfloat16"
                    : fp16.v != 0 ? "float16"
                                  : "float32");
}

static int rebuild_fixed(struct rebuild *r)
{
    int rc = set_text(r, "model_type", r->arch->model_type);
    struct br__buf b = {0};
    br__buf_putc(&b, '[');
    br__buf_json_str(&b, r->arch->hf_class);
    br__buf_putc(&b, ']');
    if (!rc)
        rc = b.failed ? br__nomem(r->err, "rebuilding config.json")
                      : rebuild_set(r, "architectures", b.p);
    br__buf_free(&b);
    if (rc || (rc = set_text(r, "hidden_act", "silu")) ||
        (rc = rebuild_set(r, "use_cache", "true")))
        return rc;
    return rebuild_guess(
        r, "bos_token_id and eos_token_id are left out: the checkpoint does not have them");
}

/* A value of the toy string: JSON, or a bare word. */
static int set_toy_value(struct rebuild *r, const char *key, const char *value)
{
    br__json *parsed;
    struct br_err ignored = BR_ERR_INIT;
    int rc = br__json_parse(&parsed, value, strlen(value), &ignored);
    if (rc == BR_E_NOMEM)
        return br__nomem(r->err, "rebuilding config.json");
    if (rc)
        return set_text(r, key, value);
    br__json_free(parsed);
    return rebuild_set(r, key, value);
}

/* Keys of the family that are no facts (sliding_window, router_aux_loss_coef, ...). */
static int rebuild_from_toy(struct rebuild *r)
{
    int rc = BR_OK;
    for (const char *p = r->arch->toy; p && *p && !rc; p += strspn(p, " ")) {
        size_t n = strcspn(p, " "), eq = strcspn(p, "= ");
        const char *key = br__arena_strndup(r->a, p, eq);
        const char *value = br__arena_strndup(r->a, p + eq + (eq < n), n - eq - (eq < n));
        p += n;
        if (!key || !value)
            return br__nomem(r->err, "rebuilding config.json");
        int irregular =
            !strcmp(key, "full_attention_interval") && br__json_get(r->json, "layer_types") != NULL;
        if (irregular || br__json_get(r->json, key))
            continue;
        if (!strcmp(key, "max_window_layers"))
            value = br__arena_printf(r->a, "%" PRId64, r->n_layers);
        if (!value)
            return br__nomem(r->err, "rebuilding config.json");
        rc = set_toy_value(r, key, value);
        if (!rc)
            rc = rebuild_guess(r, br__arena_printf(r->a, "%s is %s by assumption", key, value));
    }
    return rc;
}

static int rebuild_all(struct rebuild *r)
{
    int rc = check_architecture(r);
    if (rc)
        return rc;
    r->n_layers = int_fact(r, BR_CFG_NUM_LAYERS);
    if (r->n_layers < 1 || r->n_layers > MAX_LAYERS)
        return br_fail(r->err, BR_E_CONFIG, "%s: 'num_layers' is missing or not in [1, %d]",
                       source_name(r), MAX_LAYERS);
    if ((rc = rebuild_fixed(r)) || (rc = rebuild_fields(r)) || (rc = rebuild_rope(r)) ||
        (rc = rebuild_moe_layers(r)) || (rc = rebuild_attention_layers(r)) ||
        (rc = rebuild_dtype(r)))
        return rc;
    return rebuild_from_toy(r);
}

int br__config_rebuild(struct br__arena *a, const struct br__arch *arch,
                       const struct br__yaml *run_config, const struct br__pk *args,
                       br__json **config, const char ***guessed, size_t *n_guessed,
                       struct br_err *err)
{
    struct rebuild r = {.a = a, .arch = arch, .args = args, .err = err};
    *config = NULL;
    *guessed = NULL;
    *n_guessed = 0;
    if (run_config && !(r.model = br__yaml_get(run_config, "model")))
        return br_fail(err, BR_E_CONFIG, "run_config.yaml has no 'model' section");
    if (!r.model && !args)
        return br_fail(err, BR_E_NOTFOUND,
                       "the checkpoint has neither run_config.yaml nor args to "
                       "rebuild config.json from; give the model with --hf-model");
    r.json = br__json_new_object();
    int rc = r.json ? rebuild_all(&r) : br__nomem(r.err, "rebuilding config.json");
    const char **list = rc ? NULL : br__arena_alloc(a, (r.n_guessed + 1) * sizeof *list);
    if (!rc && !list)
        rc = br__nomem(r.err, "rebuilding config.json");
    if (rc) {
        br__json_free(r.json);
    } else {
        memcpy(list, r.guessed, r.n_guessed * sizeof *list);
        *config = r.json;
        *guessed = list;
        *n_guessed = r.n_guessed;
    }
    br__free(r.guessed);
    return rc;
}
