/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_convert.c - whole conversions against files that other tools wrote: Megatron Bridge's
 * checkpoints and the hashes that its import gives, transformers' models, training checkpoints of
 * Megatron Bridge and Megatron-LM. */
#include "convert/convert.h"
#include "librun.h"

#include <check.h>
#include <dirent.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TD BRIDGE_TEST_DATA "/torch_dist/"
#define TRAIN BRIDGE_TEST_DATA "/torch_dist_train/"
#define HF BRIDGE_TEST_DATA "/hf/"
#define HF_EXPECTED BRIDGE_TEST_DATA "/hf_expected/"

static char dir[256], path_a[512], path_b[512], path_c[1024];

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct br_err err_ = BR_ERR_INIT;                                                          \
        struct br_err *err = &err_;                                                                \
        int rc_ = (call);                                                                          \
        ck_assert_msg(rc_ == BR_OK, "%s: %s", #call, err_.msg);                                    \
    } while (0)

/* ---- helpers --------------------------------------------------------------------------------- */

static struct br_job job_of(const char *hf, const char *megatron, const char *hf_path)
{
    return (struct br_job){.struct_size = sizeof(struct br_job),
                           .flags = BR_JOB_NO_SYNC,
                           .hf_model = hf,
                           .megatron_path = megatron,
                           .hf_path = hf_path};
}

static void import(const char *hf, const char *megatron, unsigned flags)
{
    struct br_job job = job_of(hf, megatron, NULL);
    job.flags |= flags;
    OK(br_import(&job, NULL, err));
}

static void export(const char *hf, const char *megatron, const char *out, unsigned flags)
{
    struct br_job job = job_of(hf, megatron, out);
    job.flags |= flags;
    OK(br_export(&job, NULL, err));
}

static br__json *read_json(const char *path)
{
    char *text;
    size_t n;
    br__json *j = NULL;
    OK(br__read_text(path, 64u << 20, &text, &n, err));
    OK(br__json_parse(&j, text, n, err));
    br__free(text);
    return j;
}

static void remove_tree(const char *path)
{
    OK(br__remove_tree(path, err));
}

/* The checkpoint has exactly the tensors of an expected.json: dtype, shape, sha256; and, if asked,
 * its objects. */
static void matches(const char *checkpoint, const char *expected, int objects)
{
    struct br__ckpt *ck;
    OK(br__ckpt_open(&ck, checkpoint, err));
    br__json *j = read_json(expected);
    size_t n = 0, n_objects = 0;
    char hex[65], shape[128], want[128];
    for (const br__json *m = br__json_first(j); m; m = br__json_next(m)) {
        const char *key = br__json_key(m);
        if (!strcmp(key, "__objects__")) {
            for (const br__json *o = br__json_first(m); o; o = br__json_next(o), n_objects++) {
                size_t i = 0;
                while (i < ck->td->n_objects && strcmp(ck->td->objects[i], br__json_key(o)))
                    i++;
                ck_assert_msg(!objects || i < ck->td->n_objects, "%s: no object '%s'", checkpoint,
                              br__json_key(o));
            }
            continue;
        }
        const struct br__tensor *t = br__ckpt_find(ck, key);
        ck_assert_msg(t != NULL, "%s: no tensor '%s'", checkpoint, key);
        int64_t dims[BR_MAX_DIMS];
        int nd = 0;
        for (const br__json *d = br__json_first(br__json_get(m, "shape")); d; d = br__json_next(d))
            dims[nd++] = (int64_t)br__json_num(d, -1);
        ck_assert_str_eq(br__shape_str(t->shape, t->ndim, shape, sizeof shape),
                         br__shape_str(dims, nd, want, sizeof want));
        ck_assert_str_eq(br_dtype_torch(t->dtype), br__json_str(br__json_get(m, "dtype"), ""));
        OK(br__ckpt_sha256(ck, t, hex, err));
        ck_assert_msg(!strcmp(hex, br__json_str(br__json_get(m, "sha256"), "")),
                      "%s: '%s' has other bytes", checkpoint, key);
        n++;
    }
    ck_assert_msg(n > 5 && n == ck->n_tensors, "%s: %zu tensors, expected %zu", checkpoint,
                  ck->n_tensors, n);
    ck_assert(!objects || n_objects == ck->td->n_objects);
    br__json_free(j);
    br__ckpt_close(ck);
}

static void print_line(void *ud, const char *text)
{
    (void)ud;
    fprintf(stderr, "%s\n", text);
}

static void same_tensors(const char *a, const char *b)
{
    struct br__ckpt *x, *y;
    size_t n_diff;
    OK(br__ckpt_open(&x, a, err));
    OK(br__ckpt_open(&y, b, err));
    ck_assert_uint_gt(x->n_tensors, 5);
    OK(br__ckpt_diff(x, y, 1, print_line, NULL, &n_diff, err));
    ck_assert_msg(n_diff == 0, "'%s' and '%s' differ", a, b);
    br__ckpt_close(x);
    br__ckpt_close(y);
}

static int same_file(const char *a, const char *b)
{
    struct br__file x, y;
    OK(br__file_open(&x, a, err));
    OK(br__file_open(&y, b, err));
    int same = x.size == y.size && !memcmp(x.map, y.map, x.size);
    br__file_close(&x);
    br__file_close(&y);
    return same;
}

/* ---- Megatron Bridge's checkpoints ----------------------------------------------------------- */

static const char *const families[] = {"qwen2",     "qwen2_untied", "qwen3",         "qwen3_tied",
                                       "qwen3_moe", "qwen3_next",   "qwen3_next_mtp"};

START_TEST(import_gives_what_megatron_bridge_wrote)
{
    const char *f = families[_i];
    snprintf(path_a, sizeof path_a, TD "%s/hf", f);
    snprintf(path_b, sizeof path_b, "%s/mc", dir);
    snprintf(path_c, sizeof path_c, TD "%s/expected.json", f);
    import(path_a, path_b, 0);
    matches(path_b, path_c, 1);
}
END_TEST

/* Every torch_dist* directory of a family: any TP, PP, EP, padding and torch version. */
START_TEST(every_variant_exports_to_its_source)
{
    const char *f = families[_i];
    snprintf(path_a, sizeof path_a, TD "%s", f);
    DIR *d = opendir(path_a);
    ck_assert_ptr_nonnull(d);
    int variants = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "torch_dist", 10))
            continue;
        variants++;
        for (int ref = 0; ref < 2; ref++) {
            snprintf(path_a, sizeof path_a, TD "%s/hf", f);
            snprintf(path_b, sizeof path_b, TD "%s/%s", f, e->d_name);
            snprintf(path_c, sizeof path_c, "%s/%s.%d", dir, e->d_name, ref);
            export(ref ? path_a : NULL, path_b, path_c, 0);
            same_tensors(path_a, path_c);
            struct br_job job = job_of(path_a, path_b, NULL);
            OK(br_verify(&job, NULL, err));
        }
    }
    closedir(d);
    ck_assert_int_ge(variants, 1);
}
END_TEST

static const char *const training[] = {"qwen2_tied_pp2_fr", "qwen3_dp1_fr",     "qwen3_dp1_nodist",
                                       "qwen3_dp2_dpr",     "qwen3_mlm_dp1_fr", "qwen3_moe_ep2_fr",
                                       "qwen3_tp2_fr"};

START_TEST(training_checkpoints_export_their_weights)
{
    for (int ref = 0; ref < 2; ref++) {
        snprintf(path_a, sizeof path_a, TRAIN "%s/hf", training[_i]);
        snprintf(path_b, sizeof path_b, TRAIN "%s/torch_dist", training[_i]);
        snprintf(path_c, sizeof path_c, "%s/out.%d", dir, ref);
        export(ref ? path_a : NULL, path_b, path_c, 0);
        snprintf(path_a, sizeof path_a, TRAIN "%s/hf_expected", training[_i]);
        same_tensors(path_a, path_c);
    }
}
END_TEST

/* ---- transformers' models -------------------------------------------------------------------- */

static const char *const expected_hf[] = {
    "qwen2_swa_bf16",  "qwen2_untied_bf16", "qwen3_moe_bf16", "qwen3_moe_fused_bf16",
    "qwen3_next_bf16", "qwen3_tied_bf16",   "qwen3_tiny_chat"};

START_TEST(import_gives_the_hashes_of_the_real_importer)
{
    snprintf(path_a, sizeof path_a, HF "%s", expected_hf[_i]);
    snprintf(path_b, sizeof path_b, "%s/mc", dir);
    snprintf(path_c, sizeof path_c, HF_EXPECTED "%s.json", expected_hf[_i]);
    import(path_a, path_b, 0);
    matches(path_b, path_c, 0);
}
END_TEST

static const char *const models[] = {"qwen2_sharded_fp32",
                                     "qwen2_swa_bf16",
                                     "qwen2_tied_fp16",
                                     "qwen2_tied_fp32",
                                     "qwen2_untied_bf16",
                                     "qwen3_moe_bf16",
                                     "qwen3_moe_fused_bf16",
                                     "qwen3_moe_mlp_only_bf16",
                                     "qwen3_moe_sparse_step_fp32",
                                     "qwen3_next_bf16",
                                     "qwen3_next_layer_types_fp32",
                                     "qwen3_next_mtp_bf16",
                                     "qwen3_tied_bf16",
                                     "qwen3_tiny_chat",
                                     "qwen3_untied_fp32",
                                     "qwen3_yarn_bf16",
                                     "qwen3_yarn_fp32"};

/* Without a reference the manifest restores the source: shard map, config.json and all. */
START_TEST(a_round_trip_gives_the_source)
{
    const char *const files[] = {"config.json", "generation_config.json"};
    snprintf(path_a, sizeof path_a, HF "%s", models[_i]);
    for (int layers = 0; layers < 2; layers++) {
        snprintf(path_b, sizeof path_b, "%s/mc%d", dir, layers);
        snprintf(path_c, sizeof path_c, "%s/hf%d", dir, layers);
        import(path_a, path_b, layers ? BR_JOB_PER_LAYER : 0);
        struct br_job job = job_of(path_a, path_b, NULL);
        OK(br_verify(&job, NULL, err));
        export(NULL, path_b, path_c, 0);
        same_tensors(path_a, path_c);
        for (size_t i = 0; i < BR_COUNTOF(files); i++) {
            char x[1200], y[1200];
            snprintf(x, sizeof x, "%s/%s", path_a, files[i]);
            snprintf(y, sizeof y, "%s/%s", path_c, files[i]);
            ck_assert_msg(same_file(x, y), "%s of %s changed", files[i], models[_i]);
        }
    }
}
END_TEST

/* Fused and per-expert layouts hold the same model (the fixture pair is the same weights). */
START_TEST(fused_and_per_expert_are_one_model)
{
    snprintf(path_b, sizeof path_b, "%s/mc", dir);
    snprintf(path_c, sizeof path_c, "%s/hf", dir);
    import(HF "qwen3_moe_fused_bf16", path_b, 0);
    export(NULL, path_b, path_c, BR_JOB_PER_EXPERT);
    same_tensors(HF "qwen3_moe_bf16", path_c);
    remove_tree(path_c);
    export(HF "qwen3_moe_bf16", path_b, path_c, BR_JOB_FUSED);
    same_tensors(HF "qwen3_moe_fused_bf16", path_c);
}
END_TEST

/* ---- FP8 ------------------------------------------------------------------------------------- */

static const char *const fp8[] = {"qwen3_fp8", "qwen3_moe_fp8"};

/* Every dequantised tensor has the golden's sha256, and config.json no longer says quantised. */
START_TEST(fp8_exports_as_the_goldens_bf16)
{
    snprintf(path_a, sizeof path_a, HF "%s", fp8[_i]);
    snprintf(path_b, sizeof path_b, "%s/mc", dir);
    import(path_a, path_b, 0);
    for (int ref = 0; ref < 2; ref++) {
        snprintf(path_c, sizeof path_c, "%s/hf%d", dir, ref);
        export(ref ? path_a : NULL, path_b, path_c, 0);
        struct br__ckpt *ck;
        OK(br__ckpt_open(&ck, path_c, err));
        ck_assert_ptr_null(strstr(ck->hf->config_text, "quantization_config"));
        char golden[1200], hex[65];
        snprintf(golden, sizeof golden, BRIDGE_TEST_DATA "/hf_golden/%s/golden.json", fp8[_i]);
        br__json *j = read_json(golden);
        int n = 0;
        for (const br__json *m = br__json_first(br__json_get(j, "fp8.dequant_sha256")); m;
             m = br__json_next(m), n++) {
            const struct br__tensor *t = br__ckpt_find(ck, br__json_key(m));
            ck_assert_msg(t && t->dtype == BR_BF16, "no bf16 '%s'", br__json_key(m));
            OK(br__ckpt_sha256(ck, t, hex, err));
            ck_assert_str_eq(hex, br__json_str(m, ""));
        }
        ck_assert_int_ge(n, 7);
        br__json_free(j);
        br__ckpt_close(ck);
    }
}
END_TEST

/* ---- invariance ------------------------------------------------------------------------------ */

/* The same names below a and b, and the same bytes in each file. */
static void same_trees(struct br__arena *a, const char *x, const char *y)
{
    char **names, **others;
    size_t n, m;
    OK(br__list_dir(a, x, &names, &n, err));
    OK(br__list_dir(a, y, &others, &m, err));
    ck_assert_msg(n > 0 && n == m, "'%s' has %zu names, '%s' %zu", x, n, y, m);
    for (size_t i = 0; i < n; i++) {
        const char *p = br__path_join(a, x, names[i]), *q = br__path_join(a, y, others[i]);
        ck_assert_str_eq(names[i], others[i]);
        ck_assert_int_eq(br__is_dir(p), br__is_dir(q));
        if (br__is_dir(p))
            same_trees(a, p, q);
        else
            ck_assert_msg(same_file(p, q), "'%s' and '%s' differ", p, q);
    }
}

/* The path of the result is complete or empty; no byte is written beyond the struct that a caller
 * was compiled with. */
START_TEST(a_long_destination_is_told_whole)
{
    struct br_job_result old = {.struct_size = offsetof(struct br_job_result, full_path)};
    struct br_job_result res = BR_JOB_RESULT_INIT;
    char dest[1600], want[1700];
    size_t n = (size_t)snprintf(dest, sizeof dest, "%s", dir);
    while (n < 1300)
        n += (size_t)snprintf(dest + n, sizeof dest - n, "/%0100d", 7);
    struct br_job job = job_of(HF "qwen3_tied_bf16", dest, NULL);
    OK(br_import(&job, &res, err));
    snprintf(want, sizeof want, "%s/iter_0000000", dest);
    ck_assert_str_eq(res.full_path, want);
    ck_assert_str_eq(res.path, "");
    memset(old.full_path, 'x', sizeof old.full_path);
    OK(br_import(&job, &old, err));
    ck_assert_uint_eq(old.up_to_date, 1);
    for (size_t i = 0; i < sizeof old.full_path; i++)
        ck_assert_int_eq(old.full_path[i], 'x');
    snprintf(path_a, sizeof path_a, "%s/short", dir);
    job = job_of(HF "qwen3_tied_bf16", path_a, NULL);
    OK(br_import(&job, &res, err));
    ck_assert_str_eq(res.path, res.full_path);
    ck_assert_uint_eq(res.struct_size, sizeof res);
}
END_TEST

/* Made under one name, because a checkpoint contains its destination. */
START_TEST(threads_do_not_change_a_byte)
{
    static const int threads[] = {1, 4, 256};
    struct br__arena arena = {0};
    struct br_job job = job_of(TD "qwen3_moe/hf", path_b, NULL);
    snprintf(path_a, sizeof path_a, "%s/1", dir);
    snprintf(path_b, sizeof path_b, "%s/same", dir);
    for (size_t i = 0; i < BR_COUNTOF(threads); i++) {
        job.threads = threads[i];
        OK(br_import(&job, NULL, err));
        snprintf(path_c, sizeof path_c, "%s/%d", dir, threads[i]);
        ck_assert_int_eq(rename(path_b, path_c), 0);
        same_trees(&arena, path_a, path_c);
    }
    br__arena_free(&arena);
}
END_TEST

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-convert");
}

static void teardown(void)
{
    remove_tree(dir);
}

int main(void)
{
    Suite *s = suite_create("convert");
    TCase *t = tcase_create("conversions");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, import_gives_what_megatron_bridge_wrote, 0, (int)BR_COUNTOF(families));
    tcase_add_loop_test(t, every_variant_exports_to_its_source, 0, (int)BR_COUNTOF(families));
    tcase_add_loop_test(t, training_checkpoints_export_their_weights, 0, (int)BR_COUNTOF(training));
    tcase_add_loop_test(t, import_gives_the_hashes_of_the_real_importer, 0,
                        (int)BR_COUNTOF(expected_hf));
    tcase_add_loop_test(t, a_round_trip_gives_the_source, 0, (int)BR_COUNTOF(models));
    tcase_add_test(t, fused_and_per_expert_are_one_model);
    tcase_add_loop_test(t, fp8_exports_as_the_goldens_bf16, 0, (int)BR_COUNTOF(fp8));
    tcase_add_test(t, a_long_destination_is_told_whole);
    tcase_add_test(t, threads_do_not_change_a_byte);
    suite_add_tcase(s, t);
    return run_suite(s);
}
