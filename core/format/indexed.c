/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* indexed.c - Megatron's token files: NAME.bin holds the ids, NAME.idx where each sequence is.
 *
 * Source of the format: megatron/core/datasets/indexed_dataset.py, versions 0.8 to 0.19.  The .idx
 * is read through its map, the .bin with br__file_read, so that a .bin that somebody truncates is
 * an error and not a signal. */
#include "indexed.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define PART ".part"

/* Megatron's codes of dtypes; 6 and 7 are floats. */
static const uint8_t dtypes[] = {[1] = BR_U8,  [2] = BR_I8,  [3] = BR_I16, [4] = BR_I32,
                                 [5] = BR_I64, [6] = BR_F64, [7] = BR_F32, [8] = BR_U16};

static int code_of(int dtype)
{
    for (size_t i = 1; i < BR_COUNTOF(dtypes); i++)
        if (dtypes[i] == dtype)
            return (int)i;
    return 0;
}

int br__indexed_dtype(int64_t n_vocab)
{
    return n_vocab < 65500 ? BR_U16 : BR_I32;
}

static int64_t i64_at(const unsigned char *p, int64_t i)
{
    int64_t v;
    memcpy(&v, p + 8 * i, sizeof v);
    return v;
}

static uint64_t u64_at(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- reading: the index ---------------------------------------------------------------------- */

static int check_header(struct br__indexed *x, const unsigned char *p, uint64_t n,
                        struct br_err *err)
{
    if (n < BR__IDX_HEADER || memcmp(p, BR__IDX_MAGIC, BR__IDX_MAGIC_BYTES) != 0)
        return br_fail(err, BR_E_FORMAT, "it does not begin with 'MMIDIDX' and %d bytes of header",
                       BR__IDX_HEADER - BR__IDX_MAGIC_BYTES);
    uint64_t version = u64_at(p + 9), n_seq = u64_at(p + 18), n_bounds = u64_at(p + 26);
    unsigned code = p[17];
    if (version != 1)
        return br_fail(err, BR_E_UNSUPPORTED, "version %" PRIu64 ", expected 1", version);
    if (code == 0 || code >= BR_COUNTOF(dtypes))
        return br_fail(err, BR_E_FORMAT, "dtype code %u, expected 1 to 8", code);
    x->dtype = dtypes[code];
    if (br_dtype_is_float(x->dtype))
        return br_fail(err, BR_E_UNSUPPORTED, "elements are %s, token ids are whole numbers",
                       br_dtype_torch(x->dtype));
    uint64_t rest = n - BR__IDX_HEADER;
    if (n_seq > rest / 12 || n_bounds > (rest - 12 * n_seq) / 8)
        return br_fail(err, BR_E_FORMAT,
                       "%" PRIu64 " bytes are too few for %" PRIu64 " sequences and %" PRIu64
                       " document boundaries",
                       n, n_seq, n_bounds);
    rest -= 12 * n_seq + 8 * n_bounds;
    if (rest != 0 && rest != n_seq)
        return br_fail(err, BR_E_FORMAT, "%" PRIu64 " bytes follow the document boundaries", rest);
    if (n_bounds == 0)
        return br_fail(err, BR_E_FORMAT, "it has no document boundaries, expected at least one");
    x->n_seq = (int64_t)n_seq;
    x->n_doc = (int64_t)n_bounds - 1;
    x->lengths = p + BR__IDX_HEADER;
    x->offsets = x->lengths + 4 * n_seq;
    x->bounds = x->offsets + 8 * n_seq;
    return BR_OK;
}

static int check_sequences(struct br__indexed *x, uint64_t bin_bytes, struct br_err *err)
{
    uint64_t size = br_dtype_size(x->dtype);
    for (int64_t i = 0; i < x->n_seq; i++) {
        int64_t n = br__indexed_len(x, i), off = i64_at(x->offsets, i);
        if (n < 0 || off < 0 || (uint64_t)off > bin_bytes ||
            (uint64_t)n > (bin_bytes - (uint64_t)off) / size)
            return br_fail(err, BR_E_FORMAT,
                           "sequence %" PRId64 " is %" PRId64 " tokens at byte %" PRId64
                           ", but the .bin file has %" PRIu64 " bytes",
                           i, n, off, bin_bytes);
        x->n_tokens += n;
    }
    return BR_OK;
}

static int check_documents(const struct br__indexed *x, struct br_err *err)
{
    int64_t before = 0;
    for (int64_t i = 0; i <= x->n_doc; i++) {
        int64_t at = br__indexed_doc(x, i);
        if (at < before || at > x->n_seq || (i == 0 && at != 0))
            return br_fail(err, BR_E_FORMAT,
                           "document boundary %" PRId64 " is %" PRId64 ", expected %s%" PRId64
                           " to %" PRId64,
                           i, at, i ? "" : "0, not ", before, x->n_seq);
        before = at;
    }
    if (before != x->n_seq)
        return br_fail(err, BR_E_FORMAT,
                       "the last document ends at sequence %" PRId64 ", expected %" PRId64, before,
                       x->n_seq);
    return BR_OK;
}

int br__idx_parse(struct br__indexed *x, const unsigned char *p, uint64_t n, uint64_t bin_bytes,
                  struct br_err *err)
{
    x->n_tokens = 0;
    int rc = check_header(x, p, n, err);
    if (!rc)
        rc = check_sequences(x, bin_bytes, err);
    return rc ? rc : check_documents(x, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int open_part(struct br__arena *a, struct br__file *f, const char *prefix, const char *ext,
                     struct br_err *err)
{
    const char *path = br__arena_printf(a, "%s.%s", prefix, ext);
    if (!path)
        return br__nomem(err, "for '%s'", prefix);
    return br__file_open(f, path, err);
}

int br__indexed_open(struct br__indexed *x, const char *prefix, struct br_err *err)
{
    struct br__arena a = {0};
    *x = (struct br__indexed){0};
    int rc = open_part(&a, &x->idx, prefix, "idx", err);
    if (!rc)
        rc = open_part(&a, &x->bin, prefix, "bin", err);
    if (!rc) {
        rc = br__idx_parse(x, x->idx.map, x->idx.size, x->bin.size, err);
        if (rc)
            br_wrap(err, "'%s'", x->idx.path);
    }
    if (rc)
        br__indexed_close(x);
    br__arena_free(&a);
    return rc;
}

void br__indexed_close(struct br__indexed *x)
{
    br__file_close(&x->idx);
    br__file_close(&x->bin);
    *x = (struct br__indexed){0};
}

int64_t br__indexed_len(const struct br__indexed *x, int64_t seq)
{
    int32_t v;
    memcpy(&v, x->lengths + 4 * seq, sizeof v);
    return v;
}

int64_t br__indexed_doc(const struct br__indexed *x, int64_t i)
{
    return i64_at(x->bounds, i);
}

static int64_t indexed_element(const void *p, int dtype, size_t i)
{
    switch (dtype) {
    case BR_U8:
        return ((const uint8_t *)p)[i];
    case BR_I8:
        return ((const int8_t *)p)[i];
    case BR_I16:
        return ((const int16_t *)p)[i];
    case BR_U16:
        return ((const uint16_t *)p)[i];
    case BR_I32:
        return ((const int32_t *)p)[i];
    default:
        return ((const int64_t *)p)[i];
    }
}

int br__indexed_read(const struct br__indexed *x, int64_t seq, int64_t from, int64_t n,
                     int32_t *out, struct br_err *err)
{
    int64_t block[1024];
    int64_t size = br_dtype_size(x->dtype), room = (int64_t)sizeof block / size;
    if (seq < 0 || seq >= x->n_seq || from < 0 || n < 0 || n > br__indexed_len(x, seq) - from)
        BR_BUG("tokens %" PRId64 " + %" PRId64 " of sequence %" PRId64, from, n, seq);
    for (int64_t done = 0; done < n;) {
        int64_t m = BR__MIN(room, n - done);
        uint64_t at = (uint64_t)(i64_at(x->offsets, seq) + (from + done) * size);
        int rc = br__file_read(&x->bin, at, block, (size_t)(m * size), err);
        if (rc)
            return rc;
        for (int64_t i = 0; i < m; i++) {
            int64_t id = indexed_element(block, x->dtype, (size_t)i);
            if (id < 0 || id > INT32_MAX)
                return br_fail(err, BR_E_FORMAT,
                               "'%s': sequence %" PRId64 ", token %" PRId64 " is %" PRId64
                               ", expected a token id from 0 to %d",
                               x->bin.path, seq, from + done + i, id, INT32_MAX);
            out[done + i] = (int32_t)id;
        }
        done += m;
    }
    return BR_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

enum { LENGTHS, BOUNDS };

static const char *const part_names[] = {
    "idx.lengths" PART, "idx.documents" PART, "bin" PART, "idx" PART, "bin", "idx"};
enum { P_LENGTHS, P_BOUNDS, P_BIN, P_IDX, P_BIN_DONE, P_IDX_DONE };
_Static_assert(BR_COUNTOF(part_names) == BR_COUNTOF(((struct br__indexed_out *)0)->names),
               "a name each");

/* The lists for the .idx are kept in two files until the end, so that memory does not grow with the
 * number of sequences. */
int br__indexed_create(struct br__indexed_out *w, const char *prefix, int dtype, int sync,
                       struct br_err *err)
{
    int64_t zero = 0;
    *w = (struct br__indexed_out){.dtype = dtype, .sync = sync, .dir.fd = -1};
    if (!code_of(dtype) || br_dtype_is_float(dtype))
        BR_BUG("dtype %d of token ids", dtype);
    int rc = br__dir_of(&w->dir, prefix, 0, err);
    if (rc)
        br_wrap(err, "cannot create '%s.bin'", prefix);
    for (size_t i = 0; i < BR_COUNTOF(part_names) && !rc; i++)
        if (!(w->names[i] =
                  br__arena_printf(&w->arena, "%s.%s", br__path_base(prefix), part_names[i])))
            rc = br__nomem(err, "for '%s'", prefix);
    if (!rc)
        rc = br__out_open_in(&w->bin, &w->dir, w->names[P_BIN], 0, sync, err);
    if (!rc)
        rc = br__out_open_in(&w->lists[LENGTHS], &w->dir, w->names[P_LENGTHS], 0, 0, err);
    if (!rc)
        rc = br__out_open_in(&w->lists[BOUNDS], &w->dir, w->names[P_BOUNDS], 0, 0, err);
    if (!rc)
        rc = br__out_write(&w->lists[BOUNDS], &zero, sizeof zero, err);
    if (rc)
        br__indexed_abort(w);
    return rc;
}

static int put_length(struct br__indexed_out *w, int64_t n, struct br_err *err)
{
    int32_t len = (int32_t)n;
    if (n > INT32_MAX)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "a sequence of %" PRId64 " tokens; the format holds at most %d", n,
                       INT32_MAX);
    w->n_seq++;
    w->n_tokens += n;
    return br__out_write(&w->lists[LENGTHS], &len, sizeof len, err);
}

/* n <= 1024 ids into their type; one that does not fit is named. */
static int indexed_narrow(int dtype, const int32_t *ids, size_t n, void *to, struct br_err *err)
{
    unsigned bits = 8 * br_dtype_size(dtype) - (dtype != BR_U8 && dtype != BR_U16);
    int64_t max = bits > 31 ? INT32_MAX : (INT64_C(1) << bits) - 1;
    uint32_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= (uint32_t)ids[i];
    for (size_t i = 0; i < n && all > (uint64_t)max; i++)
        if (ids[i] < 0 || ids[i] > max)
            return br_fail(err, BR_E_FORMAT,
                           "token id %" PRId32 ", expected 0 to %" PRId64 " in %s", ids[i], max,
                           br_dtype_torch(dtype));
    switch (br_dtype_size(dtype)) {
    case 1:
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)to)[i] = (uint8_t)ids[i];
        break;
    case 2:
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)to)[i] = (uint16_t)ids[i];
        break;
    case 4:
        memcpy(to, ids, n * sizeof *ids);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            ((int64_t *)to)[i] = ids[i];
    }
    return BR_OK;
}

int br__indexed_put(struct br__indexed_out *w, const int32_t *ids, size_t n, struct br_err *err)
{
    int64_t block[1024];
    size_t size = br_dtype_size(w->dtype);
    int rc = BR_OK;
    for (size_t done = 0; done < n && !rc;) {
        size_t m = BR__MIN(BR_COUNTOF(block), n - done);
        rc = indexed_narrow(w->dtype, ids + done, m, block, err);
        if (!rc)
            rc = br__out_write(&w->bin, block, m * size, err);
        done += m;
    }
    w->open += (int64_t)n;
    return rc;
}

int br__indexed_end_seq(struct br__indexed_out *w, struct br_err *err)
{
    int64_t n = w->open;
    w->open = 0;
    return put_length(w, n, err);
}

int br__indexed_add(struct br__indexed_out *w, const int32_t *ids, size_t n, struct br_err *err)
{
    int rc = br__indexed_put(w, ids, n, err);
    return rc ? rc : br__indexed_end_seq(w, err);
}

int br__indexed_end_doc(struct br__indexed_out *w, struct br_err *err)
{
    w->n_doc++;
    return br__out_write(&w->lists[BOUNDS], &w->n_seq, sizeof w->n_seq, err);
}

/* Sequences are copied one by one: those of another writer need not lie back to back. */
static int append_sequences(struct br__indexed_out *w, const struct br__indexed *x,
                            struct br_err *err)
{
    size_t size = br_dtype_size(x->dtype);
    int rc = BR_OK;
    for (int64_t i = 0; i < x->n_seq && !rc; i++) {
        uint64_t at = (uint64_t)i64_at(x->offsets, i);
        uint64_t left = (uint64_t)br__indexed_len(x, i) * size;
        while (left && !rc) {
            size_t n = (size_t)BR__MIN(left, (uint64_t)BR__OUT_BUF);
            unsigned char *to = br__out_reserve(&w->bin, n, err);
            rc = to ? br__file_read(&x->bin, at, to, n, err) : w->bin.failed;
            if (!rc)
                br__out_commit(&w->bin, n);
            at += n;
            left -= n;
        }
        if (!rc)
            rc = put_length(w, br__indexed_len(x, i), err);
    }
    return rc;
}

int br__indexed_append(struct br__indexed_out *w, const struct br__indexed *x, struct br_err *err)
{
    int64_t base = w->n_seq;
    if (x->dtype != w->dtype)
        return br_fail(err, BR_E_FORMAT, "'%s' holds %s, but %s is expected as in what came before",
                       x->bin.path, br_dtype_torch(x->dtype), br_dtype_torch(w->dtype));
    int rc = append_sequences(w, x, err);
    for (int64_t i = 1; i <= x->n_doc && !rc; i++) {
        int64_t at = base + br__indexed_doc(x, i);
        rc = br__out_write(&w->lists[BOUNDS], &at, sizeof at, err);
    }
    w->n_doc += x->n_doc;
    return rc;
}

/* Append what a list file holds. */
static int put_file(struct br__out *o, const struct br__file *f, struct br_err *err)
{
    int rc = BR_OK;
    for (uint64_t at = 0; at < f->size && !rc;) {
        size_t n = (size_t)BR__MIN(f->size - at, (uint64_t)BR__OUT_BUF);
        unsigned char *to = br__out_reserve(o, n, err);
        rc = to ? br__file_read(f, at, to, n, err) : o->failed;
        if (!rc)
            br__out_commit(o, n);
        at += n;
    }
    return rc;
}

static int put_offsets(struct br__out *o, const struct br__file *lengths, int64_t size,
                       struct br_err *err)
{
    int32_t block[1024];
    int64_t at = 0;
    int rc = BR_OK;
    for (uint64_t done = 0; done < lengths->size && !rc;) {
        size_t n = (size_t)BR__MIN(lengths->size - done, (uint64_t)sizeof block);
        rc = br__file_read(lengths, done, block, n, err);
        for (size_t i = 0; i < n / sizeof *block && !rc; i++) {
            rc = br__out_write(o, &at, sizeof at, err);
            at += block[i] * size;
        }
        done += n;
    }
    return rc;
}

static int put_header(struct br__out *o, const struct br__indexed_out *w, struct br_err *err)
{
    unsigned char h[BR__IDX_HEADER] = BR__IDX_MAGIC;
    uint64_t version = 1, n_seq = (uint64_t)w->n_seq, n_bounds = (uint64_t)w->n_doc + 1;
    memcpy(h + 9, &version, 8);
    h[17] = (unsigned char)code_of(w->dtype);
    memcpy(h + 18, &n_seq, 8);
    memcpy(h + 26, &n_bounds, 8);
    return br__out_write(o, h, sizeof h, err);
}

static int write_idx(struct br__indexed_out *w, struct br_err *err)
{
    struct br__file lists[2] = {0};
    struct br__out o;
    int rc = br__out_open_in(&o, &w->dir, w->names[P_IDX], 0, w->sync, err);
    if (rc)
        return rc;
    for (int i = LENGTHS; i <= BOUNDS && !rc; i++)
        rc = br__file_open_in(&lists[i], &w->dir, w->names[P_LENGTHS + i], err);
    if (!rc)
        rc = put_header(&o, w, err);
    if (!rc)
        rc = put_file(&o, &lists[LENGTHS], err);
    if (!rc)
        rc = put_offsets(&o, &lists[LENGTHS], br_dtype_size(w->dtype), err);
    if (!rc)
        rc = put_file(&o, &lists[BOUNDS], err);
    for (int i = LENGTHS; i <= BOUNDS; i++)
        br__file_close(&lists[i]);
    if (!rc)
        return br__out_finish(&o, err);
    br__out_abort(&o);
    return rc;
}

/* The file of this name; a directory stays. */
static int remove_file(const struct br__indexed_out *w, int i, struct br_err *err)
{
    struct stat st;
    int is_file = w->names[i] && !br__dir_stat(&w->dir, w->names[i], &st) && !S_ISDIR(st.st_mode);
    return is_file ? br__dir_remove(&w->dir, w->names[i], err) : BR_OK;
}

/* Rename the .idx last: without it the .bin cannot be read, so a reader sees both or neither. */
static int indexed_publish(struct br__indexed_out *w, struct br_err *err)
{
    int rc = remove_file(w, P_IDX_DONE, err);
    if (!rc)
        rc = br__dir_rename(&w->dir, w->names[P_BIN], w->names[P_BIN_DONE], err);
    if (!rc)
        rc = br__dir_rename(&w->dir, w->names[P_IDX], w->names[P_IDX_DONE], err);
    return rc || !w->sync ? rc : br__dir_sync(&w->dir, err);
}

int br__indexed_finish(struct br__indexed_out *w, struct br_err *err)
{
    int rc = br__out_finish(&w->bin, err);
    for (int i = LENGTHS; i <= BOUNDS && !rc; i++)
        rc = br__out_finish(&w->lists[i], err);
    if (!rc)
        rc = write_idx(w, err);
    if (!rc)
        rc = indexed_publish(w, err);
    br__indexed_abort(w);
    return rc;
}

void br__indexed_abort(struct br__indexed_out *w)
{
    br__out_abort(&w->bin);
    for (int i = LENGTHS; i <= BOUNDS; i++)
        br__out_abort(&w->lists[i]);
    for (int i = P_LENGTHS; i <= P_IDX; i++)
        (void)!remove_file(w, i, NULL);
    br__dir_close(&w->dir);
    br__arena_free(&w->arena);
    *w = (struct br__indexed_out){0};
}
