/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_new.c - plugin new: a folder with a plugin of its own, from the tables of one that is loaded.
 *
 * The source is printed from the adopted tables, so it needs no template of any family: rows that
 * stand together as a group of rules.h are printed as that group, the rest one by one.  Code cannot
 * be printed: for a family that runs, the builder is the common block with the branches that its
 * rules have weights for. */
#include "cli.h"

#include <bridge/rules.h>

#include <inttypes.h>
#include <string.h>

/* ---- groups of rules.h ----------------------------------------------------------------------- */

#define GROUPS(X)                                                                                  \
    X(TRUNK, BR_RULES_TRUNK)                                                                       \
    X(ATTENTION, BR_RULES_ATTENTION)                                                               \
    X(GATED_ATTENTION_AT_ATTN, BR_RULES_EXPAND_(BR_RULES_GATED_ATTENTION_AT, BR_AT_LAYER("attn"))) \
    X(QKV_BIAS, BR_RULES_QKV_BIAS)                                                                 \
    X(QK_NORM, BR_RULES_QK_NORM)                                                                   \
    X(QK_NORM_AT_ATTN, BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_LAYER("attn")))                 \
    X(GLU, BR_RULES_GLU)                                                                           \
    X(MOE, BR_RULES_MOE)                                                                           \
    X(SHARED_EXPERT, BR_RULES_SHARED_EXPERT)                                                       \
    X(MTP_HEAD, BR_RULES_MTP_HEAD)                                                                 \
    X(ATTENTION_MTP, BR_RULES_EXPAND_(BR_RULES_ATTENTION_AT, BR_AT_MTP))                           \
    X(GATED_ATTENTION_MTP, BR_RULES_EXPAND_(BR_RULES_GATED_ATTENTION_AT, BR_AT_MTP))               \
    X(QKV_BIAS_MTP, BR_RULES_EXPAND_(BR_RULES_QKV_BIAS_AT, BR_AT_MTP))                             \
    X(QK_NORM_MTP, BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_MTP))                               \
    X(GLU_MTP, BR_RULES_EXPAND_(BR_RULES_GLU_AT, BR_AT_MTP))                                       \
    X(MOE_MTP, BR_RULES_EXPAND_(BR_RULES_MOE_AT, BR_AT_MTP))                                       \
    X(SHARED_EXPERT_MTP, BR_RULES_EXPAND_(BR_RULES_SHARED_EXPERT_AT, BR_AT_MTP))

#define GROUP_ROWS(id, rows) static const struct br_map group_##id[] = {rows};
GROUPS(GROUP_ROWS)
#undef GROUP_ROWS

static const struct group {
    const char *source;
    const struct br_map *rows;
    uint32_t n;
} groups[] = {
#define GROUP(id, rows) {#rows, group_##id, (uint32_t)BR_COUNTOF(group_##id)},
    GROUPS(GROUP)
#undef GROUP
};

static int same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static int same_rule(const struct br_map *a, const struct br_map *b)
{
    return same_text(a->mcore, b->mcore) && same_text(a->hf, b->hf) &&
           same_text(a->hf_shape, b->hf_shape) && same_text(a->hf_fused, b->hf_fused) &&
           a->layout == b->layout && a->flags == b->flags;
}

/* The longest group of rules.h that the n rows begin with, or NULL. */
static const struct group *find_group(const struct br_map *rows, uint32_t n)
{
    const struct group *best = NULL;

    for (size_t i = 0; i < BR_COUNTOF(groups); i++) {
        uint32_t k = 0;
        while (k < groups[i].n && k < n && same_rule(&groups[i].rows[k], &rows[k]))
            k++;
        if (k == groups[i].n && (!best || k > best->n))
            best = &groups[i];
    }
    return best;
}

/* ---- names of C ------------------------------------------------------------------------------ */

struct flag {
    uint32_t bit;
    const char *name;
};
static const struct flag field_flags[] = {
    {BR_FIELD_REQUIRED, "BR_FIELD_REQUIRED"}, {BR_FIELD_NOT, "BR_FIELD_NOT"},
    {BR_FIELD_FACT, "BR_FIELD_FACT"},         {BR_FIELD_DEFAULT, "BR_FIELD_DEFAULT"},
    {BR_FIELD_READ, "BR_FIELD_READ"},
};
static const struct flag map_flags[] = {
    {BR_MAP_EXTRA_STATE, "BR_MAP_EXTRA_STATE"},
    {BR_MAP_IF_UNTIED, "BR_MAP_IF_UNTIED"},
    {BR_MAP_IF_MTP, "BR_MAP_IF_MTP"},
    {BR_MAP_VOCAB, "BR_MAP_VOCAB"},
    {BR_MAP_ZERO_CENTERED, "BR_MAP_ZERO_CENTERED"},
};

static void put_flags(struct br__buf *b, const struct flag *names, size_t n, uint32_t flags)
{
    const char *sep = "";

    for (size_t i = 0; i < n; i++)
        if (flags & names[i].bit) {
            br__buf_printf(b, "%s%s", sep, names[i].name);
            sep = " | ";
        }
    br__buf_puts(b, flags ? "" : "0");
}

/* Print a C string literal.  Plugins hold printable ASCII, for which JSON's escapes are valid C. */
static void put_string(struct br__buf *b, const char *s)
{
    if (s)
        br__buf_json_str(b, s);
    else
        br__buf_puts(b, "NULL");
}

/* "olmo3_moe" -> "Olmo3Moe". */
static void put_camel(struct br__buf *b, const char *name)
{
    int up = 1;

    for (; *name; name++) {
        if (*name != '_')
            br__buf_putc(b, up && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
        up = *name == '_';
    }
}

/* ---- the source ------------------------------------------------------------------------------ */

struct draft {
    const char *name;            /* of the new plugin */
    const struct br__arch *arch; /* what it starts from */
};

/* Print a number in its shortest form: 1, 0.001. */
static void put_number(struct br__buf *b, double v)
{
    if (v == (double)(int64_t)v && v > -1e15 && v < 1e15)
        br__buf_printf(b, "%" PRId64, (int64_t)v);
    else
        br__buf_double(b, v);
}

/* The macros of plugin.h, by the flags that each sets and by what follows the key or id. */
static const struct {
    uint32_t flags;
    const char *macro;
    int key, text, value;
} field_macros[] = {
    {BR_FIELD_REQUIRED, "BR_FROM", 1, 0, 0},
    {BR_FIELD_DEFAULT, "BR_FROM_OR", 1, 0, 1},
    {BR_FIELD_DEFAULT | BR_FIELD_NOT, "BR_FROM_NOT", 1, 0, 1},
    {BR_FIELD_FACT, "BR_FACT", 0, 0, 1},
    {BR_FIELD_FACT, "BR_FACT_TEXT", 0, 1, 0},
};

static void put_field(struct br__buf *b, const struct br_field *f)
{
    const char *id = br__cfg_keys[f->field].id;

    for (size_t i = 0; i < BR_COUNTOF(field_macros); i++) {
        if (field_macros[i].flags != f->flags || field_macros[i].text != (f->text != NULL))
            continue;
        br__buf_printf(b, "    %s(%s", field_macros[i].macro, id);
        if (field_macros[i].key || field_macros[i].text) {
            br__buf_puts(b, ", ");
            put_string(b, f->text ? f->text : f->hf_key);
        }
        if (field_macros[i].value) {
            br__buf_puts(b, ", ");
            put_number(b, f->value);
        }
        br__buf_puts(b, "),\n");
        return;
    }
    br__buf_printf(b, "    {BR_CFG_%s, ", id);
    put_flags(b, field_flags, BR_COUNTOF(field_flags), f->flags);
    br__buf_puts(b, ", ");
    put_string(b, f->hf_key);
    br__buf_puts(b, ", ");
    put_number(b, f->value);
    br__buf_puts(b, ", ");
    put_string(b, f->text);
    br__buf_puts(b, "},\n");
}

static void put_rule(struct br__buf *b, const struct br_map *m)
{
    br__buf_puts(b, "    {");
    put_string(b, m->mcore);
    br__buf_puts(b, ", ");
    put_string(b, m->hf);
    br__buf_puts(b, ",\n     ");
    put_string(b, m->hf_shape);
    br__buf_puts(b, ", ");
    put_string(b, m->hf_fused);
    br__buf_printf(b, ", BR_LAYOUT_%s, ", br__layout_name(m->layout));
    put_flags(b, map_flags, BR_COUNTOF(map_flags), m->flags);
    br__buf_puts(b, "},\n");
}

static void put_rules(struct br__buf *b, const struct br__arch *a)
{
    for (uint32_t i = 0; i < a->n_maps;) {
        const struct group *g = find_group(&a->maps[i], a->n_maps - i);
        if (g)
            br__buf_printf(b, "    %s,\n", g->source);
        else
            put_rule(b, &a->maps[i]);
        i += g ? g->n : 1;
    }
}

/* One word of the toy a line. */
static void put_toy(struct br__buf *b, const char *toy)
{
    for (const char *p = toy; *p;) {
        size_t n = strcspn(p, " ");
        n += strspn(p + n, " ");
        br__buf_puts(b, "\n        ");
        struct br__buf word = {0};
        br__buf_put(&word, p, n);
        if (word.failed)
            b->failed = word.failed;
        else
            put_string(b, word.p);
        br__buf_free(&word);
        p += n;
    }
}

/* ---- the builder ----------------------------------------------------------------------------- */

static int has_rule(const struct br__arch *a, const char *part)
{
    for (uint32_t i = 0; i < a->n_maps; i++)
        if (br__starts(a->maps[i].mcore, "decoder.layers.") && strstr(a->maps[i].mcore, part))
            return 1;
    return 0;
}

static const struct branch {
    const char *rule,
        *other; /* weights that this branch needs; weights of the branch that excludes it */
    const char
        *condition; /* C condition that selects the branch in a model with both kinds of layers */
    const char *norm, *block, *result; /* result: the statement that takes x + block */
} branches[] = {
    {"self_attention.in_proj.weight", "self_attention.linear_qkv.weight",
     "br_layer_is_linear(g, i)", "self_attention.in_proj.layer_norm_weight",
     "br_gated_delta_net(g, h, i)", "x ="},
    {"self_attention.linear_qkv.weight", "self_attention.in_proj.weight",
     "!br_layer_is_linear(g, i)", "self_attention.linear_qkv.layer_norm_weight",
     "br_attention(g, h, i)", "x ="},
    {"mlp.router.weight", ".mlp.linear_fc1.weight", "br_layer_is_moe(g, i)",
     "pre_mlp_layernorm.weight", "br_moe(g, h, i)", "return"},
    {".mlp.linear_fc1.weight", "none", NULL, "mlp.linear_fc1.layer_norm_weight",
     "br_gated_mlp(g, h, \"mlp.\")", "return"},
};

static void put_builder(struct br__buf *b, const struct br__arch *a)
{
    br__buf_puts(b,
                 "/* the forward pass of one layer; blocks take sizes from config.json and weights "
                 "by Megatron's names */\n"
                 "static br_val layer(struct br_graph *g, br_val x, int i)\n"
                 "{\n"
                 "    br_val h;\n\n");
    for (size_t i = 0; i < BR_COUNTOF(branches); i++) {
        const struct branch *r = &branches[i];
        int both = has_rule(a, r->other);
        const char *margin = both ? "        " : "    ";
        if (!has_rule(a, r->rule))
            continue;
        if (both)
            br__buf_printf(b, "    if (%s) {\n", r->condition);
        br__buf_printf(b, "%sh = br_rmsnorm(g, x, \"%s\");\n%s%s br_add(g, x, %s);\n", margin,
                       r->norm, margin, r->result, r->block);
        br__buf_puts(b, both ? "    }\n" : "");
    }
    br__buf_puts(b, "}\n\n");
}

/* ---- the architecture ------------------------------------------------------------------------ */

static void put_arch(struct br__buf *b, const struct draft *d)
{
    const struct br__arch *a = d->arch;

    br__buf_printf(b,
                   "static const struct br_arch archs[] = {{\n"
                   "    .model_type = \"%s\",\n"
                   "    .hf_class = \"",
                   d->name);
    put_camel(b, d->name);
    br__buf_puts(b, "ForCausalLM\",\n"
                    "    /* the smallest sensible config.json; values hold no spaces */\n"
                    "    .toy =");
    put_toy(b, a->toy);
    br__buf_puts(b, ",\n");
    if (a->n_config)
        br__buf_puts(b, "    .config = BR_ROWS(config),\n");
    br__buf_puts(b, "    .maps = BR_ROWS(maps),\n");
    if (a->n_ignore)
        br__buf_puts(b, "    .ignore = BR_ROWS(ignore),\n");
    if (a->layer)
        br__buf_puts(b, "    .layer = layer,\n");
    br__buf_printf(b,
                   "}};\n\n"
                   "static const struct br_recipe recipes[] = {\n"
                   "    {\"%s_pretrain_config\", \"pretrain\", \"tp=1 pp=1\"},\n"
                   "};\n\n"
                   "BR_PLUGIN(%s, archs, recipes)\n",
                   d->name, d->name);
}

static void put_source(struct br__buf *b, const struct draft *d)
{
    const struct br__arch *a = d->arch;

    br__buf_printf(b,
                   "/* %s - begun with the tables of %s: change what differs.\n"
                   " *\n"
                   " * What the rows mean is written in <bridge/plugin.h>, the groups in "
                   "<bridge/rules.h>. */\n"
                   "%s#include <bridge/rules.h>\n\n",
                   d->name, a->model_type, a->layer ? "#include <bridge/graph.h>\n" : "");
    if (a->check)
        br__buf_printf(b,
                       "/* %s also has a check(), which is code and is not here: it derives or "
                       "refuses what rows\n * cannot express. */\n\n",
                       a->model_type);
    if (a->n_config)
        br__buf_puts(b, "/* config.json <-> facts, beside the common ones */\n"
                        "static const struct br_field config[] = {\n");
    for (uint32_t i = 0; i < a->n_config; i++)
        put_field(b, &a->config[i]);
    br__buf_puts(b, a->n_config ? "};\n\n" : "");
    br__buf_puts(b, "/* Megatron tensor <-> Hugging Face tensors */\n"
                    "static const struct br_map maps[] = {\n");
    put_rules(b, a);
    br__buf_puts(b, "};\n\n");
    if (a->n_ignore)
        br__buf_puts(b, "/* known and not wanted */\n"
                        "static const struct br_ignore ignore[] = {\n");
    for (uint32_t i = 0; i < a->n_ignore; i++) {
        br__buf_puts(b, "    {");
        put_string(b, a->ignore[i].hf);
        br__buf_puts(b, "},\n");
    }
    br__buf_puts(b, a->n_ignore ? "};\n\n" : "");
    if (a->layer)
        put_builder(b, a);
    put_arch(b, d);
}

/* ---- the other files ------------------------------------------------------------------------- */

static void put_cmake(struct br__buf *b, const struct draft *d)
{
    br__buf_printf(b,
                   "# Build, test, install:\n"
                   "#   cmake -B build && cmake --build build && ctest --test-dir build\n"
                   "#   cmake --install build\n"
                   "cmake_minimum_required(VERSION 3.22)\n"
                   "project(bridge_plugin_%s LANGUAGES C)\n"
                   "find_package(bridge 1 REQUIRED)\n"
                   "bridge_add_plugin(%s %s.c)\n\n"
                   "enable_testing()\n"
                   "add_test(NAME %s COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/test.sh\n"
                   "         $<TARGET_FILE:bridge_plugin_%s> $<TARGET_FILE:bridge::program>)\n",
                   d->name, d->name, d->name, d->name, d->name);
}

static void put_test(struct br__buf *b, const struct draft *d)
{
    br__buf_printf(b,
                   "#!/bin/sh\n"
                   "# test.sh PLUGIN [BRIDGE] - check the plugin, take a toy of it to Megatron and "
                   "back%s.\n"
                   "set -eu\n"
                   "plugin=${1:?usage: test.sh PLUGIN [BRIDGE]}\n"
                   "bridge=${2:-bridge}\n"
                   "work=$(mktemp -d)\n"
                   "trap 'rm -rf \"$work\"' EXIT\n\n"
                   "\"$bridge\" plugin check \"$plugin\"\n"
                   "\"$bridge\" toy %s --plugin \"$plugin\" -o \"$work/toy\"\n"
                   "\"$bridge\" import \"$work/toy\" --plugin \"$plugin\" --megatron-path "
                   "\"$work/megatron\"\n"
                   "\"$bridge\" verify \"$work/toy\" \"$work/megatron\" --plugin \"$plugin\"\n"
                   "\"$bridge\" export \"$work/megatron\" --plugin \"$plugin\" --hf-path "
                   "\"$work/back\"\n"
                   "cmp \"$work/toy/model.safetensors\" \"$work/back/model.safetensors\"\n"
                   "cmp \"$work/toy/config.json\" \"$work/back/config.json\"\n",
                   d->arch->layer ? ", and run both" : "", d->name);
    if (d->arch->layer)
        br__buf_puts(b, "\"$bridge\" compare \"$work/toy\" \"$work/megatron\" --plugin \"$plugin\" "
                        "--input-ids 1,2,3,4 --dtype float32\n");
}

static const struct {
    const char *suffix; /* of the file's name; from '/' on the whole name */
    void (*put)(struct br__buf *b, const struct draft *d);
} files[] = {{".c", put_source}, {"/CMakeLists.txt", put_cmake}, {"/test.sh", put_test}};

static int write_files(struct br__cli *c, const struct draft *d, const char *dir,
                       struct br_err *err)
{
    int rc = br__exists(dir) ? br_fail(err, BR_E_EXISTS,
                                       "'%s' exists; give another folder with --output-dir", dir)
                             : br__mkdirs(dir, err);

    for (size_t i = 0; !rc && i < BR_COUNTOF(files); i++) {
        struct br__buf b = {0};
        const char *suffix = files[i].suffix;
        const char *path = *suffix == '/'
                               ? br__arena_printf(&c->arena, "%s%s", dir, suffix)
                               : br__arena_printf(&c->arena, "%s/%s%s", dir, d->name, suffix);
        files[i].put(&b, d);
        rc = path && !b.failed ? br__write_file(path, b.p, b.n, 0, err)
                               : br__nomem(err, "writing a plugin");
        br__buf_free(&b);
    }
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Is it a lower-case C identifier, usable as a file name, that no loaded plugin has? */
static int check_name(const char *name, const struct br__registry *r, struct br_err *err)
{
    size_t n = strlen(name);

    if (n > 48 || name[0] < 'a' || name[0] > 'z' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
        return br_fail(err, BR_E_USAGE,
                       "'%.60s' is no plugin name; expected at most 48 of a-z, 0-9 and _, first a "
                       "letter",
                       name);
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++)
            if (!strcmp(r->plugins[i]->archs[k].model_type, name))
                return br_fail(err, BR_E_EXISTS, "plugin '%s' (%s) serves model_type '%s' already",
                               r->plugins[i]->name, r->plugins[i]->path, name);
    return BR_OK;
}

static int new_done(struct br__cli *c, const struct draft *d, const char *dir, struct br_err *err)
{
    struct br__js j = {0};
    const char *word = br__shell_word(&c->arena, dir);

    if (!BR__FLAG(c, JSON)) {
        br__say(stdout, "wrote %s.c, CMakeLists.txt and test.sh to %s, from the tables of %s",
                d->name, dir, d->arch->model_type);
        br__say(stdout,
                "next: cmake -S %s -B %s/build && cmake --build %s/build && ctest --test-dir "
                "%s/build",
                word, word, word, word);
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", "plugin new");
    br__js_str(&j, "name", d->name);
    br__js_str(&j, "from", d->arch->model_type);
    br__js_str(&j, "path", dir);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_plugin_new(struct br__cli *c, struct br_err *err)
{
    const char *from = BR__TEXT(c, FROM) ? BR__TEXT(c, FROM) : "qwen3";
    const char *dir = BR__TEXT(c, NEW_DIR) ? BR__TEXT(c, NEW_DIR) : c->pos[0];
    struct br__registry *r = NULL;
    const struct br__plugin *p = NULL;
    int rc = br__open_plugin(c, from, &r, &p, err);

    if (!rc)
        rc = check_name(c->pos[0], r, err);
    struct draft d = {c->pos[0], rc ? NULL : &p->archs[0]};
    if (!rc)
        rc = write_files(c, &d, dir, err);
    if (!rc)
        rc = new_done(c, &d, dir, err);
    br__registry_close(r);
    return rc;
}
