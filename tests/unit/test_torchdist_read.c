/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_torchdist_read.c - the torch_dist reader against checkpoints that real Megatron wrote, and
 * against checkpoints built here with every variant and every defect that the reader knows. */
#include "format/torchdist/torchdist.h"
#include "librun.h"
#include "libtd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES BRIDGE_TEST_DATA "/torch_dist/"
#define TRAIN_FIXTURES BRIDGE_TEST_DATA "/torch_dist_train/"

static struct br_err err;

/* ---- real checkpoints ------------------------------------------------------------------------ */

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
        ck_assert_msg(br__td_ops.read(ck, t, off, buf, n, &err) == BR_OK, "%s", err.msg);
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
    struct br__ckpt *ck = td_open_ok(dir);
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

/* Python's repr of the common state; enums print differently. */
static void check_common_text(const struct br__ckpt *ck, const char *expect)
{
    struct br__buf text = {0};

    br__pk_repr(&text, ck->td->common);
    if (strchr(expect, '<'))
        ck_assert_ptr_nonnull(strstr(text.p, "'checkpoint_version': 3.0, 'iteration': 3, "));
    else
        ck_assert_str_eq(text.p, expect);
    br__buf_free(&text);
}

static const char *const training[] = {
    "qwen2_tied_pp2_fr", "qwen3_dp1_fr",     "qwen3_dp1_nodist", "qwen3_dp2_dpr",
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
    struct br__ckpt *ck = td_open_ok(dir);
    br__json *expect = load_json(path);
    const br__json *tensors = br__json_get(expect, "tensors");
    for (const br__json *e = br__json_first(tensors); e; e = br__json_next(e), n_tensors++)
        check_tensor(ck, br__json_key(e), e);
    const br__json *objects = br__json_get(expect, "objects");
    for (const br__json *o = br__json_first(objects); o; o = br__json_next(o), n_objects++)
        ck_assert(has_object(ck, br__json_str(br__json_first(o), "")));
    ck_assert_uint_eq(n_tensors, ck->n_tensors);
    ck_assert_uint_eq(n_objects + 1, ck->td->n_objects); /* the common state is listed apart */
    ck_assert(has_object(ck, "common_state/shard_0_1"));
    check_objects_decode(ck);
    check_common_text(ck, br__json_str(br__json_get(expect, "common"), ""));
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

/* ---- checkpoints made here ------------------------------------------------------------------- */

static const int64_t zero_2d[] = {0, 0};

static const struct {
    unsigned flags;
    int warnings;
} variants[] = {
    {0, 0},
    {TD_ROOT_MCORE | TD_LOCAL_PLANS | TD_STORAGE_META | TD_INDEX, 0},
    {TD_NO_STORAGE_META | TD_PROPS_6 | TD_ENUM_BY_NAME, 0},
    {TD_PROPS_DICT | TD_TRANSFORMS_NONE, 0},
    {TD_ITEM_V3, 0},
    {TD_ITEM_PARAMETER, 0},
    {TD_ITEM_FROM_TYPE, 0},
    {TD_ITEM_FROM_TYPE | TD_ITEM_PARAMETER, 0},
    {TD_ITEM_VIEW | TD_ITEM_V3, 0},
    {TD_ITEM_VIEW, 0},
    {TD_ITEM_SQUEEZE, 0},
    {TD_SLOTS_STATE | TD_PROPS_6, 0},
};

START_TEST(reads_every_variant)
{
    struct td m;

    td_small(&m, variants[_i].flags);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    ck_assert_uint_eq(ck->n_tensors, 2);
    ck_assert_str_eq(ck->tensors[0].name, "a scalar (stacked)");
    ck_assert_uint_eq(ck->n_files, 1);
    ck_assert_int_eq(ck->td->common_from, 0);
    ck_assert_int_eq(ck->td->iteration, -1);
    ck_assert_int_eq(ck->td->train_step, -1);
    ck_assert_int_eq(ck->td->has_run_config, 0);
    ck_assert_uint_eq(ck->n_warnings, variants[_i].warnings);
    td_check_contents(ck, "decoder.w");
    td_check_contents(ck, "a scalar (stacked)");
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

START_TEST(reads_scalars_and_empty_tensors)
{
    static const int64_t none[] = {0, 4}, full[] = {5}, at[] = {5}, nothing[] = {0};
    struct td m;

    td_begin(&m, 0);
    td_tensor(&m, "scalar", BR_I64, zero_2d, 0);
    td_chunk(&m, zero_2d, zero_2d);
    td_tensor_end(&m);
    td_tensor(&m, "no rows", BR_BF16, none, 2);
    td_chunk(&m, zero_2d, none);
    td_tensor_end(&m);
    td_tensor(&m, "empty shard", BR_U8, full, 1);
    td_chunk(&m, zero_2d, full);
    td_chunk(&m, at, nothing); /* a rank without rows */
    td_tensor_end(&m);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    ck_assert_uint_eq(br__ckpt_find(ck, "no rows")->bytes, 0);
    td_check_contents(ck, "no rows");
    td_check_contents(ck, "scalar");
    td_check_contents(ck, "empty shard");
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* Training state of an unsupported kind is left out with a warning; broken state is still an
 * error. */
START_TEST(leaves_out_odd_training_state)
{
    static const unsigned odd[] = {TD_COMPLEX, TD_ITEM_STRIDED};
    static const int64_t one[] = {2, 2};

    for (size_t i = 0; i < BR_COUNTOF(odd); i++) {
        struct td m;
        td_small(&m, 0);
        m.flags = odd[i];
        td_tensor(&m, "optimizer.state.exp_avg.decoder.w", BR_F32, one, 2);
        td_chunk(&m, zero_2d, one);
        td_tensor_end(&m);
        td_write(&m);
        struct br__ckpt *ck = td_open_ok(m.dir);
        ck_assert_uint_eq(ck->n_tensors, 2);
        ck_assert_uint_eq(ck->n_warnings, 1);
        ck_assert_ptr_nonnull(strstr(ck->warnings[0], "optimizer.state.exp_avg.decoder.w"));
        ck_assert_ptr_nonnull(strstr(ck->warnings[0], "left out"));
        td_check_contents(ck, "decoder.w");
        br__ckpt_close(ck);
        m.flags = TD_ITEM_DTYPE;
        td_tensor(&m, "optimizer.state.exp_avg.decoder.x", BR_F32, one, 2);
        td_chunk(&m, zero_2d, one);
        td_tensor_end(&m);
        td_write(&m);
        td_refused(m.dir, BR_E_FORMAT, "item is float64");
        td_end(&m);
    }
}
END_TEST

/* ---- boxes ----------------------------------------------------------------------------------- */

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

#define MAX_BOXES 64
struct boxes {
    int ndim;
    int64_t off[MAX_BOXES][4], size[MAX_BOXES][4];
    size_t n;
};

/* Cut a box in two at a random place, again and again. */
static void split(struct boxes *b, int rounds)
{
    while (rounds-- > 0 && b->n < MAX_BOXES) {
        size_t i = rnd((uint32_t)b->n), k = b->n;
        int axis = (int)rnd((uint32_t)b->ndim);
        if (b->size[i][axis] < 2)
            continue;
        int64_t cut = 1 + rnd((uint32_t)b->size[i][axis] - 1);
        memcpy(b->off[k], b->off[i], sizeof b->off[k]);
        memcpy(b->size[k], b->size[i], sizeof b->size[k]);
        b->off[k][axis] += cut;
        b->size[k][axis] -= cut;
        b->size[i][axis] = cut;
        b->n++;
    }
}

static void make_boxes(struct td *m, const struct boxes *b, const int64_t *shape)
{
    td_begin(m, 0);
    td_tensor(m, "t", BR_BF16, shape, b->ndim);
    for (size_t i = 0; i < b->n; i++)
        td_chunk(m, b->off[i], b->size[i]);
    td_tensor_end(m);
}

START_TEST(reads_any_tiling)
{
    static const int64_t shape[] = {3, 5, 4, 7};
    unsigned char buf[3 * 5 * 4 * 7 * 2];
    struct td m;

    seed = (uint32_t)_i;
    struct boxes b = {.ndim = 4, .n = 1, .size = {{3, 5, 4, 7}}};
    split(&b, 1 + (int)rnd(60));
    make_boxes(&m, &b, shape);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    ck_assert_uint_eq(ck->td->n_chunks[0], b.n);
    for (int k = 0; k < 300; k++) {
        size_t off = rnd(sizeof buf), n = 1 + rnd((uint32_t)(sizeof buf - off));
        memset(buf, 0xee, sizeof buf);
        ck_assert_msg(br__td_ops.read(ck, &ck->tensors[0], off, buf, n, &err) == BR_OK, "%s",
                      err.msg);
        td_check_bytes(buf, off, n);
    }
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* ---- CRC-32 of records ----------------------------------------------------------------------- */

#define CRC_BYTES (3 * 5 * 4 * 7 * 2)

/* A random tiling, and its whole range cut at random places: ends of n ranges. */
static struct br__ckpt *open_tiling(struct td *m, int s, size_t ends[8])
{
    static const int64_t shape[] = {3, 5, 4, 7};
    struct boxes b = {.ndim = 4, .n = 1, .size = {{3, 5, 4, 7}}};

    seed = (uint32_t)s;
    split(&b, 1 + (int)rnd(60));
    make_boxes(m, &b, shape);
    td_write(m);
    for (size_t i = 0, from = 0; i < 8; from = ends[i++])
        ends[i] = i == 7 ? CRC_BYTES : from + rnd((uint32_t)(CRC_BYTES - from) / 3);
    return td_open_ok(m->dir);
}

/* Read ranges i of `which`, a set of bits, from the last to the first. */
static int read_ranges(const struct br__ckpt *ck, const size_t ends[8], unsigned which)
{
    unsigned char buf[CRC_BYTES];
    int rc = BR_OK;

    for (size_t i = 8; i-- > 0 && !rc;) {
        size_t from = i ? ends[i - 1] : 0;
        if (which >> i & 1)
            rc = br__ckpt_read(ck, &ck->tensors[0], from, buf, ends[i] - from, &err);
    }
    return rc;
}

/* In whatever order ranges are read, the sum over a record is its CRC-32, and the record is not
 * read again. */
START_TEST(sums_what_is_read)
{
    size_t ends[8];
    struct td m;
    struct br__ckpt *ck = open_tiling(&m, _i, ends);

    ck_assert_msg(!read_ranges(ck, ends, 0x55) && !read_ranges(ck, ends, 0xaa), "%s", err.msg);
    ck_assert_uint_eq(ck->td->n_no_crc, 0);
    for (size_t i = 0; i < ck->td->n_records; i++) {
        ck_assert_uint_eq(ck->td->records[i].seen, ck->td->records[i].size);
        ck_assert_uint_eq(ck->td->records[i].sum, ck->td->records[i].crc);
    }
    ck_assert_int_eq(br__ckpt_settle(ck, &err), BR_OK);
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* A wrong bit is found by the read that completes its record, else by br__ckpt_settle. */
START_TEST(finds_a_wrong_bit)
{
    size_t ends[8];
    struct td m;
    struct br__ckpt *ck = open_tiling(&m, _i, ends);
    const struct br__td_record *rec = &ck->td->records[rnd((uint32_t)ck->td->n_records)];
    FILE *f = fopen(ck->files[0].path, "r+b");
    long at = (long)(rec->off + rnd((uint32_t)rec->size));

    ck_assert_ptr_nonnull(f);
    fseek(f, at, SEEK_SET);
    int c = getc(f);
    fseek(f, at, SEEK_SET);
    putc(c ^ 1 << rnd(8), f);
    fclose(f);
    br__ckpt_close(ck);

    ck = td_open_ok(m.dir);
    ck_assert_int_eq(read_ranges(ck, ends, 0xff), BR_E_FORMAT);
    ck_assert_msg(strstr(err.msg, "tensor 't': chunk at") && strstr(err.msg, "are damaged"), "%s",
                  err.msg);
    br__ckpt_close(ck);

    ck = td_open_ok(m.dir); /* in part, and one part twice */
    int rc = read_ranges(ck, ends, 0x0f);
    rc = rc ? rc : read_ranges(ck, ends, 0x0f);
    rc = rc ? rc : read_ranges(ck, ends, 0xf0);
    ck_assert_int_eq(rc ? rc : br__ckpt_settle(ck, &err), BR_E_FORMAT);
    br__ckpt_close(ck);

    ck = td_open_ok(m.dir);
    ck->td->no_verify = 1;
    ck_assert_int_eq(read_ranges(ck, ends, 0xff), BR_OK);
    ck_assert_int_eq(br__ckpt_settle(ck, &err), BR_OK);
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* Large enough that runs are read in several blocks, and rows directly. */
START_TEST(reads_columns_of_large_tensors)
{
    static const int64_t shape[] = {700, 4500};
    struct boxes b = {.ndim = 2,
                      .n = 3,
                      .off = {{0, 0}, {0, 100}, {0, 132}},
                      .size = {{700, 100}, {700, 32}, {700, 4368}}};
    const size_t total = 700 * 4500 * 2;
    unsigned char *buf = malloc(total);
    struct td m;

    ck_assert_ptr_nonnull(buf);
    make_boxes(&m, &b, shape);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    for (size_t off = 0; off < total; off += 1777777) {
        memset(buf, 0xee, total);
        ck_assert_msg(br__td_ops.read(ck, &ck->tensors[0], off, buf, total - off, &err) == BR_OK,
                      "%s", err.msg);
        td_check_bytes(buf, off, total - off);
    }
    free(buf);
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* Interpret the metadata alone: the boxes decide. */
static int interpret(const struct boxes *b, const int64_t *shape)
{
    struct br__ckpt *ck = br__calloc(1, sizeof *ck);
    struct br__buf meta = {0};
    struct td m;

    ck_assert_ptr_nonnull(ck);
    make_boxes(&m, b, shape);
    td_metadata(&m, &meta);
    err = (struct br_err)BR_ERR_INIT;
    int rc = br__td_interpret(ck, (const unsigned char *)meta.p, meta.n, &err);
    br__ckpt_close(ck);
    br__buf_free(&meta);
    td_end(&m);
    return rc;
}

/* How often a brute-force count says each element is covered. */
static int covered_once(const struct boxes *b, const int64_t *shape)
{
    unsigned char count[3][4][5] = {{{0}}};

    for (size_t i = 0; i < b->n; i++)
        for (int64_t x = 0; x < b->size[i][0]; x++)
            for (int64_t y = 0; y < b->size[i][1]; y++)
                for (int64_t z = 0; z < b->size[i][2]; z++)
                    count[b->off[i][0] + x][b->off[i][1] + y][b->off[i][2] + z]++;
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++)
        if ((&count[0][0][0])[i] != 1)
            return 0;
    return 1;
}

/* Damage a tiling at random: the reader and the brute-force count must agree. */
START_TEST(finds_gaps_and_overlaps)
{
    static const int64_t shape[] = {3, 4, 5};
    int damaged = 0;

    seed = (uint32_t)_i + 1000;
    for (int round = 0; round < 40; round++) {
        struct boxes b = {.ndim = 3, .n = 1, .size = {{3, 4, 5}}};
        split(&b, 1 + (int)rnd(8));
        size_t i = rnd((uint32_t)b.n), axis = rnd(3);
        if (rnd(4) == 0) {
            b.n--;
        } else if (b.off[i][axis] > 0) {
            b.off[i][axis]--; /* moved, or also grown */
            b.size[i][axis] += rnd(2);
        } else if (b.off[i][axis] + b.size[i][axis] < shape[axis]) {
            b.size[i][axis]++;
        }
        int rc = interpret(&b, shape);
        int right = covered_once(&b, shape);
        ck_assert_msg((rc == BR_OK) == right, "seed %d round %d: %s", _i, round, err.msg);
        damaged += !right;
        if (!right)
            ck_assert(strstr(err.msg, "overlap at element") || strstr(err.msg, "no chunk holds"));
    }
    ck_assert_int_gt(damaged, 10);
}
END_TEST

START_TEST(names_the_bad_element)
{
    static const int64_t shape[] = {4, 6};
    struct boxes rows = {.ndim = 2, .n = 2, .off = {{0, 0}, {2, 0}}, .size = {{1, 6}, {2, 6}}};
    struct boxes columns = {.ndim = 2, .n = 2, .off = {{0, 0}, {0, 4}}, .size = {{4, 4}, {4, 2}}};
    /* Four around a hole: areas need more than a sum, order needs more than rows. */
    struct boxes pinwheel = {.ndim = 2,
                             .n = 5,
                             .off = {{0, 0}, {0, 2}, {2, 4}, {3, 0}, {1, 2}},
                             .size = {{3, 2}, {1, 4}, {2, 2}, {1, 4}, {2, 2}}};

    ck_assert_int_eq(interpret(&rows, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "tensor 't': no chunk holds element [1, 0]"));
    rows.size[0][0] = 3;
    ck_assert_int_eq(interpret(&rows, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "tensor 't': chunks overlap at element [2, 0]"));
    rows.size[0][0] = 2;
    ck_assert_int_eq(interpret(&rows, shape), BR_OK);
    rows.size[1][0] = 3;
    ck_assert_int_eq(interpret(&rows, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "chunk at [2, 0] of [3, 6] reaches outside the shape"));

    ck_assert_int_eq(interpret(&columns, shape), BR_OK);
    columns.off[1][1] = 3;
    ck_assert_int_eq(interpret(&columns, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "overlap at element [0, 3]"));
    columns.off[1][1] = 4;
    columns.off[1][0] = 1;
    columns.size[1][0] = 3;
    ck_assert_int_eq(interpret(&columns, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no chunk holds element [0, 4]"));

    ck_assert_int_eq(interpret(&pinwheel, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no chunk holds element [1, 4]"));
    pinwheel.off[2][0] = 1;
    pinwheel.size[2][0] = 3;
    ck_assert_int_eq(interpret(&pinwheel, shape), BR_OK);
    pinwheel.n = 4;
    ck_assert_int_eq(interpret(&pinwheel, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no chunk holds element [1, 2]"));
    pinwheel.n = 0;
    ck_assert_int_eq(interpret(&pinwheel, shape), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no chunk holds element [0, 0]"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("torchdist_read");
    TCase *real = tcase_create("real"), *made = tcase_create("made"),
          *boxes = tcase_create("boxes");

    tcase_set_timeout(real, 60);
    tcase_add_loop_test(real, reads_megatron_checkpoints, 0, BR_COUNTOF(plain));
    tcase_add_loop_test(real, reads_training_checkpoints, 0, BR_COUNTOF(training));
    suite_add_tcase(s, real);
    tcase_add_loop_test(made, reads_every_variant, 0, BR_COUNTOF(variants));
    tcase_add_test(made, reads_scalars_and_empty_tensors);
    tcase_add_test(made, leaves_out_odd_training_state);
    suite_add_tcase(s, made);
    tcase_set_timeout(boxes, 60);
    tcase_add_loop_test(boxes, reads_any_tiling, 0, 40);
    tcase_add_loop_test(boxes, sums_what_is_read, 0, 50);
    tcase_add_loop_test(boxes, finds_a_wrong_bit, 0, 50);
    tcase_add_test(boxes, reads_columns_of_large_tensors);
    tcase_add_loop_test(boxes, finds_gaps_and_overlaps, 0, 10);
    tcase_add_test(boxes, names_the_bad_element);
    suite_add_tcase(s, boxes);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
