/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recipe_fuzz.c - libFuzzer target: a recipe file.
 *
 * Every pair of an accepted text is read as a value of its key; a value that is read must, written
 * in the recipes' grammar, read as the same value.  Then all of it is put over a recipe, checked,
 * estimated and written as YAML. */
#include "../../core/recipe/recipe_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct br_recipe rows[] = {
    {"t_config", "pretrain",
     "gpus=8 num_layers=4 hidden_size=64 ffn_hidden_size=96 num_attention_heads=4 vocab_size=320"}};
static const struct br__plugin plugin = {.name = "t", .path = "t", .recipes = rows, .n_recipes = 1};

static void read_again(struct br__arena *a, uint32_t id, const struct br__recipe_value *v)
{
    struct br__buf text = {0};
    struct br__recipe_value again = {0};
    struct br__pair p;

    br__buf_puts(&text, "k=");
    br__recipe_value_text(&text, v);
    struct br__pairs t = {text.p, "text", 1, 0};
    if (text.failed || br__pairs_next(a, &t, &p, NULL) || !p.key ||
        br__recipe_value_parse(a, &br__recipe_keys[id], p.value, p.quoted, &again, NULL))
        abort();
    if (again.tag != v->tag || again.i != v->i || (v->text && strcmp(again.text, v->text)))
        abort();
    br__buf_free(&text);
}

static void read_values(struct br__arena *a, const char *text)
{
    struct br__pairs t = {text, "text", 1, 0};
    struct br__pair p;

    while (!br__pairs_next(a, &t, &p, NULL) && p.key) {
        struct br__recipe_value v = {0};
        struct br_err err = BR_ERR_INIT;
        uint32_t id = br__recipe_key_find(p.key);
        if (id == BR__N_RK)
            continue;
        if (br__recipe_value_parse(a, &br__recipe_keys[id], p.value, p.quoted, &v, &err)) {
            if (!err.msg[0])
                abort(); /* a refusal says why */
        } else if (!v.ref) {
            read_again(a, id, &v);
        }
    }
}

/* Each line as a setting, so that one bad line does not hide the others. */
static void put_over_recipe(struct br__arena *a, char *text)
{
    const char *sets[64];
    struct br__recipe_opts o = {
        .name = "t_config", .plugin = &plugin, .sets = sets, .incomplete = 1};
    struct br__recipe r;
    struct br__recipe_memory m;

    for (char *line = text; line && o.n_sets < BR_COUNTOF(sets);) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        sets[o.n_sets++] = line;
        line = end ? end + 1 : NULL;
    }
    if (br__recipe_open(a, NULL, &o, &r, NULL))
        return;
    (void)br__recipe_check(&r, 0, NULL, NULL);
    int rc = br__recipe_memory(&r, 0, &m, NULL);
    (void)rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};
    char *text = br__alloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    read_values(&a, text);
    put_over_recipe(&a, text);
    br__free(text);
    br__arena_free(&a);
    return 0;
}
