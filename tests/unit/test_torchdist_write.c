/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_torchdist_write.c - rewrites directories that Megatron Bridge wrote (torch 2.15 and 2.9) and
 * compares every item byte for byte; layout, .metadata, common state and train state by themselves.
 */
#include "base/base_internal.h"
#include "format/torchdist/torchdist.h"
#include "librun.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const dirs[] = {
    "qwen2/torch_dist",          "qwen2_untied/torch_dist",       "qwen3/torch_dist",
    "qwen3/torch_dist_tp2pp2",   "qwen3_tied/torch_dist",         "qwen3_tied/torch_dist_padded",
    "qwen3_moe/torch_dist",      "qwen3_moe/torch_dist_torch29",  "qwen3_moe/torch_dist_tp2ep2",
    "qwen3_next/torch_dist",     "qwen3_next/torch_dist_torch29", "qwen3_next/torch_dist_ep2pp2",
    "qwen3_next_mtp/torch_dist",
};

static char dir[256];
static struct br__dir here; /* the same */
static struct br__arena arena;
static struct br_err err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    make_temp_dir(dir, sizeof dir, "bridge-td-write");
    ck_assert_int_eq(br__dir_open(&here, dir, NULL), 0);
}

static void teardown(void)
{
    br__arena_free(&arena);
    br__dir_close(&here);
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
}

#define OK(call) ck_assert_msg((call) == 0, "%s", err.msg)

static const char *path_of(const char *name)
{
    return br__path_join(&arena, dir, name);
}

static const char *data_path(const char *name)
{
    return br__arena_printf(&arena, "%s/torch_dist/%s", BRIDGE_TEST_DATA, name);
}

/* ---- a real directory, written again --------------------------------------------------------- */

/* The plan that rewrites a checkpoint, and where each item's original is. */
struct copy {
    struct br__ckpt *ck;
    struct br__td_plan plan;
    const struct br__td_chunk **chunk; /* per item; NULL for bytes items */
    struct br__buf common;
};

static int produce(void *arg, size_t item, uint64_t offset, void *dst, size_t n, struct br_err *e)
{
    const struct copy *c = arg;
    const struct br__td_chunk *ch = c->chunk[item];
    ck_assert_uint_le(n, BR__OUT_BUF);
    ck_assert_uint_le(offset + n, c->plan.items[item].data_bytes);
    return br__file_read(&c->ck->files[ch->file], ch->data_off + offset, dst, n, e);
}

static void add_tensor(struct copy *c, const struct br__tensor *t, struct br__td_out *out)
{
    struct br__td_plan *p = &c->plan;
    *out = (struct br__td_out){.key = t->name, .dtype = t->dtype, .ndim = t->ndim};
    memcpy(out->shape, t->shape, sizeof out->shape);
    for (size_t k = 0; k < c->ck->td->n_chunks[t->priv]; k++) {
        const struct br__td_chunk *ch = &c->ck->td->chunks[t->priv][k];
        struct br__td_item *it = &p->items[p->n_items];
        it->tensor = (uint32_t)(out - p->tensors);
        memcpy(it->off, ch->off, sizeof it->off);
        memcpy(it->size, ch->size, sizeof it->size);
        OK(br_shape_bytes(it->size, t->ndim, br_dtype_size(t->dtype), &it->data_bytes));
        c->chunk[p->n_items++] = ch;
    }
}

static void open_copy(struct copy *c, const char *name)
{
    memset(c, 0, sizeof *c);
    OK(br__td_open(&c->ck, data_path(name), &err));
    size_t n = c->ck->td->n_objects;
    for (size_t i = 0; i < c->ck->n_tensors; i++)
        n += c->ck->td->n_chunks[c->ck->tensors[i].priv];
    struct br__td_out *outs = br__arena_alloc(&arena, c->ck->n_tensors * sizeof *outs);
    c->plan.items = br__arena_alloc(&arena, n * sizeof *c->plan.items);
    c->chunk = br__arena_alloc(&arena, n * sizeof *c->chunk);
    c->plan.tensors = outs;
    c->plan.n_tensors = c->ck->n_tensors;
    for (size_t i = 0; i < c->ck->td->n_objects; i++) {
        struct br__td_item *it = &c->plan.items[c->plan.n_items++];
        it->tensor = BR__TD_OBJECT;
        it->object_key = c->ck->td->objects[i];
    }
    for (size_t i = 0; i < c->ck->n_tensors; i++)
        add_tensor(c, &c->ck->tensors[i], &outs[i]);
    ck_assert_uint_eq(c->plan.n_items, n);

    struct br__td_common common = {0};
    OK(br__td_common_pickle(&c->common, &common, 1, &err));
    c->plan.common_pickle = c->common.p;
    c->plan.common_pickle_size = c->common.n;
    OK(br__td_layout(&arena, &c->plan, &err));
}

static void write_copy(struct copy *c)
{
    struct br__buf meta = {0};
    for (uint32_t f = 0; f < c->plan.n_files; f++) {
        OK(br__td_write_file(&c->plan, f, &here, 0, produce, c, &err));
    }
    OK(br__td_metadata(&c->plan, &meta, &err));
    OK(br__write_file(path_of(".metadata"), meta.p, meta.n, 0, &err));
    OK(br__write_file(path_of("metadata.json"), br__td_metadata_json, strlen(br__td_metadata_json),
                      0, &err));
    br__buf_free(&meta);
}

static void close_copy(struct copy *c)
{
    br__ckpt_close(c->ck);
    br__buf_free(&c->common);
}

/* Each tensor item is the original's, byte for byte; each bytes item holds [None] or the common
 * state. */
static void compare_items(const struct copy *c)
{
    struct br__file *files = br__arena_alloc(&arena, c->plan.n_files * sizeof *files);
    for (uint32_t f = 0; f < c->plan.n_files; f++) {
        OK(br__file_open(&files[f], path_of(br__arena_printf(&arena, "__0_%u.distcp", f)), &err));
        ck_assert_uint_eq(files[f].size, c->plan.file_bytes[f]);
    }
    for (size_t i = 0; i < c->plan.n_items; i++) {
        const struct br__td_item *it = &c->plan.items[i];
        const struct br__td_chunk *ch = c->chunk[i];
        if (!ch)
            continue;
        ck_assert_uint_eq(it->item_len, ch->item_len);
        ck_assert_msg(memcmp(files[it->file].map + it->item_off,
                             c->ck->files[ch->file].map + ch->item_off, ch->item_len) == 0,
                      "item of %s differs", c->plan.tensors[it->tensor].key);
    }
    for (uint32_t f = 0; f < c->plan.n_files; f++)
        br__file_close(&files[f]);
}

/* What was written is a checkpoint with the same tensors, boxes and bytes items. */
static void compare_reopened(const struct copy *c)
{
    struct br__ckpt *ck;
    OK(br__td_open(&ck, dir, &err));
    ck_assert_uint_eq(ck->n_warnings, 0);
    ck_assert_uint_eq(ck->n_tensors, c->ck->n_tensors);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *a = &c->ck->tensors[i], *b = &ck->tensors[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_int_eq(a->dtype, b->dtype);
        ck_assert_int_eq(a->ndim, b->ndim);
        ck_assert_mem_eq(a->shape, b->shape, sizeof a->shape);
        ck_assert_uint_eq(c->ck->td->n_chunks[a->priv], ck->td->n_chunks[b->priv]);
        unsigned char *x = br__alloc(a->bytes), *y = br__alloc(a->bytes);
        OK(br__ckpt_read(c->ck, a, 0, x, a->bytes, &err));
        OK(br__ckpt_read(ck, b, 0, y, a->bytes, &err));
        ck_assert_mem_eq(x, y, a->bytes);
        br__free(x);
        br__free(y);
    }
    ck_assert_uint_eq(ck->td->n_objects, c->ck->td->n_objects);
    for (size_t i = 0; i < ck->td->n_objects; i++) {
        struct br__pk *v;
        ck_assert_str_eq(ck->td->objects[i], c->ck->td->objects[i]);
        OK(br__td_object(ck, &arena, i, &v, &err));
        ck_assert_int_eq(v->kind, BR__PK_LIST);
        ck_assert_uint_eq(v->n, 1);
        int common = strcmp(ck->td->objects[i], "common_state/shard_0_1") == 0;
        ck_assert_int_eq(v->u.item[0]->kind, common ? BR__PK_DICT : BR__PK_NONE);
    }
    ck_assert_int_eq(ck->td->iteration, 0);
    br__ckpt_close(ck);
}

START_TEST(rewrites_real_directories)
{
    struct copy c;
    open_copy(&c, dirs[_i]);
    ck_assert_uint_eq(c.plan.n_files, 2);
    write_copy(&c);
    compare_items(&c);
    compare_reopened(&c);
    close_copy(&c);
}
END_TEST

/* Fail every write and every allocation in turn: each run returns an error and leaks nothing
 * (ASan). */
static long calls_left;

static ssize_t failing_pwrite(int fd, const void *p, size_t n, off_t off)
{
    if (calls_left-- == 0) {
        errno = EIO;
        return -1;
    }
    return pwrite(fd, p, n, off);
}

static struct br__mem_ops real_mem;

static void *failing_realloc(void *p, size_t n)
{
    return calls_left-- == 0 ? NULL : real_mem.realloc(p, n);
}

static int write_all(struct copy *c)
{
    struct br__buf meta = {0};
    struct br__arena a = {0};
    struct br__td_plan p = c->plan;
    int rc = br__td_layout(&a, &p, NULL);
    for (uint32_t f = 0; f < 2 && !rc; f++)
        rc = br__td_write_file(&p, f, &here, 0, produce, c, NULL);
    if (!rc)
        rc = br__td_metadata(&p, &meta, NULL);
    br__buf_free(&meta);
    br__arena_free(&a);
    return rc;
}

START_TEST(every_failure_is_returned)
{
    struct copy c;
    long n_mem = 0, n_io = 0;
    open_copy(&c, "qwen2/torch_dist");
    c.plan.n_items = c.ck->td->n_objects + 3; /* enough for every path */
    ck_assert_int_eq(chdir(dir), 0);
    real_mem = br__mem;
    struct br__io_ops real_io = br__io;

    for (int rc = 1; rc; n_mem++) {
        calls_left = n_mem;
        br__mem.realloc = failing_realloc;
        rc = write_all(&c);
        br__mem = real_mem;
        ck_assert_int_eq(rc, calls_left < 0 ? BR_E_NOMEM : 0);
    }
    for (int rc = 1; rc; n_io++) {
        calls_left = n_io;
        br__io.pwrite = failing_pwrite;
        rc = write_all(&c);
        br__io = real_io;
        ck_assert_int_eq(rc, calls_left < 0 ? BR_E_IO : 0);
    }
    ck_assert_int_gt(n_mem, 10);
    ck_assert_int_ge(n_io, 3); /* one write per small file, and the run without a failure */
    close_copy(&c);
}
END_TEST

/* ---- layout ---------------------------------------------------------------------------------- */

/* A plan of one-dimensional uint8 tensors with the given sizes behind n_objects bytes items. */
static struct br__td_plan plan_of(const int64_t *sizes, size_t n, size_t n_objects)
{
    struct br__td_out *t = br__arena_alloc(&arena, (n + 1) * sizeof *t);
    struct br__td_item *it = br__arena_alloc(&arena, (n + n_objects + 1) * sizeof *it);
    for (size_t i = 0; i < n_objects; i++) {
        it[i].tensor = BR__TD_OBJECT;
        it[i].object_key = br__arena_printf(&arena, "m.%zu._extra_state/shard_0_1", i);
    }
    for (size_t i = 0; i < n; i++) {
        t[i] = (struct br__td_out){br__arena_printf(&arena, "t.%zu", i), BR_U8, 1, {sizes[i]}};
        it[n_objects + i].tensor = (uint32_t)i;
        it[n_objects + i].size[0] = sizes[i];
        it[n_objects + i].data_bytes = (uint64_t)sizes[i];
    }
    return (struct br__td_plan){
        .tensors = t, .n_tensors = n, .items = it, .n_items = n + n_objects};
}

/* Items lie back to back in ascending files, none of which is empty. */
static void check_layout(const struct br__td_plan *p)
{
    uint32_t file = 0;
    uint64_t off = 0;
    for (size_t i = 0; i < p->n_items; i++) {
        if (p->items[i].file != file) {
            ck_assert_uint_eq(p->file_bytes[file], off);
            ck_assert_uint_gt(off, 0);
            ck_assert_uint_eq(p->items[i].file, ++file);
            off = 0;
        }
        ck_assert_uint_eq(p->items[i].item_off, off);
        off += p->items[i].item_len;
    }
    ck_assert_uint_eq(p->file_bytes[file], off);
    ck_assert_uint_eq(p->n_files, file + 1);
}

START_TEST(files_of_a_layout)
{
    const int64_t m = 1 << 20, g = 1 << 30;
    const struct {
        int64_t sizes[6];
        size_t n, n_objects;
        uint32_t n_files, last_file_starts_at; /* an item */
    } rows[] = {
        {{0}, 0, 3, 1, 0},
        {{8}, 1, 0, 1, 0},
        {{8}, 1, 3, 1, 0},
        {{8, 8}, 2, 0, 2, 1},
        {{1, 100 * m}, 2, 0, 2, 1},
        {{100 * m, 1}, 2, 0, 2, 1},
        {{0, 0}, 2, 0, 2, 1},
        {{1, 1}, 2, 50, 2, 50},
        {{m, m, m, m}, 4, 2, 2, 4},
        {{2 * m, 100 * m, m}, 3, 0, 2, 1},
        {{m, 100 * m, 2 * m}, 3, 0, 2, 2},
        {{g, g, g, g}, 4, 0, 4, 3}, /* above 4 GiB with headers: one of five shares is empty */
        {{10 * g, m}, 2, 0, 2, 1},
    };
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        struct br__td_plan p = plan_of(rows[i].sizes, rows[i].n, rows[i].n_objects);
        OK(br__td_layout(&arena, &p, &err));
        check_layout(&p);
        ck_assert_msg(p.n_files == rows[i].n_files, "row %zu: %u files", i, p.n_files);
        ck_assert_uint_eq(p.items[rows[i].last_file_starts_at].item_off, 0);
        ck_assert_uint_eq(p.items[rows[i].last_file_starts_at].file, p.n_files - 1);
    }
}
END_TEST

START_TEST(wrong_chunk_bytes_are_refused)
{
    struct br__td_plan p = plan_of((int64_t[]){8, 9}, 2, 0);
    p.items[1].data_bytes = 8;
    ck_assert_int_eq(br__td_layout(&arena, &p, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "t.1"));
}
END_TEST

/* ---- .metadata ------------------------------------------------------------------------------- */

static const struct br__pk *state(const struct br__pk *v, const char *name)
{
    ck_assert_msg(br__pk_is(v, "torch.distributed.checkpoint*", name), "not a %s", name);
    return v;
}

static int64_t int_at(const struct br__pk *v, const char *key)
{
    const struct br__pk *i = br__pk_get(v, key);
    ck_assert_ptr_nonnull(i);
    ck_assert_int_eq(i->kind, BR__PK_INT);
    return i->u.i;
}

/* 2500 tensors and 1200 bytes items: batches, LONG_BINGET, offsets beyond 2^31. */
START_TEST(metadata_of_many_items)
{
    enum { N = 2500, OBJECTS = 1200 };
    int64_t sizes[N];
    for (size_t i = 0; i < N; i++)
        sizes[i] = 5000000 + (int64_t)i;
    struct br__td_plan p = plan_of(sizes, N, OBJECTS);
    struct br__buf out = {0};
    struct br__pk *v;
    OK(br__td_layout(&arena, &p, &err));
    ck_assert_uint_eq(p.n_files, 12);
    p.items[N + OBJECTS - 1].item_off = 5ull << 30;
    OK(br__td_metadata(&p, &out, &err));
    ck_assert_uint_lt(out.n, 1000000);
    OK(br__pk_load(&arena, (unsigned char *)out.p, out.n, NULL, &v, &err));

    const struct br__pk *root = state(v, "Metadata"),
                        *sdm = br__pk_get(root, "state_dict_metadata"),
                        *data = br__pk_get(root, "storage_data");
    ck_assert_int_eq(br__pk_get(root, "planner_data")->kind, BR__PK_NONE);
    ck_assert_int_eq(br__pk_get(root, "storage_meta")->kind, BR__PK_NONE);
    ck_assert_ptr_null(br__pk_get(root, "version"));
    ck_assert_uint_eq(sdm->n, N + OBJECTS);
    ck_assert_uint_eq(data->n, N + OBJECTS);
    state(br__pk_get(sdm, "m.1199._extra_state/shard_0_1"), "BytesStorageMetadata");
    const struct br__pk *last = state(br__pk_get(sdm, "t.2499"), "TensorStorageMetadata");
    ck_assert_int_eq(br__pk_get(last, "size")->u.item[0]->u.i, sizes[N - 1]);
    ck_assert_uint_eq(br__pk_get(last, "chunks")->n, 1);
    ck_assert_uint_eq(br__pk_get(last, "properties")->u.o->state->n, 5);

    for (size_t i = 0; i < N + OBJECTS; i++) {
        const struct br__pk *key = state(data->u.item[2 * i], "MetadataIndex");
        const struct br__pk *info = state(data->u.item[2 * i + 1], "_StorageInfo");
        ck_assert_str_eq(br__pk_get(key, "fqn")->u.s,
                         i < OBJECTS ? p.items[i].object_key : p.tensors[p.items[i].tensor].key);
        ck_assert_int_eq(br__pk_get(key, "index")->kind, BR__PK_NONE);
        ck_assert_int_eq(br__pk_get(key, "offset") == NULL, i < OBJECTS);
        ck_assert_uint_eq((uint64_t)int_at(info, "offset"), p.items[i].item_off);
        ck_assert_uint_eq((uint64_t)int_at(info, "length"), p.items[i].item_len);
        char name[32];
        snprintf(name, sizeof name, "__0_%u.distcp", p.items[i].file);
        ck_assert_str_eq(br__pk_get(info, "relative_path")->u.s, name);
    }
    br__buf_free(&out);
}
END_TEST

/* ---- small archives -------------------------------------------------------------------------- */

START_TEST(train_state_is_megatron_bridges)
{
    char *mine, *real;
    size_t n, n_real;
    OK(br__td_write_train_state(&here, "train_state.pt", 0, 0, &err));
    OK(br__read_text(path_of("train_state.pt"), 1 << 20, &mine, &n, &err));
    OK(br__read_text(data_path("qwen3/torch_dist/iter_0000000/train_state.pt"), 1 << 20, &real,
                     &n_real, &err));
    ck_assert_uint_eq(n, 3461);
    ck_assert_uint_eq(n, n_real);
    ck_assert_mem_eq(mine, real, n);
    br__free(mine);
    br__free(real);
}
END_TEST

START_TEST(train_state_holds_the_step)
{
    struct br__file f;
    struct br__zip_rec *recs;
    size_t n;
    OK(br__td_write_train_state(&here, "train_state.pt", 0x0102030405, 0, &err));
    OK(br__file_open(&f, path_of("train_state.pt"), &err));
    OK(br__zip_read(&arena, f.map, f.size, 0, f.size, &recs, &n, &err));
    const struct br__zip_rec *r = br__zip_find(recs, n, "data/0");
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->size, 8);
    ck_assert_mem_eq(f.map + r->off, "\5\4\3\2\1\0\0\0", 8);
    br__file_close(&f);
}
END_TEST

/* The exact bytes that Python's pickle.dumps(..., 2) gives for this dict, in a list. */
START_TEST(common_state_in_a_list)
{
    struct br__td_common c = {.iteration = 300};
    struct br__buf out = {0};
    static const char want[] = "\x80\x02]q\0}q\1(X\x12\0\0\0checkpoint_versionq\2G@\x08\0\0\0\0\0\0"
                               "X\t\0\0\0iterationq\3M,\1X$\0\0\0"
                               "num_floating_point_operations_so_farq\4K\0"
                               "X\x10\0\0\0"
                               "content_metadataq\5}q\6(X\x16\0\0\0singleton_local_shardsq\7\x89"
                               "X\x1a\0\0\0"
                               "chained_optim_avoid_prefixq\x08\x88uua.";
    OK(br__td_common_pickle(&out, &c, 1, &err));
    ck_assert_uint_eq(out.n, sizeof want - 1);
    ck_assert_mem_eq(out.p, want, out.n);
    br__buf_free(&out);
}
END_TEST

START_TEST(common_state_with_args)
{
    static const char *const args[][2] = {{"num_layers", "28"},
                                          {"norm_epsilon", "1e-06"},
                                          {"swiglu", "True"},
                                          {"fp16", "False"},
                                          {"q_lora_rank", "None"},
                                          {"ckpt_format", "'torch_dist'"},
                                          {"layers", "[1, 0, -7]"},
                                          {"cp_comm_type", "['p2p']"},
                                          {"none", "[]"},
                                          {"rotary_base", "5000000000"},
                                          {"params_dtype", "torch.bfloat16"}};
    struct br__td_common c = {
        .non_homogeneous_layers = 1, .args = args, .n_args = BR_COUNTOF(args)};
    struct br__buf out = {0}, text = {0};
    struct br__pk *v;
    OK(br__td_common_pickle(&out, &c, 0, &err));
    OK(br__pk_load(&arena, (unsigned char *)out.p, out.n, NULL, &v, &err));
    ck_assert_int_eq(br__pk_get(br__pk_get(v, "content_metadata"), "non_homogeneous_layers")->b, 1);
    const struct br__pk *ns = br__pk_get(v, "args");
    ck_assert_int_eq(br__pk_is(ns, "argparse", "Namespace"), 1);
    br__pk_repr(&text, ns->u.o->state);
    ck_assert_str_eq(text.p,
                     "{'num_layers': 28, 'norm_epsilon': 1e-06, 'swiglu': True, 'fp16': False, "
                     "'q_lora_rank': None, 'ckpt_format': 'torch_dist', 'layers': [1, 0, -7], "
                     "'cp_comm_type': ['p2p'], 'none': [], 'rotary_base': 5000000000, "
                     "'params_dtype': torch.bfloat16}");
    br__buf_free(&out);
    br__buf_free(&text);
}
END_TEST

START_TEST(unknown_args_values_are_refused)
{
    static const char *const bad[] = {"none", "", "'", "torch.float7", "[1, x]", "1 2", "[", "inf"};
    for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
        const char *const args[][2] = {{"the_name", bad[i]}};
        struct br__td_common c = {.args = args, .n_args = 1};
        struct br__buf out = {0};
        ck_assert_msg(br__td_common_pickle(&out, &c, 0, &err) == BR_E_FORMAT, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(err.msg, "args.the_name"));
        br__buf_free(&out);
    }
}
END_TEST

START_TEST(metadata_json_is_the_four_key_form)
{
    br__json *j;
    OK(br__json_parse(&j, br__td_metadata_json, strlen(br__td_metadata_json), &err));
    ck_assert_uint_eq(br__json_count(j), 4);
    ck_assert_str_eq(br__json_str(br__json_get(j, "sharded_backend"), ""), "torch_dist");
    ck_assert_str_eq(br__json_str(br__json_get(j, "common_backend"), ""), "torch");
    ck_assert_double_eq(br__json_num(br__json_get(j, "sharded_backend_version"), 0), 1);
    ck_assert_double_eq(br__json_num(br__json_get(j, "common_backend_version"), 0), 1);
    br__json_free(j);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("torchdist_write");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, rewrites_real_directories, 0, BR_COUNTOF(dirs));
    tcase_add_test(t, every_failure_is_returned);
    tcase_add_test(t, files_of_a_layout);
    tcase_add_test(t, wrong_chunk_bytes_are_refused);
    tcase_add_test(t, metadata_of_many_items);
    tcase_add_test(t, train_state_is_megatron_bridges);
    tcase_add_test(t, train_state_holds_the_step);
    tcase_add_test(t, common_state_in_a_list);
    tcase_add_test(t, common_state_with_args);
    tcase_add_test(t, unknown_args_values_are_refused);
    tcase_add_test(t, metadata_json_is_the_four_key_form);
    suite_add_tcase(s, t);
    return run_suite(s);
}
