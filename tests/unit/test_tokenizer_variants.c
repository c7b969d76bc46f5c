/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_tokenizer_variants.c - tokenizers of other families: pipelines around small models, with the
 * ids and texts that Hugging Face's tokenizers computed (tests/oracle/tokenizer_variants.py wrote
 * them). */
#include "base/base_internal.h"
#include "librun.h"
#include "text/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DATA BRIDGE_TEST_DATA "/tokenizer"

static char dir[256];

static void make_dir(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-tok");
}

static void remove_dir(void)
{
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
}

static br__json *read_json(const char *path)
{
    struct br_err err = BR_ERR_INIT;
    br__json *json;
    char *text;
    size_t n;

    ck_assert_msg(br__read_text(path, 1u << 20, &text, &n, &err) == 0, "%s", err.msg);
    ck_assert_msg(br__json_parse(&json, text, n, &err) == 0, "%s", err.msg);
    br__free(text);
    return json;
}

/* The members of an object without its braces. */
static void put_members(struct br__buf *b, const br__json *object)
{
    struct br__buf own = {0};

    ck_assert_int_eq(br__json_print(object, 0, &own), 0);
    const char *begin = strchr(own.p, '{') + 1, *end = strrchr(own.p, '}');
    br__buf_put(b, begin, (size_t)(end - begin));
    br__buf_free(&own);
}

/* tokenizer.json of a base's model with changed members, and the parts of a row.  In half of the
 * files the model comes first, before it is known what its spellings mean. */
static void write_tokenizer(const br__json *row, int model_first)
{
    const char *base = br__json_str(br__json_get(row, "base"), "");
    const br__json *changes = br__json_get(row, "model");
    struct br__buf model = {0}, parts = {0}, b = {0};
    char path[512];

    snprintf(path, sizeof path,
             strcmp(base, "small") == 0 ? DATA "/%s/tokenizer.json" : DATA "/%s_model.json", base);
    br__json *file = read_json(path);
    put_members(&model, strcmp(base, "small") == 0 ? br__json_get(file, "model") : file);
    if (changes) {
        br__buf_puts(&model, ", ");
        put_members(&model, changes);
    }
    put_members(&parts, br__json_get(row, "parts"));
    if (model_first)
        br__buf_printf(&b, "{\"model\": {%s}, %s}", model.p, parts.p);
    else
        br__buf_printf(&b, "{%s, \"model\": {%s}}", parts.p, model.p);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    ck_assert_int_eq(br__write_file(path, b.p, b.n, 0, NULL), 0);
    br__json_free(file);
    br__buf_free(&model);
    br__buf_free(&parts);
    br__buf_free(&b);
}

static void read_ids(const br__json *list, struct br_ids *ids)
{
    size_t n = br__json_count(list);

    *ids = (struct br_ids){br__alloc((n + 1) * sizeof *ids->p), 0, n + 1};
    for (const br__json *e = br__json_first(list); e; e = br__json_next(e))
        ids->p[ids->n++] = (int32_t)br__json_num(e, -1);
}

static void ck_encodes(const struct br_tokenizer *t, const char *name, const char *text,
                       unsigned flags, const br__json *want)
{
    struct br_err err = BR_ERR_INIT;
    struct br_ids got = {0}, ids;

    read_ids(want, &ids);
    ck_assert_msg(br_tokenizer_encode(t, text, strlen(text), flags, &got, &err) == 0, "%s: %s",
                  name, err.msg);
    ck_assert_msg(got.n == ids.n && (!ids.n || memcmp(got.p, ids.p, ids.n * sizeof *ids.p) == 0),
                  "%s, flags %u: '%s' has other ids", name, flags, text);
    br_ids_free(&got);
    br_ids_free(&ids);
}

/* All at once; and token by token the same, unless bytes that are no UTF-8 were replaced. */
static void ck_decodes(const struct br_tokenizer *t, const char *name, const br__json *list,
                       unsigned flags, const char *want)
{
    struct br_text got = {0}, steps = {0};
    struct br_detok d;
    struct br_ids ids;

    read_ids(list, &ids);
    ck_assert_int_eq(br_tokenizer_decode(t, ids.p, ids.n, flags, &got, NULL), 0);
    ck_assert_msg(strcmp(got.p, want) == 0, "%s, flags %u: got '%s', expected '%s'", name, flags,
                  got.p, want);
    br_detok_begin(&d, t, flags);
    for (size_t i = 0; i <= ids.n; i++) {
        size_t before = steps.n;
        ck_assert_int_eq(i < ids.n ? br_detok_put(&d, ids.p[i], &steps, NULL)
                                   : br_detok_end(&d, &steps, NULL),
                         0);
        ck_assert(steps.n == before || br__utf8_valid(steps.p + before, steps.n - before));
    }
    if (!strstr(want, "\xEF\xBF\xBD"))
        ck_assert_msg(strcmp(steps.p ? steps.p : "", want) == 0, "%s: steps give '%s', not '%s'",
                      name, steps.p ? steps.p : "", want);
    br_text_free(&got);
    br_text_free(&steps);
    br_ids_free(&ids);
}

static void ck_row(const br__json *row, int model_first)
{
    const char *name = br__json_str(br__json_get(row, "name"), "?");
    const br__json *special = br__json_get(row, "special"), *ids = br__json_get(row, "ids");
    struct br_err err = BR_ERR_INIT;
    struct br_tokenizer *t;

    write_tokenizer(row, model_first);
    ck_assert_msg(br_tokenizer_open(&t, dir, &err) == 0, "%s: %s", name, err.msg);
    ck_assert_uint_gt(br__json_count(ids), 3);
    const br__json *id = br__json_first(ids), *all = br__json_first(special ? special : ids);
    const br__json *text = br__json_first(br__json_get(row, "texts"));
    for (; text; text = br__json_next(text), id = br__json_next(id), all = br__json_next(all)) {
        ck_encodes(t, name, br__json_str(text, ""), 0, id);
        ck_encodes(t, name, br__json_str(text, ""), BR_TOK_ADD_SPECIAL, all);
    }
    const br__json *list = br__json_first(br__json_get(row, "lists"));
    const br__json *decoded = br__json_first(br__json_get(row, "decoded"));
    const br__json *skipped = br__json_first(br__json_get(row, "skipped"));
    for (; list; list = br__json_next(list)) {
        ck_decodes(t, name, list, 0, br__json_str(decoded, NULL));
        ck_decodes(t, name, list, BR_TOK_SKIP_SPECIAL, br__json_str(skipped, NULL));
        decoded = br__json_next(decoded);
        skipped = br__json_next(skipped);
    }
    br_tokenizer_close(t);
}

START_TEST(gives_what_tokenizers_gives)
{
    struct br_err err = BR_ERR_INIT;
    size_t n, rows = 0;
    br__json *row;
    char *all;

    ck_assert_int_eq(br__read_text(DATA "/variants.jsonl", 1u << 22, &all, &n, &err), 0);
    for (char *at = all, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        ck_assert_msg(br__json_parse(&row, at, (size_t)(end - at), &err) == 0, "%s", err.msg);
        ck_row(row, (int)(rows++ & 1));
        br__json_free(row);
    }
    ck_assert_uint_ge(rows, 60);
    br__free(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer_variants");
    TCase *tc = tcase_create("tokenizer_variants");

    tcase_add_checked_fixture(tc, make_dir, remove_dir);
    tcase_add_test(tc, gives_what_tokenizers_gives);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
