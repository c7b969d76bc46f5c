/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* config.c - config.json into canonical facts, by the field rows of the core and of the plugin. */
#include "model_internal.h"

#include <string.h>

const char *br_cfg_json(const struct br_config *cfg, const char *key)
{
    const br__json *j = cfg->json ? br__json_get(cfg->json, key) : NULL;
    struct br__buf b = {0};
    const char *text = NULL;
    if (j && !br__config_value(j, &b))
        text = br__arena_strndup(cfg->arena, b.p, b.n);
    br__buf_free(&b);
    return text;
}

void br_cfg_cannot_run(struct br_config *cfg, const char *why)
{
    if (!cfg->arena)
        return;
    const char *text = br__arena_printf(cfg->arena, "config.json: %s", why);
    /* Without memory the sentence is lost, not what it says. */
    static const struct br__finding unnamed = {"config.json: the plugin cannot run this model",
                                               NULL};
    if (br__config_find(cfg->arena, cfg, text, NULL))
        cfg->findings = &unnamed;
}

/* The first alternative of "a|b.c" that is present and not null, or NULL. */
static const br__json *find_alternative(const br__json *json, const char *alternatives)
{
    char path[160];
    for (const char *p = alternatives; p && *p;) {
        const char *bar = strchr(p, '|');
        size_t n = bar ? (size_t)(bar - p) : strlen(p);
        if (n < sizeof path) {
            memcpy(path, p, n);
            path[n] = '\0';
            const br__json *j = br__json_get(json, path);
            if (j && br__json_kind(j) != '0')
                return j;
        }
        p = bar ? bar + 1 : NULL;
    }
    return NULL;
}

static int field_from_json(const struct br_field *f, const br__json *j, struct br_config *cfg,
                           struct br_err *err)
{
    char kind = br__json_kind(j);
    double v = 0;
    switch (br__cfg_keys[f->field].kind) {
    case BR__KIND_BOOL:
        if (kind != 'b')
            return br_fail(err, BR_E_CONFIG, "config.json: '%s' is not true or false", f->hf_key);
        v = br__json_bool(j, 0);
        if (f->flags & BR_FIELD_NOT)
            v = !v;
        break;
    case BR__KIND_INT:
        v = br__json_num(j, 0);
        if (kind != 'n' || v < 0 || v > 9007199254740992.0 || v != (double)(int64_t)v)
            return br_fail(err, BR_E_CONFIG, "config.json: '%s' is not a non-negative integer",
                           f->hf_key);
        break;
    case BR__KIND_FLOAT:
        v = br__json_num(j, 0);
        if (kind != 'n' || v - v != 0)
            return br_fail(err, BR_E_CONFIG, "config.json: '%s' is not a finite number", f->hf_key);
        break;
    default:
        return br_fail(err, BR_E_PLUGIN,
                       "field row for '%s' reads text from a key; only facts may "
                       "be text",
                       br__cfg_keys[f->field].key);
    }
    br_cfg_set(cfg, f->field, v);
    return BR_OK;
}

static int apply_field(const struct br_field *f, const br__json *json, struct br_config *cfg,
                       struct br_err *err)
{
    if (f->flags & BR_FIELD_FACT) {
        br_cfg_set(cfg, f->field, f->value);
        cfg->text[f->field] = f->text;
        return BR_OK;
    }
    const br__json *j = find_alternative(json, f->hf_key);
    if (j)
        return field_from_json(f, j, cfg, err);
    if (f->flags & BR_FIELD_REQUIRED)
        return br_fail(err, BR_E_CONFIG, "config.json has no '%s', which %s needs", f->hf_key,
                       cfg->arch->model_type);
    if (f->flags & BR_FIELD_DEFAULT)
        br_cfg_set(cfg, f->field, (f->flags & BR_FIELD_NOT) ? !f->value : f->value);
    return BR_OK;
}

/* ---- rope ------------------------------------------------------------------------------------ */

int br__config_rope(uint32_t id)
{
    if (id >= BR_CFG_YARN_ROTARY_SCALING_FACTOR && id <= BR_CFG_YARN_CORRECTION_RANGE_ROUND_TO_INT)
        return BR__ROPE_YARN;
    if (id == BR_CFG_ROPE_SCALING_FACTOR ||
        (id >= BR_CFG_ROPE_LOW_FREQ_FACTOR && id <= BR_CFG_ROPE_ORIGINAL_MAX_POSITION_EMBEDDINGS))
        return BR__ROPE_BANDS;
    return BR__ROPE_PLAIN;
}

/* Their rows share keys of config.json, so each was read for every model. */
static void forget_other_ropes(struct br_config *cfg, int kind)
{
    for (uint32_t id = 0; id < BR_N_CFG; id++)
        if (br__config_rope(id) && br__config_rope(id) != kind)
            cfg->has[id] = 0;
}

/* "default" and absent mean plain rope; yarn brings seven numbers, none of which may be missing
 * (a null crashes Megatron's YarnRotaryEmbedding). */
static double rope_number(const br__json *json, const char *key)
{
    return br__json_num(find_alternative(json, key), 0);
}

/* YaRN as transformers reads it: a null factor is that of the contexts, and the factor of cos and
 * sin is stated, or follows from both mscale numbers where both are there and not 0
 * (_compute_yarn_parameters). */
static int read_yarn(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    double stated = rope_number(json, BR__ROPE_KEY("attention_factor"));
    double mscale = rope_number(json, BR__ROPE_KEY("mscale"));
    double all = rope_number(json, BR__ROPE_KEY("mscale_all_dim"));
    if (!cfg->has[BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS])
        br_cfg_set(cfg, BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS,
                   br_cfg_f(cfg, BR_CFG_SEQ_LENGTH));
    double context = br_cfg_f(cfg, BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS);
    if (!find_alternative(json, BR__ROPE_KEY("factor")) && context > 0)
        br_cfg_set(cfg, BR_CFG_YARN_ROTARY_SCALING_FACTOR,
                   br_cfg_f(cfg, BR_CFG_SEQ_LENGTH) / context);
    if (br_cfg_f(cfg, BR_CFG_YARN_BETA_FAST) == 0)
        br_cfg_set(cfg, BR_CFG_YARN_BETA_FAST, 32);
    if (br_cfg_f(cfg, BR_CFG_YARN_BETA_SLOW) == 0)
        br_cfg_set(cfg, BR_CFG_YARN_BETA_SLOW, 1);
    if (stated < 0)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: attention_factor is %g, expected a positive number", stated);
    cfg->rope_attention =
        br__yarn_attention(br_cfg_f(cfg, BR_CFG_YARN_ROTARY_SCALING_FACTOR), stated, mscale, all);
    return BR_OK;
}

static int read_rope(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    const char *type = br__json_str(
        find_alternative(json, BR__ROPE_KEY("rope_type") "|rope_scaling.type|rope_parameters.type"),
        "default");
    const char *bands = br_cfg_s(cfg, BR_CFG_ROPE_SCALING_TYPE);
    if (!strcmp(type, "yarn")) {
        forget_other_ropes(cfg, BR__ROPE_YARN);
        cfg->text[BR_CFG_POSITION_EMBEDDING_TYPE] = "yarn";
        return read_yarn(json, cfg, err);
    }
    if (bands && !strcmp(type, bands)) {
        forget_other_ropes(cfg, BR__ROPE_BANDS);
        br_cfg_set(cfg, BR_CFG_ROPE_SCALING, 1);
        return BR_OK;
    }
    forget_other_ropes(cfg, BR__ROPE_PLAIN);
    if (strcmp(type, "default"))
        return br_fail(err, BR_E_CONFIG,
                       "config.json: rope type '%s' is not supported; expected default%s yarn%s%s",
                       type, bands ? "," : " or", bands ? " or " : "", bands ? bands : "");
    return BR_OK;
}

/* ---- layer sets ------------------------------------------------------------------------------ */

static int arch_uses(const struct br__arch *arch, const char *placeholder)
{
    for (uint32_t i = 0; i < arch->n_maps; i++)
        if (strstr(arch->maps[i].mcore, placeholder))
            return 1;
    return 0;
}

static int read_layer_types(const br__json *list, struct br_config *cfg, int may_be_linear,
                            struct br_err *err)
{
    if (br__json_kind(list) != 'a' || br__json_count(list) != (size_t)cfg->n_layers)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: 'layer_types' has %zu entries, expected one "
                       "per layer (%lld)",
                       br__json_count(list), (long long)cfg->n_layers);
    int64_t i = 0;
    for (const br__json *j = br__json_first(list); j; j = br__json_next(j), i++) {
        const char *t = br__json_str(j, "");
        if (!strcmp(t, "linear_attention") && may_be_linear)
            cfg->linear[i] = 1;
        else if (strcmp(t, "full_attention") && strcmp(t, "sliding_attention"))
            return br_fail(err, BR_E_CONFIG,
                           "config.json: layer_types[%lld] is '%s', which %s "
                           "does not have",
                           (long long)i, t, cfg->arch->model_type);
    }
    return BR_OK;
}

/* A positive integer key with a default. */
static int read_step(const br__json *json, const char *key, int64_t dflt, int64_t *out,
                     struct br_err *err)
{
    const br__json *j = br__json_get(json, key);
    uint64_t v = (uint64_t)dflt;
    if (j && br__json_kind(j) != '0' && (br__json_u64(j, &v) || v < 1))
        return br_fail(err, BR_E_CONFIG, "config.json: '%s' is not a positive integer", key);
    *out = (int64_t)v;
    return BR_OK;
}

/* Delta-net layers: an explicit list, or all but every full_attention_interval-th. */
static int read_attention_layers(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    cfg->hybrid = arch_uses(cfg->arch, "{gdn}");
    const br__json *types = br__json_get(json, "layer_types");
    if (types && br__json_kind(types) != '0')
        return read_layer_types(types, cfg, cfg->hybrid, err);
    if (!cfg->hybrid)
        return BR_OK;
    int64_t every;
    int rc = read_step(json, "full_attention_interval", 4, &every, err);
    for (int64_t i = 0; i < cfg->n_layers && !rc; i++)
        cfg->linear[i] = (i + 1) % every != 0;
    return rc;
}

/* A layer is routed unless it is listed in mlp_only_layers or skipped by decoder_sparse_step
 * (transformers Qwen3MoeDecoderLayer). */
static int read_mlp_layers(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    if (!cfg->n_experts) {
        memset(cfg->dense, 1, (size_t)cfg->n_layers);
        return BR_OK;
    }
    int64_t step;
    int rc = read_step(json, "decoder_sparse_step", 1, &step, err);
    if (rc)
        return rc;
    for (int64_t i = 0; i < cfg->n_layers; i++)
        cfg->dense[i] = (i + 1) % step != 0;
    const br__json *only = br__json_get(json, "mlp_only_layers");
    for (const br__json *j = br__json_first(only); j; j = br__json_next(j)) {
        uint64_t i;
        if (br__json_u64(j, &i) || i >= (uint64_t)cfg->n_layers)
            return br_fail(err, BR_E_CONFIG,
                           "config.json: 'mlp_only_layers' names a layer outside "
                           "[0, %lld)",
                           (long long)cfg->n_layers);
        cfg->dense[i] = 1;
    }
    for (int64_t i = 0; i < cfg->n_layers; i++)
        cfg->mixed_mlp |= cfg->dense[i];
    return BR_OK;
}

static int find_window(struct br__arena *a, struct br_config *cfg, const char *what,
                       struct br_err *err)
{
    return br__config_find(a, cfg,
                           br__arena_printf(a,
                                            "config.json: %s, which plugin '%s' does not carry out",
                                            what, cfg->arch->plugin->name),
                           err);
}

/* Sliding-window layers: those that layer_types names so, else all from a first one on
 * (transformers Qwen2Config, MistralConfig). */
static int read_window(struct br__arena *a, const br__json *json, struct br_config *cfg,
                       struct br_err *err)
{
    const br__json *types = br__json_get(json, "layer_types");
    int64_t from = br_cfg_i(cfg, BR_CFG_SLIDING_WINDOW_FROM_LAYER);
    int named = 0;
    const br__json *stated = br__json_get(json, "sliding_window");
    int null = stated && br__json_kind(stated) == '0'; /* none, where absent is the default */
    if (br_cfg_i(cfg, BR_CFG_USE_SLIDING_WINDOW) && !null)
        cfg->window = br_cfg_i(cfg, BR_CFG_SLIDING_WINDOW);
    if (cfg->window > INT32_MAX)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: 'sliding_window' is %lld, expected 0 to 2^31-1",
                       (long long)cfg->window);
    const br__json *t = br__json_first(types);
    for (int64_t i = 0; i < cfg->n_layers; i++, t = t ? br__json_next(t) : NULL) {
        int sliding = t && !strcmp(br__json_str(t, ""), "sliding_attention");
        cfg->windowed[i] = cfg->window > 0 && (t ? sliding : i >= from);
        named |= sliding;
    }
    return named && !cfg->window
               ? find_window(a, cfg, "layer_types has sliding_attention, but there is no window",
                             err)
               : BR_OK;
}

/* ---- dtype and quantisation ------------------------------------------------------------------ */

static int read_dtype(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    const char *t = br__json_str(find_alternative(json, "dtype|torch_dtype"), "auto");
    cfg->dtype = br_dtype_from_torch(t);
    if (cfg->dtype == BR_NONE && strcmp(t, "auto"))
        return br_fail(err, BR_E_CONFIG, "config.json: unknown dtype '%s'", t);
    return BR_OK;
}

static int read_quantization(const br__json *json, struct br_config *cfg, struct br_err *err)
{
    const br__json *q = br__json_get(json, "quantization_config");
    if (!q || br__json_kind(q) == '0')
        return BR_OK;
    const char *method = br__json_str(br__json_get(q, "quant_method"), "");
    const char *fmt = br__json_str(br__json_get(q, "fmt"), "e4m3");
    if (strcmp(method, "fp8") || (strcmp(fmt, "e4m3") && strcmp(fmt, "float8_e4m3fn")))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "config.json: quantization '%s' (%s) is not "
                       "supported; expected fp8 (e4m3). Convert the unquantised model",
                       method, fmt);
    cfg->fp8 = 1;
    cfg->fp8_block[0] = cfg->fp8_block[1] = 128;
    const br__json *b = br__json_get(q, "weight_block_size");
    if (br__json_count(b) == 2) {
        uint64_t r, c;
        const br__json *first = br__json_first(b);
        if (br__json_u64(first, &r) || br__json_u64(br__json_next(first), &c) || !r || !c ||
            r > INT32_MAX || c > INT32_MAX)
            return br_fail(err, BR_E_CONFIG,
                           "config.json: 'weight_block_size' is not two positive "
                           "integers");
        cfg->fp8_block[0] = (int64_t)r;
        cfg->fp8_block[1] = (int64_t)c;
    }
    return BR_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int check_sizes(struct br_config *cfg, struct br_err *err)
{
    static const uint32_t positive[] = {BR_CFG_NUM_LAYERS,       BR_CFG_HIDDEN_SIZE,
                                        BR_CFG_FFN_HIDDEN_SIZE,  BR_CFG_NUM_ATTENTION_HEADS,
                                        BR_CFG_NUM_QUERY_GROUPS, BR_CFG_KV_CHANNELS,
                                        BR_CFG_VOCAB_SIZE};
    for (size_t i = 0; i < BR_COUNTOF(positive); i++) {
        int64_t v = br_cfg_i(cfg, positive[i]);
        if (v < 1 || v > INT32_MAX)
            return br_fail(err, BR_E_CONFIG, "config.json: %s is %lld, expected 1 to 2^31-1",
                           br__cfg_keys[positive[i]].key, (long long)v);
    }
    int64_t heads = br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS);
    int64_t groups = br_cfg_i(cfg, BR_CFG_NUM_QUERY_GROUPS);
    if (heads % groups)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: %lld attention heads are not a multiple of "
                       "%lld key-value heads",
                       (long long)heads, (long long)groups);
    int64_t kh = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_KEY_HEADS);
    int64_t vh = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_VALUE_HEADS);
    if (cfg->has[BR_CFG_LINEAR_NUM_KEY_HEADS] && (kh < 1 || vh < 1 || vh % kh))
        return br_fail(err, BR_E_CONFIG,
                       "config.json: linear_num_value_heads %lld is not a "
                       "multiple of linear_num_key_heads %lld",
                       (long long)vh, (long long)kh);
    /* A hostile config.json must not make the plan's loops endless, nor its tables larger than a
     * million tensors; of published models the largest has 61 layers of 384 experts. */
    if (cfg->n_layers > 65536 || cfg->n_experts > 65536 || cfg->n_mtp > 64 || heads > 65536 ||
        vh > 65536 || cfg->n_layers * (cfg->n_experts + 1) > 1 << 18)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: %lld layers, %lld experts, %lld heads, %lld "
                       "prediction layers: more than any model has",
                       (long long)cfg->n_layers, (long long)cfg->n_experts,
                       (long long)BR__MAX(heads, vh), (long long)cfg->n_mtp);
    return BR_OK;
}

static int derive_heads(struct br_config *cfg, struct br_err *err)
{
    int64_t heads = br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS);
    if (!cfg->has[BR_CFG_NUM_QUERY_GROUPS])
        br_cfg_set(cfg, BR_CFG_NUM_QUERY_GROUPS, (double)heads);
    if (cfg->has[BR_CFG_KV_CHANNELS])
        return BR_OK;
    int64_t hidden = br_cfg_i(cfg, BR_CFG_HIDDEN_SIZE);
    if (heads < 1 || hidden % heads)
        return br_fail(err, BR_E_CONFIG,
                       "config.json: no head_dim, and hidden_size %lld is not a "
                       "multiple of %lld heads",
                       (long long)hidden, (long long)heads);
    br_cfg_set(cfg, BR_CFG_KV_CHANNELS, (double)(hidden / heads));
    return BR_OK;
}

/* What check() may call reads config.json itself, which is there only while check() runs. */
static int run_check(struct br__arena *a, const br__json *json, struct br_config *cfg,
                     struct br_err *err)
{
    cfg->json = json;
    cfg->arena = a;
    int rc = cfg->arch->check(cfg, err);
    cfg->json = NULL;
    cfg->arena = NULL;
    return rc;
}

int br__config_from_json(struct br__arena *a, const struct br__arch *arch, const br__json *json,
                         struct br_config *cfg, struct br_err *err)
{
    int rc = BR_OK;
    memset(cfg, 0, sizeof *cfg);
    cfg->arch = arch;
    if (br__json_kind(json) != 'o')
        return br_fail(err, BR_E_CONFIG, "config.json is not a JSON object");
    for (uint32_t id = 0; id < BR_N_CFG && !rc; id++) {
        const struct br_field *f = br__config_field(arch, id);
        rc = f ? apply_field(f, json, cfg, err) : BR_OK;
    }
    if (rc || (rc = derive_heads(cfg, err)) || (rc = read_rope(json, cfg, err)))
        return rc;
    cfg->n_layers = br_cfg_i(cfg, BR_CFG_NUM_LAYERS);
    cfg->n_experts = br_cfg_i(cfg, BR_CFG_NUM_MOE_EXPERTS);
    cfg->n_mtp = br_cfg_i(cfg, BR_CFG_MTP_NUM_LAYERS);
    if ((rc = check_sizes(cfg, err)))
        return rc;
    cfg->linear = br__arena_alloc(a, (size_t)cfg->n_layers);
    cfg->dense = br__arena_alloc(a, (size_t)cfg->n_layers);
    cfg->windowed = br__arena_alloc(a, (size_t)cfg->n_layers);
    cfg->router_aux_loss_coef = br__json_num(br__json_get(json, "router_aux_loss_coef"), 0.001);
    if (!cfg->linear || !cfg->dense || !cfg->windowed)
        return br__nomem(err, "reading config.json");
    if ((rc = read_attention_layers(json, cfg, err)) || (rc = read_mlp_layers(json, cfg, err)) ||
        (rc = read_window(a, json, cfg, err)) || (rc = read_dtype(json, cfg, err)) ||
        (rc = read_quantization(json, cfg, err)))
        return rc;
    rc = br__config_survey(a, cfg, json, err);
    return rc || !arch->check ? rc : run_check(a, json, cfg, err);
}
