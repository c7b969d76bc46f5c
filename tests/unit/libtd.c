/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtd.c - see libtd.h. */
#include "libtd.h"
#include "format/torchdist/torchdist.h"
#include "librun.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META "torch.distributed.checkpoint.metadata"
#define OLD_META "torch.distributed._shard.sharded_tensor.metadata"

static void put_le(struct br__buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        br__buf_putc(b, i < 8 ? (char)(v >> (8 * i) & 255) : 0);
}

/* ---- pickle ---------------------------------------------------------------------------------- */

void pk_op(struct br__buf *b, const char *opcodes)
{
    br__buf_puts(b, opcodes);
}

void pk_str(struct br__buf *b, const char *s)
{
    br__buf_putc(b, 'X');
    put_le(b, strlen(s), 4);
    br__buf_puts(b, s);
}

void pk_int(struct br__buf *b, int64_t v)
{
    if (v >= INT32_MIN && v <= INT32_MAX) {
        br__buf_putc(b, 'J');
        put_le(b, (uint64_t)v, 4);
    } else {
        br__buf_puts(b, "\x8a\x08");
        put_le(b, (uint64_t)v, 8);
    }
}

void pk_global(struct br__buf *b, const char *module, const char *name)
{
    br__buf_printf(b, "c%s\n%s\n", module, name);
}

void pk_ints(struct br__buf *b, const int64_t *v, int n)
{
    pk_op(b, "(");
    for (int i = 0; i < n; i++)
        pk_int(b, v[i]);
    pk_op(b, "t");
}

void pk_size(struct br__buf *b, const int64_t *v, int n)
{
    pk_global(b, "torch", "Size");
    pk_ints(b, v, n);
    pk_op(b, "\x85R");
}

void pk_new(struct br__buf *b, const char *module, const char *name)
{
    pk_global(b, module, name);
    pk_op(b, ")\x81");
}

/* ---- zip ------------------------------------------------------------------------------------- */

static void put_local(struct br__buf *out, size_t start, const struct zip_in *in)
{
    size_t name_len = strlen(in->name);
    size_t pad = (64 - (out->n - start + 30 + name_len + 4) % 64) % 64;

    put_le(out, 0x04034b50, 4);
    put_le(out, 0, 2);
    put_le(out, in->n ? 0x808 : 0x800, 2);
    put_le(out, 0, 2 + 4); /* method, time */
    put_le(out, 0, 8);     /* CRC and packed size are in the descriptor */
    put_le(out, 0, 4);
    put_le(out, name_len, 2);
    put_le(out, 4 + pad, 2);
    br__buf_puts(out, in->name);
    br__buf_puts(out, "FB");
    put_le(out, pad, 2);
    for (size_t i = 0; i < pad; i++)
        br__buf_putc(out, 'Z');
    br__buf_put(out, in->p, in->n);
    if (in->n) {
        put_le(out, 0x08074b50, 4);
        put_le(out, br__crc32(0, in->p, in->n), 4);
        put_le(out, in->n, 4);
        put_le(out, in->n, 4);
    }
}

static void put_entry(struct br__buf *out, const struct zip_in *in, uint64_t header, int flags)
{
    int big = flags & ZIP_ENTRY_ZIP64;

    put_le(out, 0x02014b50, 4);
    put_le(out, 0, 4);
    put_le(out, in->n ? 0x808 : 0x800, 2);
    put_le(out, 0, 6);
    put_le(out, br__crc32(0, in->p, in->n), 4);
    put_le(out, big ? UINT32_MAX : in->n, 4);
    put_le(out, big ? UINT32_MAX : in->n, 4);
    put_le(out, strlen(in->name), 2);
    put_le(out, big ? 6 + 28 : 0, 2);
    put_le(out, 0, 2 + 2 + 2 + 4);
    put_le(out, big ? UINT32_MAX : header, 4);
    br__buf_puts(out, in->name);
    if (!big)
        return;
    put_le(out, 0x7777, 2); /* a ZIP64 block that readers must skip, before the real one */
    put_le(out, 2, 2);
    put_le(out, 0, 2);
    put_le(out, 1, 2);
    put_le(out, 24, 2);
    put_le(out, in->n, 8);
    put_le(out, in->n, 8);
    put_le(out, header, 8);
}

void zip_make(struct br__buf *out, const struct zip_in *in, size_t n, int flags)
{
    size_t start = out->n;
    struct br__buf dir = {0};

    for (size_t i = 0; i < n; i++) {
        put_entry(&dir, &in[i], out->n - start, flags);
        put_local(out, start, &in[i]);
    }
    size_t dir_at = out->n - start;
    br__buf_put(out, dir.p, dir.n);
    size_t end64 = out->n - start;
    if (!(flags & ZIP_NO_ZIP64)) {
        put_le(out, 0x06064b50, 4);
        put_le(out, 44, 8);
        put_le(out, 0x002d031e, 4);
        put_le(out, 0, 8);
        put_le(out, n, 8);
        put_le(out, n, 8);
        put_le(out, dir.n, 8);
        put_le(out, dir_at, 8);
        put_le(out, 0x07064b50, 4);
        put_le(out, 0, 4);
        put_le(out, end64, 8);
        put_le(out, 1, 4);
    }
    put_le(out, 0x06054b50, 4);
    put_le(out, 0, 4);
    put_le(out, n, 2);
    put_le(out, n, 2);
    put_le(out, dir.n, 4);
    put_le(out, dir_at, 4);
    put_le(out, 0, 2);
    br__buf_free(&dir);
}

static void save_archive(struct br__buf *out, const struct br__buf *pickle,
                         const struct zip_in *storages, size_t n, const char *order)
{
    struct zip_in in[16] = {{"archive/data.pkl", pickle->p, pickle->n},
                            {"archive/byteorder", order, strlen(order)}};

    ck_assert_uint_le(n + 3, BR_COUNTOF(in));
    for (size_t i = 0; i < n; i++)
        in[i + 2] = storages[i];
    in[n + 2] = (struct zip_in){"archive/version", "3\n", 2};
    zip_make(out, in, n + 3, 0);
}

void torch_save(struct br__buf *out, const struct br__buf *pickle, const struct zip_in *storages,
                size_t n)
{
    save_archive(out, pickle, storages, n, "little");
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

unsigned char td_byte(uint64_t i)
{
    return (unsigned char)(i * 131 + (i >> 8) * 7 + 17);
}

void td_begin(struct td *m, unsigned flags)
{
    memset(m, 0, sizeof *m);
    m->flags = flags;
    m->file = "__0_0.distcp";
    make_temp_dir(m->root, sizeof m->root, "bridge-td");
    snprintf(m->dir, sizeof m->dir, "%s/iter_0000005", m->root);
}

/* State of an object: a dict, or the pair of a class with slots. */
static void begin_state(const struct td *m, struct br__buf *b)
{
    pk_op(b, m->flags & TD_SLOTS_STATE ? "N}(" : "}(");
}

static void end_state(const struct td *m, struct br__buf *b)
{
    pk_op(b, m->flags & TD_SLOTS_STATE ? "u\x86"
                                         "b"
                                       : "ub");
}

static void put_memory_format(const struct td *m, struct br__buf *b)
{
    if (m->flags & TD_ENUM_BY_NAME) {
        pk_global(b, "builtins", "getattr");
        pk_global(b, META, "_MEM_FORMAT_ENCODING");
        pk_str(b, "TORCH_CONTIGUOUS_FORMAT");
        pk_op(b, "\x86R");
        return;
    }
    pk_global(b, META, "_MEM_FORMAT_ENCODING");
    pk_int(b, 0);
    pk_op(b, "\x85R");
}

static void put_properties(const struct td *m, struct br__buf *b)
{
    const char *dtype = m->flags & TD_COMPLEX ? "complex128" : br_dtype_torch(m->dtype);

    if (m->flags & TD_PROPS_DICT) {
        pk_new(b, OLD_META, "TensorProperties");
        pk_op(b, "}(");
        pk_str(b, "dtype");
        pk_global(b, "torch", dtype);
        pk_str(b, "requires_grad");
        pk_op(b, "\x89ub");
        return;
    }
    pk_new(b, META, "TensorProperties");
    pk_op(b, "(");
    pk_global(b, "torch", dtype);
    pk_global(b, "torch.serialization", "_get_layout");
    pk_str(b, "torch.strided");
    pk_op(b, "\x85R\x89");
    put_memory_format(m, b);
    pk_op(b, "\x89");
    if (m->flags & TD_PROPS_6)
        pk_op(b, "N");
    pk_op(b, "tb");
}

void td_tensor(struct td *m, const char *name, int dtype, const int64_t *shape, int ndim)
{
    m->name = name;
    m->dtype = dtype;
    m->ndim = ndim;
    m->shape = shape;
    pk_str(&m->keys, name);
    pk_new(&m->keys, META, "TensorStorageMetadata");
    begin_state(m, &m->keys);
    pk_str(&m->keys, "properties");
    put_properties(m, &m->keys);
    pk_str(&m->keys, "size");
    pk_size(&m->keys, shape, ndim);
    pk_str(&m->keys, "chunks");
    pk_op(&m->keys, "](");
}

void td_tensor_end(struct td *m)
{
    pk_op(&m->keys, "e");
    end_state(m, &m->keys);
}

/* Contents of a box. */
static void put_data(const struct td *m, struct br__buf *out, const int64_t *off,
                     const int64_t *size)
{
    int64_t at[BR_MAX_DIMS] = {0};
    uint32_t elem = br_dtype_size(m->dtype);
    uint64_t n = 1;

    for (int i = 0; i < m->ndim; i++)
        n *= (uint64_t)size[i];
    for (uint64_t k = 0; k < n; k++) {
        uint64_t flat = 0;
        for (int i = 0; i < m->ndim; i++)
            flat = flat * (uint64_t)m->shape[i] + (uint64_t)(off[i] + at[i]);
        for (uint32_t j = 0; j < elem; j++)
            br__buf_putc(out, (char)td_byte(flat * elem + j));
        for (int i = m->ndim; i-- > 0 && ++at[i] == size[i];)
            at[i] = 0;
    }
}

static void put_strides(const struct td *m, struct br__buf *b, const int64_t *shape, int ndim)
{
    int64_t stride[BR_MAX_DIMS], next = 1;

    for (int i = ndim; i-- > 0;) {
        stride[i] = next;
        next *= shape[i];
    }
    if (m->flags & TD_ITEM_STRIDED && ndim >= 2) {
        stride[ndim - 2] = 1;
        stride[ndim - 1] = shape[ndim - 2];
    }
    pk_ints(b, stride, ndim);
}

/* data.pkl of a chunk; view_skip elements stand before it in the storage of numel elements. */
static void put_item_pickle(const struct td *m, struct br__buf *b, const int64_t *size,
                            int64_t numel, int64_t view_skip)
{
    int64_t shape[BR_MAX_DIMS];
    int dtype = m->flags & TD_ITEM_DTYPE ? BR_F64 : m->dtype, ndim = m->ndim;
    int untyped = (m->flags & TD_ITEM_V3) != 0;

    memcpy(shape, size, sizeof *shape * (size_t)ndim);
    while (m->flags & TD_ITEM_SQUEEZE && ndim > 0 && shape[0] == 1)
        memmove(shape, shape + 1, sizeof *shape * (size_t)--ndim);
    if (m->flags & TD_ITEM_SHAPE)
        shape[ndim++] = 1;
    pk_op(b, "\x80\x02");
    if (m->flags & TD_ITEM_PARAMETER) {
        pk_global(b, "torch._utils", "_rebuild_parameter");
        pk_op(b, "(");
    }
    if (m->flags & TD_ITEM_FROM_TYPE) {
        pk_global(b, "torch._tensor", "_rebuild_from_type_v2");
        pk_op(b, "(");
    }
    pk_global(b, "torch._utils", untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
    if (m->flags & TD_ITEM_FROM_TYPE)
        pk_global(b, "torch.nn.parameter", "Buffer");
    pk_op(b, "((");
    pk_str(b, "storage");
    pk_global(b, untyped ? "torch.storage" : "torch",
              untyped ? "UntypedStorage" : br_dtype_storage(dtype));
    pk_str(b, "0");
    pk_str(b, "cuda:3");
    pk_int(b, untyped ? numel * (int64_t)br_dtype_size(dtype) : numel);
    pk_op(b, "tQ");
    pk_int(b, view_skip);
    pk_ints(b, shape, ndim);
    put_strides(m, b, shape, ndim);
    pk_op(b, "\x89");
    pk_global(b, "collections", "OrderedDict");
    pk_op(b, ")R");
    if (untyped)
        pk_global(b, "torch", br_dtype_torch(dtype));
    pk_op(b, "t");
    if (m->flags & TD_ITEM_FROM_TYPE)
        pk_op(b, "}t");
    pk_op(b, "R");
    if (m->flags & TD_ITEM_PARAMETER) {
        pk_op(b, "\x88");
        pk_global(b, "collections", "OrderedDict");
        pk_op(b, ")RtR");
    }
    pk_op(b, ".");
}

static void put_item(struct td *m, const int64_t *off, const int64_t *size)
{
    struct br__buf bytes = {0}, pickle = {0};
    int64_t numel = 1, skip = m->flags & TD_ITEM_VIEW ? 5 : 0;
    uint32_t elem = br_dtype_size(m->flags & TD_ITEM_DTYPE ? BR_F64 : m->dtype);

    for (int i = 0; i < m->ndim; i++)
        numel *= size[i];
    numel += 2 * skip;
    for (uint64_t i = 0; i < (uint64_t)skip * elem; i++)
        br__buf_putc(&bytes, 'v');
    put_data(m, &bytes, off, size);
    while (bytes.n < (uint64_t)numel * elem)
        br__buf_putc(&bytes, 'w');
    put_item_pickle(m, &pickle, size, numel, skip);
    struct zip_in storage = {"archive/data/0", bytes.p,
                             m->flags & TD_SHORT_RECORD ? bytes.n - 1 : bytes.n};
    save_archive(&m->data, &pickle, &storage, 1, m->flags & TD_ITEM_BIG_ENDIAN ? "big" : "little");
    br__buf_free(&bytes);
    br__buf_free(&pickle);
}

static void put_storage(struct td *m, const char *name, const int64_t *off, int ndim,
                        uint64_t item_off)
{
    struct br__buf *b = &m->storage;

    pk_new(b, META, "MetadataIndex");
    begin_state(m, b);
    pk_str(b, "fqn");
    pk_str(b, name);
    if (off) {
        pk_str(b, "offset");
        pk_size(b, off, ndim);
    }
    pk_str(b, "index");
    if (m->flags & TD_INDEX)
        pk_int(b, 7);
    else
        pk_op(b, "N");
    end_state(m, b);
    pk_new(b, "torch.distributed.checkpoint.filesystem", "_StorageInfo");
    begin_state(m, b);
    pk_str(b, "relative_path");
    pk_str(b, m->file);
    pk_str(b, "offset");
    pk_int(b, (int64_t)item_off);
    pk_str(b, "length");
    pk_int(b, (int64_t)(m->data.n - item_off));
    if (m->flags & (TD_TRANSFORMS | TD_TRANSFORMS_NONE)) {
        pk_str(b, "transform_descriptors");
        pk_op(b, m->flags & TD_TRANSFORMS ? "](" : "N");
        if (m->flags & TD_TRANSFORMS) {
            pk_str(b, "zstd");
            pk_op(b, "e");
        }
    }
    end_state(m, b);
}

void td_chunk(struct td *m, const int64_t *off, const int64_t *size)
{
    uint64_t item_off = m->data.n;

    pk_new(&m->keys, META, "ChunkStorageMetadata");
    begin_state(m, &m->keys);
    pk_str(&m->keys, "offsets");
    pk_size(&m->keys, off, m->ndim);
    pk_str(&m->keys, "sizes");
    pk_size(&m->keys, size, m->ndim);
    end_state(m, &m->keys);
    put_item(m, off, size);
    if (!(m->flags & TD_NO_STORAGE))
        put_storage(m, m->name, off, m->ndim, item_off);
}

void td_object(struct td *m, const char *name, const struct br__buf *pickle)
{
    uint64_t item_off = m->data.n;

    pk_str(&m->keys, name);
    pk_new(&m->keys, META, "BytesStorageMetadata");
    torch_save(&m->data, pickle, NULL, 0);
    put_storage(m, name, NULL, 0, item_off);
}

/* Attributes of the root that readers must ignore. */
static void put_extras(const struct td *m, struct br__buf *b)
{
    if (m->flags & TD_ROOT_MCORE) {
        pk_str(b, "mcore_data");
        pk_op(b, "}(");
        pk_str(b, "a");
        pk_op(b, "}u");
    }
    if (m->flags & TD_LOCAL_PLANS) {
        pk_str(b, "all_local_plans");
        pk_op(b, "](");
        pk_new(b, "megatron.core.dist_checkpointing.strategies.torch", "MCoreSavePlan");
        pk_op(b, "}(");
        pk_str(b, "items");
        pk_op(b, "]ube");
    }
    if (m->flags & TD_NO_STORAGE_META)
        return;
    pk_str(b, "storage_meta");
    if (!(m->flags & TD_STORAGE_META)) {
        pk_op(b, "N");
        return;
    }
    pk_new(b, META, "StorageMeta");
    pk_op(b, "}(");
    pk_str(b, "checkpoint_id");
    pk_global(b, "pathlib", "PosixPath");
    pk_op(b, "(");
    pk_str(b, "/");
    pk_str(b, "ckpt");
    pk_op(b, "tRub");
}

void td_metadata(const struct td *m, struct br__buf *b)
{
    pk_op(b, "\x80\x02");
    if (m->flags & TD_ROOT_MCORE)
        pk_new(b, "megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata");
    else
        pk_new(b, META, "Metadata");
    pk_op(b, "}(");
    pk_str(b, "state_dict_metadata");
    pk_op(b, "}(");
    br__buf_put(b, m->keys.p, m->keys.n);
    pk_op(b, "u");
    pk_str(b, "planner_data");
    pk_op(b, "N");
    pk_str(b, "storage_data");
    pk_op(b, "}(");
    br__buf_put(b, m->storage.p, m->storage.n);
    pk_op(b, "u");
    put_extras(m, b);
    pk_op(b, "ub.");
}

void td_put_file(const struct td *m, const char *path, const void *p, size_t n)
{
    char full[600];
    struct br_err err = BR_ERR_INIT;

    snprintf(full, sizeof full, "%s/%s", m->root, path);
    ck_assert_msg(br__write_file(full, p, n, 0, &err) == BR_OK, "%s", err.msg);
}

void td_write(struct td *m)
{
    static const char json[] =
        "{\"sharded_backend\": \"torch_dist\", \"sharded_backend_version\": 1}";
    struct br__buf meta = {0};
    char path[512];
    struct br_err err = BR_ERR_INIT;

    ck_assert_msg(br__mkdirs(m->dir, &err) == BR_OK, "%s", err.msg);
    td_metadata(m, &meta);
    td_put_file(m, "iter_0000005/.metadata", meta.p, meta.n);
    td_put_file(m, "iter_0000005/metadata.json", json, sizeof json - 1);
    snprintf(path, sizeof path, "iter_0000005/%s", m->file);
    td_put_file(m, path, m->data.p, m->data.n);
    br__buf_free(&meta);
}

void td_end(struct td *m)
{
    struct br_err err = BR_ERR_INIT;

    ck_assert_msg(br__remove_tree(m->root, &err) == BR_OK, "%s", err.msg);
    br__buf_free(&m->keys);
    br__buf_free(&m->storage);
    br__buf_free(&m->data);
}

struct br__ckpt *td_open_ok(const char *dir)
{
    struct br_err err = BR_ERR_INIT;
    struct br__ckpt *ck = NULL;
    int rc = br__td_open(&ck, dir, &err);

    ck_assert_msg(rc == BR_OK, "%s: %s", dir, err.msg);
    return ck;
}

void td_small(struct td *m, unsigned flags)
{
    static const int64_t half[] = {3, 4}, lower[] = {3, 0}, stack[] = {2, 1}, one[] = {1, 1},
                         second[] = {1, 0}, shape_2d[] = {6, 4}, zero_2d[] = {0, 0};

    td_begin(m, flags);
    td_tensor(m, "decoder.w", BR_BF16, shape_2d, 2);
    td_chunk(m, lower, half); /* boxes and items come in any order */
    td_chunk(m, zero_2d, half);
    td_tensor_end(m);
    td_tensor(m, "a scalar (stacked)", BR_F32, stack, 2);
    td_chunk(m, zero_2d, one);
    td_chunk(m, second, one);
    td_tensor_end(m);
}

/* An assertion per byte takes seconds, because check logs each one. */
void td_check_bytes(const unsigned char *got, uint64_t off, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != td_byte(off + i))
            ck_abort_msg("byte %zu of %zu read at %zu is %d, expected %d", i, n, (size_t)off,
                         got[i], td_byte(off + i));
}

void td_check_contents(const struct br__ckpt *ck, const char *name)
{
    const struct br__tensor *t = br__ckpt_find(ck, name);
    unsigned char buf[4096];
    struct br_err err = BR_ERR_INIT;

    ck_assert_msg(t != NULL, "%s is missing", name);
    ck_assert_uint_le(t->bytes, sizeof buf);
    for (uint64_t off = 0; off < t->bytes; off++) {
        size_t n = (size_t)(t->bytes - off);
        memset(buf, 0xee, sizeof buf);
        ck_assert_msg(br__td_ops.read(ck, t, off, buf, n, &err) == BR_OK, "%s", err.msg);
        td_check_bytes(buf, off, n);
    }
}

void td_refused(const char *dir, int code, const char *text)
{
    struct br_err err = BR_ERR_INIT;
    struct br__ckpt *ck = NULL;
    int rc = br__td_open(&ck, dir, &err);

    ck_assert_msg(rc == code, "got %d (%s), expected %d (%s)", rc, err.msg, code, text);
    ck_assert_ptr_null(ck);
    ck_assert_msg(strstr(err.msg, text) != NULL, "got '%s', expected '%s'", err.msg, text);
    /* every call must also work without an error record */
    ck_assert_int_eq(br__td_open(&ck, dir, NULL), code);
}

void td_train_state(const struct td *m, const char *path, int64_t step)
{
    struct br__buf pickle = {0}, file = {0};

    pk_op(&pickle, "\x80\x02}(");
    pk_str(&pickle, "step");
    pk_global(&pickle, "torch._utils", "_rebuild_tensor_v2");
    pk_op(&pickle, "((");
    pk_str(&pickle, "storage");
    pk_global(&pickle, "torch", "LongStorage");
    pk_str(&pickle, "0");
    pk_str(&pickle, "cpu");
    pk_int(&pickle, 1);
    pk_op(&pickle, "tQ");
    pk_int(&pickle, 0);
    pk_op(&pickle, "))\x89");
    pk_global(&pickle, "collections", "OrderedDict");
    pk_op(&pickle, ")RtRu.");
    torch_save(&file, &pickle, &(struct zip_in){"archive/data/0", &step, sizeof step}, 1);
    td_put_file(m, path, file.p, file.n);
    br__buf_free(&pickle);
    br__buf_free(&file);
}

void td_common_pickle(struct br__buf *b, int64_t iteration, int as_list)
{
    pk_op(b, as_list ? "\x80\x02](}(" : "\x80\x02}(");
    pk_str(b, "iteration");
    pk_int(b, iteration);
    pk_str(b, "args");
    pk_new(b, "argparse", "Namespace");
    pk_op(b, "}(");
    pk_str(b, "num_layers");
    pk_int(b, 2);
    pk_op(b, as_list ? "ubue." : "ubu.");
}
