/* test_torchdist_read.c - the torch_dist reader against checkpoints that real Megatron wrote, and
 * against checkpoints built here with every variant and every defect that the reader knows. */
#include "format/format.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES BRIDGE_TEST_DATA "/torch_dist/"
#define TRAIN_FIXTURES BRIDGE_TEST_DATA "/torch_dist_train/"

static struct br_err err;

static struct br__ckpt *open_ok(const char *dir)
{
    struct br__ckpt *ck = NULL;
    int rc = br__td_open(&ck, dir, &err);

    ck_assert_msg(rc == BR_OK, "%s: %s", dir, err.msg);
    return ck;
}

/* ---- real checkpoints --------------------------------------------------------------------- */

static br__json *load_json(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    br__json *j = NULL;

    ck_assert_msg(br__read_text(path, 64 << 20, &text, &n, &err) == BR_OK, "%s", err.msg);
    ck_assert_msg(br__json_parse(&j, text, n, &err) == BR_OK, "%s: %s", path, err.msg);
    br__free(text);
    return j;
}

/* sha256 of the whole tensor, read in pieces of `step` bytes. */
static void hash_tensor(const struct br__ckpt *ck, const struct br__tensor *t, size_t step,
                        char out[65])
{
    struct br__sha256 *h = br__sha256_new();
    unsigned char *buf = malloc(step);

    ck_assert(h && buf);
    for (uint64_t off = 0; off < t->bytes; off += step) {
        size_t n = (size_t)BR__MIN(step, t->bytes - off);
        ck_assert_msg(br__td_read(ck, t, off, buf, n, &err) == BR_OK, "%s", err.msg);
        br__sha256_update(h, buf, n);
    }
    br__sha256_hex(h, out);
    br__sha256_free(h);
    free(buf);
}

static void check_tensor(const struct br__ckpt *ck, const char *name, const br__json *expect)
{
    const struct br__tensor *t = br__ckpt_find(ck, name);
    const br__json *shape = br__json_get(expect, "shape");
    const br__json *chunks = br__json_get(expect, "chunks");
    /* Pieces that end inside elements, inside runs, and one that holds everything. */
    const size_t steps[] = {(1 << 20), 4096, 1021};
    char hex[65];
    int d = 0;

    ck_assert_msg(t != NULL, "%s is missing", name);
    ck_assert_str_eq(br_dtype_torch(t->dtype), br__json_str(br__json_get(expect, "dtype"), ""));
    ck_assert_uint_eq(br__json_count(shape), t->ndim);
    for (const br__json *s = br__json_first(shape); s; s = br__json_next(s), d++)
        ck_assert_int_eq((int64_t)br__json_num(s, -1), t->shape[d]);
    if (chunks)
        ck_assert_uint_eq((size_t)br__json_num(chunks, -1), ck->td->n_chunks[t->priv]);
    for (size_t i = 0; i < BR_COUNTOF(steps); i++) {
        hash_tensor(ck, t, steps[i], hex);
        ck_assert_msg(strcmp(hex, br__json_str(br__json_get(expect, "sha256"), "")) == 0,
                      "%s: wrong bytes when read %zu at a time", name, steps[i]);
    }
}

static int has_object(const struct br__ckpt *ck, const char *key)
{
    for (size_t i = 0; i < ck->td->n_objects; i++)
        if (strcmp(ck->td->objects[i], key) == 0)
            return 1;
    return 0;
}

static void check_objects_decode(const struct br__ckpt *ck)
{
    for (size_t i = 0; i < ck->td->n_objects; i++) {
        struct br__arena a = {0};
        struct br__pk *v = NULL;
        ck_assert_msg(br__td_object(ck, &a, i, &v, &err) == BR_OK, "%s", err.msg);
        ck_assert_int_eq(v->kind, BR__PK_LIST);
        ck_assert_uint_eq(v->n, 1);
        br__arena_free(&a);
    }
}

/* expected.json of tests/data/torch_dist: tensors by name, and "__objects__". */
static void check_plain(const char *family, const char *variant, const char *json)
{
    char dir[512], path[512];
    size_t n_tensors = 0, n_objects = 0;

    snprintf(dir, sizeof dir, FIXTURES "%s/%s", family, variant);
    snprintf(path, sizeof path, FIXTURES "%s/%s", family, json);
    struct br__ckpt *ck = open_ok(dir);
    br__json *expect = load_json(path);
    for (const br__json *e = br__json_first(expect); e; e = br__json_next(e)) {
        if (strcmp(br__json_key(e), "__objects__") == 0) {
            for (const br__json *o = br__json_first(e); o; o = br__json_next(o), n_objects++)
                ck_assert_msg(has_object(ck, br__json_key(o)), "%s: no %s", dir, br__json_key(o));
            continue;
        }
        check_tensor(ck, br__json_key(e), e);
        n_tensors++;
    }
    ck_assert_uint_eq(n_tensors, ck->n_tensors);
    ck_assert_uint_eq(n_objects, ck->td->n_objects);
    check_objects_decode(ck);
    ck_assert_str_eq(ck->td->iteration_name, "iter_0000000");
    ck_assert_int_eq(ck->td->iteration, 0);
    ck_assert_int_eq(ck->td->train_step, 0);
    ck_assert_int_eq(ck->td->consumed_samples, 0);
    ck_assert_int_eq(ck->td->common_from, 2);
    ck_assert(ck->td->has_run_config && ck->td->run_config_size > 1000);
    ck_assert(ck->td->args == NULL);
    ck_assert_uint_eq(ck->n_warnings, 0);
    br__json_free(expect);
    br__ckpt_close(ck);
}

static const char *const plain[][3] = {
    {"qwen2", "torch_dist", "expected.json"},
    {"qwen2_untied", "torch_dist", "expected.json"},
    {"qwen3", "torch_dist", "expected.json"},
    {"qwen3", "torch_dist_tp2", "expected.json"},
    {"qwen3", "torch_dist_pp2", "expected.json"},
    {"qwen3", "torch_dist_tp2pp2", "expected.json"},
    {"qwen3_tied", "torch_dist", "expected.json"},
    {"qwen3_tied", "torch_dist_pp3", "expected.json"},
    {"qwen3_tied", "torch_dist_padded", "expected_padded.json"},
    {"qwen3_moe", "torch_dist", "expected.json"},
    {"qwen3_moe", "torch_dist_ep2", "expected.json"},
    {"qwen3_moe", "torch_dist_tp2ep2", "expected.json"},
    {"qwen3_moe", "torch_dist_torch29", "expected.json"},
    {"qwen3_next", "torch_dist", "expected.json"},
    {"qwen3_next", "torch_dist_tp2", "expected.json"},
    {"qwen3_next", "torch_dist_ep2pp2", "expected.json"},
    {"qwen3_next", "torch_dist_torch29", "expected.json"},
    {"qwen3_next_mtp", "torch_dist", "expected.json"},
};

START_TEST(reads_megatron_checkpoints)
{
    check_plain(plain[_i][0], plain[_i][1], plain[_i][2]);
}
END_TEST

static const char *const training[] = {
    "qwen2_tied_pp2_fr", "qwen3_dp1_fr", "qwen3_dp1_nodist", "qwen3_dp2_dpr",
    "qwen3_mlm_dp1_fr",  "qwen3_moe_ep2_fr", "qwen3_tp2_fr",
};

START_TEST(reads_training_checkpoints)
{
    const char *name = training[_i];
    char dir[512], path[512];
    size_t n_tensors = 0, n_objects = 0;
    int mlm = strstr(name, "mlm") != NULL;

    snprintf(dir, sizeof dir, TRAIN_FIXTURES "%s/torch_dist", name);
    snprintf(path, sizeof path, TRAIN_FIXTURES "%s/expected.json", name);
    struct br__ckpt *ck = open_ok(dir);
    br__json *expect = load_json(path);
    const br__json *tensors = br__json_get(expect, "tensors");
    for (const br__json *e = br__json_first(tensors); e; e = br__json_next(e), n_tensors++)
        check_tensor(ck, br__json_key(e), e);
    const br__json *objects = br__json_get(expect, "objects");
    for (const br__json *o = br__json_first(objects); o; o = br__json_next(o), n_objects++)
        ck_assert(has_object(ck, br__json_str(br__json_first(o), "")));
    ck_assert_uint_eq(n_tensors, ck->n_tensors);
    ck_assert_uint_eq(n_objects, ck->td->n_objects);
    check_objects_decode(ck);
    ck_assert_int_eq(ck->td->iteration, 3);
    ck_assert_int_eq(ck->td->train_step, mlm ? -1 : 3);
    ck_assert_int_eq(ck->td->consumed_samples, mlm ? -1 : 12);
    ck_assert_int_eq(ck->td->has_run_config, !mlm);
    ck_assert_int_eq(ck->td->args != NULL, mlm);
    if (mlm) {
        ck_assert_int_eq(br__pk_get(ck->td->args, "num_layers")->u.i, 2);
        ck_assert_uint_eq(ck->td->args->n, 815);
    }
    br__json_free(expect);
    br__ckpt_close(ck);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("torchdist_read");
    TCase *t = tcase_create("real");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, reads_megatron_checkpoints, 0, BR_COUNTOF(plain));
    tcase_add_loop_test(t, reads_training_checkpoints, 0, BR_COUNTOF(training));
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());

    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
