/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* write.c - writes the .distcp files of a torch_dist checkpoint and the small archives
 * beside them.  write_meta.c has .metadata, write_common.c the common state.
 *
 * A .distcp file is a row of complete torch.save archives, one per tensor chunk or bytes item,
 * whose place and length .metadata records.  Every offset follows from the plan, so files can be
 * written in any order, by any thread, or again after an interruption.
 *
 * Source of the format: directories written by Megatron Bridge 0.6.2 with torch 2.15, which the
 * tests compare byte by byte. */
#include "../torch/torch.h"

#include <inttypes.h>
#include <string.h>

const char br__td_metadata_json[] =
    "{\"sharded_backend\": \"torch_dist\", \"sharded_backend_version\": 1, "
    "\"common_backend\": \"torch\", \"common_backend_version\": 1}";

/* The payload of an _extra_state item: a pickled [None], which every Transformer Engine takes. */
static const char none_list[] = {'\x80', 2, ']', 'q', 0, 'N', 'a', '.'};

/* ---- pickles of items ------------------------------------------------------------------------ */

/* data.pkl of the item that holds one chunk; replaces what `out` held. */
static int chunk_pickle(struct br__buf *out, const struct br__td_out *t, const int64_t *size,
                        struct br_err *err)
{
    struct br__arena arena = {0};
    struct br__pkw w = {.out = out, .arena = &arena};
    out->n = 0;
    br__pkw_begin(&w);
    br__pkw_tensor(&w, "0", t->dtype, t->ndim, size);
    br__pkw_end(&w);
    br__arena_free(&arena);
    return out->failed ? br_fail(err, out->failed, "out of memory for tensor '%s'", t->key) : 0;
}

/* What a bytes item holds. */
static struct br__td_object object_of(const struct br__td_plan *p, const struct br__td_item *it)
{
    if (strcmp(it->object_key, BR__TD_COMMON) == 0) {
        if (!p->common_pickle)
            BR_BUG("the plan has " BR__TD_COMMON " but no pickle for it");
        return (struct br__td_object){.pickle = p->common_pickle,
                                      .pickle_size = p->common_pickle_size};
    }
    if (strcmp(it->object_key, BR__TD_RNG) == 0 && p->rng)
        return *p->rng;
    return (struct br__td_object){.pickle = none_list, .pickle_size = sizeof none_list};
}

/* ---- layout ---------------------------------------------------------------------------------- */

static int item_length(const struct br__td_plan *p, struct br__td_item *it, struct br__buf *scratch,
                       struct br_err *err)
{
    if (it->verbatim) {
        it->item_len = it->data_bytes;
        return 0;
    }
    if (it->tensor == BR__TD_OBJECT) {
        const struct br__td_object o = object_of(p, it);
        it->item_len = br__zip_archive_size("archive", o.pickle_size, o.size, o.n_data);
        return 0;
    }
    if (it->tensor >= p->n_tensors)
        BR_BUG("no tensor %" PRIu32, it->tensor);
    const struct br__td_out *t = &p->tensors[it->tensor];
    uint64_t bytes;
    int rc = br_shape_bytes(it->size, t->ndim, br_dtype_size(t->dtype), &bytes);
    if (rc || bytes != it->data_bytes)
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s': a chunk's shape does not make its %" PRIu64 " bytes", t->key,
                       it->data_bytes);
    rc = chunk_pickle(scratch, t, it->size, err);
    if (rc)
        return rc;
    it->item_len = br__zip_archive_size("archive", scratch->n, &bytes, 1);
    return 0;
}

/* Lengths of all items; their sum and the number of tensor chunks. */
static int measure_items(struct br__td_plan *p, uint64_t *total, size_t *n_chunks,
                         struct br_err *err)
{
    struct br__buf scratch = {0};
    int rc = 0;
    *total = 0;
    *n_chunks = 0;
    for (size_t i = 0; i < p->n_items && !rc; i++) {
        struct br__td_item *it = &p->items[i];
        if (it->tensor != BR__TD_OBJECT)
            ++*n_chunks;
        else if (*n_chunks)
            BR_BUG("bytes item %zu after a tensor chunk", i);
        rc = item_length(p, it, &scratch, err);
        if (!rc && it->item_len > (uint64_t)INT64_MAX - *total)
            rc = br_fail(err, BR_E_FORMAT, "the checkpoint is larger than 2^63 bytes");
        *total += it->item_len;
    }
    br__buf_free(&scratch);
    return rc;
}

int br__td_layout(struct br__arena *a, struct br__td_plan *p, struct br_err *err)
{
    uint64_t total, sum = 0, want = 1;
    size_t n_chunks;
    int rc = measure_items(p, &total, &n_chunks, err);
    if (rc)
        return rc;
    if (n_chunks > 1)
        want = BR__MAX(2, (total + BR__TD_FILE_TARGET - 1) / BR__TD_FILE_TARGET);

    /* An item belongs to the share that holds its middle; shares that hold no middle vanish.  The
     * first and the last item never fall into one share of two, so two files come out of two
     * chunks. */
    uint64_t share = (total + want - 1) / want, last_share = 0;
    p->file_bytes = br__arena_alloc(a, (size_t)want * sizeof *p->file_bytes);
    if (!p->file_bytes)
        return br__nomem(err, "for the file layout");
    p->n_files = p->n_items ? 1 : 0;
    for (size_t i = 0; i < p->n_items; i++) {
        struct br__td_item *it = &p->items[i];
        uint64_t mine = it->tensor == BR__TD_OBJECT ? 0 : (sum + it->item_len / 2) / share;
        if (mine != last_share && i)
            p->n_files++;
        last_share = mine;
        it->writer = p->writer;
        it->file = p->n_files - 1;
        it->item_off = p->file_bytes[it->file];
        p->file_bytes[it->file] += it->item_len;
        sum += it->item_len;
    }
    return 0;
}

/* ---- .distcp files --------------------------------------------------------------------------- */

typedef int produce_fn(void *arg, size_t item, uint64_t offset, void *dst, size_t n,
                       struct br_err *err);

/* The hot loop: produced, checksummed and written while in cache, without a copy. */
static int write_data(struct br__zipw *z, uint64_t bytes, size_t item, produce_fn *produce,
                      void *arg, struct br_err *err)
{
    struct br__out *out = z->out;
    for (uint64_t off = 0; off < bytes;) {
        /* Fill the buffer that has the headers first, so that they need no write of their own. */
        size_t room = (BR__OUT_BUF - out->n) & ~(size_t)63;
        size_t n = (size_t)BR__MIN(bytes - off, room < BR__OUT_BUF / 2 ? BR__OUT_BUF : room);
        unsigned char *dst = br__out_reserve(out, n, err);
        if (!dst)
            return out->failed;
        int rc = produce(arg, item, off, dst, n, err);
        if (rc)
            return rc;
        br__zipw_data(z, dst, n);
        br__out_commit(out, n);
        off += n;
    }
    return 0;
}

/* An archive that is there already, as it is. */
static int copy_item(struct br__out *out, const struct br__td_item *it, size_t item,
                     produce_fn *produce, void *arg, struct br_err *err)
{
    for (uint64_t off = 0; off < it->data_bytes;) {
        size_t n = (size_t)BR__MIN(it->data_bytes - off, (uint64_t)BR__OUT_BUF);
        unsigned char *dst = br__out_reserve(out, n, err);
        int rc = dst ? produce(arg, item, off, dst, n, err) : out->failed;
        if (rc)
            return rc;
        br__out_commit(out, n);
        off += n;
    }
    return 0;
}

/* data/0, data/1, ... */
static int put_records(struct br__zipw *z, const void *const *datas, const uint64_t *sizes,
                       size_t n, struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        char record[32];
        snprintf(record, sizeof record, "data/%zu", i);
        rc = br__zipw_record(z, record, datas[i], (size_t)sizes[i], err);
    }
    return rc;
}

static int write_item(struct br__out *out, const struct br__td_plan *p, size_t i,
                      struct br__buf *scratch, produce_fn *produce, void *arg, struct br_err *err)
{
    struct br__td_item *it = &p->items[i];
    struct br__zipw z;
    int rc;
    if (it->verbatim)
        return copy_item(out, it, i, produce, arg, err);
    br__zipw_begin(&z, out, "archive");
    if (it->tensor == BR__TD_OBJECT) {
        const struct br__td_object o = object_of(p, it);
        rc = br__zipw_head(&z, o.pickle, o.pickle_size, err);
        if (!rc)
            rc = put_records(&z, o.data, o.size, o.n_data, err);
    } else {
        rc = chunk_pickle(scratch, &p->tensors[it->tensor], it->size, err);
        if (!rc)
            rc = br__zipw_head(&z, scratch->p, scratch->n, err);
        if (!rc)
            rc = br__zipw_start(&z, "data/0", it->data_bytes, err);
        if (!rc)
            rc = write_data(&z, it->data_bytes, i, produce, arg, err);
        it->crc = z.rec_crc;
        if (!rc)
            rc = br__zipw_stop(&z, err);
    }
    if (!rc)
        rc = br__zipw_finish(&z, err);
    br__zipw_abort(&z);
    if (!rc && br__out_tell(out) != it->item_off + it->item_len)
        BR_BUG("item %zu ends at %" PRIu64 ", not where the layout says", i, br__out_tell(out));
    return rc;
}

int br__td_write_file(const struct br__td_plan *p, uint32_t file, const struct br__dir *d, int sync,
                      produce_fn *produce, void *arg, struct br_err *err)
{
    struct br__out out;
    struct br__buf scratch = {0};
    char name[40];
    snprintf(name, sizeof name, BR__TD_FILE, (unsigned)p->writer, (unsigned)file);
    int rc = br__out_open_in(&out, d, name, p->file_bytes[file], sync, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_items && !rc; i++)
        if (p->items[i].file == file)
            rc = write_item(&out, p, i, &scratch, produce, arg, err);
    br__buf_free(&scratch);
    if (!rc)
        return br__out_finish(&out, err);
    br__out_abort(&out);
    return rc;
}

/* ---- small archives -------------------------------------------------------------------------- */

struct archive {
    const char *prefix; /* of its records' names */
    const struct br__buf *pickle;
    const void *const *datas;
    const uint64_t *sizes;
    size_t n_datas;
};

/* Renamed when complete: readers look for train_state.pt at any time. */
static int write_archive(const struct br__dir *d, const char *name, const struct archive *ar,
                         int sync, struct br_err *err)
{
    struct br__out out;
    struct br__zipw z;
    char tmp[96];
    snprintf(tmp, sizeof tmp, "%.64s.%016" PRIx64 BR__TMP, name, br__random());
    int rc = br__out_open_in(&out, d, tmp, 0, sync, err);
    if (rc)
        return rc;
    br__zipw_begin(&z, &out, ar->prefix);
    rc = br__zipw_head(&z, ar->pickle->p, ar->pickle->n, err);
    if (!rc)
        rc = put_records(&z, ar->datas, ar->sizes, ar->n_datas, err);
    if (!rc)
        rc = br__zipw_finish(&z, err);
    br__zipw_abort(&z);
    if (rc)
        br__out_abort(&out);
    else
        rc = br__out_finish(&out, err);
    if (!rc)
        rc = br__dir_rename(d, tmp, name, err);
    if (rc && br__dir_remove(d, tmp, NULL))
        br_wrap(err, "'%s' is left over", tmp);
    return rc;
}

int br__td_write_common(const struct br__dir *d, const struct br__buf *pickle, int sync,
                        struct br_err *err)
{
    return write_archive(d, "common.pt", &(struct archive){.prefix = "common", .pickle = pickle},
                         sync, err);
}

/* Megatron Bridge's TrainState. */
static const struct {
    const char *name;
    int dtype;
} train_state[] = {
    {"step", BR_I64},
    {"consumed_train_samples", BR_I64},
    {"skipped_train_samples", BR_I64},
    {"consumed_valid_samples", BR_I64},
    {"floating_point_operations_so_far", BR_F32},
    {"do_train", BR_BOOL},
    {"do_valid", BR_BOOL},
    {"do_test", BR_BOOL},
};
#define N_TRAIN_STATE BR_COUNTOF(train_state)

int br__td_write_counters(const struct br__dir *d, const char *name,
                          const struct br__train_counters *c, int sync, struct br_err *err)
{
    const int64_t counts[] = {c->step, c->consumed_samples, c->skipped_samples, c->valid_samples};
    const float flops = (float)c->flops;
    const unsigned char does[] = {c->do_train != 0, c->do_valid != 0, c->do_test != 0};
    const void *datas[N_TRAIN_STATE] = {&counts[0], &counts[1], &counts[2], &counts[3],
                                        &flops,     &does[0],   &does[1],   &does[2]};
    uint64_t sizes[N_TRAIN_STATE];
    struct br__buf pickle = {0};
    struct br__arena arena = {0};
    struct br__pkw w = {.out = &pickle, .arena = &arena};

    br__pkw_begin(&w);
    br__pkw_dict(&w);
    for (size_t i = 0; i < N_TRAIN_STATE; i++) {
        char storage[32];
        snprintf(storage, sizeof storage, "%zu", i);
        br__pkw_str(&w, train_state[i].name);
        br__pkw_tensor(&w, storage, train_state[i].dtype, 0, NULL);
        sizes[i] = br_dtype_size(train_state[i].dtype);
    }
    br__pkw_op(&w, 'u');
    br__pkw_end(&w);
    br__arena_free(&arena);
    const struct archive ar = {"train_state", &pickle, datas, sizes, N_TRAIN_STATE};
    int rc = pickle.failed ? br_fail(err, pickle.failed, "out of memory for the train state")
                           : write_archive(d, name, &ar, sync, err);
    br__buf_free(&pickle);
    return rc;
}

/* After an import everything is zero but the step. */
int br__td_write_train_state(const struct br__dir *d, const char *name, int64_t step, int sync,
                             struct br_err *err)
{
    return br__td_write_counters(d, name, &(struct br__train_counters){.step = step}, sync, err);
}
