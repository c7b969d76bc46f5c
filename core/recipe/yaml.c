/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* yaml.c - a recipe as Megatron Bridge's own ConfigContainer file, and its model as
 * config.json.
 *
 * Each key goes to the path that keys.def gives.  What a section is made of besides (its
 * class, the run's folders) stands in the tables here.  Objects, enums and dtypes are written as
 * Megatron Bridge's loader expects them: by `_target_`.
 *
 * Source: megatron.bridge.training.config, megatron.training.config.instantiate_utils (0.6.2). */
#include "recipe_internal.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

struct writer {
    struct br__arena *a;
    const struct br__recipe *r;
    struct br__buf *out;
    const char *section;
    const struct br_config *run_model; /* of a run: what stands in its checkpoints; or NULL */
};

/* ---- values ---------------------------------------------------------------------------------- */

/* Text that stands for itself without quotes. */
static int is_plain(const char *s)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no", "on", "off", "none"};

    if (!*s || !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/", *s))
        return 0;
    for (size_t i = 0; i < BR_COUNTOF(words); i++)
        if (!strcasecmp(s, words[i]))
            return 0;
    return !s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-")];
}

/* megatron.core.transformer.enums.AttnBackend */
static void put_attention_backend(struct br__buf *b, const char *text)
{
    static const char *const names[] = {"flash", "fused", "unfused", "local", "auto"};
    const char *name = strchr(text, '.') + 1;
    int value = 1;

    while (strcmp(names[value - 1], name))
        value++;
    br__buf_printf(b,
                   "\n    _args_:\n    - %d\n    _call_: true\n    _name_: %s\n"
                   "    _target_: megatron.core.transformer.enums.AttnBackend",
                   value, name);
}

static void put_text(struct br__buf *b, const char *text)
{
    if (br__starts(text, "torch.")) {
        br__buf_printf(b, "\n    _call_: false\n    _target_: %s", text);
    } else if (br__starts(text, "AttnBackend.")) {
        put_attention_backend(b, text);
    } else {
        br__buf_putc(b, ' ');
        if (is_plain(text))
            br__buf_puts(b, text);
        else
            br__buf_json_str(b, text); /* JSON's escapes are YAML's too */
    }
}

/* " value" after a key of depth two. */
static void put_value(struct br__buf *b, const struct br__recipe_value *v)
{
    if (v->tag == 'T') {
        put_text(b, v->text);
    } else if (v->tag == 'F') {
        br__buf_putc(b, ' ');
        br__yaml_put_double(b, v->f);
    } else {
        br__buf_putc(b, ' ');
        br__recipe_value_json(b, v);
    }
}

/* ---- which keys a section has ---------------------------------------------------------------- */

static int is_text(const struct br__recipe *r, uint32_t id, const char *text)
{
    return r->v[id].tag == 'T' && !strcmp(r->v[id].text, text);
}

static int has_sft_data(const struct br__recipe *r)
{
    return is_text(r, BR__RK_dataset_class, "HFDatasetConfig") ||
           is_text(r, BR__RK_dataset_class, "FinetuningDatasetConfig");
}

/* Fields that only one of the two kinds of dataset has; and of v0.2.0, that the loader's version
 * dropped. */
static int is_left_out(const struct br__recipe *r, const char *path)
{
    static const struct {
        const char *path;
        int sft; /* left out with 1: SFT data, 0: pretraining data, -1: all */
    } rows[] = {
        {"dataset.split", 1},        {"dataset.random_seed", 1},    {"dataset.seed", 0},
        {"dataset.dataset_root", 0}, {"peft.a2a_experimental", -1},
    };
    int sft = has_sft_data(r), local = r->v[BR__RK_dataset_path].tag == 'T';

    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        if (!strcmp(rows[i].path, path) && (rows[i].sft == sft || rows[i].sft < 0))
            return 1;
    return local && br__starts(path, "dataset.hf_");
}

/* The path among a key's that lies in the section: what follows "section."; NULL if none does. */
static const char *path_in(const struct writer *w, const struct br__recipe_key *k)
{
    size_t n = strlen(w->section);

    for (const char *p = k->config; p && *p; p = strchr(p, ' ')) {
        p += *p == ' ';
        const char *path = br__arena_strndup(w->a, p, strcspn(p, " "));
        if (!path)
            w->out->failed = BR_E_NOMEM;
        else if (!strncmp(path, w->section, n) && path[n] == '.' && !is_left_out(w->r, path))
            return path + n + 1;
    }
    return NULL;
}

/* Objects inside a section, and what they are made of besides keys. */
static const struct {
    const char *section, *name, *fixed;
} nested[] = {
    {"dataset", "hf_dataset",
     "    _target_: megatron.bridge.data.sources.hf.HFDatasetSourceConfig\n"},
    {"dataset", "offline_packing_specs",
     "    _target_: megatron.bridge.data.packing.config.PackedSequenceSpecs\n"},
};

/* "name:" and the object's keys, if it has any. */
static void put_nested(struct writer *w, const char *name, const char *fixed)
{
    size_t n = strlen(name);
    int begun = 0;

    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const char *path = w->r->v[id].tag ? path_in(w, &br__recipe_keys[id]) : NULL;
        if (!path || strncmp(path, name, n) || path[n] != '.')
            continue;
        if (!begun)
            br__buf_printf(w->out, "  %s:\n%s", name, fixed);
        br__buf_printf(w->out, "    %s:", path + n + 1);
        put_value(w->out, &w->r->v[id]);
        br__buf_putc(w->out, '\n');
        begun = 1;
    }
}

static void put_keys(struct writer *w)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const char *path = w->r->v[id].tag ? path_in(w, &br__recipe_keys[id]) : NULL;
        if (!path || strchr(path, '.'))
            continue;
        br__buf_printf(w->out, "  %s:", path);
        put_value(w->out, &w->r->v[id]);
        br__buf_putc(w->out, '\n');
    }
    for (size_t i = 0; i < BR_COUNTOF(nested); i++)
        if (!strcmp(nested[i].section, w->section))
            put_nested(w, nested[i].name, nested[i].fixed);
}

/* ---- sections -------------------------------------------------------------------------------- */

static void yaml_begin(struct writer *w, const char *section, const char *target)
{
    w->section = section;
    br__buf_printf(w->out, "%s:\n  _target_: %s\n", section, target);
}

static void put_run_folder(struct writer *w, const char *key, const char *leaf)
{
    struct br__recipe_value v = {.tag = 'T'};

    v.text = br__arena_printf(w->a, "%s/%s/%s", w->r->v[BR__RK_dir].text, w->r->v[BR__RK_name].text,
                              leaf);
    if (!v.text) {
        w->out->failed = BR_E_NOMEM;
        return;
    }
    br__buf_printf(w->out, "  %s:", key);
    put_value(w->out, &v);
    br__buf_putc(w->out, '\n');
}

static int put_checkpoint(struct writer *w, struct br_err *err)
{
    (void)err;
    yaml_begin(w, "checkpoint", "megatron.bridge.training.config.CheckpointConfig");
    put_run_folder(w, "save", "checkpoints");
    put_run_folder(w, "load", "checkpoints");
    if (w->run_model) /* which says what a loader is to ask for */
        br__buf_puts(w->out, "  save_optim: true\n  save_rng: true\n");
    put_keys(w);
    return BR_OK;
}

static int put_comm_overlap(struct writer *w, struct br_err *err)
{
    (void)err;
    if (w->r->v[BR__RK_comm_overlap].tag != 'T') {
        br__buf_puts(w->out, "comm_overlap: null\n");
        return BR_OK;
    }
    yaml_begin(w, "comm_overlap", "megatron.bridge.training.comm_overlap.CommOverlapConfig");
    br__buf_puts(w->out, "  tp_comm_overlap: false\n");
    put_keys(w);
    return BR_OK;
}

static int put_dataset(struct writer *w, struct br_err *err)
{
    const struct br__recipe_value *paths = &w->r->v[BR__RK_data_paths];

    (void)err;
    if (has_sft_data(w->r)) {
        yaml_begin(w, "dataset", "megatron.bridge.data.builders.gpt_sft.GPTSFTDatasetConfig");
        br__buf_puts(w->out, "  preprocessing:\n"
                             "    _target_: megatron.bridge.data.sft_processing."
                             "PromptCompletionSFTPreprocessingConfig\n"
                             "    prompt_column: input\n    completion_column: output\n"
                             "    separator: ' '\n");
    } else {
        yaml_begin(w, "dataset", "megatron.bridge.training.config.GPTDatasetConfig");
        if (paths->tag == 'L')
            br__buf_printf(w->out, "  data_path: %s\n", paths->text);
    }
    put_keys(w);
    return BR_OK;
}

static int put_logger(struct writer *w, struct br_err *err)
{
    (void)err;
    yaml_begin(w, "logger", "megatron.bridge.training.config.LoggerConfig");
    put_run_folder(w, "tensorboard_dir", "tb_logs");
    put_keys(w);
    return BR_OK;
}

static int put_mixed_precision(struct writer *w, struct br_err *err)
{
    int fp32 = is_text(w->r, BR__RK_mixed_precision, "fp32"); /* upstream has no name for it */

    (void)err;
    if (!fp32 && !is_text(w->r, BR__RK_mixed_precision, "MixedPrecisionConfig(bf16)")) {
        br__buf_printf(w->out, "mixed_precision: %s\n", w->r->v[BR__RK_mixed_precision].text);
        return BR_OK;
    }
    yaml_begin(w, "mixed_precision",
               "megatron.bridge.training.mixed_precision.MixedPrecisionConfig");
    br__buf_puts(w->out, fp32 ? "  fp32: true\n  params_dtype:" : "  bf16: true\n  params_dtype:");
    put_text(w->out, fp32 ? "torch.float32" : "torch.bfloat16");
    br__buf_puts(w->out, "\n  pipeline_dtype:");
    put_text(w->out, fp32 ? "torch.float32" : "torch.bfloat16");
    br__buf_puts(w->out, "\n  autocast_enabled: false\n");
    put_keys(w);
    return BR_OK;
}

static int put_peft(struct writer *w, struct br_err *err)
{
    (void)err;
    if (w->r->v[BR__RK_peft_class].tag != 'T') {
        br__buf_puts(w->out, "peft: null\n");
        return BR_OK;
    }
    yaml_begin(w, "peft",
               is_text(w->r, BR__RK_peft_class, "LoRA") ? "megatron.bridge.peft.lora.LoRA"
                                                        : "megatron.bridge.peft.dora.DoRA");
    put_keys(w);
    return BR_OK;
}

/* A key of the model section that the recipe has. */
static int model_value(void *ud, const char *key, struct br__buf *out)
{
    struct writer *w = ud;

    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const char *path = w->r->v[id].tag ? path_in(w, &br__recipe_keys[id]) : NULL;
        if (path && !strcmp(path, key)) {
            put_value(out, &w->r->v[id]);
            return 1;
        }
    }
    return 0;
}

static int put_model(struct writer *w, struct br_err *err)
{
    struct br__run_config_opts o = {.hf_model_id = w->r->v[BR__RK_hf_model].text};
    struct br_config cfg = {0};
    br__json *json = NULL;
    int rc = w->run_model ? BR_OK : br__recipe_config(w->a, w->r, &json, &cfg, err);

    br__json_free(json);
    w->section = "model";
    br__buf_puts(w->out, "model:\n");
    return rc ? rc
              : br__run_config_model(w->out, w->run_model ? w->run_model : &cfg, &o, model_value, w,
                                     err);
}

/* Sections that are a class and its keys. */
static const struct section {
    const char *name, *target;
    int (*put)(struct writer *w, struct br_err *err);
} sections[] = {
    {"checkpoint", NULL, put_checkpoint},
    {"comm_overlap", NULL, put_comm_overlap},
    {"dataset", NULL, put_dataset},
    {"ddp", "megatron.bridge.training.config.DistributedDataParallelConfig", NULL},
    {"dist", "megatron.bridge.training.config.DistributedInitConfig", NULL},
    {"logger", NULL, put_logger},
    {"mixed_precision", NULL, put_mixed_precision},
    {"model", NULL, put_model},
    {"optimizer", "megatron.bridge.training.config.OptimizerConfig", NULL},
    {"peft", NULL, put_peft},
    {"rng", "megatron.bridge.training.config.RNGConfig", NULL},
    {"scheduler", "megatron.bridge.training.config.SchedulerConfig", NULL},
    {"tokenizer", "megatron.bridge.training.tokenizers.config.TokenizerConfig", NULL},
    {"train", "megatron.bridge.training.config.TrainingConfig", NULL},
};

int br__recipe_yaml(struct br__arena *a, const struct br__recipe *r,
                    const struct br_config *run_model, struct br__buf *out, struct br_err *err)
{
    struct writer w = {a, r, out, "", run_model};
    int rc = BR_OK;

    br__buf_puts(out, "_target_: megatron.bridge.training.config.ConfigContainer\n");
    for (size_t i = 0; i < BR_COUNTOF(sections) && !rc; i++) {
        if (sections[i].put) {
            rc = sections[i].put(&w, err);
        } else {
            yaml_begin(&w, sections[i].name, sections[i].target);
            put_keys(&w);
        }
    }
    if (!rc && out->failed)
        rc = br_fail(err, out->failed, "cannot build the configuration in memory");
    return rc;
}

/* ---- the model as config.json ---------------------------------------------------------------- */

/* run_config.yaml's model section, as far as config_rebuild.c reads it. */
static int model_section(const struct br__recipe *r, struct br__buf *b)
{
    br__buf_puts(b, "model:\n");
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__recipe_value *v = &r->v[id];
        const char *path = br__recipe_keys[id].config;
        if (!br__starts(path, "model.") || id == BR__RK_seq_length || !v->tag || v->tag == '0' ||
            (v->tag == 'T' && strchr(v->text, '.')))
            continue;
        br__buf_printf(b, "  %.*s:", (int)strcspn(path, " ") - 6, path + 6);
        put_value(b, v);
        br__buf_putc(b, '\n');
    }
    br__buf_printf(
        b, "  seq_length: %" PRId64 "\n",
        br__recipe_i(r, BR__RK_max_position_embeddings, br__recipe_i(r, BR__RK_seq_length, 0)));
    br__buf_puts(b, "  init_method_std: 0.02\n  attention_dropout: 0.0\n");
    return b->failed;
}

int br__recipe_config(struct br__arena *a, const struct br__recipe *r, br__json **json,
                      struct br_config *cfg, struct br_err *err)
{
    struct br__buf b = {0};
    struct br__yaml *yaml = NULL;
    const char **guessed;
    size_t n;

    *json = NULL;
    if (!r->plugin->n_archs)
        return br_fail(err, BR_E_CONFIG, "plugin '%s' has recipes and no architecture",
                       r->plugin->name);
    const struct br__arch *arch = &r->plugin->archs[0];
    int rc = model_section(r, &b);
    if (rc)
        br_fail(err, rc, "cannot build the model section in memory");
    if (!rc)
        rc = br__yaml_parse(a, b.p, b.n, &yaml, err);
    if (!rc)
        rc = br__config_rebuild(a, arch, yaml, NULL, json, &guessed, &n, err);
    if (!rc)
        rc = br__config_from_json(a, arch, *json, cfg, err);
    if (rc) {
        br__json_free(*json);
        *json = NULL;
        br_wrap(err, "recipe '%s'", r->name);
    }
    br__buf_free(&b);
    return rc;
}
