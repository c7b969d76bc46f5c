/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_hub_set.c - which files of a data set of the hub are which of its splits, and which records
 * are held back: what Hugging Face's datasets library made of the same names (hub_sets.json). */
#include "../../core/data/hub_files.h"
#include "../../core/data/random.h"
#include "librun.h"

#include <math.h>
#include <string.h>

#define GOLDEN BRIDGE_TEST_DATA "/data/hub_sets.json"

static struct br_err err;
static struct br__arena arena;

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

static br__json *golden(void)
{
    char *text;
    size_t n;
    br__json *j;
    must(br__read_text(GOLDEN, 1 << 20, &text, &n, &err));
    must(br__json_parse(&j, text, n, &err));
    br__free(text);
    return j;
}

static struct br__hub_files files_of(const br__json *layout)
{
    struct br__hub_files f = {.id = "org/set",
                              .card = br__json_str(br__json_get(layout, "card"), NULL),
                              .subset = br__json_str(br__json_get(layout, "subset"), NULL)};
    const br__json *list = br__json_get(layout, "files");
    const char **paths = br__arena_alloc(&arena, br__json_count(list) * sizeof *paths);
    for (const br__json *p = br__json_first(list); p; p = br__json_next(p))
        paths[f.n++] = br__json_str(p, NULL);
    f.paths = paths;
    return f;
}

/* The split of ours that a split of the library's is. */
static int split_named(const char *name)
{
    return br__starts(name, "train")        ? BR__TRAIN
           : br__starts(name, "validation") ? BR__VALID
                                            : BR__TEST;
}

static int split_wanted(const br__json *splits, const char *path)
{
    for (const br__json *s = br__json_first(splits); s; s = br__json_next(s))
        for (const br__json *p = br__json_first(s); p; p = br__json_next(p))
            if (!strcmp(br__json_str(p, ""), path))
                return split_named(br__json_key(s));
    return BR__N_SPLITS;
}

START_TEST(files_are_the_splits_that_the_library_makes_of_them)
{
    br__json *j = golden();
    int n = 0;
    for (const br__json *l = br__json_first(br__json_get(j, "layouts")); l; l = br__json_next(l)) {
        struct br__hub_files f = files_of(l);
        const br__json *splits = br__json_get(l, "splits");
        int rc = br__hub_choose(&arena, &f, &err);
        if (br__json_kind(splits) == '0') {
            ck_assert_int_eq(rc, BR_E_NOTFOUND);
            ck_assert_msg(strstr(err.msg, "main, socratic") != NULL, "%s", err.msg);
            continue;
        }
        must(rc);
        for (size_t i = 0; i < f.n; i++)
            ck_assert_msg(f.split[i] == split_wanted(splits, f.paths[i]), "layout %d: %s is %d", n,
                          f.paths[i], f.split[i]);
        n++;
    }
    ck_assert_int_ge(n, 15);
    br__json_free(j);
    br__arena_free(&arena);
}
END_TEST

/* A set of these files, ended by NULL. */
static struct br__hub_files set_of(const char *const *paths)
{
    struct br__hub_files f = {.id = "org/set", .paths = paths};
    while (paths[f.n])
        f.n++;
    return f;
}
#define FILES(...) set_of((const char *const[]){__VA_ARGS__, NULL})

static void refused(struct br__hub_files f, int code, const char *says)
{
    int rc = br__hub_choose(&arena, &f, &err);
    ck_assert_msg(rc == code && strstr(err.msg, says), "%d: %s", rc, rc ? err.msg : "");
}

START_TEST(what_cannot_be_chosen_says_what_is_there)
{
    struct br__hub_files f = FILES("data/train-00000-of-00001.parquet");
    f.subset = "fr";
    refused(f, BR_E_NOTFOUND, "neither a configuration 'fr' nor a folder of that name");
    refused(FILES("README.md", "a.csv"), BR_E_UNSUPPORTED,
            "no JSONL and no Parquet files, and others cannot be read; its files are README.md, "
            "a.csv");
    refused(FILES("test.jsonl"), BR_E_UNSUPPORTED,
            "no files of a split for training; its files are test.jsonl");
    refused(FILES("data/train_gen-00000-of-00001.parquet", "data/train_sft-00000-of-00001.parquet"),
            BR_E_CONFIG, "'train_gen' and 'train_sft', and either could be the one for train");
    f = FILES("data/train_gen-00000-of-00001.parquet", "data/train_sft-00000-of-00001.parquet");
    f.train = "train_sft";
    must(br__hub_choose(&arena, &f, &err));
    ck_assert_int_eq(f.split[0], BR__N_SPLITS);
    ck_assert_int_eq(f.split[1], BR__TRAIN);
    /* a set in two formats is read in the one that has more files */
    f = FILES("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
              "sample/train-00000-of-00001.jsonl");
    must(br__hub_choose(&arena, &f, &err));
    ck_assert_int_eq(f.split[1], BR__TRAIN);
    ck_assert_int_eq(f.split[2], BR__N_SPLITS);
    br__arena_free(&arena);
}
END_TEST

START_TEST(records_held_back_are_those_of_the_library)
{
    br__json *j = golden();
    const br__json *all = br__json_get(j, "held_back");
    ck_assert_uint_ge(br__json_count(all), 3);
    for (const br__json *s = br__json_first(all); s; s = br__json_next(s)) {
        struct br__pcg64 r;
        int64_t n = (int64_t)br__json_num(br__json_get(s, "n"), 0), order[64], k = 0;
        br__pcg64_seed(&r, (uint32_t)br__json_num(br__json_get(s, "seed"), 0));
        br__pcg64_permutation(&r, n, order);
        for (const br__json *v = br__json_first(br__json_get(s, "held_back")); v;
             v = br__json_next(v))
            ck_assert_int_eq(order[k++], (int64_t)br__json_num(v, -1));
        ck_assert_int_eq(k, (int64_t)ceil(br__json_num(br__json_get(s, "share"), 0) * (double)n));
        for (const br__json *v = br__json_first(br__json_get(s, "rest")); v; v = br__json_next(v))
            ck_assert_int_eq(order[k++], (int64_t)br__json_num(v, -1));
        ck_assert_int_eq(k, n);
    }
    br__json_free(j);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_set");
    TCase *t = tcase_create("choice");
    tcase_add_test(t, files_are_the_splits_that_the_library_makes_of_them);
    tcase_add_test(t, what_cannot_be_chosen_says_what_is_there);
    tcase_add_test(t, records_held_back_are_those_of_the_library);
    suite_add_tcase(s, t);
    return run_suite(s);
}
