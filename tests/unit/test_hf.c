/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_hf.c - Hugging Face directories and the local hub cache, friendly and hostile. */
#include "base/base_internal.h"
#include "format/hf.h"
#include "librun.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX "model.safetensors.index.json"

static struct br__arena arena;
static struct br_err err;
static char root[256];
static struct br__ckpt *ck;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    memset(&err, 0, sizeof err);
    make_temp_dir(root, sizeof root, "bridge-hf");
    ck = NULL;
}

static void teardown(void)
{
    br__ckpt_close(ck);
    br__arena_free(&arena);
    ck_assert_int_eq(br__remove_tree(root, NULL), BR_OK);
}

static char *in_root(const char *name)
{
    char *p = br__path_join(&arena, root, name);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void put(const char *name, const char *text)
{
    ck_assert_int_eq(br__write_file(in_root(name), text, strlen(text), 0, &err), BR_OK);
}

static void make_dir(const char *name)
{
    ck_assert_int_eq(br__mkdirs(in_root(name), &err), BR_OK);
}

/* A weight file with one U8 tensor of 4 bytes per name (NULL ends the list). */
static void put_weights(const char *file, const char *const *names)
{
    struct br__st_entry e[8];
    struct br__buf b = {0};
    size_t n;

    memset(e, 0, sizeof e);
    for (n = 0; names[n]; n++)
        e[n] = (struct br__st_entry){.name = names[n], .dtype = BR_U8, .ndim = 1, .shape = {4}};
    ck_assert_int_eq(br__st_header(&b, e, n, "{\"format\":\"pt\"}"), BR_OK);
    for (size_t i = 0; i < n; i++)
        br__buf_printf(&b, "%.4s", names[i]);
    ck_assert_int_eq(br__write_file(in_root(file), b.p, b.n, 0, &err), BR_OK);
    br__buf_free(&b);
}
#define WEIGHTS(file, ...) put_weights((file), (const char *const[]){__VA_ARGS__, NULL})

static void put_index(const char *weight_map)
{
    put(INDEX, br__arena_printf(&arena, "{\"metadata\":{},\"weight_map\":{%s}}", weight_map));
}

static void expect_ok(void)
{
    int rc = br__ckpt_open(&ck, root, &err);
    ck_assert_msg(rc == BR_OK, "rc %d: %s", rc, err.msg);
}

static void expect_error(int code, const char *text)
{
    int rc = br__ckpt_open(&ck, root, &err);
    ck_assert_msg(rc == code, "rc %d, expected %d: %s", rc, code, err.msg);
    ck_assert_msg(strstr(err.msg, text) != NULL, "'%s' has no '%s'", err.msg, text);
    ck_assert_ptr_null(ck);
}

/* ---- which files ----------------------------------------------------------------------------- */

START_TEST(opens_a_single_file)
{
    char got[4];

    put("config.json", "{\"model_type\": \"x\"}\n");
    put("generation_config.json", "{}");
    WEIGHTS("model.safetensors", "abcd", "bbbb");
    expect_ok();
    ck_assert_int_eq(ck->format, BR__FMT_HF);
    ck_assert_uint_eq(ck->n_tensors, 2);
    ck_assert_uint_eq(ck->n_warnings, 0);
    ck_assert_int_eq(ck->hf->has_index, 0);
    ck_assert_str_eq(ck->hf->config_text, "{\"model_type\": \"x\"}\n");
    ck_assert_uint_eq(ck->hf->config_size, 20);
    ck_assert_str_eq(ck->hf->generation_text, "{}");
    ck_assert_str_eq(ck->hf->metadata_json[0], "{\"format\":\"pt\"}");
    const struct br__tensor *t = br__ckpt_find(ck, "bbbb");
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->bytes, 4);
    ck_assert_int_eq(br__ckpt_read(ck, t, 0, got, 4, &err), BR_OK);
    ck_assert_mem_eq(got, "bbbb", 4);
    ck_assert_int_eq(br__ckpt_read(ck, br__ckpt_find(ck, "abcd"), 1, got, 2, &err), BR_OK);
    ck_assert_mem_eq(got, "bc", 2);
    ck_assert_ptr_null(br__ckpt_find(ck, "cccc"));
}
END_TEST

START_TEST(opens_what_the_index_names)
{
    WEIGHTS("w2.safetensors", "aaaa");
    WEIGHTS("w1.safetensors", "bbbb", "cccc");
    WEIGHTS("model.safetensors", "zzzz");
    WEIGHTS("extra.safetensors", "yyyy");
    put_index(
        "\"aaaa\":\"w2.safetensors\",\"bbbb\":\"w1.safetensors\",\"cccc\":\"w1.safetensors\"");
    expect_ok();
    ck_assert_int_eq(ck->hf->has_index, 1);
    ck_assert_uint_eq(ck->n_files, 2);
    ck_assert_str_eq(ck->file_names[0], "w1.safetensors");
    ck_assert_str_eq(ck->tensors[0].name, "bbbb");
    ck_assert_uint_eq(ck->n_warnings, 1);
    ck_assert_str_eq(ck->warnings[0], "ignored 2 safetensors files that " INDEX
                                      " does not name: 'extra.safetensors', 'model.safetensors'");
    ck_assert_ptr_null(ck->hf->config_text);
}
END_TEST

START_TEST(opens_a_complete_set)
{
    WEIGHTS("model-00001-of-00003.safetensors", "aaaa");
    WEIGHTS("model-00002-of-00003.safetensors", "bbbb");
    WEIGHTS("model-00003-of-00003.safetensors", "cccc");
    WEIGHTS("a.safetensors", "xxxx");
    WEIGHTS("b.safetensors", "xxxx");
    WEIGHTS("model-b.safetensors", "xxxx");
    WEIGHTS("model-00003-of-00003.safetensors.safetensors", "xxxx");
    expect_ok();
    ck_assert_uint_eq(ck->n_files, 3);
    ck_assert_uint_eq(ck->n_tensors, 3);
    ck_assert_uint_eq(ck->n_warnings, 1);
    ck_assert_str_eq(ck->warnings[0],
                     "ignored 4 safetensors files beside the weights: 'a.safetensors', "
                     "'b.safetensors', 'model-00003-of-00003.safetensors.safetensors', ...");
}
END_TEST

START_TEST(refuses_an_incomplete_set)
{
    WEIGHTS("model-00001-of-00003.safetensors", "aaaa");
    WEIGHTS("model-00003-of-00003.safetensors", "cccc");
    expect_error(BR_E_NOTFOUND, "'model-00002-of-00003.safetensors' is missing");
    ck_assert_int_eq(unlink(in_root("model-00003-of-00003.safetensors")), 0);
    expect_error(BR_E_NOTFOUND, "'model-00002-of-00003.safetensors' is missing");
    ck_assert_int_eq(unlink(in_root("model-00001-of-00003.safetensors")), 0);
    WEIGHTS("model-00003-of-00003.safetensors", "cccc");
    expect_error(BR_E_NOTFOUND, "'model-00001-of-00003.safetensors' is missing");
}
END_TEST

START_TEST(refuses_two_sets)
{
    WEIGHTS("model-00001-of-00001.safetensors", "aaaa");
    WEIGHTS("model-00001-of-00002.safetensors", "bbbb");
    expect_error(BR_E_FORMAT, "'model-00001-of-00001.safetensors' and "
                              "'model-00001-of-00002.safetensors' are of different sets");
}
END_TEST

START_TEST(refuses_odd_numbers)
{
    WEIGHTS("model-00000-of-00002.safetensors", "aaaa");
    expect_error(BR_E_FORMAT, "is not a number from 1 to 2 of a set");
    ck_assert_int_eq(unlink(in_root("model-00000-of-00002.safetensors")), 0);
    WEIGHTS("model-00001-of-00000.safetensors", "aaaa");
    expect_error(BR_E_FORMAT, "is not a number from 1 to 0 of a set");
    ck_assert_int_eq(unlink(in_root("model-00001-of-00000.safetensors")), 0);
    WEIGHTS("model-00001-of-2.safetensors", "aaaa");
    WEIGHTS("model-00001-of-00002.safetensors", "aaaa");
    expect_error(BR_E_FORMAT, "is not a number from 1 to 2 of a set, each once");
}
END_TEST

START_TEST(says_what_is_there_instead)
{
    expect_error(BR_E_NOTFOUND, "no torch_dist checkpoint");
    expect_error(BR_E_NOTFOUND, "no weights: expected " INDEX);
    WEIGHTS("consolidated.safetensors", "aaaa");
    expect_error(BR_E_NOTFOUND, "found 'consolidated.safetensors', expected");
    ck_assert_int_eq(unlink(in_root("consolidated.safetensors")), 0);
    put("pytorch_model.bin", "x");
    expect_error(BR_E_UNSUPPORTED, "no weights but Python pickles ('pytorch_model.bin')");
    ck_assert_ptr_nonnull(strstr(err.msg, root));
}
END_TEST

START_TEST(refuses_pickles_of_any_ending)
{
    put("consolidated.00.pth", "x");
    expect_error(BR_E_UNSUPPORTED, "'consolidated.00.pth'");
    ck_assert_int_eq(unlink(in_root("consolidated.00.pth")), 0);
    put("model.pt", "x");
    expect_error(BR_E_UNSUPPORTED, "'model.pt'");
}
END_TEST

START_TEST(refuses_a_path_that_is_no_directory)
{
    put("f", "x");
    ck_assert_int_eq(br__ckpt_open(&ck, in_root("f"), &err), BR_E_FORMAT); /* no safetensors */
    ck_assert_int_eq(br__hf_open(&ck, in_root("f"), 0, &err), BR_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "is not a directory"));
    ck_assert_int_eq(br__ckpt_open(&ck, in_root("nothing"), &err), BR_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "nothing"));
}
END_TEST

START_TEST(reads_only_the_configuration_if_asked)
{
    put("config.json", "{}");
    ck_assert_int_eq(br__hf_open(&ck, root, BR__HF_CONFIG_ONLY, &err), BR_OK);
    ck_assert_str_eq(ck->hf->config_text, "{}");
    ck_assert_uint_eq(ck->n_tensors, 0);
    ck_assert_ptr_null(br__ckpt_find(ck, "aaaa"));
}
END_TEST

START_TEST(follows_the_links_of_a_snapshot)
{
    make_dir("blobs");
    WEIGHTS("blobs/0123", "aaaa");
    ck_assert_int_eq(symlink("blobs/0123", in_root("model.safetensors")), 0);
    expect_ok();
    ck_assert_uint_eq(ck->n_tensors, 1);
    br__ckpt_close(ck);
    ck = NULL;
    ck_assert_int_eq(unlink(in_root("blobs/0123")), 0);
    int rc = br__ckpt_open(&ck, root, &err);
    ck_assert_int_ne(rc, BR_OK);
    ck_assert_ptr_nonnull(strstr(err.msg, "model.safetensors"));
}
END_TEST

/* ---- index and headers ----------------------------------------------------------------------- */

START_TEST(refuses_disagreement)
{
    WEIGHTS("w1.safetensors", "aaaa", "bbbb");
    WEIGHTS("w2.safetensors", "cccc");

    put_index(
        "\"aaaa\":\"w1.safetensors\",\"bbbb\":\"w1.safetensors\",\"cccc\":\"w3.safetensors\"");
    expect_error(BR_E_NOTFOUND, "'w3.safetensors' is missing, but " INDEX " names it");
    put_index("\"aaaa\":\"w1.safetensors\",\"bbbb\":\"w1.safetensors\",\"cccc\":\"w2.safetensors\","
              "\"dddd\":\"w2.safetensors\"");
    expect_error(BR_E_FORMAT, "tensor 'dddd' is not in 'w2.safetensors'");
    put_index("\"aaaa\":\"w1.safetensors\",\"cccc\":\"w2.safetensors\"");
    expect_error(BR_E_FORMAT, "tensor 'bbbb' of 'w1.safetensors' is not listed in " INDEX);
    put_index(
        "\"aaaa\":\"w2.safetensors\",\"bbbb\":\"w1.safetensors\",\"cccc\":\"w2.safetensors\"");
    expect_error(BR_E_FORMAT,
                 "tensor 'aaaa' is in 'w1.safetensors', but " INDEX " says 'w2.safetensors'");
    WEIGHTS("w2.safetensors", "cccc", "aaaa");
    put_index(
        "\"aaaa\":\"w1.safetensors\",\"bbbb\":\"w1.safetensors\",\"cccc\":\"w2.safetensors\"");
    expect_error(BR_E_FORMAT, "tensor 'aaaa' is in both 'w1.safetensors' and 'w2.safetensors'");
}
END_TEST

START_TEST(refuses_duplicates_in_a_set)
{
    WEIGHTS("model-00001-of-00002.safetensors", "aaaa");
    WEIGHTS("model-00002-of-00002.safetensors", "aaaa");
    expect_error(BR_E_FORMAT, "tensor 'aaaa' is in both 'model-00001-of-00002.safetensors' and "
                              "'model-00002-of-00002.safetensors'; expected it once");
}
END_TEST

START_TEST(names_the_file_of_a_bad_header)
{
    WEIGHTS("model-00001-of-00002.safetensors", "aaaa");
    put("model-00002-of-00002.safetensors", "xxxxxxxxxxxxx");
    expect_error(BR_E_FORMAT, "model-00002-of-00002.safetensors': header length");
    put("model-00002-of-00002.safetensors", "");
    expect_error(BR_E_FORMAT, "model-00002-of-00002.safetensors': file has 0 bytes");
}
END_TEST

static const struct {
    const char *text, *message;
} bad_index[] = {
    {"", INDEX},
    {"{", INDEX},
    {"[]", "no 'weight_map' object"},
    {"{}", "no 'weight_map' object"},
    {"{\"weight_map\":[\"a\"]}", "no 'weight_map' object"},
    {"{\"weight_map\":{}}", "no 'weight_map' object"},
    {"{\"weight_map\":{\"a\":7}}", "tensor 'a' has a file name that is no string"},
    {"{\"weight_map\":{\"a\":\"../model.safetensors\"}}", "expected a file of the same directory"},
    {"{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", "expected a file of the same directory"},
    {"{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", "expected a file of the same directory"},
    {"{\"weight_map\":{\"a\":\"..\"}}", "expected a *.safetensors file"},
    {"{\"weight_map\":{\"a\":\"\"}}", "expected a *.safetensors file"},
    {"{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", "expected a *.safetensors file"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}}", "duplicate key \"a\""},
};

START_TEST(refuses_a_bad_index)
{
    WEIGHTS("model.safetensors", "a...");
    put(INDEX, bad_index[_i].text);
    expect_error(BR_E_FORMAT, bad_index[_i].message);
    ck_assert_ptr_nonnull(strstr(err.msg, INDEX));
}
END_TEST

START_TEST(warns_of_a_wrong_total_size)
{
    static const char map[] = "\"weight_map\":{\"aaaa\":\"w.safetensors\"}}";

    WEIGHTS("w.safetensors", "aaaa");
    put(INDEX, br__arena_printf(&arena, "{\"metadata\":{\"total_size\":5},%s", map));
    expect_ok();
    ck_assert_uint_eq(ck->n_warnings, 1);
    ck_assert_str_eq(ck->warnings[0],
                     "metadata.total_size of " INDEX " is 5, but the tensors have 4 bytes");
    br__ckpt_close(ck);
    put(INDEX, br__arena_printf(&arena, "{\"metadata\":{\"total_size\":4},%s", map));
    expect_ok();
    ck_assert_uint_eq(ck->n_warnings, 0);
    br__ckpt_close(ck);
    put(INDEX, br__arena_printf(&arena, "{%s", map));
    expect_ok();
    ck_assert_uint_eq(ck->n_warnings, 0);
}
END_TEST

START_TEST(writes_the_index)
{
    static const char want[] = "{\n  \"metadata\": {\n    \"total_size\": 12\n  },\n"
                               "  \"weight_map\": {\n    \"a\": \"f2\",\n    \"b\\\"\": \"f1\"\n"
                               "  }\n}\n";
    const char *names[] = {"b\"", "a"}, *files[] = {"f1", "f2"};
    struct br__buf b = {0};

    ck_assert_int_eq(br__hf_index_text(&b, names, files, 2, 12), BR_OK);
    ck_assert_str_eq(b.p, want);
    br__buf_free(&b);
    ck_assert_int_eq(br__hf_index_text(&b, NULL, NULL, 0, 0), BR_OK);
    ck_assert_ptr_nonnull(strstr(b.p, "\"weight_map\": {}\n}\n"));
    br__buf_free(&b);
}
END_TEST

START_TEST(rewrites_the_index_of_transformers)
{
    const char *names[64], *files[64];
    struct br__buf b = {0};
    uint64_t total = 0;
    char *text;
    size_t n;

    ck_assert_int_eq(br__hf_open(&ck, BRIDGE_TEST_DATA "/hf/qwen2_sharded_fp32", 0, &err), BR_OK);
    ck_assert_uint_eq(ck->n_warnings, 0);
    ck_assert_uint_eq(ck->n_tensors, 27);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        names[i] = ck->tensors[i].name;
        files[i] = ck->file_names[ck->tensors[i].file];
        total += ck->tensors[i].bytes;
    }
    ck_assert_int_eq(br__hf_index_text(&b, names, files, ck->n_tensors, total), BR_OK);
    ck_assert_int_eq(
        br__read_text(BRIDGE_TEST_DATA "/hf/qwen2_sharded_fp32/" INDEX, 1 << 20, &text, &n, &err),
        BR_OK);
    ck_assert_uint_eq(b.n, n);
    ck_assert_mem_eq(b.p, text, n);
    br__free(text);
    br__buf_free(&b);
}
END_TEST

START_TEST(invents_tensors)
{
    char name[] = "aaaa";
    struct br__tensor t[] = {
        {.name = name, .dtype = BR_BF16, .ndim = 1, .shape = {4}, .bytes = 8},
        {.name = "bbbb", .dtype = BR_F32, .bytes = 4},
    };
    char byte;

    ck_assert_int_eq(br__hf_invent(&ck, t, 2, &err), BR_OK);
    name[0] = 'x'; /* the names were copied */
    const struct br__tensor *a = br__ckpt_find(ck, "aaaa");
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->dtype, BR_BF16);
    ck_assert_uint_eq(ck->n_files, 0);
    ck_assert_int_eq(br__ckpt_read(ck, a, 0, &byte, 1, &err), BR_E_UNSUPPORTED);
    br__ckpt_close(ck);
    t[0].name = "bbbb";
    ck_assert_int_eq(br__hf_invent(&ck, t, 2, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "tensor 'bbbb' is there twice"));
    ck_assert_ptr_null(ck);
}
END_TEST

START_TEST(lists_side_files)
{
    static const char *const files[] = {
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        INDEX,
        "modeling_x.py",
        "pytorch_model.bin",
        "tokenization_x.py",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_args.txt",
        "vocab.json",
        "x.tiktoken",
    };
    static const char *const all[] = {
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "generation_config.json",
        "merges.txt",
        "modeling_x.py",
        "tokenization_x.py",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "x.tiktoken",
    };
    static const char *const tokenizer[] = {
        "chat_template.jinja",   "merges.txt", "tokenization_x.py", "tokenizer.json",
        "tokenizer_config.json", "vocab.json", "x.tiktoken",
    };
    char **names;
    size_t n;

    for (size_t i = 0; i < BR_COUNTOF(files); i++)
        put(files[i], "x");
    make_dir("README_pictures");
    ck_assert_int_eq(br__hf_side_files(&arena, root, 0, &names, &n, &err), BR_OK);
    ck_assert_uint_eq(n, BR_COUNTOF(all));
    for (size_t i = 0; i < n; i++)
        ck_assert_str_eq(names[i], all[i]);
    ck_assert_int_eq(br__hf_side_files(&arena, root, 1, &names, &n, &err), BR_OK);
    ck_assert_uint_eq(n, BR_COUNTOF(tokenizer));
    for (size_t i = 0; i < n; i++)
        ck_assert_str_eq(names[i], tokenizer[i]);
    make_dir("special_tokens_map.json"); /* a directory where a file belongs is not left out */
    ck_assert_int_eq(br__hf_side_files(&arena, root, 0, &names, &n, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "special_tokens_map.json' is no regular file"));
    ck_assert_int_eq(rmdir(in_root("special_tokens_map.json")), 0);
    ck_assert_int_eq(mkfifo(in_root("vocab.txt"), 0600), 0);
    ck_assert_int_eq(br__hf_side_files(&arena, root, 1, &names, &n, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "vocab.txt' is no regular file"));
    ck_assert_int_eq(unlink(in_root("vocab.txt")), 0);
    ck_assert_int_eq(symlink("nowhere", in_root("added_tokens.json")), 0);
    ck_assert_int_eq(br__hf_side_files(&arena, root, 1, &names, &n, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "dangling link"));
}
END_TEST

/* ---- the hub cache --------------------------------------------------------------------------- */

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* Variables that name the cache: only `name` is set, to root/dir. */
static void set_cache(const char *name, const char *dir)
{
    static const char *const all[] = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};

    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        unsetenv(all[i]);
    if (name)
        setenv(name, in_root(dir), 1);
}

static void make_model(const char *hub)
{
    make_dir(br__arena_printf(&arena, "%s/models--Qwen--Tiny/snapshots/" COMMIT, hub));
    make_dir(br__arena_printf(&arena, "%s/models--Qwen--Tiny/refs/refs/pr", hub));
    put(br__arena_printf(&arena, "%s/models--Qwen--Tiny/refs/main", hub), COMMIT);
    put(br__arena_printf(&arena, "%s/models--Qwen--Tiny/refs/refs/pr/1", hub), COMMIT "\n");
}

static void expect_found(const char *id, const char *hub)
{
    const char *dir;
    int rc = br__hf_resolve(&arena, id, &dir, &err);

    ck_assert_msg(rc == BR_OK, "'%s': rc %d: %s", id, rc, err.msg);
    ck_assert_str_eq(
        dir, br__arena_printf(&arena, "%s/%s/models--Qwen--Tiny/snapshots/" COMMIT, root, hub));
}

static void expect_lost(const char *id, int code, const char *text)
{
    const char *dir;
    int rc = br__hf_resolve(&arena, id, &dir, &err);

    ck_assert_msg(rc == code, "'%s': rc %d, expected %d: %s", id, rc, code, err.msg);
    ck_assert_msg(strstr(err.msg, text) != NULL, "'%s' has no '%s'", err.msg, text);
}

START_TEST(finds_a_model_in_the_cache)
{
    make_model("h");
    set_cache("HF_HUB_CACHE", "h");
    expect_found("Qwen/Tiny", "h");
    expect_found("Qwen/Tiny@main", "h");
    expect_found("Qwen/Tiny@refs/pr/1", "h");
    expect_found("Qwen/Tiny@" COMMIT, "h");
}
END_TEST

START_TEST(finds_the_cache)
{
    make_model("a/hub");
    make_model("b/huggingface/hub");
    make_model("c/.cache/huggingface/hub");
    set_cache("HF_HOME", "a");
    expect_found("Qwen/Tiny", "a/hub");
    set_cache("XDG_CACHE_HOME", "b");
    expect_found("Qwen/Tiny", "b/huggingface/hub");
    set_cache("HOME", "c");
    expect_found("Qwen/Tiny", "c/.cache/huggingface/hub");
    setenv("XDG_CACHE_HOME", in_root("b"), 1);
    expect_found("Qwen/Tiny", "b/huggingface/hub");
    setenv("HF_HOME", in_root("a"), 1);
    expect_found("Qwen/Tiny", "a/hub");
    setenv("HF_HUB_CACHE", "", 1); /* empty counts as unset */
    expect_found("Qwen/Tiny", "a/hub");
    setenv("HF_HUB_CACHE", in_root("elsewhere"), 1);
    expect_lost("Qwen/Tiny", BR_E_NOTFOUND, "elsewhere/models--Qwen--Tiny");
    set_cache(NULL, NULL);
    expect_lost("Qwen/Tiny", BR_E_NOTFOUND, "set HF_HUB_CACHE or HF_HOME");
}
END_TEST

START_TEST(prefers_a_directory)
{
    const char *dir;

    ck_assert_int_eq(br__hf_resolve(&arena, root, &dir, &err), BR_OK);
    ck_assert_str_eq(dir, root);
    put("f", "x");
    expect_lost(in_root("f"), BR_E_NOTFOUND, "is a file; expected the directory");
}
END_TEST

START_TEST(says_what_was_searched)
{
    make_model("h");
    set_cache("HF_HUB_CACHE", "h");
    expect_lost("Qwen/Other", BR_E_NOTFOUND, "h/models--Qwen--Other");
    expect_lost("Qwen/Other", BR_E_NOTFOUND, "HF_HUB_OFFLINE is set, so it was not downloaded");
    expect_lost("gpt2", BR_E_NOTFOUND, "is neither a directory nor of the form");
    expect_lost("Qwen/Tiny@v2", BR_E_NOTFOUND, "revision 'v2' of 'Qwen/Tiny'");
    expect_lost("Qwen/Tiny@1123456789abcdef0123456789abcdef01234567", BR_E_NOTFOUND,
                "h/models--Qwen--Tiny/snapshots/1123456789abcdef0123456789abcdef01234567");
    expect_lost("./nothing", BR_E_NOTFOUND, "is neither a directory nor of the form");
    expect_lost("a/b/c", BR_E_NOTFOUND, "is neither a directory nor of the form");
    expect_lost("", BR_E_NOTFOUND, "is neither a directory nor of the form");
}
END_TEST

START_TEST(stays_inside_the_cache)
{
    make_model("h");
    set_cache("HF_HUB_CACHE", "h");
    put("h/models--Qwen--Tiny/secret", COMMIT);
    expect_lost("Qwen/Tiny@../secret", BR_E_USAGE, "'../secret' is not a revision");
    expect_lost("Qwen/Tiny@a/../../secret", BR_E_USAGE, "is not a revision");
    expect_lost("Qwen/Tiny@/etc/passwd", BR_E_USAGE, "is not a revision");
    expect_lost("Qwen/Tiny@", BR_E_USAGE, "'' is not a revision");
    expect_lost("Qwen/Tiny@main/", BR_E_USAGE, "is not a revision");
    expect_lost("../Tiny", BR_E_NOTFOUND, "nor of the form");
    expect_lost("Qwen/..", BR_E_NOTFOUND, "nor of the form");
    put("h/models--Qwen--Tiny/refs/evil", "../../../../etc");
    expect_lost("Qwen/Tiny@evil", BR_E_FORMAT, "does not hold a commit of 40 hex digits");
    put("h/models--Qwen--Tiny/refs/gone", "1123456789abcdef0123456789abcdef01234567");
    expect_lost("Qwen/Tiny@gone", BR_E_NOTFOUND, "(no '");
}
END_TEST

/* ---- all fixtures ---------------------------------------------------------------------------- */

START_TEST(opens_every_fixture)
{
    char **names;
    size_t n;

    ck_assert_int_eq(br__list_dir(&arena, BRIDGE_TEST_DATA "/hf", &names, &n, &err), BR_OK);
    ck_assert_uint_ge(n, 19);
    for (size_t i = 0; i < n; i++) {
        char *dir = br__arena_printf(&arena, BRIDGE_TEST_DATA "/hf/%s", names[i]);
        int rc = br__ckpt_open(&ck, dir, &err);
        ck_assert_msg(rc == BR_OK, "%s: %s", names[i], err.msg);
        ck_assert_uint_gt(ck->n_tensors, 10);
        ck_assert_ptr_nonnull(ck->hf->config_text);
        br__ckpt_close(ck);
        ck = NULL;
    }
}
END_TEST

/* ---- faults ---------------------------------------------------------------------------------- */

static const struct br__mem_ops *real_mem;
static long fail_at; /* the call that fails, counted from 0 */

static void *failing_realloc(void *p, size_t n)
{
    return fail_at-- == 0 ? NULL : real_mem->realloc(p, n);
}

/* Fail every allocation of an open once: each time the open reports it and leaks nothing. */
START_TEST(survives_lack_of_memory)
{
    const struct br__mem_ops saved = br__mem;
    int rc = BR_E_NOMEM;
    long n;

    real_mem = &saved;
    for (n = 0; rc == BR_E_NOMEM && n < 100000; n++) {
        fail_at = n;
        br__mem.realloc = failing_realloc;
        rc = br__hf_open(&ck, BRIDGE_TEST_DATA "/hf/qwen2_sharded_fp32", 0, &err);
        br__mem = saved;
        ck_assert_msg(rc == BR_OK || (rc == BR_E_NOMEM && !ck), "call %ld: rc %d: %s", n, rc,
                      err.msg);
    }
    ck_assert_int_eq(rc, BR_OK);
    ck_assert_int_gt(n, 50);
}
END_TEST

static struct br__io_ops real_io;

static int failing_open(int at, const char *path, int flags, mode_t mode)
{
    if (fail_at-- == 0) {
        errno = EIO;
        return -1;
    }
    return real_io.openat(at, path, flags, mode);
}

static ssize_t failing_pread(int fd, void *buf, size_t n, off_t off)
{
    if (fail_at-- == 0) {
        errno = EIO;
        return -1;
    }
    return real_io.pread(fd, buf, n, off);
}

START_TEST(survives_io_errors)
{
    int rc = BR_E_IO;
    long n;

    real_io = br__io;
    for (n = 0; rc == BR_E_IO && n < 1000; n++) {
        fail_at = n;
        br__io.openat = failing_open;
        br__io.pread = failing_pread;
        rc = br__hf_open(&ck, BRIDGE_TEST_DATA "/hf/qwen2_sharded_fp32", 0, &err);
        br__io = real_io;
        ck_assert_msg(rc == BR_OK || (rc == BR_E_IO && !ck && strstr(err.msg, "qwen2_sharded")),
                      "call %ld: rc %d: %s", n, rc, err.msg);
    }
    ck_assert_int_eq(rc, BR_OK);
    ck_assert_int_ge(n, 8); /* config, generation_config, index, two files */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hf");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, opens_a_single_file);
    tcase_add_test(tc, opens_what_the_index_names);
    tcase_add_test(tc, opens_a_complete_set);
    tcase_add_test(tc, refuses_an_incomplete_set);
    tcase_add_test(tc, refuses_two_sets);
    tcase_add_test(tc, refuses_odd_numbers);
    tcase_add_test(tc, says_what_is_there_instead);
    tcase_add_test(tc, refuses_pickles_of_any_ending);
    tcase_add_test(tc, refuses_a_path_that_is_no_directory);
    tcase_add_test(tc, reads_only_the_configuration_if_asked);
    tcase_add_test(tc, follows_the_links_of_a_snapshot);
    tcase_add_test(tc, refuses_disagreement);
    tcase_add_test(tc, refuses_duplicates_in_a_set);
    tcase_add_test(tc, names_the_file_of_a_bad_header);
    tcase_add_loop_test(tc, refuses_a_bad_index, 0, (int)BR_COUNTOF(bad_index));
    tcase_add_test(tc, warns_of_a_wrong_total_size);
    tcase_add_test(tc, writes_the_index);
    tcase_add_test(tc, rewrites_the_index_of_transformers);
    tcase_add_test(tc, invents_tensors);
    tcase_add_test(tc, lists_side_files);
    tcase_add_test(tc, finds_a_model_in_the_cache);
    tcase_add_test(tc, finds_the_cache);
    tcase_add_test(tc, prefers_a_directory);
    tcase_add_test(tc, says_what_was_searched);
    tcase_add_test(tc, stays_inside_the_cache);
    tcase_add_test(tc, opens_every_fixture);
    tcase_add_test(tc, survives_lack_of_memory);
    tcase_add_test(tc, survives_io_errors);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
